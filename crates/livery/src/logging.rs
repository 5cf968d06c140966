//! Where the log goes and how it looks: standard error, people's lines or JSON. `LIVERY_LOG` filters it
//! (`info`, `livery_platform=debug`).

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging for the process. Called once, by commands that serve.
pub(crate) fn start(json: bool) {
    let filter = EnvFilter::try_from_env("LIVERY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start (only in tests) keeps the first subscriber.
    let _ = if json { builder.json().try_init() } else { builder.with_target(false).try_init() };
}

/// For commands that run an engine beside their own words: only what went wrong.
pub(crate) fn start_quiet() {
    let filter = EnvFilter::try_from_env("LIVERY_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let _ = builder.try_init();
}
