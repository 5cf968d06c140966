//! The command line: what can be said, in the words of `livery help`. What it does is in `commands`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use livery_platform::Roles;

mod carriers;
mod connections;
mod database;
mod images;
mod keys;
mod organizations;
mod policies;
mod receipt;
mod schedules;
mod triggers;
mod vault;
mod webhooks;
mod workspaces;

pub(crate) use carriers::{Carriers, Machines};
pub(crate) use connections::{Connections, Connectors, Credential, NewConnection};
pub(crate) use database::{Backup, Export, Import, Migrate, Place, Restore};
pub(crate) use images::{ImagePlace, Images};
pub(crate) use keys::Keys;
pub(crate) use organizations::{Applications, Organizations, Settings};
pub(crate) use policies::{Approvals, Policies};
pub(crate) use receipt::Receipt;
pub(crate) use schedules::{NewSchedule, Schedules};
pub(crate) use triggers::Triggers;
pub(crate) use vault::Vault;
pub(crate) use webhooks::{NewWebhook, UpdateWebhook, Webhooks};
pub(crate) use workspaces::{EndUsers, Workspaces};

/// Livery runs AI agents for many users: every run in a sandbox of its own, credentials out of the model's reach.
#[derive(Debug, Parser)]
#[command(name = "livery", version, propagate_version = true, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 succeeded · 1 failed · 2 bad usage · 3 refused or denied · 4 timed out · 130 interrupted";

/// Everything `livery` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the API and run agents until SIGTERM (a second signal stops at once).
    Up(Up),
    /// Show the main job on real input: two tenants, sandboxes, live events, a signed webhook.
    Demo(Demo),
    /// Run an agent: a folder here and now in an engine of its own, or a stored agent on a server.
    Run(Run),
    /// Bring a database's schema up to date, or show what that would do; `up` does it by itself.
    Migrate(Migrate),
    /// Write everything (database and files, not the root key) into one file, from either kind of database.
    Export(Export),
    /// Fill a new database from an export: SQLite to Postgres, or the other way.
    Import(Import),
    /// Look at runs and stop them.
    #[command(subcommand)]
    Runs(Runs),
    /// Get and check the signed receipts of runs.
    #[command(subcommand)]
    Receipt(Receipt),
    /// Run agents at certain times.
    #[command(subcommand)]
    Schedules(Schedules),
    /// Run agents when signed messages come.
    #[command(subcommand)]
    Triggers(Triggers),
    /// Check, store and list agents.
    #[command(subcommand)]
    Agents(Agents),
    /// Say who is told when something happens, and see what was sent.
    #[command(subcommand)]
    Webhooks(Webhooks),
    /// Keep credentials that runs use and nobody sees.
    #[command(subcommand)]
    Connections(Connections),
    /// See what can be connected to.
    #[command(subcommand)]
    Connectors(Connectors),
    /// Say what runs may do, in Cedar.
    #[command(subcommand)]
    Policies(Policies),
    /// See what runs want to do, and say yes or no.
    #[command(subcommand)]
    Approvals(Approvals),
    /// Create and list end users: whom an application acts for.
    #[command(subcommand)]
    EndUsers(EndUsers),
    /// See, snapshot, restore and delete what agents keep for their end users.
    #[command(subcommand)]
    Workspaces(Workspaces),
    /// See organizations, and say what each demands of its runs.
    #[command(subcommand)]
    Organizations(Organizations),
    /// See applications, and say what each demands of its runs.
    #[command(subcommand)]
    Applications(Applications),
    /// Create, list and revoke API keys.
    #[command(subcommand)]
    Keys(Keys),
    /// See and rotate the keys that seal all others.
    #[command(subcommand)]
    Vault(Vault),
    /// Bring in, list and remove what sandboxes are made of.
    #[command(subcommand)]
    Images(Images),
    /// List the nodes of an installation.
    Nodes(Nodes),
    /// Copy the data directory of a server, at work or not, into one file.
    Backup(Backup),
    /// Make a data directory out of a backup.
    Restore(Restore),
    /// Say what this host can and cannot give, and the command that would fix it.
    Doctor(Doctor),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Tools for people who develop agents or Livery itself.
    #[command(subcommand)]
    Dev(Dev),
}

/// What an engine needs to know; shared by `up`, `demo` and a local `run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Engine {
    /// Allow upstreams in this private or loopback range (repeatable). Without it every private address is refused.
    #[arg(long, value_name = "CIDR", env = "LIVERY_ALLOW_UPSTREAM", value_delimiter = ',')]
    pub(crate) allow_upstream: Vec<String>,
    /// Trust the certificates in this PEM file for upstreams, besides the system's.
    #[arg(long, value_name = "FILE", env = "LIVERY_UPSTREAM_CA")]
    pub(crate) upstream_ca: Option<PathBuf>,
    /// Ask this DNS server instead of the system's.
    #[arg(long, value_name = "ADDR", env = "LIVERY_RESOLVER")]
    pub(crate) resolver: Option<SocketAddr>,
    /// Started as root: become this user before listening (default: `livery`, else `nobody`).
    #[arg(long, value_name = "NAME", env = "LIVERY_USER")]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) carriers: Carriers,
}

/// `livery up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", env = "LIVERY_DATA", default_value = "livery-data")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Where the API listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "LIVERY_LISTEN", default_value = "127.0.0.1:7400")]
    pub(crate) listen: SocketAddr,
    /// Serve /metrics, /healthz and /readyz here too, without a key; for an address only your own machines reach.
    #[arg(long, value_name = "ADDR", env = "LIVERY_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) engine: Engine,
    /// Delete inputs, outputs and the contents of events this many days after a run's end (default: never).
    #[arg(long, value_name = "DAYS", env = "LIVERY_RETAIN_PAYLOADS")]
    pub(crate) retain_payloads: Option<u32>,
    /// Delete the record of deliveries that arrived after this many days; 0: never.
    #[arg(long, value_name = "DAYS", env = "LIVERY_RETAIN_DELIVERIES", default_value_t = 30)]
    pub(crate) retain_deliveries: u32,
    /// What the snapshots of one application's workspaces may have together, in MiB.
    #[arg(long, value_name = "MIB", env = "LIVERY_WORKSPACE_QUOTA_MB", default_value_t = 10 * 1024)]
    pub(crate) workspace_quota_mb: u64,
    /// Send traces to this OpenTelemetry collector (OTLP over HTTP), such as http://127.0.0.1:4318.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<String>,
    /// Put prompts, answers, tool arguments and results into the traces too.
    #[arg(long, env = "LIVERY_OTLP_CONTENT", requires = "otlp_endpoint")]
    pub(crate) otlp_content: bool,
    /// Write the log as JSON lines.
    #[arg(long, env = "LIVERY_LOG_JSON")]
    pub(crate) log_json: bool,
}

/// What a node is among others.
#[derive(Debug, Clone, Args)]
pub(crate) struct Node {
    /// Where browsers reach the API, `https://HOST`: authorization servers send people back there (default: the address it
    /// listens on).
    #[arg(long, value_name = "URL", env = "LIVERY_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    /// What this node does, separated by commas: api, worker, delivery, maintenance.
    #[arg(long, value_name = "ROLES", env = "LIVERY_ROLES", default_value = "api,worker,delivery,maintenance")]
    pub(crate) roles: Roles,
    /// What this node is called in the list of nodes (default: its host's name).
    #[arg(long = "node", value_name = "NAME", env = "LIVERY_NODE")]
    pub(crate) name: Option<String>,
    /// Keep files and copies of workspaces in this folder, which all nodes share, or in an S3-compatible bucket:
    /// s3://BUCKET/PREFIX (default: files in the data directory).
    #[arg(long, value_name = "DIR|s3://…", env = "LIVERY_OBJECTS")]
    pub(crate) objects: Option<String>,
    /// Where the bucket's server is, such as https://minio.internal:9000 (default: AWS).
    #[arg(long, value_name = "URL", env = "LIVERY_OBJECTS_ENDPOINT", requires = "objects")]
    pub(crate) objects_endpoint: Option<String>,
    /// The region to sign for (default: AWS_REGION, else us-east-1).
    #[arg(long, value_name = "REGION", env = "LIVERY_OBJECTS_REGION")]
    pub(crate) objects_region: Option<String>,
    /// Allow a bucket's server to be reached over plain http beyond loopback.
    #[arg(long, env = "LIVERY_OBJECTS_ALLOW_HTTP")]
    pub(crate) objects_allow_http: bool,
}

/// `livery nodes`.
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// `livery demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Use this model instead of the scripted ones.
    #[arg(long, value_name = "PROVIDER/MODEL", env = "LIVERY_MODEL")]
    pub(crate) model: Option<String>,
    /// Where that provider is; its key comes from OPENAI_API_KEY or ANTHROPIC_API_KEY when it needs one.
    #[arg(long, value_name = "URL", env = "LIVERY_BASE_URL", requires = "model")]
    pub(crate) base_url: Option<String>,
    #[command(flatten)]
    pub(crate) engine: Engine,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `livery run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A folder with AGENT.md, or the name of a stored agent (`name`, `name@3`).
    pub(crate) agent: String,
    /// The input as JSON, or `@FILE`.
    #[arg(long, short, value_name = "JSON|@FILE", default_value = "{}")]
    pub(crate) input: String,
    /// Instead of the agent's own model.
    #[arg(long, value_name = "PROVIDER/MODEL", env = "LIVERY_MODEL")]
    pub(crate) model: Option<String>,
    /// Where that provider is (for a folder).
    #[arg(long, value_name = "URL", env = "LIVERY_BASE_URL", requires = "model")]
    pub(crate) base_url: Option<String>,
    /// Show turns, tool calls and output while they happen (the default on a terminal).
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print the finished run as JSON; with --follow, every event as a JSON line before it.
    #[arg(long)]
    pub(crate) json: bool,
    /// Start it this many seconds from now.
    #[arg(long, value_name = "SECONDS", conflicts_with = "start_at")]
    pub(crate) delay: Option<u64>,
    /// Start it at this moment (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) start_at: Option<String>,
    /// Save the run's artifacts into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) engine: Engine,
}

/// Which server a client command talks to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Server {
    /// The server (default: that of ./livery-data/bootstrap.json, when it is there).
    #[arg(long, value_name = "URL", env = "LIVERY_URL", global = true)]
    pub(crate) url: Option<String>,
    /// The API key; prefer the environment, other users can read your command line.
    #[arg(long, value_name = "KEY", env = "LIVERY_API_KEY", hide_env_values = true, global = true)]
    pub(crate) api_key: Option<String>,
}

/// `livery runs …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// List runs, newest first.
    List {
        /// Only runs in this state.
        #[arg(long)]
        status: Option<String>,
        /// Only runs of this agent.
        #[arg(long)]
        agent: Option<String>,
        /// Only runs that this schedule started.
        #[arg(long, value_name = "sch_…")]
        schedule: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show one run.
    Get {
        /// `run_…`
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show the events of a run.
    Events {
        /// `run_…`
        id: String,
        /// Keep reading until the run ends.
        #[arg(long, short)]
        follow: bool,
        /// Start after this sequence number.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show what left a run through its connections, and what was not let out.
    Egress {
        /// `run_…`
        id: String,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Open a shell in the sandbox of a run that works now. `~.` at the beginning of a line leaves it.
    Shell {
        /// `run_…`
        id: String,
        /// A command line for `sh -c` instead of the image's shell.
        #[arg(long, value_name = "COMMAND")]
        command: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Stop a run.
    Cancel {
        /// `run_…`
        id: String,
        #[command(flatten)]
        server: Server,
    },
    /// Write a finished run into a file, to be replayed elsewhere.
    Export {
        /// `run_…`
        id: String,
        /// The file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        server: Server,
    },
    /// Replay a finished run from its log, without network or sandbox, and compare; exit code 1 when something differs.
    Replay {
        /// `run_…`
        id: String,
        /// Start it again instead, with today's version of its agent.
        #[arg(long)]
        live: bool,
        /// Replay it from a file of `livery runs export`, without a server.
        #[arg(long, value_name = "FILE", conflicts_with = "live")]
        offline: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Start a run that goes on from the middle of another.
    Fork {
        /// `run_…`
        id: String,
        /// After which event; rounded down to the last point at which a model was about to be asked.
        #[arg(long, value_name = "N")]
        from_seq: u64,
        /// Another input as JSON, or `@FILE`; only before the first model call.
        #[arg(long, short, value_name = "JSON|@FILE")]
        input: Option<String>,
        /// Another model from there on.
        #[arg(long, value_name = "PROVIDER/MODEL")]
        model: Option<String>,
        /// Another agent, or another version, from there on.
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// `livery agents …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Agents {
    /// Store a new version of the agent in this folder.
    Push {
        /// A folder with AGENT.md.
        path: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// List agents.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Check the agent in this folder, without a server: every finding with file, line and a hint.
    Validate {
        /// A folder with AGENT.md.
        path: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `livery doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) carriers: Carriers,
}

/// `livery dev …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Dev {
    /// Serve a fake model on loopback: it speaks Anthropic Messages and OpenAI Chat Completions and plays a script.
    FakeModel {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The script to play (the format of `scripts/NAME.yaml`).
        #[arg(long, value_name = "FILE", required_unless_present = "policy")]
        script: Option<PathBuf>,
        /// Answer by rule instead of a script.
        #[arg(long, value_enum, conflicts_with = "script")]
        policy: Option<FakePolicy>,
        /// The key clients must send.
        #[arg(long, default_value = "sk-fake-model-key-0000000000")]
        api_key: String,
        /// Append every received request to this file as JSON lines.
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
    },
}

/// Rules of the fake model.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FakePolicy {
    /// Do what a tool result says: a compromised agent.
    Obey,
    /// Say what was seen.
    Echo,
}
