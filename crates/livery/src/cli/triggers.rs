//! `livery triggers …`

use std::path::PathBuf;

use clap::Subcommand;

use super::Server;

/// `livery triggers …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Triggers {
    /// Create a trigger; its secret is printed once.
    Create {
        /// A label for people.
        name: String,
        /// A stored agent: `name` or `name@version`.
        #[arg(long)]
        agent: String,
        /// How its sender proves who it is: `standard_webhooks`, `github`, `stripe`, `slack`, `bearer`, or settings as JSON.
        #[arg(long, value_name = "KIND|JSON", default_value = "standard_webhooks")]
        verification: String,
        /// A file with the secret, where the sender makes it.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// The run's input as JSON or `@FILE`, with `{{body.field}}` in its texts (default: the body).
        #[arg(long, short, value_name = "JSON|@FILE")]
        input: Option<String>,
        /// Which messages start a run, as JSON or `@FILE`: `{"body.action": ["opened"]}`.
        #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
        filter: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// List triggers, newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show a trigger and what came to it last.
    Show {
        /// `trg_…`
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Replace a trigger's secret; the new one is printed once.
    Rotate {
        /// `trg_…`
        id: String,
        /// A file with the new secret, where the sender makes it.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// How long the old secret holds.
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        overlap: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Delete a trigger; runs it started go on.
    Delete {
        /// `trg_…`
        id: String,
        #[command(flatten)]
        server: Server,
    },
}
