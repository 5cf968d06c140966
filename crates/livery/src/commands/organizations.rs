//! `livery organizations` and `livery applications`: what they demand of their runs.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::runs::escape;
use super::{cell, client, print, print_json, say, table};
use crate::cli::{Applications, Organizations, Server, Settings};

pub(super) async fn organizations(command: Organizations) -> anyhow::Result<ExitCode> {
    match command {
        Organizations::List { json, server } => {
            list("organization", "/v1/organizations?limit=200", json, &server).await
        }
        Organizations::Set { id, settings, json, server } => {
            set(&format!("/v1/organizations/{}", escape(&id)), settings, json, &server).await
        }
    }
}

pub(super) async fn applications(command: Applications) -> anyhow::Result<ExitCode> {
    match command {
        Applications::List { json, server } => list("application", "/v1/applications?limit=200", json, &server).await,
        Applications::Set { id, settings, json, server } => {
            set(&format!("/v1/applications/{}", escape(&id)), settings, json, &server).await
        }
    }
}

async fn list(noun: &str, path: &str, json: bool, server: &Server) -> anyhow::Result<ExitCode> {
    let page = client(server)?.get(path).await?;
    if json {
        print_json(&page)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = page["data"].as_array().into_iter().flatten().map(|row| {
        let fields = ["id", "name", "minimum_tier", "created_at"];
        fields.map(|field| cell(&row[field])).to_vec()
    });
    print(&table(&[noun, "name", "minimum tier", "created"], rows.collect()))?;
    Ok(ExitCode::SUCCESS)
}

async fn set(path: &str, settings: Settings, json: bool, server: &Server) -> anyhow::Result<ExitCode> {
    let changed = client(server)?.patch(path, &json!({"minimum_tier": settings.minimum_tier.0})).await?;
    if json {
        print_json(&changed)?;
    } else {
        say(&told(&changed));
    }
    Ok(ExitCode::SUCCESS)
}

fn told(changed: &Value) -> String {
    let name = cell(&changed["name"]);
    match changed["minimum_tier"].as_str() {
        Some("isolate") => format!("runs of {name} have to be in an isolate"),
        Some(tier) => format!("runs of {name} need {tier} or stronger"),
        None => format!("{name} demands no tier"),
    }
}
