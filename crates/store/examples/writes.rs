//! How many runs a second this machine accepts durably, and what a read costs. `cargo run --release -p livery-store --example writes`;
//! with `postgres` behind it on a Postgres server of its own (`fsync` on), otherwise on SQLite in the folder that is named.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use livery_core::RunStatus;
use livery_core::Timestamp;
use livery_core::event::EventType;
use livery_core::id::{AgentId, AppId, OrgId, RunId};
use livery_core::run::{Cost, Limits, Pricing, Usage};
use livery_store::{
    ApplicationRow, Json, Lease, NewAgent, NewEvent, NewRun, Options, OrganizationRow, Page, PostgresOptions, Result,
    RunFilter, Store, Terminal,
};

const RUNS: u128 = 20_000;
const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
const ORG: OrgId = OrgId::from_bits(1);
const APP: AppId = AppId::from_bits(1);
const AGENT: AgentId = AgentId::from_bits(1);

#[tokio::main]
async fn main() -> Result<()> {
    let place = std::env::args().nth(1);
    if place.as_deref() == Some("postgres") {
        let server = tokio::task::spawn_blocking(livery_testkit::Postgres::start).await;
        let server = server.map_err(livery_core::Error::internal)?.map_err(livery_core::Error::internal)?;
        let url = server.create_database("bench").map_err(livery_core::Error::internal)?;
        return measure(Store::connect(&PostgresOptions::from_url(&url)?).await?).await;
    }
    let folder = place.map_or_else(|| std::env::temp_dir().join("livery-store-bench"), Into::into);
    std::fs::create_dir_all(&folder).map_err(livery_core::Error::internal)?;
    let path = folder.join(format!("bench-{}.db", std::process::id()));
    measure(Store::open(&path, Options::default()).await?).await?;
    for end in ["db", "lock", "db-wal", "db-shm"] {
        drop(std::fs::remove_file(path.with_extension(end)));
    }
    Ok(())
}

async fn measure(store: Store) -> Result<()> {
    seed(&store).await?;
    for writers in [1, 8, 32, 128] {
        let (elapsed, mut waits) = accept(&store, writers, if writers == 1 { RUNS / 10 } else { RUNS }).await?;
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        let rate = waits.len() as f64 / elapsed.as_secs_f64();
        println!("accept, {writers:3} writers: {rate:7.0} runs/s, p50 {:?}, p99 {:?}", at(50), at(99));
    }
    whole_runs(&store).await?;
    reads(&store).await?;
    store.close().await;
    println!("resident: {}", resident());
    Ok(())
}

async fn seed(store: &Store) -> Result<()> {
    store
        .write(|tx| {
            async move {
                let org = OrganizationRow {
                    id: ORG,
                    name: "bench".into(),
                    max_concurrent_runs: None,
                    created_at: NOW,
                    minimum_tier: None,
                };
                tx.insert_organization(&org).await?;
                let app =
                    ApplicationRow { id: APP, org: ORG, name: "bench".into(), created_at: NOW, minimum_tier: None };
                tx.insert_application(&app).await?;
                let agent = NewAgent {
                    id: AGENT,
                    org: ORG,
                    application: Some(APP),
                    name: "hello".into(),
                    digest: "0".repeat(64),
                    manifest: Json::of(&"{}")?,
                    agent_md: "hello".repeat(100),
                    files: Vec::new(),
                    created_at: NOW,
                };
                tx.insert_agent_version(&agent).await.map(drop)
            }
            .boxed()
        })
        .await
}

/// What accepting one run writes: the row, its first event, its queue entry, an idempotency answer; and one look for
/// webhooks.
async fn accept_one(store: &Store, bits: u128) -> Result<()> {
    let at = NOW.plus_millis(i64::try_from(bits).unwrap_or(0));
    let run = NewRun {
        id: RunId::from_bits(bits),
        org: ORG,
        application: Some(APP),
        end_user: None,
        agent_id: AGENT,
        agent_name: "hello".into(),
        agent_version: Some(1),
        input: Json::of(&serde_json::json!({"month": "2026-10", "note": "x".repeat(200)}))?,
        model: "scripted/hello".into(),
        sandbox: Json::of(&serde_json::json!({"tier": "container"}))?,
        limits: Limits::default(),
        metadata: Json::of(&serde_json::json!({}))?,
        connections: Json::of(&serde_json::json!({}))?,
        webhook: None,
        pricing: Pricing::Free,
        created_at: at,
        schedule: None,
        trigger: None,
        start_at: None,
        origin: None,
        minimum_tier: None,
    };
    store
        .write(move |tx| {
            async move {
                let key = livery_store::IdempotencyKey {
                    org: ORG,
                    scope: "key_1 POST /v1/runs".into(),
                    key: run.id.to_string(),
                    fingerprint: "f".repeat(64),
                };
                let queued =
                    NewEvent::new(EventType::RunQueued, "key_1", at, &serde_json::json!({"agent": "hello@1"}))?;
                tx.insert_run(&run, &[queued]).await?;
                tx.enqueue(ORG, run.id, at).await?;
                tx.matching_webhooks(ORG, Some(APP), "run.queued").await?;
                let answer = livery_store::Answer { status: 202, headers: Vec::new(), body: vec![b'x'; 600] };
                tx.idempotency_store(&key, &answer, at, at.plus_millis(86_400_000)).await.map(drop)
            }
            .boxed()
        })
        .await
}

async fn accept(store: &Store, writers: u128, runs: u128) -> Result<(Duration, Vec<Duration>)> {
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut waits = Vec::new();
                for index in 0..runs / writers {
                    let asked = Instant::now();
                    accept_one(&store, (writers << 40) | (index << 10) | writer).await?;
                    waits.push(asked.elapsed());
                }
                Ok::<_, livery_store::Error>(waits)
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.map_err(livery_core::Error::internal)??);
    }
    Ok((started.elapsed(), waits))
}

/// A run's life in the log after it was accepted: claimed, eight events in six writes, finished; 50 at a time.
async fn whole_runs(store: &Store) -> Result<()> {
    let started = Instant::now();
    let mut done = 0usize;
    while done < 5000 {
        let claim = store.write(|tx| {
            async move {
                tx.system_claim_runs("bench", NOW.plus_millis(i64::MAX / 2000), NOW.plus_millis(i64::MAX / 1500), 50)
                    .await
            }
            .boxed()
        });
        let claimed = claim.await?;
        done += claimed.len();
        let runs = claimed.into_iter().map(|claimed| one_life(store, claimed.lease));
        for result in futures_util::future::join_all(runs).await {
            result?;
        }
    }
    let rate = done as f64 / started.elapsed().as_secs_f64();
    println!("whole runs in the log, 50 at a time: {rate:.0} runs/s");
    Ok(())
}

async fn one_life(store: &Store, lease: Lease) -> Result<()> {
    let event = |kind| NewEvent::new(kind, "worker", NOW, &serde_json::json!({"text": "x".repeat(300)}));
    for kinds in [
        vec![EventType::RunStarted, EventType::ModelRequested],
        vec![EventType::ModelResponded],
        vec![EventType::ToolRequested, EventType::ToolStarted],
        vec![EventType::ToolFinished, EventType::ModelRequested],
        vec![EventType::ModelResponded],
    ] {
        let events = kinds.into_iter().map(event).collect::<Result<Vec<_>>>()?;
        store.write(move |tx| async move { tx.append_run_events(&lease, &events).await }.boxed()).await?;
    }
    let end = Terminal {
        status: RunStatus::Succeeded,
        output: Some(Json::of(&serde_json::json!({"text": "done"}))?),
        error: None,
        usage: Usage::default(),
        cost: Cost::default(),
        finished_at: NOW,
    };
    let last = [event(EventType::RunSucceeded)?];
    store.write(move |tx| async move { tx.finish_run(&lease, &end, &last).await }.boxed()).await.map(drop)
}

async fn reads(store: &Store) -> Result<()> {
    let times = 5000;
    let started = Instant::now();
    for _ in 0..times {
        store.list_runs(ORG, &RunFilter::default(), &Page { limit: 20, cursor: None }).await?;
    }
    println!("list of 20 runs: {:?}", started.elapsed() / times);
    let started = Instant::now();
    for index in 0..times {
        store.get_run(ORG, RunId::from_bits((8 << 40) | (u128::from(index % 100) << 10))).await?;
    }
    println!("one run: {:?}", started.elapsed() / times);
    let started = Instant::now();
    for _ in 0..times {
        store.system_find_api_key(&[1; 32]).await?;
    }
    println!("a key that is not there: {:?}", started.elapsed() / times);
    Ok(())
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("unknown").to_owned()
}
