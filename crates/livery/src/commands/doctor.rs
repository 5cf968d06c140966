//! placeholder until probe lands
use std::process::ExitCode;
use crate::cli;
pub(super) fn doctor(_args: &cli::Doctor) -> anyhow::Result<ExitCode> { anyhow::bail!("not yet") }
