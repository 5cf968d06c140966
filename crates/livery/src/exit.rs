//! Exit codes, documented in `livery help`: 0 succeeded, 1 failed, 2 bad usage, 3 refused or denied, 4 timed out, 130
//! interrupted.

use std::process::ExitCode;

use livery_core::{ErrorCode, RunStatus};

use crate::client;

/// A run or a command failed.
pub(crate) const FAILED: u8 = 1;
/// What was said on the command line does not make sense.
pub(crate) const USAGE: u8 = 2;
/// The server, a policy or the model said no.
pub(crate) const REFUSED: u8 = 3;
/// A run reached its time limit.
pub(crate) const TIMED_OUT: u8 = 4;
/// Somebody pressed Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// A mistake of the person at the command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Says an error, with its causes, on standard error and picks the exit code.
#[expect(clippy::print_stderr, reason = "the command line's own words")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    if error.downcast_ref::<Usage>().is_some() {
        return ExitCode::from(USAGE);
    }
    ExitCode::from(if client::is_refusal(error) { REFUSED } else { FAILED })
}

/// The exit code of a finished run.
pub(crate) fn of_run(run: &serde_json::Value) -> ExitCode {
    let status = run["status"].as_str().and_then(|status| status.parse::<RunStatus>().ok());
    let refused = [ErrorCode::ModelRefused, ErrorCode::PolicyDenied, ErrorCode::Quarantined];
    let code = run["error"]["code"].as_str().unwrap_or_default();
    match status {
        Some(RunStatus::Succeeded) => ExitCode::SUCCESS,
        Some(RunStatus::TimedOut) => ExitCode::from(TIMED_OUT),
        Some(RunStatus::Cancelled) => ExitCode::from(INTERRUPTED),
        _ if refused.iter().any(|refused| refused.as_str() == code) => ExitCode::from(REFUSED),
        _ => ExitCode::from(FAILED),
    }
}
