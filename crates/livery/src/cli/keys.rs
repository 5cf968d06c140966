//! `livery keys …`.

use clap::Subcommand;

use super::Server;

/// `livery keys …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Create a key; it is printed once.
    Create {
        /// A label for people.
        name: String,
        /// A right of the key (repeatable): `runs:read`, `runs:write`, …
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// When it stops to work (RFC 3339).
        #[arg(long)]
        expires_at: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// List keys, without their secrets.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Revoke a key: it stops to work at once.
    Revoke {
        /// `key_…`
        id: String,
        #[command(flatten)]
        server: Server,
    },
}
