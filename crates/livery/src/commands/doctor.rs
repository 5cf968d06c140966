//! `livery doctor`: what this host gives, found by trying, and the command that would fix what it does not.

use std::process::ExitCode;

use livery_sandbox::{HostReport, SandboxConfig, Status, probe};

use super::{print, print_json, table};
use crate::{cli, exit};

/// Exit 0 if the default tier is usable.
pub(super) fn doctor(args: &cli::Doctor) -> anyhow::Result<ExitCode> {
    // The check works in a temporary folder of its own; the path given here is not used.
    let report = probe(&SandboxConfig::new(std::env::temp_dir()));
    if args.json {
        print_json(&serde_json::to_value(&report)?)?;
    } else {
        print(&render(&report))?;
    }
    Ok(if report.status == Status::Unusable { ExitCode::from(exit::FAILED) } else { ExitCode::SUCCESS })
}

fn render(report: &HostReport) -> String {
    let word = |status| match status {
        Status::Ok => "ok",
        Status::Degraded => "degraded",
        Status::Unusable => "unusable",
    };
    let rows = report
        .checks
        .iter()
        .map(|check| vec![word(check.status).to_owned(), check.name.clone(), check.detail.clone()])
        .collect();
    let mut text = format!("container tier: {}\n\n{}\n", word(report.status), table(&["", "check", "found"], rows));
    for check in &report.checks {
        if let Some(fix) = &check.fix {
            text.push_str(&format!("\nto fix {}: {fix}", check.name));
        }
    }
    text
}
