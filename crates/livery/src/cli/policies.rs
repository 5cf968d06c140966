//! `livery policies …` and `livery approvals …`.

use std::path::PathBuf;

use clap::Subcommand;

use super::Server;

/// `livery policies …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Policies {
    /// List policies, newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Print a policy's text.
    Show {
        /// `pol_…`
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Create a policy from a file in Cedar.
    Create {
        /// A label for people.
        name: String,
        /// The text.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The application whose runs it speaks of (`app_…`); without it that of the key, or all.
        #[arg(long, value_name = "APPLICATION")]
        application: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Replace a policy's text; it holds from the next request of any run on.
    Replace {
        /// `pol_…`
        id: String,
        /// The text.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Check a text without saving it: exit 0 when it can be saved.
    Validate {
        /// The text.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Delete a policy.
    Delete {
        /// `pol_…`
        id: String,
        #[command(flatten)]
        server: Server,
    },
}

/// `livery approvals …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    /// List approvals, newest first; those that wait, unless told otherwise.
    List {
        /// pending, approved, denied, expired or used; `all`: every one.
        #[arg(long, default_value = "pending")]
        status: String,
        /// Only of this run.
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show what is asked.
    Show {
        /// `apr_…`
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Say yes to this very request, once.
    Approve {
        /// `apr_…`
        id: String,
        /// To everything of its kind until the run ends: `show` says what that is.
        #[arg(long)]
        for_run: bool,
        /// Why.
        #[arg(long)]
        note: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Say no; the model reads the note.
    Deny {
        /// `apr_…`
        id: String,
        /// Why.
        #[arg(long)]
        note: Option<String>,
        #[command(flatten)]
        server: Server,
    },
}
