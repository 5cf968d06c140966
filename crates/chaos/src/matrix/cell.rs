//! One death and what follows: the node starts with a plan to die, a caller that repeats what fails has a run made, and what
//! came of it is compared with the run nobody killed.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use livery_platform::effects::{CrashPoint, EffectKind};
use livery_testkit::Postgres;
use livery_testkit::postgres::Options;
use serde_json::{Value, json};

use super::door::Door;
use super::outside::{self, CELL, Outside};
use super::scenario::{self, Scenario, unknown_outcomes};
use super::{Cell, Engine, leftovers};
use crate::check;
use crate::http::Client;
use crate::node::{Keeper, LOOK_EVERY, Node, PATIENCE, Plan, knows_flag};
use crate::upstream::Upstream;

/// How long a planned death may be awaited once the run is over.
const DEATH_MAX: Duration = Duration::from_secs(20);
/// Connections of all cells at a time.
const CONNECTIONS_MAX: u32 = 400;
/// What a killed process ends with.
const SIGKILL: i32 = 9;

/// What all cells of one engine share.
pub struct Stage {
    binary: PathBuf,
    work: PathBuf,
    /// A data directory with an organization and its provider, copied for each cell.
    template: PathBuf,
    key: String,
    upstream: Upstream,
    outside: Outside,
    keeper: Keeper,
    /// With a database of the template's name, copied for each cell.
    postgres: Option<Arc<Mutex<Postgres>>>,
}

/// The database every cell's is a copy of.
const TEMPLATE: &str = "template";
/// Why something is not looked at.
const NO_POSTGRES: &str = "no Postgres server is installed; `cargo xtask setup` brings one";

/// The run when nobody dies.
#[derive(Debug, PartialEq)]
pub struct Control {
    status: Value,
    output: Value,
    /// How often the model was made to think.
    effects: u64,
}

/// What a cell saw in the end.
#[derive(Debug)]
struct Seen {
    run: Value,
    events: Vec<Value>,
    runs: usize,
    artifact: Option<Value>,
    approvals: Vec<Value>,
    /// How often what a connection leads to was made to do something.
    done: Option<usize>,
    wrong: Vec<String>,
}

impl Stage {
    /// Makes the template; the inner error says why this engine is not looked at.
    ///
    /// # Errors
    /// The binary does not start.
    pub async fn set(
        engine: Engine,
        binary: &Path,
        work: &Path,
        keeper: &Keeper,
    ) -> anyhow::Result<Result<Self, String>> {
        let server = server().await?;
        let postgres = match engine {
            Engine::Sqlite => None,
            Engine::Postgres if !knows_flag(binary, "--database").await? => {
                return Ok(Err("the binary knows no --database".to_owned()));
            }
            Engine::Postgres if server.is_none() => return Ok(Err(NO_POSTGRES.to_owned())),
            Engine::Postgres => server.clone(),
        };
        std::fs::create_dir_all(work)?;
        let (upstream, outside) = (Upstream::start().await?, Outside::start(server).await?);
        let keeper = keeper.clone();
        let template = work.join("template/data");
        std::fs::create_dir_all(work.join("template"))?;
        let mut plan = Plan::new(binary, &template)?;
        if let Some(postgres) = &postgres {
            plan.on_database(with(postgres, |postgres| postgres.create_database(TEMPLATE)).await?);
        }
        let mut node = Node::spawn(&plan, &keeper, None)?;
        node.ready().await?;
        plan.key = plan.read_key()?;
        upstream.introduce(&plan.client()).await?;
        node.stop().await?;
        let (binary, work, key) = (binary.to_owned(), work.to_owned(), plan.key);
        Ok(Ok(Self { binary, work, template, key, upstream, outside, keeper, postgres }))
    }

    /// Why cells of this effect cannot be looked at, if they cannot.
    pub fn lacks(&self, effect: EffectKind) -> Option<&'static str> {
        scenario::of(effect).way.filter(|way| !self.outside.has(*way)).map(|_| NO_POSTGRES)
    }

    /// The run of an effect's scenario without a crash.
    ///
    /// # Errors
    /// It does not end well.
    pub async fn control(&self, effect: EffectKind) -> anyhow::Result<Control> {
        let name = format!("control-{effect}").replace('_', "-");
        let scenario = scenario::of(effect);
        let seen = self.play(&name, &scenario, None).await?;
        let wrong = self.common(&name, &scenario, &seen);
        anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("; "));
        let wanted = if scenario.cancels { "cancelled" } else { "succeeded" };
        anyhow::ensure!(seen.run["status"] == wanted, "the run ended as {}", seen.run);
        Ok(self.control_of(&name, &seen))
    }

    fn control_of(&self, name: &str, seen: &Seen) -> Control {
        let (status, output) = (seen.run["status"].clone(), seen.run["output"].clone());
        Control { status, output, effects: self.upstream.effects(name) }
    }

    /// Dies in this cell, and says what was wrong afterwards.
    ///
    /// # Errors
    /// What kept it from being looked at: the place was never reached, the node does not come back.
    pub async fn perform(&self, cell: Cell, control: &Control) -> anyhow::Result<Vec<String>> {
        let (name, scenario) = (cell.name(), scenario::of(cell.effect));
        let point = CrashPoint { effect: cell.effect, phase: cell.phase, nth: scenario.nth.unwrap_or(1) };
        let seen = self.play(&name, &scenario, Some(point)).await?;
        let mut wrong = self.common(&name, &scenario, &seen);
        let now = self.control_of(&name, &seen);
        // A cancelled run's model may or may not have been asked a second time before the word came.
        let same_effects = scenario.cancels || now.effects == control.effects;
        if now.status != control.status || now.output != control.output || !same_effects {
            wrong.push(format!("ended as {now:?}, and without a crash as {control:?}: {}", seen.run["error"]));
        }
        let unknown = check::count(&seen.events, "tool.outcome_unknown");
        if unknown_outcomes(cell.effect, cell.phase).is_some_and(|wanted| wanted != unknown) {
            wrong.push(format!("{unknown} outcomes are called unknown: {:?}", check::kinds(&seen.events)));
        }
        if scenario.marks {
            let marks = marks(&seen.events);
            let certain = unknown == 0;
            if marks > 1 || (certain && marks != 1) {
                wrong.push(format!("done {marks} times, with {unknown} outcomes called unknown"));
            }
        }
        Ok(wrong)
    }

    /// What has to be true with and without a crash.
    fn common(&self, name: &str, scenario: &Scenario, seen: &Seen) -> Vec<String> {
        let mut wrong = seen.wrong.clone();
        wrong.extend(check::log(&seen.events));
        let run = seen.run["id"].as_str().unwrap_or_default();
        let deliveries = self.upstream.deliveries(name);
        let untold = check::untold(run, &seen.events, &deliveries);
        if !untold.is_empty() {
            wrong.push(format!("the endpoint was never told of {untold:?}"));
        }
        wrong.extend(check::order(run, &deliveries));
        if seen.runs != 1 {
            wrong.push(format!("{} runs came of one request", seen.runs));
        }
        if let Some(wanted) = scenario.artifact
            && seen.artifact.as_ref().and_then(Value::as_u64) != Some(wanted.len() as u64)
        {
            wrong.push(format!("its one artifact is {:?}: {}", seen.artifact, seen.run["artifacts"]));
        }
        if let Some((way, times)) = scenario.way.zip(seen.done) {
            wrong.extend(outside::once(way, times, &seen.events));
        }
        if scenario.asks {
            wrong.extend(outside::asked_once(&seen.approvals, &seen.events));
        }
        wrong
    }

    async fn play(&self, name: &str, scenario: &Scenario, point: Option<CrashPoint>) -> anyhow::Result<Seen> {
        let home = self.work.join(name);
        std::fs::create_dir_all(&home)?;
        copy(&self.template, &home.join("data")).await?;
        let mut plan = Plan::new(&self.binary, &home.join("data"))?;
        plan.key.clone_from(&self.key);
        if let Some(postgres) = &self.postgres {
            let database = name.to_owned();
            let copied = with(postgres, move |postgres| postgres.create_database_from(&database, TEMPLATE)).await?;
            plan.on_database(copied);
        }
        self.upstream.teach(name, &scenario.script.replace(CELL, name), scenario.refusals)?;
        let node = Node::spawn(&plan, &self.keeper, point.map(|point| point.to_string()).as_deref())?;
        let mut life = Life { plan, node, keeper: self.keeper.clone(), owed: point.is_some(), wrong: Vec::new() };
        life.awake().await?;
        let mut seen = life.caller(self, name, scenario).await?;
        let Life { plan, node, wrong, .. } = life;
        node.stop().await?;
        seen.wrong = wrong;
        if let Some(way) = scenario.way {
            let done = self.outside.done(way, name).await?;
            seen.done = Some(done.times);
            seen.wrong.extend(done.wrong);
        }
        let run = seen.run["id"].as_str().unwrap_or_default();
        let left = leftovers::after_end(&plan.data, run).await;
        seen.wrong.extend(left.into_iter().map(|what| format!("left behind: {what}")));
        // Only a cell that went wrong is worth looking into.
        if seen.wrong.is_empty() {
            let _ = std::fs::remove_dir_all(home);
        }
        Ok(seen)
    }
}

/// A database server of this suite's own, where one is installed. A crash of the process is not one of the machine: the server
/// may keep its promises in memory.
async fn server() -> anyhow::Result<Option<Arc<Mutex<Postgres>>>> {
    let options = Options { fsync: false, max_connections: CONNECTIONS_MAX };
    match tokio::task::spawn_blocking(move || Postgres::start_with(options)).await? {
        Err(livery_testkit::postgres::Error::NotInstalled) => Ok(None),
        started => Ok(Some(Arc::new(Mutex::new(started?)))),
    }
}

/// Does something with the server, aside: its calls block.
pub(super) async fn with<T: Send + 'static>(
    postgres: &Arc<Mutex<Postgres>>,
    call: impl FnOnce(&mut Postgres) -> Result<T, livery_testkit::postgres::Error> + Send + 'static,
) -> anyhow::Result<T> {
    let postgres = Arc::clone(postgres);
    let done = tokio::task::spawn_blocking(move || call(&mut postgres.lock().unwrap_or_else(PoisonError::into_inner)));
    done.await?.context("the database")
}

/// How many marks the last look showed.
fn marks(events: &[Value]) -> usize {
    let looks = events.iter().rev().filter(|event| event["type"] == "tool.finished");
    let last = looks.filter_map(|event| event["data"]["result"].as_str()).find(|result| result.contains("looked"));
    last.map_or(0, |result| result.matches("mark").count())
}

/// A folder with everything in it, owners and modes included.
async fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = tokio::process::Command::new("cp").arg("-a").arg(from).arg(to).status().await.context("cp")?;
    anyhow::ensure!(status.success(), "{} cannot be copied", from.display());
    Ok(())
}

/// A node that dies once and is started again, and a caller that does not give up.
pub(super) struct Life {
    plan: Plan,
    node: Node,
    keeper: Keeper,
    /// Whether the planned death is still to come.
    owed: bool,
    wrong: Vec<String>,
}

impl Life {
    /// Waits until the node is ready. It may die as planned before it ever answers.
    async fn awake(&mut self) -> anyhow::Result<()> {
        match self.node.ready().await {
            Err(_) if self.node.ended()?.is_some() => self.revive().await,
            ready => ready,
        }
    }

    /// Starts the node again when it has died as planned.
    pub(super) async fn revive(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.node.ended()? else { return Ok(()) };
        anyhow::ensure!(self.owed, "the node ended by itself ({status}): {}", self.node.last_words());
        anyhow::ensure!(status.signal() == Some(SIGKILL), "the node ended with {status}: {}", self.node.last_words());
        self.owed = false;
        let left = leftovers::after_death(&self.plan.data).await;
        self.wrong.extend(left.into_iter().map(|what| format!("left after the kill: {what}")));
        self.node = Node::spawn(&self.plan, &self.keeper, None)?;
        self.node.ready().await
    }

    pub(super) fn client(&self) -> Client {
        self.plan.client()
    }

    /// One request, repeated until it is answered for good.
    pub(super) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            self.revive().await?;
            match self.plan.client().send(method, path, headers, body).await {
                Ok((status, answer)) if (200..300).contains(&status) => return Ok(answer),
                // The first try may still be in the making.
                Ok((status, answer)) if status < 500 && status != 409 => {
                    anyhow::bail!("{method} {path} answered {status}: {answer}")
                }
                other => anyhow::ensure!(begun.elapsed() < PATIENCE, "{method} {path}: {other:?}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn post(&mut self, path: &str, key: &str, body: &Value) -> anyhow::Result<Value> {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.ask("POST", path, &headers, body.to_string().as_bytes()).await
    }

    /// Everything a caller does, and all it can see in the end.
    async fn caller(&mut self, stage: &Stage, name: &str, scenario: &Scenario) -> anyhow::Result<Seen> {
        let hook = json!({"url": stage.upstream.hook(name), "events": ["run.*"]});
        self.post("/v1/webhooks", "hook", &hook).await?;
        let mut files = json!([]);
        if scenario.uploads {
            let headers = [("content-type", "text/plain"), ("idempotency-key", "file")];
            let file = self.ask("POST", "/v1/files?name=input.txt", &headers, b"input\n").await?;
            files = json!([file["id"]]);
        }
        let connections = self.connect(&stage.outside, scenario).await?;
        let id = self.begin(scenario, name, &json!({"files": files, "connections": connections})).await?;
        if scenario.asks {
            self.approve(&id).await?;
        }
        if scenario.cancels {
            self.tool_started(&id).await?;
            self.post(&format!("/v1/runs/{id}/cancel"), "cancel", &json!({})).await?;
        }
        let run = self.ended(&id).await?;
        self.death().await?;
        let events = self.events(&id).await?;
        self.told(stage, name, &id, &events).await?;
        let runs = self.ask("GET", "/v1/runs?limit=10", &[], b"").await?;
        let approvals = if scenario.asks { self.approvals(&id).await? } else { Vec::new() };
        if scenario.door == Door::EndUser {
            let saved = self.saved_once().await?;
            self.wrong.extend(saved);
        }
        let artifacts = run["artifacts"].as_array().cloned().unwrap_or_default();
        let artifact = (artifacts.len() == 1).then(|| artifacts[0]["bytes"].clone());
        let runs = runs["data"].as_array().map_or(0, Vec::len);
        Ok(Seen { run, events, runs, artifact, approvals, done: None, wrong: Vec::new() })
    }

    async fn ended(&mut self, run: &str) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            let view = self.ask("GET", &format!("/v1/runs/{run}?wait=1"), &[], b"").await?;
            if !view["finished_at"].is_null() {
                return Ok(view);
            }
            let log = || self.node.last_words();
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the run does not end: {view}: {}", log());
        }
    }

    /// A death that was planned for the time after the end.
    async fn death(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.owed {
            self.revive().await?;
            anyhow::ensure!(begun.elapsed() < DEATH_MAX, "the place was never reached");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn events(&mut self, run: &str) -> anyhow::Result<Vec<Value>> {
        let page = self.ask("GET", &format!("/v1/runs/{run}/events?limit=1000"), &[], b"").await?;
        Ok(page["data"].as_array().cloned().unwrap_or_default())
    }

    async fn tool_started(&mut self, run: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        while check::count(&self.events(run).await?, "tool.started") == 0 {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "no tool begins");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until the endpoint has heard everything; what it never hears is found later.
    async fn told(&mut self, stage: &Stage, name: &str, run: &str, events: &[Value]) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < DEATH_MAX {
            if check::untold(run, events, &stage.upstream.deliveries(name)).is_empty() {
                break;
            }
            self.revive().await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}
