//! `livery workspaces …` and `livery end-users …`.

use clap::Subcommand;

use super::Server;

/// `livery workspaces …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Workspaces {
    /// List workspaces, newest first.
    List {
        /// Only those of this agent.
        #[arg(long, value_name = "AGENT")]
        agent: Option<String>,
        /// Only those for this end user (`eu_…`).
        #[arg(long, value_name = "END_USER")]
        end_user: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show a workspace and its snapshots.
    Show {
        /// `wsp_…`
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Keep what the next run would begin with, until somebody deletes it.
    Snapshot {
        /// `wsp_…`
        id: String,
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
        /// What this run under way has in it (`run_…`), instead.
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Have later runs begin with a snapshot.
    Restore {
        /// `wsp_…`
        id: String,
        /// `snp_…`
        snapshot: String,
        #[command(flatten)]
        server: Server,
    },
    /// Delete a workspace with all its snapshots, or one snapshot.
    Rm {
        /// `wsp_…`
        id: String,
        /// Only this snapshot (`snp_…`).
        #[arg(long, value_name = "SNAPSHOT")]
        snapshot: Option<String>,
        #[command(flatten)]
        server: Server,
    },
}

/// `livery end-users …`.
#[derive(Debug, Subcommand)]
pub(crate) enum EndUsers {
    /// List end users, newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Create an end user.
    Create {
        /// What your application calls the user.
        external_id: String,
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
        /// The application (`app_…`); without it that of the key, or the organization's first.
        #[arg(long, value_name = "APPLICATION")]
        application: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}
