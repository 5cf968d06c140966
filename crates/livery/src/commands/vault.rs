//! `livery vault`: which keys there are, and their rotation.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use livery_broker::seal::replace_key_file;
use serde_json::{Value, json};

use super::{cell, client, print, print_json, say, table};
use crate::cli::Vault;
use crate::root_keys;

pub(super) async fn vault(command: Vault) -> anyhow::Result<ExitCode> {
    match command {
        Vault::Status { json, server } => tell(&client(&server)?.get("/v1/vault").await?, json)?,
        Vault::NewRootKey { data } => new_root_key(&data)?,
        Vault::Rewrap { json, server } => {
            let client = client(&server)?;
            let vault = client.get("/v1/vault").await?;
            if vault["root_key"] == vault["node_root_key"] && vault["keys_pending"] == 0 {
                let key = cell(&vault["root_key"]);
                anyhow::bail!(
                    "{key} is the root key already; give the server a new one first, and start it again with it"
                );
            }
            let order = json!({"root_key": vault["node_root_key"]});
            tell(&client.post("/v1/vault/rewrap", &order).await?, json)?;
        }
        Vault::NewDataKey { organization, json, server } => {
            let order = json!({"organization": organization});
            tell(&client(&server)?.post("/v1/vault/data_keys", &order).await?, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn new_root_key(data: &Path) -> anyhow::Result<()> {
    let (place, old) = (data.join(root_keys::FILE), data.join(root_keys::OLD_FILE));
    let (before, after) = replace_key_file(&place, &old)?;
    say(&format!("{} is the root key {after} now; {} keeps {before}", place.display(), old.display()));
    say("keep a copy of the new key apart; start the server again, then `livery vault rewrap`");
    Ok(())
}

fn tell(vault: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(vault);
    }
    let text = |field: &str| cell(&vault[field]);
    let rows = vault["root_keys"].as_array().into_iter().flatten().map(|used| {
        let id = cell(&used["id"]);
        let what = if id == text("root_key") { "wraps" } else { "to be replaced" };
        vec![id, cell(&used["keys"]), what.to_owned()]
    });
    print(&table(&["root key", "keys", ""], rows.collect()))?;
    let pending = |field: &str| vault[field].as_u64().context("the server's answer counts nothing");
    let (keys, values) = (pending("keys_pending")?, pending("values_pending")?);
    if text("root_key") != text("node_root_key") {
        say(&format!("this node wraps with {}: `livery vault rewrap` makes it the root key", text("node_root_key")));
    } else if keys == 0 {
        for replaced in vault["replaced"].as_array().into_iter().flatten() {
            say(&format!("nothing is left under the root key {}: it can be taken away", cell(replaced)));
        }
    }
    if keys + values > 0 {
        say(&format!("still to do: {keys} keys to wrap, {values} values to seal"));
    }
    Ok(())
}
