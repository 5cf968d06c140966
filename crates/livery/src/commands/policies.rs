//! `livery policies` and `livery approvals`.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::runs::escape;
use super::{cell, client, print, print_json, read_bounded, say, table};
use crate::cli::{Approvals, Policies, Server};
use crate::show::{one_line, tame};

/// Longest text of a policy that is sent.
const TEXT_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn policies(command: Policies) -> anyhow::Result<ExitCode> {
    match command {
        Policies::List { json, server } => {
            let page = client(&server)?.get("/v1/policies?limit=100").await?;
            if json {
                print_json(&page)?;
            } else {
                let rows = page["data"].as_array().into_iter().flatten().map(|policy| {
                    let level = policy["application"].as_str().unwrap_or("organization").to_owned();
                    let mut row = ["id", "name", "version", "updated_at"].map(|field| cell(&policy[field])).to_vec();
                    row.push(level);
                    row
                });
                print(&table(&["policy", "name", "version", "updated", "for"], rows.collect()))?;
            }
        }
        Policies::Show { id, json, server } => {
            let policy = client(&server)?.get(&path(&id)).await?;
            if json { print_json(&policy)? } else { print(&tame(policy["text"].as_str().unwrap_or_default()))? }
        }
        Policies::Create { name, file, application, json, server } => {
            let body = json!({"name": name, "text": text(&file)?, "application": application});
            let policy = client(&server)?.post("/v1/policies", &body).await?;
            if json { print_json(&policy)? } else { print(&cell(&policy["id"]))? }
        }
        Policies::Replace { id, file, json, server } => {
            let policy = client(&server)?.patch(&path(&id), &json!({"text": text(&file)?})).await?;
            if json { print_json(&policy)? } else { say(&format!("{id} is now version {}", cell(&policy["version"]))) }
        }
        Policies::Validate { file, json, server } => return validate(&file, json, &server).await,
        Policies::Delete { id, server } => {
            client(&server)?.delete(&path(&id)).await?;
            say(&format!("{id} is deleted"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn approvals(command: Approvals) -> anyhow::Result<ExitCode> {
    match command {
        Approvals::List { status, run, json, server } => {
            let mut query = "/v1/approvals?limit=100".to_owned();
            if status != "all" {
                query.push_str(&format!("&status={}", escape(&status)));
            }
            if let Some(run) = run {
                query.push_str(&format!("&run={}", escape(&run)));
            }
            let page = client(&server)?.get(&query).await?;
            if json { print_json(&page)? } else { print(&listed(&page))? }
        }
        Approvals::Show { id, json, server } => {
            let approval = client(&server)?.get(&of(&id)).await?;
            if json { print_json(&approval)? } else { print(&described(&approval))? }
        }
        Approvals::Approve { id, for_run, note, server } => {
            let decision = if for_run { "approve_for_run" } else { "approve" };
            decide(&server, &id, decision, note).await?;
        }
        Approvals::Deny { id, note, server } => decide(&server, &id, "deny", note).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("/v1/policies/{}", escape(id))
}

fn of(id: &str) -> String {
    format!("/v1/approvals/{}", escape(id))
}

fn text(file: &Path) -> anyhow::Result<String> {
    read_bounded(file, TEXT_BYTES_MAX)
}

async fn validate(file: &Path, json: bool, server: &Server) -> anyhow::Result<ExitCode> {
    let checked = client(server)?.post("/v1/policies/validate", &json!({"text": text(file)?})).await?;
    let valid = checked["valid"] == true;
    if json {
        print_json(&checked)?;
    } else if valid {
        let rows = checked["statements"].as_array().into_iter().flatten();
        let rows = rows.map(|row| ["statement", "effect", "about", "reason"].map(|field| cell(&row[field])).to_vec());
        print(&table(&["statement", "effect", "about", "reason"], rows.collect()))?;
    } else {
        for fault in checked["errors"].as_array().into_iter().flatten() {
            let place = format!("{}:{}:{}", file.display(), cell(&fault["line"]), cell(&fault["column"]));
            say(&format!("{place}: {}", one_line(&cell(&fault["detail"]))));
        }
    }
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn decide(server: &Server, id: &str, decision: &str, note: Option<String>) -> anyhow::Result<()> {
    let decided = client(server)?.post(&of(id), &json!({"decision": decision, "note": note})).await?;
    let word = match (decided["status"].as_str(), decided["scope"].as_str()) {
        (Some("denied"), _) => "is denied; the run is told".to_owned(),
        (_, Some("run")) => format!("is approved for the rest of the run: {}", one_line(&cell(&decided["for_run"]))),
        _ => "is approved, once; the run goes on".to_owned(),
    };
    say(&format!("{id} {word}"));
    Ok(())
}

fn listed(page: &Value) -> String {
    let rows = page["data"].as_array().into_iter().flatten().map(|approval| {
        let mut row = ["id", "status", "run", "expires_at"].map(|field| cell(&approval[field])).to_vec();
        row.extend([one_line(&cell(&approval["for_run"])), one_line(&cell(&approval["reason"]))]);
        row
    });
    table(&["approval", "status", "run", "expires", "what", "why"], rows.collect())
}

fn described(approval: &Value) -> String {
    let field = |label: &str, value: &Value| format!("{label:<9} {}", one_line(&cell(value)));
    let mut lines = vec![
        field("approval", &approval["id"]),
        field("status", &approval["status"]),
        field("run", &approval["run"]),
        field("why", &approval["reason"]),
        field("policy", &approval["policy"]["name"]),
        field("expires", &approval["expires_at"]),
    ];
    if approval["decided_at"].is_string() {
        lines.push(field("decided", &approval["decided_at"]));
        lines.push(field("by", &approval["decided_by"]));
        lines.push(field("note", &approval["note"]));
    }
    lines.push("what".to_owned());
    lines.push(tame(approval["card"].as_str().unwrap_or_default()).trim_end().to_owned());
    lines.push(format!("approving it for the run allows: {}", one_line(&cell(&approval["for_run"]))));
    lines.join("\n")
}
