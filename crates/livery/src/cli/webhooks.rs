//! `livery webhooks …`

use clap::{Args, Subcommand};

use super::Server;

/// `livery webhooks …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Webhooks {
    /// List endpoints, newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Create an endpoint and print its signing secret, this once.
    Create(NewWebhook),
    /// Show an endpoint and how its receiver does.
    Show {
        /// `whk_…`
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Change an endpoint; what is not named stays.
    Update(UpdateWebhook),
    /// Delete an endpoint and cancel what it had not got yet.
    Delete {
        /// `whk_…`
        id: String,
        #[command(flatten)]
        server: Server,
    },
    /// Make new keys and print the new secret; the old ones sign along for a while.
    Rotate {
        /// `whk_…`
        id: String,
        /// How long the old keys sign along, in seconds (default: a day; at most a week).
        #[arg(long, value_name = "SECONDS")]
        overlap: Option<u64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Send a test message now and say what came of it.
    Test {
        /// `whk_…`
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// List what was sent to an endpoint, newest first.
    Deliveries {
        /// `whk_…`
        id: String,
        /// Only these: pending, delivered, failed or cancelled.
        #[arg(long)]
        status: Option<String>,
        /// Only of this run (`run_…`).
        #[arg(long)]
        run: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Send the event of a delivery once more.
    Redeliver {
        /// `whk_…`
        id: String,
        /// `whd_…`
        delivery: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// `livery webhooks create`.
#[derive(Debug, Args)]
pub(crate) struct NewWebhook {
    /// Where deliveries go: `https://…`, or an address the operator allows.
    // `url` is the server's.
    #[arg(id = "endpoint_url", value_name = "URL")]
    pub(crate) url: String,
    /// An event it hears of (repeatable): `run.*`, `run.succeeded`, …
    #[arg(long = "event", value_name = "NAME", default_value = "run.*")]
    pub(crate) events: Vec<String>,
    /// For people.
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Sign with Ed25519 (`v1a`) as well.
    #[arg(long)]
    pub(crate) asymmetric: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// `livery webhooks update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateWebhook {
    /// `whk_…`
    pub(crate) id: String,
    /// Where deliveries go from now on.
    // `--url` is the server's.
    #[arg(id = "endpoint_url", long = "new-url", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// What it hears of from now on (repeatable).
    #[arg(long = "event", value_name = "NAME")]
    pub(crate) events: Vec<String>,
    /// For people.
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Whether it is sent anything.
    #[arg(long, value_name = "BOOL")]
    pub(crate) enabled: Option<bool>,
    /// Whether to sign with Ed25519 (`v1a`) as well.
    #[arg(long, value_name = "BOOL")]
    pub(crate) asymmetric: Option<bool>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}
