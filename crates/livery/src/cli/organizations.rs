//! `livery organizations …` and `livery applications …`.

use clap::Subcommand;
use livery_core::agent::Tier;

use super::Server;

/// `livery organizations …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Organizations {
    /// List organizations: the one the key belongs to; to the operator, all.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Change what the organization demands of its runs; it holds from the next sandbox on.
    Set {
        /// `org_…`
        id: String,
        #[command(flatten)]
        settings: Settings,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// `livery applications …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Applications {
    /// List the organization's applications, newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Change what an application demands of its runs; it holds from the next sandbox on.
    Set {
        /// `app_…`
        id: String,
        #[command(flatten)]
        settings: Settings,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// What is demanded of runs.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Settings {
    /// The weakest sandbox they may have: container, gvisor, microvm, isolate; `none`: any.
    #[arg(long, value_name = "TIER|none", value_parser = tier_or_none)]
    pub(crate) minimum_tier: Demand,
}

/// A tier, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demand(pub(crate) Option<Tier>);

fn tier_or_none(text: &str) -> Result<Demand, String> {
    if text == "none" {
        return Ok(Demand(None));
    }
    text.parse().map(|tier| Demand(Some(tier))).map_err(|error| format!("{error}; `none` demands nothing"))
}
