//! `livery run`: a folder in an engine of its own, here and now; or a stored agent on a server. Both through the same API.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use livery_core::agent::Folder;
use serde_json::{Value, json};

use super::agents::checked;
use super::{async_main, cell, client, print, print_json, say};
use crate::client::Client;
use crate::engine::{Ground, Keep, NamedProvider, Observe, Running, named_provider, runtime};
use crate::show::{Paint, event_line, one_line, summary};
use crate::sse::EventStream;
use crate::workbench::Workbench;
use crate::{cli, exit};

/// Events between two looks at the stream: a run that ends in silence is still noticed.
const STREAM_TRIES_MAX: u32 = 20;

pub(super) fn run(args: cli::Run) -> anyhow::Result<ExitCode> {
    let input = read_input(&args.input)?;
    let path = PathBuf::from(&args.agent);
    if path.is_dir() {
        crate::logging::start_quiet();
        return match checked(&path)? {
            Some(folder) => here(&args, &folder, input),
            None => Ok(ExitCode::from(exit::FAILED)),
        };
    }
    if args.agent.contains('/') || args.agent.starts_with('.') {
        return Err(exit::Usage(format!("{} is no folder", args.agent)).into());
    }
    async_main(async {
        let client = client(&args.server)?;
        follow_through(&client, &args, &args.agent, input).await
    })
}

/// Inline JSON, or `@FILE`.
pub(super) fn read_input(text: &str) -> anyhow::Result<Value> {
    let (text, name) = match text.strip_prefix('@') {
        Some(path) => (std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?, path),
        None => (text.to_owned(), "--input"),
    };
    serde_json::from_str(&text).map_err(|error| exit::Usage(format!("{name} is no JSON: {error}")).into())
}

fn here(args: &cli::Run, folder: &Folder, input: Value) -> anyhow::Result<ExitCode> {
    let provider = named_provider(args.model.as_deref(), args.base_url.as_deref())?;
    let workbench = Workbench::new("livery-run", &args.engine, provider.as_ref())?;
    let ground = Ground::prepare(workbench.path(), workbench.engine(), Keep::ForOneCommand, None)?;
    let outcome = runtime()?.block_on(in_own_engine(ground, &workbench, args, folder, input, provider.as_ref()));
    workbench.clear();
    outcome
}

async fn in_own_engine(
    ground: Ground,
    workbench: &Workbench,
    args: &cli::Run,
    folder: &Folder,
    input: Value,
    provider: Option<&NamedProvider>,
) -> anyhow::Result<ExitCode> {
    let listen = ([127, 0, 0, 1], 0).into();
    let running = Running::start(ground, listen, workbench.engine(), provider, Observe::default()).await?;
    let key = running.bootstrap.as_ref().map(|first| first.api_key.clone()).unwrap_or_default();
    let client = Client::new(&running.url(), &key)?;
    let outcome = async {
        let zip = livery_platform::agents::archive::write(folder)?;
        let agent = client.post_bytes("/v1/agents", "application/zip", zip.into()).await?;
        let name = format!("{}@{}", cell(&agent["name"]), agent["version"]);
        follow_through(&client, args, &name, input).await
    };
    let outcome = outcome.await;
    running.stop().await?;
    outcome
}

/// Starts a run, shows it, and answers with its exit code. Ctrl-C stops the run too.
async fn follow_through(client: &Client, args: &cli::Run, agent: &str, input: Value) -> anyhow::Result<ExitCode> {
    let mut body = json!({"agent": agent, "input": input});
    if let Some(model) = &args.model {
        body["model"] = model.clone().into();
    }
    if let Some(seconds) = args.delay {
        body["delay_s"] = seconds.into();
    }
    if let Some(at) = &args.start_at {
        body["start_at"] = at.clone().into();
    }
    let run = client.post("/v1/runs", &body).await?;
    if !run["start_at"].is_null() {
        say(&format!("{} starts at {}", cell(&run["id"]), cell(&run["start_at"])));
    }
    let id = cell(&run["id"]);
    let shown = tokio::select! {
        shown = show(client, &id, args) => shown,
        _ = tokio::signal::ctrl_c() => {
            say("interrupted; the run is being stopped");
            client.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await?;
            return Ok(ExitCode::from(exit::INTERRUPTED));
        }
    };
    shown?;
    let run = client.get(&format!("/v1/runs/{id}")).await?;
    if let Some(folder) = &args.artifacts {
        save_artifacts(client, &run, folder).await?;
    }
    conclude(&run, args)?;
    Ok(exit::of_run(&run))
}

/// Shows events until the terminal one, whatever happens to the connection in between.
async fn show(client: &Client, id: &str, args: &cli::Run) -> anyhow::Result<()> {
    let paint = Paint::stderr();
    let live = args.follow || (paint.is_terminal() && !args.json);
    let mut after = 0;
    for _ in 0..STREAM_TRIES_MAX {
        let mut stream = EventStream::new(client.events(id, after).await?);
        while let Ok(Some(event)) = stream.next().await {
            if let Some(seq) = event["seq"].as_u64() {
                after = seq;
            }
            match (args.json && args.follow, live && !args.json, event_line(&event, paint)) {
                (true, _, _) => print(&event.to_string())?,
                (false, true, Some(line)) => say(&line),
                _ => {}
            }
            let kind = event["type"].as_str().unwrap_or_default();
            if ["run.succeeded", "run.failed", "run.cancelled", "run.timed_out"].contains(&kind) {
                return Ok(());
            }
        }
    }
    anyhow::bail!("the event stream of {id} broke off too often; look at it with `livery runs get {id}`")
}

fn conclude(run: &Value, args: &cli::Run) -> anyhow::Result<()> {
    if args.json {
        return if args.follow { print(&run.to_string()) } else { print_json(run) };
    }
    say(&summary(run));
    for artifact in run["artifacts"].as_array().into_iter().flatten() {
        let name = one_line(&cell(&artifact["path"]));
        let place =
            args.artifacts.as_ref().map(|folder| format!(" → {}", folder.join(&name).display())).unwrap_or_default();
        say(&format!("artifact {name} ({} bytes){place}", artifact["bytes"]));
    }
    if run["error"].is_null() {
        return print_json(&run["output"]);
    }
    say(&format!("{}: {}", cell(&run["error"]["code"]), one_line(&cell(&run["error"]["message"]))));
    Ok(())
}

/// Writes artifacts below `folder`. Their paths were checked by the server and are checked again: they come from a sandbox.
async fn save_artifacts(client: &Client, run: &Value, folder: &Path) -> anyhow::Result<()> {
    for artifact in run["artifacts"].as_array().into_iter().flatten() {
        let path = cell(&artifact["path"]);
        if livery_core::agent::folder::check_path(&path).is_err() {
            say(&format!("left out: {}", one_line(&path)));
            continue;
        }
        let bytes = client.get_bytes(&format!("/v1/files/{}/content", cell(&artifact["id"]))).await?;
        let target = folder.join(&path);
        std::fs::create_dir_all(target.parent().unwrap_or(folder))
            .with_context(|| format!("cannot create {}", folder.display()))?;
        std::fs::write(&target, bytes).with_context(|| format!("cannot write {}", target.display()))?;
    }
    Ok(())
}
