//! `livery`: one binary for the server, the tools of its operator, and the launcher of its sandboxes.
//!
//! Walk on: `cli` is what can be said, `commands` what it does, `engine` how a server is put together.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod bootstrap;
mod cli;
mod client;
mod commands;
mod engine;
mod exit;
mod folder;
mod host;
mod logging;
mod objects;
mod otlp;
mod root_keys;
mod show;
mod sse;
mod workbench;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // The same binary is the launcher when the platform starts it as one: first, before any thread.
    if let Some(code) = livery_sandbox::launcher::run_if_asked() {
        return code;
    }
    commands::run(cli::Cli::parse()).unwrap_or_else(|error| exit::report(&error))
}

#[cfg(test)]
mod tests;
