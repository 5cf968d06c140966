//! `kill -9` in the middle of writes: whatever was acknowledged is there afterwards, whole, and the file opens at once.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use livery_core::event::EventType;
use livery_core::id::{OrgId, RunId};
use livery_store::{Error, Options, Store};
use livery_testkit::postgres::Options as ServerOptions;

use crate::server::{options, server};
use crate::world::{Tenant, World, accepted, event, new_run, tenant};

/// Names the database for the child; unset in an ordinary test run.
const CHILD_DATABASE: &str = "LIVERY_STORE_CRASH_DATABASE";
/// How often the server is killed, and after how many writes.
const ROUNDS: usize = 4;
const WRITES_BEFORE_KILL: usize = 150;
/// Acknowledgements after which the child is killed, per round.
const ACKNOWLEDGED: [usize; 4] = [1, 37, 200, 700];

/// Not a test of its own: the process that gets killed. Writes from eight tasks and prints each id once it was
/// acknowledged, until it is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn crash_child() {
    let Ok(place) = std::env::var(CHILD_DATABASE) else { return };
    let store = if place.starts_with("postgres:") {
        Store::connect(&options(&place)).await.unwrap()
    } else {
        Store::open(Path::new(&place), Options::default()).await.unwrap()
    };
    let tenant = tenant_of(&store).await;
    let tasks = (0..8).map(|task| {
        let (store, tenant) = (store.clone(), tenant.clone());
        tokio::spawn(async move {
            loop {
                let mut run = new_run(&tenant);
                run.id = RunId::from_bits(run.id.bits() | (task << 64) | (u128::from(std::process::id()) << 80));
                let id = accepted(&store, run).await;
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {id}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    futures_util::future::join_all(tasks).await;
}

async fn tenant_of(store: &Store) -> Tenant {
    let org = store.system_list_organizations(&livery_store::Page::default()).await.unwrap().data.remove(0).id;
    let app = store.list_applications(org).await.unwrap().remove(0).id;
    let agent = store.find_agent(org, "hello", &livery_store::AgentSelector::Latest).await.unwrap().unwrap();
    Tenant { org, app, agent }
}

fn acknowledged_before_kill(place: &OsStr, count: usize) -> Vec<RunId> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::crash_child", "--nocapture"])
        .env(CHILD_DATABASE, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledged = |line: String| {
        // The harness prints its own words on the same line as the first acknowledgement.
        line.split_once("acknowledged ").map(|(_, id)| id.parse::<RunId>().unwrap())
    };
    let mut ids = Vec::new();
    while ids.len() < count {
        let line = lines.next().expect("the child goes on until it is killed").unwrap();
        ids.extend(acknowledged(line));
    }
    child.kill().unwrap();
    // What it still said before it died was acknowledged, too; its last line may be cut.
    let rest: Vec<String> = lines.map_while(Result::ok).filter(|line| line.len() > 40).collect();
    ids.extend(rest.into_iter().filter_map(acknowledged));
    child.wait().unwrap();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_kill_9() {
    let world = World::sqlite().await;
    let (path, org) = (world.path(), tenant_of(&world.store).await.org);
    world.store.clone().close().await;
    let mut ids = Vec::new();
    for count in ACKNOWLEDGED {
        let path = path.clone();
        // The lock of the first store, and then of each child, is gone with its process.
        ids.extend(
            tokio::task::spawn_blocking(move || acknowledged_before_kill(path.as_os_str(), count)).await.unwrap(),
        );
    }
    assert!(ids.len() >= ACKNOWLEDGED.iter().sum());
    let store = Store::open(&path, Options::default()).await.unwrap();
    all_there(&store, org, &ids).await;
}

async fn all_there(store: &Store, org: OrgId, ids: &[RunId]) {
    for id in ids {
        let run = store.get_run(org, *id).await.unwrap().unwrap_or_else(|| panic!("{id} was acknowledged and is gone"));
        let events = store.events_after(org, *id, 0, 10).await.unwrap();
        assert_eq!((run.last_seq, events.len(), events[0].event_type), (1, 1, EventType::RunQueued));
    }
}

/// The client's process dies in the middle of writes: Postgres undoes what was not committed, and keeps what was.
#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_to_postgres_survives_the_kill_of_its_process() {
    let Some(postgres) = server(ServerOptions::default()).await else { return };
    let url = postgres.create_database("house").unwrap();
    let store = Store::connect(&options(&url)).await.unwrap();
    let org = tenant(&store).await.org;
    let mut ids = Vec::new();
    for count in ACKNOWLEDGED {
        let url = url.clone();
        ids.extend(tokio::task::spawn_blocking(move || acknowledged_before_kill(url.as_ref(), count)).await.unwrap());
    }
    assert!(ids.len() >= ACKNOWLEDGED.iter().sum());
    all_there(&store, org, &ids).await;
    store.close().await;
}

/// The server dies in the middle of writes, several times. What was acknowledged is there; what was answered `Unavailable`
/// or `Busy` is not; only an `Unknown` may be either. The store heals by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgres_loses_nothing_it_acknowledged() {
    let Some(mut postgres) = server(ServerOptions::default()).await else { return };
    let url = postgres.create_database("house").unwrap();
    let store = Store::connect(&options(&url)).await.unwrap();
    let tenant = tenant(&store).await;
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (store, tenant, begun, stop) =
                    (store.clone(), tenant.clone(), Arc::clone(&begun), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut outcomes = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let run = new_run(&tenant);
                        let id = run.id;
                        let write = store.write(move |tx| {
                            async move { tx.insert_run(&run, &[event(EventType::RunQueued, 1)]).await }.boxed()
                        });
                        let outcome = write.await;
                        begun.fetch_add(1, Ordering::Relaxed);
                        outcomes.push((id, outcome));
                    }
                    outcomes
                })
            })
            .collect();
        while begun.load(Ordering::Relaxed) < WRITES_BEFORE_KILL {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        postgres = tokio::task::spawn_blocking(move || {
            postgres.kill().unwrap();
            postgres.start_again().unwrap();
            postgres
        })
        .await
        .unwrap();
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            for (id, outcome) in task.await.unwrap() {
                match outcome {
                    Ok(()) => acknowledged.push(id),
                    Err(Error::Unavailable { .. } | Error::Busy { .. }) => refused.push(id),
                    Err(Error::Unknown { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    assert!(
        acknowledged.len() >= WRITES_BEFORE_KILL && !refused.is_empty(),
        "{} {}",
        acknowledged.len(),
        refused.len()
    );
    // The first write on each connection that died may still meet it.
    let healed = async {
        while store.write(|tx| async move { tx.system_set_meta("healed", "yes").await }.boxed()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), healed).await.unwrap();
    all_there(&store, tenant.org, &acknowledged).await;
    for id in refused {
        assert!(store.get_run(tenant.org, id).await.unwrap().is_none(), "{id} was refused and is there");
    }
    store.close().await;
}
