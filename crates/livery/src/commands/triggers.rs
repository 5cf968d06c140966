//! `livery triggers`: create, look at, rotate and delete triggers.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::run::read_input;
use super::runs::escape;
use super::{cell, client, print, print_json, say, table};
use crate::cli::Triggers;
use crate::show::one_line;

pub(super) async fn triggers(command: Triggers) -> anyhow::Result<ExitCode> {
    match command {
        Triggers::Create { name, agent, verification, secret_file, input, filter, json, server } => {
            let mut body = json!({
                "name": name,
                "agent": agent,
                "verification": verification_of(&verification)?,
                "filter": read_input(&filter)?,
            });
            if let Some(input) = input {
                body["input"] = read_input(&input)?;
            }
            if let Some(path) = secret_file {
                body["secret"] = read_secret(&path)?.into();
            }
            shown_once(&client(&server)?.post("/v1/triggers", &body).await?, json)?;
        }
        Triggers::List { json, server } => list(&client(&server)?.get("/v1/triggers?limit=100").await?, json)?,
        Triggers::Show { id, json, server } => {
            let client = client(&server)?;
            let mut trigger = client.get(&path(&id)).await?;
            let deliveries = client.get(&format!("{}/deliveries?limit=10", path(&id))).await?;
            if json {
                trigger["deliveries"] = deliveries["data"].clone();
                print_json(&trigger)?;
            } else {
                print(&describe(&trigger))?;
                print(&deliveries_table(&deliveries))?;
            }
        }
        Triggers::Rotate { id, secret_file, overlap, json, server } => {
            let mut body = json!({"overlap_hours": overlap});
            if let Some(path) = secret_file {
                body["secret"] = read_secret(&path)?.into();
            }
            shown_once(&client(&server)?.post(&format!("{}/rotate", path(&id)), &body).await?, json)?;
        }
        Triggers::Delete { id, server } => {
            client(&server)?.delete(&path(&id)).await?;
            say(&format!("{id} is deleted"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("/v1/triggers/{}", escape(id))
}

/// The name of a kind, or its settings.
fn verification_of(text: &str) -> anyhow::Result<Value> {
    if text.starts_with(['{', '@']) { read_input(text) } else { Ok(json!({"kind": text})) }
}

/// A secret never stands on the command line, where other users see it.
fn read_secret(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn shown_once(trigger: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(trigger);
    }
    say(&format!("{} takes messages at {}; its secret is shown once:", cell(&trigger["id"]), cell(&trigger["path"])));
    print(&cell(&trigger["secret"]))
}

fn list(page: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(page);
    }
    let rows = page["data"].as_array().into_iter().flatten().map(|trigger| {
        let state = if trigger["paused"] == true { "paused" } else { "on" };
        let (id, name, agent) = (cell(&trigger["id"]), cell(&trigger["name"]), cell(&trigger["agent"]));
        vec![id, name, agent, cell(&trigger["verification"]["kind"]), state.to_owned()]
    });
    print(&table(&["trigger", "name", "agent", "verification", "state"], rows.collect()))
}

fn describe(trigger: &Value) -> String {
    let fields = [
        "id",
        "name",
        "agent",
        "path",
        "verification",
        "filter",
        "input",
        "paused",
        "previous_secret_until",
        "created_at",
    ];
    let shown = fields.iter().filter(|field| !trigger[**field].is_null());
    shown.map(|field| format!("{field:<21} {}", one_line(&cell(&trigger[*field])))).collect::<Vec<_>>().join("\n")
}

fn deliveries_table(page: &Value) -> String {
    let rows = page["data"].as_array().into_iter().flatten().map(|delivery| {
        ["received_at", "outcome", "delivery_id", "run", "reason"].map(|field| cell(&delivery[field])).to_vec()
    });
    table(&["received", "outcome", "delivery", "run", "reason"], rows.collect())
}
