//! `livery agents`: check, store and list agents.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use livery_core::agent::{Agent, Finding, Folder};
use serde_json::json;

use super::{async_main, cell, client, print, print_json, say, table};
use crate::cli::Agents;
use crate::exit;

pub(super) fn agents(command: Agents) -> anyhow::Result<ExitCode> {
    match command {
        Agents::Validate { path, json } => validate(&path, json),
        Agents::Push { path, json, server } => {
            let Some(folder) = checked(&path)? else { return Ok(ExitCode::from(exit::FAILED)) };
            let zip = livery_platform::agents::archive::write(&folder)?;
            async_main(async {
                let agent = client(&server)?.post_bytes("/v1/agents", "application/zip", zip.into()).await?;
                if json {
                    print_json(&agent)?;
                } else {
                    print(&format!("{}@{}", cell(&agent["name"]), agent["version"]))?;
                }
                Ok(ExitCode::SUCCESS)
            })
        }
        Agents::List { json, server } => async_main(async {
            let page = client(&server)?.get("/v1/agents?limit=100").await?;
            if json {
                print_json(&page)?;
            } else {
                let rows = page["data"].as_array().into_iter().flatten();
                let rows = rows.map(|agent| {
                    vec![
                        format!("{}@{}", cell(&agent["name"]), agent["version"]),
                        cell(&agent["models"][0]),
                        cell(&agent["description"]),
                    ]
                });
                print(&table(&["agent", "model", "description"], rows.collect()))?;
            }
            Ok(ExitCode::SUCCESS)
        }),
    }
}

fn validate(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let folder = crate::folder::read(path)?;
    let (valid, findings) = match folder {
        Ok(folder) => {
            let report = Agent::check(&folder);
            (report.agent.is_some(), report.findings)
        }
        Err(findings) => (false, findings),
    };
    if json {
        print_json(&json!({"valid": valid, "findings": findings}))?;
    } else {
        findings.iter().try_for_each(|finding| print(&finding.to_string()))?;
        say(if valid { "the agent is valid" } else { "the agent is not valid" });
    }
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// A folder that holds a valid agent, or its findings said and nothing.
pub(super) fn checked(path: &Path) -> anyhow::Result<Option<Folder>> {
    if !path.is_dir() {
        return Err(exit::Usage(format!("{} is no folder", path.display())))
            .context("an agent is a folder with AGENT.md");
    }
    let folder = crate::folder::read(path)?;
    let findings: Vec<Finding> = match &folder {
        Ok(folder) => Agent::check(folder).findings,
        Err(findings) => findings.clone(),
    };
    findings.iter().for_each(|finding| say(&finding.to_string()));
    Ok(folder.ok().filter(|folder| Agent::parse(folder).is_ok()))
}
