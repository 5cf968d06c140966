//! `livery schedules …`

use clap::{Args, Subcommand, ValueEnum};

use super::Server;

/// `livery schedules …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Schedules {
    /// Create a schedule.
    Create(NewSchedule),
    /// List schedules, newest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show a schedule.
    Show {
        /// `sch_…`
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Stop a schedule from firing.
    Pause {
        /// `sch_…`
        id: String,
        #[command(flatten)]
        server: Server,
    },
    /// Let a paused schedule fire again, from now on.
    Resume {
        /// `sch_…`
        id: String,
        #[command(flatten)]
        server: Server,
    },
    /// Start a run of a schedule now, paused or not.
    Run {
        /// `sch_…`
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Delete a schedule; runs it started go on.
    Delete {
        /// `sch_…`
        id: String,
        #[command(flatten)]
        server: Server,
    },
    /// Show when an expression, or a schedule, fires next.
    Preview {
        /// A cron expression (with --time-zone), or `sch_…`.
        what: String,
        /// The IANA time zone of the expression.
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        time_zone: String,
        /// How many fires.
        #[arg(long, default_value_t = 10)]
        count: u32,
        /// After this moment (RFC 3339; default: now).
        #[arg(long, value_name = "TIME")]
        after: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// `livery schedules create`.
#[derive(Debug, Args)]
pub(crate) struct NewSchedule {
    /// A label for people.
    pub(crate) name: String,
    /// A stored agent: `name` or `name@version`.
    #[arg(long)]
    pub(crate) agent: String,
    /// When: minute, hour, day of month, month, day of week; or `@daily` and its like.
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) cron: String,
    /// The IANA time zone of the expression.
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: String,
    /// The input of every run, as JSON or `@FILE`.
    #[arg(long, short, value_name = "JSON|@FILE", default_value = "{}")]
    pub(crate) input: String,
    /// What a fire does while a run of the schedule is under way.
    #[arg(long, value_enum, default_value_t = Overlap::Skip)]
    pub(crate) overlap: Overlap,
    /// What becomes of times nobody was there for.
    #[arg(long, value_enum, default_value_t = CatchUp::None)]
    pub(crate) catch_up: CatchUp,
    /// Spread fires over this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) jitter: u32,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Rules for overlap.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Overlap {
    /// Nothing; the fire is skipped.
    Skip,
    /// Start a run that waits for its turn.
    Queue,
    /// Cancel the run under way and start another.
    Replace,
}

/// Rules for missed times.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CatchUp {
    /// They are skipped.
    None,
    /// One run for the newest.
    Last,
}
