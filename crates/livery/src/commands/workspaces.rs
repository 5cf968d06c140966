//! `livery workspaces` and `livery end-users`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::runs::escape;
use super::{cell, client, print, print_json, say, table};
use crate::cli::{EndUsers, Workspaces};

pub(super) async fn workspaces(command: Workspaces) -> anyhow::Result<ExitCode> {
    match command {
        Workspaces::List { agent, end_user, json, server } => {
            let mut query = "/v1/workspaces?limit=100".to_owned();
            for (name, value) in [("agent", agent), ("end_user", end_user)] {
                if let Some(value) = value {
                    query.push_str(&format!("&{name}={}", escape(&value)));
                }
            }
            let page = client(&server)?.get(&query).await?;
            let columns = ["id", "agent", "end_user", "snapshot", "updated_at"];
            let head = ["workspace", "agent", "end user", "snapshot", "updated"];
            if json { print_json(&page)? } else { print(&table(&head, rows(&page, columns)))? }
        }
        Workspaces::Show { id, json, server } => {
            let server = client(&server)?;
            let mut workspace = server.get(&path(&id)).await?;
            let snapshots = server.get(&format!("{}/snapshots?limit=100", path(&id))).await?;
            if json {
                workspace["snapshots"] = snapshots["data"].clone();
                print_json(&workspace)?;
            } else {
                let fields = ["id", "agent", "end_user", "application", "snapshot", "updated_at"];
                let lines = fields.map(|field| format!("{field:<12} {}", cell(&workspace[field])));
                print(&lines.join("\n"))?;
                let columns = ["id", "origin", "name", "run", "bytes", "created_at"];
                print(&table(&["snapshot", "origin", "name", "run", "bytes", "taken"], rows(&snapshots, columns)))?;
            }
        }
        Workspaces::Snapshot { id, name, run, json, server } => {
            let body = json!({"name": name, "run": run});
            let snapshot = client(&server)?.post(&format!("{}/snapshots", path(&id)), &body).await?;
            if json { print_json(&snapshot)? } else { print(&cell(&snapshot["id"]))? }
        }
        Workspaces::Restore { id, snapshot, server } => {
            client(&server)?.post(&format!("{}/restore", path(&id)), &json!({"snapshot": snapshot})).await?;
            say(&format!("the next run in {id} begins with {snapshot}"));
        }
        Workspaces::Rm { id, snapshot, server } => {
            let (path, what) = match snapshot {
                Some(snapshot) => (format!("{}/snapshots/{}", path(&id), escape(&snapshot)), snapshot),
                None => (path(&id), id),
            };
            client(&server)?.delete(&path).await?;
            say(&format!("{what} is deleted"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn end_users(command: EndUsers) -> anyhow::Result<ExitCode> {
    match command {
        EndUsers::List { json, server } => {
            let page = client(&server)?.get("/v1/end_users?limit=100").await?;
            let columns = ["id", "external_id", "name", "application"];
            let head = ["end user", "external id", "name", "application"];
            if json { print_json(&page)? } else { print(&table(&head, rows(&page, columns)))? }
        }
        EndUsers::Create { external_id, name, application, json, server } => {
            let body = json!({"external_id": external_id, "name": name, "application": application});
            let user = client(&server)?.post("/v1/end_users", &body).await?;
            if json { print_json(&user)? } else { print(&cell(&user["id"]))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("/v1/workspaces/{}", escape(id))
}

fn rows<const N: usize>(page: &Value, columns: [&str; N]) -> Vec<Vec<String>> {
    let rows = page["data"].as_array().into_iter().flatten();
    rows.map(|row| columns.map(|column| cell(&row[column])).to_vec()).collect()
}
