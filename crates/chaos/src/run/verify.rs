//! What has to be true when everything has come to rest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use livery_testkit::webhook_sink::Delivery;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::load::Accepted;
use crate::check;
use crate::http::Client;

/// Logs read at a time.
const READERS: usize = 16;
/// Most examples of a finding that are shown.
const EXAMPLES_MAX: usize = 5;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Tries of one read: the nodes are up, but the database may just have come back.
const TRIES_MAX: usize = 40;

/// What was found about one property: how often it failed, and examples.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// How often.
    pub count: usize,
    /// The first ones.
    pub examples: Vec<String>,
}

impl Finding {
    /// One more.
    pub fn add(&mut self, words: String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(words);
        }
    }
}

/// Properties by name, in the order they are shown.
pub type Findings = BTreeMap<&'static str, Finding>;

/// The properties a log is looked at for.
pub const LOST: &str = "0 lost: every accepted run is there";
/// Exactly one run for each key.
pub const DOUBLED: &str = "0 doubled: one run for each key";
/// Nothing is left open.
pub const STUCK: &str = "0 stuck: every run is over in time";
/// As the script has it.
pub const ENDED: &str = "every run ended as its script says";
/// Numbers and ends.
pub const LOGS: &str = "every log is numbered from 1 without gaps and has one end";
/// No command twice.
pub const TWICE: &str = "no command was run twice";
/// At least once.
pub const TOLD: &str = "every webhook was delivered";
/// As the run went.
pub const IN_ORDER: &str = "every webhook came under one id, and first in the order of its run";

/// Waits until no run is open; those that stay are stuck.
pub async fn rest(client: &Client, deadline: Duration) -> Finding {
    let begun = Instant::now();
    loop {
        let mut open = Vec::new();
        for status in ["queued", "running", "waiting"] {
            let page = get(client, &format!("/v1/runs?limit=20&status={status}")).await.unwrap_or_default();
            let runs = page["data"].as_array().cloned().unwrap_or_default();
            open.extend(runs.iter().map(|run| format!("{} is {status}", run["id"])));
        }
        let mut stuck = Finding::default();
        if open.is_empty() || begun.elapsed() > deadline {
            open.into_iter().for_each(|words| stuck.add(words));
            return stuck;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// All runs there are, by the caller's number.
///
/// # Errors
/// The list cannot be read.
pub async fn all_runs(client: &Client) -> anyhow::Result<HashMap<String, Vec<String>>> {
    let mut runs: HashMap<String, Vec<String>> = HashMap::new();
    let mut cursor = String::new();
    loop {
        let page = get(client, &format!("/v1/runs?limit=100{cursor}")).await?;
        for run in page["data"].as_array().into_iter().flatten() {
            let number = run["metadata"]["number"].as_str().unwrap_or_default().to_owned();
            runs.entry(number).or_default().push(run["id"].as_str().unwrap_or_default().to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(runs),
        }
    }
}

/// Compares what callers were told with what there is.
pub fn kept(accepted: &[Accepted], runs: &HashMap<String, Vec<String>>, findings: &mut Findings) {
    for told in accepted {
        let there = runs.get(&told.number.to_string()).map_or(&[][..], Vec::as_slice);
        if !there.contains(&told.run) {
            findings.entry(LOST).or_default().add(format!("{} of caller {}", told.run, told.number));
        }
        if there.len() > 1 {
            findings.entry(DOUBLED).or_default().add(format!("caller {} has {there:?}", told.number));
        }
    }
}

/// Reads every run and its log; deliveries are those of all runs.
pub async fn read(client: &Client, accepted: &[Accepted], deliveries: Vec<Delivery>) -> Findings {
    let mut by_run: HashMap<String, Vec<Delivery>> = HashMap::new();
    for delivery in deliveries {
        let run = delivery.json()["data"]["run_id"].as_str().unwrap_or_default().to_owned();
        by_run.entry(run).or_default().push(delivery);
    }
    let turns = Arc::new(Semaphore::new(READERS));
    let mut readers = JoinSet::new();
    for told in accepted {
        let (client, run, turns) = (client.clone(), told.run.clone(), Arc::clone(&turns));
        let deliveries = by_run.remove(&run).unwrap_or_default();
        readers.spawn(async move {
            let _turn = turns.acquire().await;
            one(&client, &run, &deliveries).await
        });
    }
    let mut findings = Findings::new();
    while let Some(done) = readers.join_next().await {
        for (property, words) in done.unwrap_or_else(|error| vec![(LOST, error.to_string())]) {
            findings.entry(property).or_default().add(words);
        }
    }
    findings
}

/// How many of the events of these runs have not been told; a first look, to know when waiting is over.
pub async fn untold(client: &Client, accepted: &[Accepted], deliveries: Vec<Delivery>) -> usize {
    let findings = read(client, accepted, deliveries).await;
    findings.get(TOLD).map_or(0, |finding| finding.count)
}

async fn one(client: &Client, run: &str, deliveries: &[Delivery]) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let read = async {
        let view = get(client, &format!("/v1/runs/{run}")).await?;
        let page = get(client, &format!("/v1/runs/{run}/events?limit=1000")).await?;
        anyhow::Ok((view, page["data"].as_array().cloned().unwrap_or_default()))
    };
    let (view, events) = match read.await {
        Ok(read) => read,
        Err(error) => return vec![(LOST, format!("{run}: {error:#}"))],
    };
    if view["status"] != "succeeded" || view["output"]["text"] != "done" {
        wrong.push((ENDED, format!("{run} is {} {}", view["status"], view["error"])));
    }
    wrong.extend(check::log(&events).into_iter().map(|words| (LOGS, format!("{run}: {words}"))));
    let results = events.iter().filter_map(|event| event["data"]["result"].as_str());
    if results.map(|result| result.matches("mark").count()).max().unwrap_or(0) > 1 {
        wrong.push((TWICE, format!("{run}: {:?}", check::kinds(&events))));
    }
    let untold = check::untold(run, &events, deliveries);
    if !untold.is_empty() {
        wrong.push((TOLD, format!("{run}: of {untold:?} nobody was told")));
    }
    wrong.extend(check::order(run, deliveries).into_iter().map(|words| (IN_ORDER, format!("{run}: {words}"))));
    wrong
}

async fn get(client: &Client, path: &str) -> anyhow::Result<Value> {
    let mut tries = 0;
    loop {
        tries += 1;
        match client.get(path).await {
            Err(_) if tries < TRIES_MAX => tokio::time::sleep(LOOK_EVERY).await,
            answer => return answer,
        }
    }
}
