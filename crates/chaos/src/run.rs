//! The chaos run: many short runs over several nodes while nodes are killed and paused and the database is restarted, all from
//! one seed; then everything comes to rest and is looked at.
//!
//! Walk on: [`faults`] is the schedule, [`cluster`] suffers it, [`load`] wants runs, [`verify`] looks.

pub mod cluster;
pub mod faults;
pub mod load;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use livery_testkit::Postgres;
use livery_testkit::fake_model::{Chaos, Delay, Fault};
use serde_json::json;

use self::cluster::Cluster;
use self::verify::{Finding, Findings};
use crate::http::Client;
use crate::matrix::Engine;
use crate::node::Keeper;
use crate::upstream::Upstream;

/// How long everything may take to come to rest: a lease, a webhook's claim and a few retries.
const REST_MAX: Duration = Duration::from_secs(180);
/// Between two words on how it goes.
const WORDS_EVERY: Duration = Duration::from_secs(10);
/// One first delivery in so many is answered 503.
const HOOK_FAILS_ONE_IN: usize = 40;
/// The name of the endpoint at the receiver.
const HOOK: &str = "chaos";

/// How the model fails: seldom enough that no run meets four failures in a row.
const MODEL_FAULTS: [(u64, Fault); 5] = [
    (59, Fault::Status { status: 429, delay: Delay::None }),
    (113, Fault::Status { status: 500, delay: Delay::None }),
    (131, Fault::Truncate { after: 2 }),
    (173, Fault::Reset { after: 1 }),
    (43, Fault::SlowHeaders { ms: 700 }),
];

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// The binary of every node.
    pub binary: PathBuf,
    /// How long runs are sent and things go wrong.
    pub length: Duration,
    /// How many runs.
    pub runs: usize,
    /// What everything is drawn from.
    pub seed: u64,
    /// How many nodes; one on SQLite.
    pub nodes: usize,
    /// On what.
    pub engine: Engine,
}

/// Runs it, and answers each property with what spoke against it.
///
/// # Errors
/// A node or the database cannot be started, or does not come back.
pub async fn run(options: &Options, work: &Path, keeper: Keeper, say: fn(&str)) -> anyhow::Result<Findings> {
    let upstream =
        Upstream::flaky(&MODEL_FAULTS.map(|(nth, fault)| Chaos::every(nth, fault)), HOOK_FAILS_ONE_IN).await?;
    upstream.teach("quick", "turns:\n  - text: done\n", 0)?;
    upstream.teach("shell", SHELL_SCRIPT, 0)?;
    let postgres = match options.engine {
        Engine::Sqlite => None,
        Engine::Postgres => Some(tokio::task::block_in_place(Postgres::start)?),
    };
    let nodes = if options.engine == Engine::Sqlite { 1 } else { options.nodes };
    let schedule = faults::schedule(options.seed, nodes, postgres.is_some(), options.length);
    say(&format!(
        "chaos: {} runs over {nodes} nodes on {} for {} s, {} faults, seed {}, {}",
        options.runs,
        options.engine.as_str(),
        options.length.as_secs(),
        schedule.len(),
        options.seed,
        options.binary.display()
    ));
    let cluster = Arc::new(Cluster::start(&options.binary, work, nodes, postgres, keeper).await?);
    let clients = cluster.clients();
    prepare(&upstream, &clients[0]).await?;

    let accepted = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let words = tokio::spawn(report(Arc::clone(&accepted), Arc::clone(&over), say));
    let send = load::send(clients.clone(), options.runs, options.length, options.seed, accepted);
    let ((told, refused), suffered) = tokio::join!(send, cluster.suffer(schedule, say));
    over.store(true, Ordering::Relaxed);
    words.abort();
    suffered?;

    say(&format!("{} runs accepted; waiting for rest", told.len()));
    let mut findings = settle(&upstream, &clients[0], &told, say).await?;
    for why in refused {
        findings.entry("every caller was answered in time").or_default().add(why);
    }
    let keys = upstream.model.key_counts();
    say(&format!(
        "the model: {} effects, {} repeated under their key, {} refused",
        keys.performed, keys.repeated, keys.refused
    ));
    if keys.refused > 0 {
        let words = format!("{} requests came under a used key with another body", keys.refused);
        findings.entry("the model is asked the same under the same key").or_default().add(words);
    }
    let Some(cluster) = Arc::into_inner(cluster) else { anyhow::bail!("a fault is still under way") };
    for left in cluster.stop().await? {
        findings.entry("nothing is left behind").or_default().add(left);
    }
    Ok(findings)
}

/// The properties that were looked at, for those of which nothing was found.
pub const PROPERTIES: &[&str] = &[
    verify::LOST,
    verify::DOUBLED,
    verify::STUCK,
    verify::ENDED,
    verify::LOGS,
    verify::TWICE,
    verify::TOLD,
    verify::IN_ORDER,
    "every caller was answered in time",
    "the model is asked the same under the same key",
    "nothing is left behind",
];

async fn prepare(upstream: &Upstream, client: &Client) -> anyhow::Result<()> {
    upstream.introduce(client).await?;
    for (name, tools) in [("quick", "[read_file]"), ("shell", "[shell]")] {
        let agent = format!("---\nname: chaos-{name}\nmodel: fake/{name}\ntools: {tools}\n---\nWork.\n");
        client.post("/v1/agents", &[], &json!({"agent_md": agent, "files": {}})).await?;
    }
    let hook = json!({"url": upstream.hook(HOOK), "events": ["run.*"]});
    client.post("/v1/webhooks", &[], &hook).await.map(drop)
}

async fn settle(
    upstream: &Upstream,
    client: &Client,
    told: &[load::Accepted],
    say: fn(&str),
) -> anyhow::Result<Findings> {
    let begun = Instant::now();
    let stuck = verify::rest(client, REST_MAX).await;
    say(&format!("at rest after {:.1} s; waiting for webhooks", begun.elapsed().as_secs_f64()));
    while verify::untold(client, told, upstream.deliveries(HOOK)).await > 0 && begun.elapsed() < REST_MAX {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let deliveries = upstream.deliveries(HOOK);
    say(&format!("{} deliveries after {:.1} s", deliveries.len(), begun.elapsed().as_secs_f64()));
    let mut findings = verify::read(client, told, deliveries).await;
    if stuck != Finding::default() {
        findings.insert(verify::STUCK, stuck);
    }
    verify::kept(told, &verify::all_runs(client).await?, &mut findings);
    Ok(findings)
}

async fn report(accepted: Arc<AtomicUsize>, over: Arc<AtomicBool>, say: fn(&str)) {
    let begun = Instant::now();
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(WORDS_EVERY).await;
        let (at, count) = (begun.elapsed().as_secs(), accepted.load(Ordering::Relaxed));
        say(&format!("{at:>6} s    {count} accepted"));
    }
}

const SHELL_SCRIPT: &str = "turns:
  - tools: [{name: shell, arguments: {command: \"echo mark >> trace; cat trace\"}}]
  - text: done
";
