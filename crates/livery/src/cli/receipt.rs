//! `livery receipt …`.

use std::path::PathBuf;

use clap::Subcommand;

use super::Server;

/// `livery receipt …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Receipt {
    /// Get the receipt of a finished run.
    Get {
        /// `run_…`
        id: String,
        /// Write it into this file instead of to standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        server: Server,
    },
    /// Check a receipt: exit code 0 when it holds, 1 when it does not. With --key, no server is asked.
    Verify {
        /// The receipt, as it was issued.
        file: PathBuf,
        /// A public key you trust, in base64 (repeatable); without one, the server is asked for its keys.
        #[arg(long = "key", value_name = "PUBLIC")]
        keys: Vec<String>,
        /// The events of the run (`livery runs events RUN --json`), to be held against the receipt.
        #[arg(long, value_name = "FILE")]
        events: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// List the public keys of a server.
    Keys {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}
