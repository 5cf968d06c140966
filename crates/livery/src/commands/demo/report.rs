//! What the demo found, as a table for people and as JSON for machines.

use serde_json::{Value, json};

use super::super::{cell, table};
use super::tenant::Told;
use crate::show::{label_model, summary};

/// One thing that was looked at.
pub(super) struct Finding {
    pub(super) what: String,
    pub(super) ok: bool,
    pub(super) seen: String,
}

/// How a tenant's run went.
pub(super) fn of_run(told: &Told) -> Finding {
    let run = &told.run;
    let succeeded = run["status"] == "succeeded";
    let complete = told.in_order && run["last_seq"].as_u64() == Some(told.events);
    let order = if complete { "in order" } else { "NOT in order" };
    let artifacts: Vec<String> =
        run["artifacts"].as_array().into_iter().flatten().map(|artifact| cell(&artifact["path"])).collect();
    let left = if artifacts.is_empty() { String::new() } else { format!(" · left {}", artifacts.join(", ")) };
    Finding {
        what: format!(
            "{} tenant: {} on {}",
            told.tenant,
            cell(&run["agent"]["name"]),
            label_model(&cell(&run["model"]))
        ),
        ok: succeeded && complete,
        seen: format!(
            "{} · {} events {order}, {} live{left} · {}",
            cell(&run["status"]),
            told.events,
            told.live,
            summary(run)
        ),
    }
}

pub(super) fn as_table(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|finding| {
        let mark = if finding.ok { "ok" } else { "FAILED" };
        vec![mark.to_owned(), finding.what.clone(), finding.seen.clone()]
    });
    format!("\n{}", table(&["", "what", "seen"], rows.collect()))
}

pub(super) fn as_json(findings: &[Finding]) -> Value {
    findings.iter().map(|finding| json!({"what": finding.what, "ok": finding.ok, "seen": finding.seen})).collect()
}
