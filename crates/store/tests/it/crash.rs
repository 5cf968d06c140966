//! `kill -9` in the middle of writes: whatever was acknowledged is there afterwards, whole, and the file opens at once.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use livery_core::event::EventType;
use livery_core::id::RunId;
use livery_store::{Options, Store};

use crate::world::{Tenant, World, accepted, new_run};

/// Names the database for the child; unset in an ordinary test run.
const CHILD_DATABASE: &str = "LIVERY_STORE_CRASH_DATABASE";
/// Acknowledgements after which the child is killed, per round.
const ACKNOWLEDGED: [usize; 4] = [1, 37, 200, 700];

/// Not a test of its own: the process that gets killed. Writes from eight tasks and prints each id once it was
/// acknowledged, until it is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn crash_child() {
    let Some(path) = std::env::var_os(CHILD_DATABASE) else { return };
    let store = Store::open(Path::new(&path), Options::default()).await.unwrap();
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

fn acknowledged_before_kill(path: &PathBuf, count: usize) -> Vec<RunId> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::crash_child", "--nocapture"])
        .env(CHILD_DATABASE, path)
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
        ids.extend(tokio::task::spawn_blocking(move || acknowledged_before_kill(&path, count)).await.unwrap());
    }
    assert!(ids.len() >= ACKNOWLEDGED.iter().sum());
    let store = Store::open(&path, Options::default()).await.unwrap();
    for id in ids {
        let run = store.get_run(org, id).await.unwrap().unwrap_or_else(|| panic!("{id} was acknowledged and is gone"));
        let events = store.events_after(org, id, 0, 10).await.unwrap();
        assert_eq!((run.last_seq, events.len(), events[0].event_type), (1, 1, EventType::RunQueued));
    }
}
