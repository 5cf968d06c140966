//! `livery connections …` and `livery connectors …`. A value is never an argument: other users of a machine see those.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Server;

/// `livery connections …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Connections {
    /// List connections, newest first.
    List {
        /// Only of this end user (`eu_…`).
        #[arg(long, value_name = "END_USER")]
        end_user: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Create a connection; its value is read from standard input, a file or an environment variable.
    Create(NewConnection),
    /// Replace a connection's value; runs under way use the new one at once.
    Rotate {
        /// `con_…`
        id: String,
        #[command(flatten)]
        credential: Credential,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Make a harmless call with the credential and say whether it is accepted.
    Test {
        /// `con_…`
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Change a connection's name, what it is narrowed to, or its application.
    Change {
        /// `con_…`
        id: String,
        /// Its new name.
        #[arg(long)]
        name: Option<String>,
        /// `methods` or `paths` as JSON (repeatable); `null` takes the narrowing away.
        #[arg(long = "set", value_name = "NAME=VALUE")]
        settings: Vec<String>,
        /// The application whose runs may use it (`app_…`), or `null` for all of the organization's.
        #[arg(long, value_name = "APPLICATION")]
        application: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Ask a person to agree to a connection of the kind oauth2: prints what to open in a browser, and waits for it.
    Authorize {
        /// `con_…`
        id: String,
        /// Print a code to type elsewhere, for a server that browsers do not reach.
        #[arg(long)]
        device: bool,
        /// Do not wait until the person has agreed.
        #[arg(long)]
        no_wait: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Revoke a connection: its value is deleted, and no run uses it any more.
    Delete {
        /// `con_…`
        id: String,
        #[command(flatten)]
        server: Server,
    },
}

/// `livery connections create`.
#[derive(Debug, Args)]
pub(crate) struct NewConnection {
    /// `[a-z0-9_-]{1,64}`; an agent's slot of this name finds it.
    pub(crate) name: String,
    /// A connector: see `livery connectors list`.
    #[arg(long)]
    pub(crate) connector: String,
    /// A setting of the connector (repeatable), its value as text or JSON.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) settings: Vec<String>,
    #[command(flatten)]
    pub(crate) credential: Credential,
    /// The application whose runs may use it (`app_…`); without it that of the key, or all.
    #[arg(long, value_name = "APPLICATION")]
    pub(crate) application: Option<String>,
    /// The end user whose runs alone may use it (`eu_…`).
    #[arg(long, value_name = "END_USER")]
    pub(crate) end_user: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Where a credential comes from: standard input, unless a file or variable is named.
#[derive(Debug, Args)]
pub(crate) struct Credential {
    /// Read the value from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "value_env")]
    pub(crate) value_file: Option<PathBuf>,
    /// Read the value from this environment variable.
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) value_env: Option<String>,
    /// The user name of a basic credential; the value is its password.
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// The id of an OAuth client; the value is its secret.
    #[arg(long, value_name = "ID", conflicts_with_all = ["username", "access_key_id"])]
    pub(crate) client_id: Option<String>,
    /// The OAuth client has no secret: no value is read.
    #[arg(long, requires = "client_id")]
    pub(crate) public: bool,
    /// The id of an AWS access key; the value is its secret and, on a second line, a temporary key's session token.
    #[arg(long, value_name = "ID", conflicts_with = "username")]
    pub(crate) access_key_id: Option<String>,
    /// The kind, where the connector takes several: see `livery connectors show`.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
}

/// `livery connectors …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Connectors {
    /// List the connectors there are.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show what a connector asks for, and where its credential may go.
    Show {
        /// Its name.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}
