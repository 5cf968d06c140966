//! `livery runs replay` and `fork`: a finished run once more, what differs, and runs started from another.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use livery_platform::Platform;
use livery_platform::replay::{BUNDLE_BYTES_MAX, Bundle};
use serde_json::{Value, json};

use super::{cell, print, print_json, read_bounded};
use crate::client::Client;
use crate::exit;
use crate::show::one_line;

/// Replays a run from its log.
pub(super) async fn replay(client: &Client, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    tell(&client.post(&format!("/v1/runs/{id}/replay"), &json!({"mode": "recorded"})).await?, json)
}

/// Replays a run from a file, with no server and no network.
pub(super) fn offline(file: &Path, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let text = read_bounded(file, BUNDLE_BYTES_MAX)?;
    let bundle = Bundle::parse(&text).with_context(|| format!("{} is no bundle of a run", file.display()))?;
    if bundle.run.to_string() != id {
        return Err(exit::Usage(format!("{} holds {}, not {}", file.display(), bundle.run, one_line(id))).into());
    }
    let report = Platform::replay_bundle(bundle);
    let report =
        report.map_err(|cause| anyhow::anyhow!("{} cannot be replayed: {}", file.display(), one_line(&cause)))?;
    tell(&serde_json::to_value(report)?, json)
}

fn tell(report: &Value, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print_json(report)?
    } else {
        print(&describe(report))?
    }
    Ok(match report["result"].as_str() {
        Some("identical") => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::FAILED),
    })
}

/// A run that was started from another one.
pub(super) fn started(run: &Value, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print_json(run)?;
    } else {
        let from = &run["forked_from"];
        let from = match from["seq"].as_u64() {
            Some(seq) => format!("goes on from {} after event {seq}", cell(&from["run"])),
            None => format!("repeats {}", cell(&run["replay_of"])),
        };
        print(&format!("{} {}, {from}\n", cell(&run["id"]), cell(&run["status"])))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The report in a few lines.
fn describe(report: &Value) -> String {
    let mut text = format!(
        "{} {}: {} steps, {} decisions, {} of {} events compared\n",
        cell(&report["run"]),
        cell(&report["result"]),
        report["steps"],
        report["decisions"],
        report["compared_events"],
        report["events"],
    );
    if let Some(seq) = report["missing_seq"].as_u64() {
        text.push_str(&format!("the payload of event {seq} was deleted; nothing can be compared\n"));
    }
    let unchecked: Vec<String> = report["unchecked"].as_array().into_iter().flatten().map(cell).collect();
    if !unchecked.is_empty() {
        text.push_str(&format!("not in this older log, so not compared: {}\n", one_line(&unchecked.join(", "))));
    }
    let found = &report["divergence"];
    if found.is_null() {
        return text;
    }
    let place = [("at", &found["pointer"]), ("byte", &found["byte"])];
    let place = place.into_iter().filter(|(_, value)| !value.is_null() && **value != "");
    let place: String = place.map(|(name, value)| format!(", {name} {}", cell(value))).collect();
    text.push_str(&format!(
        "step {}, event {} {}{}: {}\n",
        found["step"],
        found["seq"],
        one_line(&cell(&found["event_type"])),
        one_line(&place),
        one_line(&cell(&found["detail"])),
    ));
    for side in ["expected", "found"] {
        text.push_str(&format!("  {side:8} {}\n", one_line(&cell(&found[side]))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_in_three_lines() {
        let report = json!({
            "run": "run_1", "result": "diverged", "steps": 2, "decisions": 3, "events": 9, "compared_events": 4,
            "unchecked": [], "divergence": {
                "kind": "decision_differs", "step": 2, "seq": 7, "event_type": "tool.requested",
                "pointer": "/arguments/command", "byte": 25, "expected": "ls", "found": "l\u{1b}[0m",
                "detail": "the loop decides another value for /arguments/command",
            },
        });
        assert_eq!(
            describe(&report),
            "run_1 diverged: 2 steps, 3 decisions, 4 of 9 events compared\n\
             step 2, event 7 tool.requested, at /arguments/command, byte 25: the loop decides another value for \
             /arguments/command\n  expected ls\n  found    l [0m\n"
        );
    }
}
