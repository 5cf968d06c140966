//! `livery vault`: which keys there are, and their rotation.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use livery_broker::seal::{new_key_file, replace_key_file};
use serde_json::{Value, json};

use super::{cell, client, print, print_json, say, table};
use crate::cli::Vault;
use crate::client::{Client, is_conflict};
use crate::root_keys;

/// How often nodes are asked before one that has not got the new key is taken at its word.
const TRIES_MAX: u32 = 10;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn vault(command: Vault) -> anyhow::Result<ExitCode> {
    match command {
        Vault::Status { json, server } => tell(&client(&server)?.get("/v1/vault").await?, json)?,
        Vault::NewRootKey { data } => new_root_key(&data)?,
        Vault::Rewrap { json, server } => {
            tell(&rewrapped(&client(&server)?).await?, json)?;
        }
        Vault::NewDataKey { organization, json, server } => {
            let order = json!({"organization": organization});
            tell(&client(&server)?.post("/v1/vault/data_keys", &order).await?, json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Has everything wrapped under the next root key. Behind a balancer each request may reach another node, of which some have
/// not been given that key yet: those are passed over, up to [`TRIES_MAX`] times.
async fn rewrapped(client: &Client) -> anyhow::Result<Value> {
    let order = json!({"root_key": next_root_key(client).await?});
    let mut tries = 1;
    loop {
        match client.post("/v1/vault/rewrap", &order).await {
            Err(error) if is_conflict(&error) && tries < TRIES_MAX => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// The key that a node wraps with and that is not the root key, or not under everything yet.
async fn next_root_key(client: &Client) -> anyhow::Result<Value> {
    let mut vault = Value::Null;
    for _ in 0..TRIES_MAX {
        vault = client.get("/v1/vault").await?;
        if vault["root_key"] != vault["node_root_key"] || vault["keys_pending"] != 0 {
            return Ok(vault["node_root_key"].take());
        }
        tokio::time::sleep(PAUSE).await;
    }
    let key = cell(&vault["root_key"]);
    anyhow::bail!("{key} is the root key already; give the server a new one first, and start it again with it")
}

fn new_root_key(data: &Path) -> anyhow::Result<()> {
    let (place, old) = (data.join(root_keys::FILE), data.join(root_keys::OLD_FILE));
    if !place.exists() {
        let key = new_key_file(&place)?;
        say(&format!("{} holds a new root key, {key}; keep a copy of it apart", place.display()));
        say("start the server with it, with the one it had in LIVERY_ROOT_KEY_OTHERS, then `livery vault rewrap`");
        return Ok(());
    }
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::{TRIES_MAX, rewrapped};
    use crate::client::Client;

    /// Behind one address, nodes in turn: those named `old` have not been given the next key.
    async fn balancer(nodes: &'static [&'static str]) -> (Client, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), "lvk_x").unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (asked, mut tasks) = (Arc::clone(&seen), JoinSet::new());
        tasks.spawn(async move {
            for turn in 0.. {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let mut head = vec![0; 4096];
                let count = stream.read(&mut head).await.unwrap_or_default();
                let line = String::from_utf8_lossy(&head[..count]).lines().next().unwrap_or_default().to_owned();
                let node = nodes[turn % nodes.len()];
                asked.lock().unwrap().push(format!("{} {node}", line.split(' ').next().unwrap_or_default()));
                let (status, body) = match (line.starts_with("GET"), node) {
                    (true, node) => ("200 OK", json!({"root_key": "old", "node_root_key": node, "keys_pending": 0})),
                    (false, "old") => {
                        ("409 Conflict", json!({"status": 409, "code": "conflict", "detail": "another key"}))
                    }
                    (false, _) => ("200 OK", json!({"root_key": "new", "node_root_key": "new", "keys_pending": 0})),
                };
                let body = body.to_string();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                // A client that has gone wants no answer.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (client, seen, tasks)
    }

    #[tokio::test]
    async fn behind_a_balancer_the_node_with_the_new_key_is_found() {
        let (client, seen, _tasks) = balancer(&["old", "new", "old"]).await;
        assert_eq!(rewrapped(&client).await.unwrap()["root_key"], "new");
        assert_eq!(*seen.lock().unwrap(), ["GET old", "GET new", "POST old", "POST old", "POST new"]);
    }

    #[tokio::test]
    async fn without_a_new_key_it_says_so() {
        let (client, seen, _tasks) = balancer(&["old"]).await;
        let error = rewrapped(&client).await.unwrap_err().to_string();
        assert!(error.contains("is the root key already"), "{error}");
        assert_eq!(seen.lock().unwrap().len(), TRIES_MAX as usize);
    }
}
