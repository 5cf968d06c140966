//! `livery doctor`: what this host gives, found by trying, and the command that would fix what it does not.

use std::process::ExitCode;

use livery_sandbox::{HostReport, Status, TierReport, probe};

use super::{print, print_json, table};
use crate::{cli, exit, host};

/// Exit 0 if the default tier is usable.
pub(super) fn doctor(args: &cli::Doctor) -> anyhow::Result<ExitCode> {
    // The check works in a temporary folder of its own; the path given here is not used.
    let report = probe(&host::sandboxes(&std::env::temp_dir(), &args.carriers)?);
    if args.json {
        print_json(&serde_json::to_value(&report)?)?;
    } else {
        print(&render(&report))?;
    }
    Ok(if report.status == Status::Unusable { ExitCode::from(exit::FAILED) } else { ExitCode::SUCCESS })
}

fn render(report: &HostReport) -> String {
    let rows = report
        .checks
        .iter()
        .map(|check| vec![word(check.status).to_owned(), check.name.clone(), check.detail.clone()])
        .collect();
    let tiers = report.tiers.iter().map(tier).collect();
    let mut text = format!("container tier: {}\n\n{}\n", word(report.status), table(&["", "check", "found"], rows));
    text.push_str(&format!("\n{}\n", table(&["", "tier", "found"], tiers)));
    for check in &report.checks {
        if let Some(fix) = &check.fix {
            text.push_str(&format!("\nto fix {}: {fix}", check.name));
        }
    }
    for tier in &report.tiers {
        if let Some(fix) = &tier.fix {
            text.push_str(&format!("\nto have {}: {fix}", tier.tier));
        }
    }
    text
}

fn tier(report: &TierReport) -> Vec<String> {
    let mut found = report.detail.clone();
    if let Some(version) = &report.version {
        found.push_str(&format!(", version {version}"));
    }
    if let Some(sha256) = &report.sha256 {
        found.push_str(&format!(", sha256 {}…", sha256.get(..12).unwrap_or(sha256)));
    }
    if let Some(took) = report.trial {
        found.push_str(&format!("; ran `true` {:.0} ms after it was asked for", took.as_secs_f64() * 1e3));
    }
    vec![word(report.status).to_owned(), report.tier.to_string(), found]
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Degraded => "degraded",
        Status::Unusable => "unusable",
    }
}
