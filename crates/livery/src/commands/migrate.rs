//! `livery migrate`: the schema's steps, seen and applied without starting a server.

use std::process::ExitCode;

use livery_platform::Database;
use serde_json::json;

use super::{print, print_json, say};
use crate::engine::runtime;
use crate::{cli, host};

/// Applies what is pending, or with `--dry-run` only shows it.
pub(super) fn migrate(args: cli::Migrate) -> anyhow::Result<ExitCode> {
    let database = args.place.or_in(&args.data)?;
    if let Database::Embedded(file) = &database {
        anyhow::ensure!(file.exists(), "{database} is not there: give --data or --database");
        // What is written there belongs to the server's user.
        host::settle(host::ordinary_user(args.user.as_deref())?.as_ref())?;
    }
    runtime()?.block_on(apply(args, database))
}

async fn apply(args: cli::Migrate, database: Database) -> anyhow::Result<ExitCode> {
    let steps = if args.dry_run { database.pending_steps().await? } else { database.migrate().await? };
    if args.json {
        let key = if args.dry_run { "pending" } else { "applied" };
        print_json(&json!({"database": database.to_string(), key: steps}))?;
        return Ok(ExitCode::SUCCESS);
    }
    match (steps.is_empty(), args.dry_run) {
        (true, _) => say(&format!("{database}: the schema is up to date")),
        (false, true) => say(&format!("{database}: {} steps are pending; nothing was changed", steps.len())),
        (false, false) => say(&format!("{database}: {} steps applied", steps.len())),
    }
    for step in steps {
        print(step)?;
    }
    Ok(ExitCode::SUCCESS)
}
