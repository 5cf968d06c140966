//! `livery keys`: create, list and revoke API keys.

use std::process::ExitCode;

use serde_json::json;

use super::runs::escape;
use super::{cell, client, print, print_json, say, table};
use crate::cli::Keys;

pub(super) async fn keys(command: Keys) -> anyhow::Result<ExitCode> {
    match command {
        Keys::Create { name, scopes, expires_at, json, server } => {
            let mut body = json!({"name": name, "scopes": scopes});
            if let Some(expires_at) = expires_at {
                body["expires_at"] = expires_at.into();
            }
            let key = client(&server)?.post("/v1/api_keys", &body).await?;
            if json {
                print_json(&key)?;
            } else {
                say(&format!("{} created; the key is shown once:", cell(&key["id"])));
                print(&cell(&key["api_key"]))?;
            }
        }
        Keys::List { json, server } => {
            let page = client(&server)?.get("/v1/api_keys?limit=100").await?;
            if json {
                print_json(&page)?;
            } else {
                let rows = page["data"].as_array().into_iter().flatten();
                let rows = rows.map(|key| {
                    ["id", "name", "prefix", "revoked_at", "expires_at", "last_used_at"]
                        .map(|field| cell(&key[field]))
                        .to_vec()
                });
                print(&table(&["id", "name", "starts with", "revoked", "expires", "last used"], rows.collect()))?;
            }
        }
        Keys::Revoke { id, server } => {
            client(&server)?.delete(&format!("/v1/api_keys/{}", escape(&id))).await?;
            say(&format!("{id} is revoked"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
