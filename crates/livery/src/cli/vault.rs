//! `livery vault …`.

use std::path::PathBuf;

use clap::Subcommand;

use super::Server;

/// `livery vault …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Vault {
    /// Say which root key wraps what, and whether a rotation has anything left to do.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Put a new root key file into a data directory; one that is there stays beside it. The server takes it at its next start.
    NewRootKey {
        /// The server's data directory.
        #[arg(long, value_name = "DIR", env = "LIVERY_DATA", default_value = "livery-data")]
        data: PathBuf,
    },
    /// Have everything wrapped under the root key the server has been given.
    Rewrap {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Make a new data key for an organization and seal its values anew.
    NewDataKey {
        /// `org_…`
        organization: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}
