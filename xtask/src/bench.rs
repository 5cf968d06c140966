//! `cargo xtask bench`: measures the real, released server from outside, through its API, and prints a table.
//!
//! Server, database, sandboxes and load generator share this machine, as in the figures they are compared with. Nothing is
//! asserted about time: the command fails only when something broke, for instance when a run was lost.
//!
//! Walk on: [`phases`] is what is measured, [`durable`] and [`readers`] among it, [`reference`] what it is compared with, [`sandbox`] the tiers, [`broker`] its requests, [`calls`] those of a run, [`server`] how the server is started, [`postgres`] its database,
//! [`http`] and [`load`] how it is asked, [`memory`] how it is weighed, [`table`] how it is shown.

pub mod broker;
pub mod calls;
pub mod durable;
mod example;
pub mod http;
pub mod load;
pub mod memory;
mod neighbours;
pub mod phases;
pub mod postgres;
pub mod readers;
pub mod reference;
pub mod sandbox;
pub mod server;
pub mod table;

use std::path::PathBuf;

use anyhow::Context as _;

use self::reference::Measured;

/// What the command line says.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Print JSON in place of the table.
    #[arg(long)]
    pub json: bool,
    /// Fewer runs and shorter phases: a first look, not figures to quote.
    #[arg(long)]
    pub quick: bool,
    /// Measure this binary in place of a fresh release build; `examples/start_latency`, `neighbours` and `overhead` are looked for beside it.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
}

/// Builds, measures, prints.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let binary = match &options.binary {
        Some(binary) => binary.canonicalize().with_context(|| format!("{} is no file", binary.display()))?,
        None => build()?,
    };
    let measured = phases::all(&binary, options.quick)?;
    let text = if options.json { table::json(&measured)? } else { table::text(&measured) };
    println!("{text}");
    let broken: Vec<&str> = measured.iter().filter_map(|figure| figure.broken.as_deref()).collect();
    anyhow::ensure!(broken.is_empty(), "{}", broken.join("; "));
    Ok(())
}

fn build() -> anyhow::Result<PathBuf> {
    crate::root::complain("building the release binary …");
    let wanted: [&[&str]; 3] = [
        // Together, because features of dependencies are settled per build. The second holds the Postgres server for the
        // phases that need one.
        &["--package", "livery", "--package", "livery-chaos"],
        &["--package", "livery-sandbox", "--example", "start_latency", "--example", "neighbours"],
        &["--package", "livery-broker", "--example", "overhead"],
    ];
    for what in wanted {
        let mut command = crate::root::cargo();
        command.args(["build", "--release", "--quiet"]).args(what);
        let status = command.status().context("cannot start cargo")?;
        anyhow::ensure!(status.success(), "the release build of {} failed", what.join(" "));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root::folder().join("target"), PathBuf::from);
    Ok(target.join("release/livery"))
}

/// One line of progress, so that a person sees that something happens.
pub(crate) fn progress(line: &str) {
    crate::root::complain(&format!("· {line}"));
}

/// A list of figures under way.
#[derive(Debug, Default)]
pub struct Figures(pub(crate) Vec<Measured>);

impl Figures {
    /// Adds a figure.
    pub fn add(&mut self, key: &'static str, value: f64) {
        self.0.push(Measured { key, value: Some(value), note: None, broken: None });
    }

    /// Adds a figure that could not be taken, and why.
    pub fn absent(&mut self, key: &'static str, why: String) {
        self.0.push(Measured { key, value: None, note: Some(why), broken: None });
    }

    /// Adds a figure under which something broke: the command will fail.
    pub fn broken(&mut self, key: &'static str, value: f64, what: String) {
        self.0.push(Measured { key, value: Some(value), note: None, broken: Some(what) });
    }
}
