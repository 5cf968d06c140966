//! What each command does; one file per command, this one is the table of contents.

mod agents;
mod backup;
mod completions;
mod connections;
mod demo;

mod dev;
mod doctor;
mod images;
mod keys;
mod migrate;
mod nodes;
mod organizations;
mod policies;
mod receipt;
mod replay;
mod run;
mod runs;
mod schedules;
mod shell;
mod transfer;
mod triggers;
mod up;
mod vault;
mod webhooks;
mod workspaces;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cli::{Cli, Command, Server};
use crate::client::Client;
use crate::{bootstrap, engine, exit};

/// Where a client command looks for a server when neither flag nor environment names one.
const LOCAL_DATA: &str = "livery-data";

/// Runs a command to its exit code.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up(args) => up::up(args),
        Command::Demo(args) => demo::demo(args),
        Command::Run(args) => run::run(args),
        Command::Migrate(args) => migrate::migrate(args),
        Command::Export(args) => transfer::export(args),
        Command::Import(args) => transfer::import(args),
        Command::Runs(command) => async_main(runs::runs(command)),
        Command::Receipt(command) => async_main(receipt::receipt(command)),
        Command::Schedules(command) => async_main(schedules::schedules(command)),
        Command::Triggers(command) => async_main(triggers::triggers(command)),
        Command::Webhooks(command) => async_main(webhooks::webhooks(command)),
        Command::Agents(command) => agents::agents(command),
        Command::Connections(command) => async_main(connections::connections(command)),
        Command::Connectors(command) => async_main(connections::connectors(command)),
        Command::Policies(command) => async_main(policies::policies(command)),
        Command::Approvals(command) => async_main(policies::approvals(command)),
        Command::EndUsers(command) => async_main(workspaces::end_users(command)),
        Command::Workspaces(command) => async_main(workspaces::workspaces(command)),
        Command::Organizations(command) => async_main(organizations::organizations(command)),
        Command::Applications(command) => async_main(organizations::applications(command)),
        Command::Keys(command) => async_main(keys::keys(command)),
        Command::Vault(command) => async_main(vault::vault(command)),
        Command::Images(command) => images::images(command),
        Command::Nodes(command) => async_main(nodes::nodes(command)),
        Command::Backup(args) => backup::backup(args),
        Command::Restore(args) => backup::restore(args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions { shell } => completions::completions(shell),
        Command::Dev(command) => async_main(dev::dev(command)),
    }
}

fn async_main(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    engine::runtime()?.block_on(work)
}

/// The server a client command talks to: flags, environment, or the one that was started in this folder.
fn client(server: &Server) -> anyhow::Result<Client> {
    let local = bootstrap::read(Path::new(LOCAL_DATA)).unwrap_or_default();
    let url = server.url.clone().or_else(|| local.as_ref().map(|file| file.url.clone()));
    let key = server.api_key.clone().or_else(|| local.map(|file| file.first.api_key));
    match (url, key) {
        (Some(url), Some(key)) => Client::new(&url, &key),
        (None, _) => Err(exit::Usage(
            "which server? give --url or LIVERY_URL (and LIVERY_API_KEY), or start one here with `livery up`".into(),
        )
        .into()),
        (_, None) => Err(exit::Usage(
            "which key? give LIVERY_API_KEY; the first start of a server writes one to bootstrap.json".into(),
        )
        .into()),
    }
}

/// Data goes to standard output, and nothing else does.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let written =
        out.write_all(text.as_bytes()).and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") });
    match written.and_then(|()| out.flush()) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Words for people go to standard error.
#[expect(clippy::print_stderr, reason = "the command line's own words")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// A plain table; cells that came from elsewhere are made safe for a terminal first.
/// Reads a whole file of bounded size.
fn read_bounded(path: &Path, bytes_max: usize) -> anyhow::Result<String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut text = String::new();
    let limit = bytes_max as u64 + 1;
    file.take(limit).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() > bytes_max {
        bail!("{} is larger than {bytes_max} bytes", path.display());
    }
    Ok(text)
}

fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::TableStyle::new()).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| crate::show::one_line(cell)));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A value's text, for a cell.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
