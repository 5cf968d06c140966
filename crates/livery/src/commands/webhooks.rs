//! `livery webhooks`: endpoints, their keys, and what was sent to them.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::runs::escape;
use super::{cell, client, print, print_json, say, table};
use crate::cli::{NewWebhook, UpdateWebhook, Webhooks};
use crate::show::one_line;

pub(super) async fn webhooks(command: Webhooks) -> anyhow::Result<ExitCode> {
    match command {
        Webhooks::List { json, server } => list(&client(&server)?.get("/v1/webhooks?limit=200").await?, json)?,
        Webhooks::Create(new) => create(&new).await?,
        Webhooks::Show { id, json, server } => show(&client(&server)?.get(&path(&id)).await?, json)?,
        Webhooks::Update(update) => show(&change(&update).await?, update.json)?,
        Webhooks::Delete { id, server } => {
            client(&server)?.delete(&path(&id)).await?;
            say(&format!("{id} is deleted"));
        }
        Webhooks::Rotate { id, overlap, json, server } => {
            let body = overlap.map_or_else(|| json!({}), |seconds| json!({"overlap_s": seconds}));
            let rotated = client(&server)?.post(&format!("{}/rotate", path(&id)), &body).await?;
            say(&format!("the old keys sign along until {}", cell(&rotated["old_keys_until"])));
            secret(&rotated, json)?;
        }
        Webhooks::Test { id, json, server } => {
            let tested = client(&server)?.post(&format!("{}/test", path(&id)), &json!({})).await?;
            return outcome(&tested, json);
        }
        Webhooks::Deliveries { id, status, run, json, server } => {
            let mut target = format!("{}/deliveries?limit=100", path(&id));
            for (name, value) in [("status", status), ("run", run)] {
                target.extend(value.map(|value| format!("&{name}={}", escape(&value))));
            }
            deliveries(&client(&server)?.get(&target).await?, json)?;
        }
        Webhooks::Redeliver { id, delivery, json, server } => {
            let target = format!("{}/deliveries/{}/redeliver", path(&id), escape(&delivery));
            let again = client(&server)?.post(&target, &json!({})).await?;
            if json { print_json(&again)? } else { print(&cell(&again["id"]))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("/v1/webhooks/{}", escape(id))
}

fn signatures(asymmetric: bool) -> Value {
    if asymmetric { json!(["v1", "v1a"]) } else { json!(["v1"]) }
}

async fn create(new: &NewWebhook) -> anyhow::Result<()> {
    let body = json!({
        "url": new.url,
        "events": new.events,
        "description": new.description,
        "signatures": signatures(new.asymmetric),
    });
    let created = client(&new.server)?.post("/v1/webhooks", &body).await?;
    say(&format!("{} is created; its secret is shown this once", cell(&created["id"])));
    secret(&created, new.json)
}

async fn change(update: &UpdateWebhook) -> anyhow::Result<Value> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    set("url", update.url.clone().map(Value::from));
    set("events", (!update.events.is_empty()).then(|| json!(update.events)));
    set("description", update.description.clone().map(Value::from));
    set("enabled", update.enabled.map(Value::from));
    set("signatures", update.asymmetric.map(signatures));
    client(&update.server)?.patch(&path(&update.id), &Value::Object(body)).await
}

/// The secret alone, so that a script can keep it.
fn secret(endpoint: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(endpoint);
    }
    if !endpoint["public_key"].is_null() {
        say(&format!("public key {}", cell(&endpoint["public_key"])));
    }
    print(&cell(&endpoint["secret"]))
}

fn outcome(tested: &Value, json: bool) -> anyhow::Result<ExitCode> {
    let delivered = tested["delivered"] == true;
    if json {
        print_json(tested)?;
    } else if delivered {
        print(&format!("delivered: {} in {} ms", cell(&tested["status"]), cell(&tested["duration_ms"])))?;
    } else {
        print(&format!("not delivered: {}", one_line(&cell(&tested["error"]))))?;
    }
    Ok(if delivered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(page: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(page);
    }
    let rows = page["data"].as_array().into_iter().flatten().map(|endpoint| {
        let events: Vec<String> = endpoint["events"].as_array().into_iter().flatten().map(cell).collect();
        let state = if endpoint["disabled_at"].is_null() { "enabled" } else { "disabled" };
        vec![cell(&endpoint["id"]), cell(&endpoint["url"]), events.join(" "), state.to_owned()]
    });
    print(&table(&["webhook", "url", "events", "state"], rows.collect()))
}

fn deliveries(page: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(page);
    }
    let rows = page["data"].as_array().into_iter().flatten().map(|delivery| {
        let columns = ["id", "type", "run_id", "status", "attempts", "last_status", "last_error"];
        columns.iter().map(|name| one_line(&cell(&delivery[*name]))).collect()
    });
    let head = ["delivery", "event", "run", "status", "attempts", "last status", "last error"];
    print(&table(&head, rows.collect()))
}

fn show(endpoint: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(endpoint);
    }
    let mut fields: Vec<(String, &Value)> = Vec::new();
    for (name, value) in endpoint.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match value.as_object() {
            Some(inner) => fields.extend(
                inner
                    .iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(inner, value)| (format!("{name}.{inner}"), value)),
            ),
            None => fields.push((name.clone(), value)),
        }
    }
    let lines: Vec<String> =
        fields.into_iter().map(|(name, value)| format!("{name:<22} {}", one_line(&cell(value)))).collect();
    print(&lines.join("\n"))
}
