//! Leases with a held clock: renewed too late, lost, given back, kept by a node through its own death; and runs that cannot
//! be set up, or that nobody survives.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use livery_core::id::{RunId, SnapshotId, WorkspaceId};
use livery_core::{Error, ErrorCode, Event, EventType, RunError, RunStatus, Timestamp};
use livery_store::{ClaimedRun, Holder, Kept, Lease, NewEvent, NewSnapshot, Progress, RunRow, Terminal};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::running::Running;
use super::step::Step;
use super::workspace::Save;
use super::{claim, drive, go_on, leases, setdown};
use crate::end_users::NewEndUser;
use crate::runs::StartRun;
use crate::testing::{Node, parts};
use crate::webhooks::Outbox;
use crate::{Platform, Posted};

/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30);
/// Another node.
const STRANGER: &str = "nod_stranger/1";
/// A model that answers at once, and one that does not within any test.
const QUICK: &str = "dHVybnM6IFt7dGV4dDogaGl9XQ==";
const SLOW: &str = "dHVybnM6IFt7dGV4dDogaGksIGRlbGF5X21zOiA2MDAwMDB9XQ==";

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
}

impl Node {
    async fn new() -> Self {
        Self::at(at(0)).await
    }

    /// A run of an agent that plays `script`, in the queue.
    async fn queued(&self, script: &str) -> RunId {
        let agent_md = "---\nname: hello\nmodel: scripted/a\ntools: []\n---\nHi.\n";
        let body = json!({"agent": {"agent_md": agent_md, "files": {"scripts/a.yaml": script}}});
        let request: StartRun = serde_json::from_value(body).unwrap();
        match self.platform.start_run(&self.caller, request).await.unwrap() {
            Posted::Fresh(view) => view.id,
            Posted::Replayed(_) => unreachable!("no key was sent"),
        }
    }

    /// The same, held by this node.
    async fn claimed(&self, script: &str) -> ClaimedRun {
        self.queued(script).await;
        claim(&self.platform, 10).await.unwrap().pop().unwrap()
    }

    /// What another node finds to take at this moment.
    async fn taken_by_stranger(&self) -> Vec<ClaimedRun> {
        let now = self.clock.now();
        let until = now.plus_millis(leases::lease_ms(&self.platform));
        let write = self
            .platform
            .store
            .write(move |tx| Box::pin(async move { tx.system_claim_runs(STRANGER, now, until, 10).await }));
        write.await.unwrap()
    }

    async fn row(&self, run: RunId) -> RunRow {
        self.platform.store.get_run(self.caller.principal.org, run).await.unwrap().unwrap()
    }

    async fn events(&self, run: RunId) -> Vec<Event> {
        self.platform.store.events_after(self.caller.principal.org, run, 0, 1000).await.unwrap()
    }

    async fn data_of(&self, run: RunId, kind: &str) -> Vec<Value> {
        let events = self.events(run).await.into_iter().filter(|event| event.event_type.as_str() == kind);
        events.map(|event| serde_json::to_value(event).unwrap()["data"].clone()).collect()
    }

    async fn holder(&self, lease: Lease) -> Holder {
        self.platform.store.run_holder(lease.org, lease.run).await.unwrap()
    }
}

async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

#[tokio::test]
async fn a_renewal_that_is_late_keeps_what_nobody_took() {
    let node = Node::new().await;
    let run = node.claimed(SLOW).await;
    let entry = node.platform.running.enter(run.lease);
    node.clock.set(at(100));
    leases::renew(&node.platform).await.unwrap();
    assert!(!entry.signals.lost.is_cancelled());
    assert!(node.taken_by_stranger().await.is_empty(), "renewed before anybody looked");
    node.clock.set(at(109));
    assert_eq!(node.taken_by_stranger().await.len(), 1);
}

#[tokio::test]
async fn a_renewal_that_is_late_loses_what_somebody_took_and_takes_nothing_back() {
    let node = Node::new().await;
    let run = node.claimed(SLOW).await;
    let entry = node.platform.running.enter(run.lease);
    node.clock.set(at(9));
    let taken = node.taken_by_stranger().await;
    assert_eq!((taken[0].run.recoveries, taken[0].lease.epoch), (1, run.lease.epoch + 1));
    leases::renew(&node.platform).await.unwrap();
    assert!(entry.signals.lost.is_cancelled());
    assert_eq!(node.holder(run.lease).await, Holder::Node(STRANGER.into()));
    assert!(node.platform.is_elsewhere(run.lease).await);
    assert!(claim(&node.platform, 10).await.unwrap().is_empty());
}

/// The worker looks for work before its heartbeat comes: after a pause, both are due at once.
#[tokio::test]
async fn a_claim_after_a_pause_renews_first_and_learns_what_is_lost() {
    let node = Node::new().await;
    let (kept, lost) = (node.claimed(SLOW).await, node.claimed(SLOW).await);
    let entries = [kept.lease, lost.lease].map(|lease| node.platform.running.enter(lease));
    leases::renew(&node.platform).await.unwrap();
    node.clock.set(at(9));
    assert_eq!(node.taken_by_stranger().await.len(), 2);
    // One of them was given back meanwhile by whoever had it: it is not the earlier life's for that.
    let (lease, now) = (Lease { epoch: kept.lease.epoch + 1, ..kept.lease }, at(9));
    let give = node.platform.store.write(move |tx| Box::pin(async move { tx.release_run(&lease, now).await }));
    give.await.unwrap();
    let claimed = claim(&node.platform, 10).await.unwrap();
    assert_eq!(claimed.iter().map(|claim| claim.run.id).collect::<Vec<_>>(), [kept.run.id]);
    assert!(entries.iter().all(|entry| entry.signals.lost.is_cancelled()), "told at once, not a heartbeat later");
    assert!(!node.platform.is_elsewhere(kept.lease).await && node.platform.is_elsewhere(lost.lease).await);
}

#[tokio::test]
async fn a_lost_run_is_let_go_in_the_middle_of_its_model_call() {
    let node = Node::new().await;
    let run = node.claimed(SLOW).await;
    let lease = run.lease;
    let driven = tokio::spawn(drive::drive(node.platform.clone(), run));
    within(async {
        while node.data_of(lease.run, "model.requested").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    node.clock.set(at(9));
    assert_eq!(node.taken_by_stranger().await.len(), 1);
    let before = node.events(lease.run).await;
    leases::renew(&node.platform).await.unwrap();
    within(driven).await.unwrap();
    assert!(node.platform.running.is_empty());
    assert_eq!(node.events(lease.run).await, before, "not a word more");
    assert_eq!(node.holder(lease).await, Holder::Node(STRANGER.into()));
}

#[tokio::test]
async fn a_node_that_stops_gives_its_runs_back_and_that_is_no_recovery() {
    let node = Node::new().await;
    let run = node.claimed(SLOW).await;
    let lease = run.lease;
    let driven = tokio::spawn(drive::drive(node.platform.clone(), run));
    within(async {
        while node.data_of(lease.run, "model.requested").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    node.platform.stop.cancel();
    within(driven).await.unwrap();
    assert_eq!(node.holder(lease).await, Holder::Nobody);
    let taken = node.taken_by_stranger().await;
    assert_eq!((taken.len(), taken[0].run.recoveries), (1, 0));
}

#[tokio::test]
async fn a_node_goes_on_with_the_runs_of_its_earlier_life_at_once() {
    let node = Node::new().await;
    let lease = node.claimed(QUICK).await.lease;
    let foreign = node.queued(QUICK).await;
    assert_eq!(node.taken_by_stranger().await[0].run.id, foreign);
    // Killed: nothing is given back.
    let Node { platform, caller, clock, data } = node;
    platform.store.clone().close().await;
    drop(platform);
    let platform = Platform::open(parts(&data, &clock)).await.unwrap();
    let mut runs = JoinSet::new();
    go_on(&platform, &mut runs).await;
    assert_eq!(runs.len(), 1, "its own, long before the lease runs out, and no other's");
    within(runs.join_all()).await;
    let node = Node { platform, caller, clock, data };
    let row = node.row(lease.run).await;
    assert_eq!((row.status, row.recoveries, row.lease_epoch), (RunStatus::Succeeded, 1, lease.epoch + 1));
    assert_eq!(node.row(foreign).await.status, RunStatus::Running);
}

#[tokio::test]
async fn a_run_that_cannot_be_set_up_is_put_off_longer_each_time_and_then_fails() {
    let node = Node::new().await;
    let mut run = node.claimed(QUICK).await;
    let passing = || RunError::retryable(ErrorCode::Internal, "the files cannot be reached".to_owned());
    let mut second = 0;
    for times in 1..=20 {
        setdown::set_down(&node.platform, run.lease, &run.run, passing()).await;
        assert_eq!(node.row(run.run.id).await.status, RunStatus::Running);
        assert!(claim(&node.platform, 10).await.unwrap().is_empty(), "not before its time");
        second += 61;
        node.clock.set(at(second));
        run = claim(&node.platform, 10).await.unwrap().pop().unwrap();
        assert_eq!(node.data_of(run.run.id, "log.written").await.len(), times);
    }
    setdown::set_down(&node.platform, run.lease, &run.run, passing()).await;
    let row = node.row(run.run.id).await;
    let error = row.error.unwrap();
    assert_eq!((row.status, error.code, row.recoveries), (RunStatus::Failed, ErrorCode::Internal, 0));
    assert!(error.message.contains("the files cannot be reached (20 times in a row)"), "{}", error.message);
}

#[tokio::test]
async fn a_run_that_nobody_survives_ends() {
    let node = Node::new().await;
    let run = node.claimed(QUICK).await.run.id;
    let most = i64::from(node.platform.config.recoveries_max);
    for time in 1..=most {
        node.clock.set(at(9 * time));
        assert_eq!(node.taken_by_stranger().await.len(), 1);
    }
    node.clock.set(at(9 * (most + 1)));
    let claimed = claim(&node.platform, 10).await.unwrap().pop().unwrap();
    within(Box::pin(drive::drive(node.platform.clone(), claimed))).await;
    let row = node.row(run).await;
    let error = row.error.unwrap();
    assert_eq!((row.status, error.code), (RunStatus::Failed, ErrorCode::Internal));
    assert!(error.message.contains("interrupted 6 times"), "{}", error.message);
    assert_eq!(node.data_of(run, "run.failed").await.len(), 1);
    assert!(node.taken_by_stranger().await.is_empty());
}

#[test]
fn a_later_life_of_a_run_takes_the_place_of_the_earlier_one() {
    let running = Running::default();
    let lease =
        |epoch| Lease { org: livery_core::id::OrgId::from_bits(1), run: livery_core::id::RunId::from_bits(2), epoch };
    let first = running.enter(lease(1));
    assert!(!running.is_succeeded(lease(1)));
    let second = running.enter(lease(2));
    assert!(first.signals.lost.is_cancelled(), "it can write nothing any more");
    assert!(running.is_succeeded(lease(1)), "its sandbox is not its own to end any more");
    assert!(!running.is_succeeded(lease(2)));
    running.lose(lease(1));
    drop(first);
    assert!(!second.signals.lost.is_cancelled() && running.has(lease(2).run), "the later life is untouched");
    drop(second);
    assert!(running.is_empty());
}

/// A person's shell is where the sandbox is: on another node, nowhere, or no longer.
#[tokio::test]
async fn a_shell_that_has_no_sandbox_here_is_refused_with_where_to_ask() {
    let node = Node::new().await;
    let run = node.claimed(SLOW).await.lease.run;
    let new = || crate::shell::NewShell { command: None, columns: 80, rows: 24, plain: false };
    let open = async || {
        let of = node.platform.shell_of(&node.caller, run).await.unwrap();
        match of.open(new()).await {
            Err(Error::Conflict { code, detail }) => (code, detail),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it is open"),
        }
    };
    let _entry = node.platform.running.enter(Lease { org: node.caller.principal.org, run, epoch: 1 });
    assert_eq!(open().await.0, "no_sandbox");
    node.clock.set(at(100));
    assert_eq!(node.taken_by_stranger().await.len(), 1);
    let (code, detail) = open().await;
    assert!(code == "run_elsewhere" && detail.contains("works on nod_stranger,"), "{code}: {detail}");
    let mut stranger = node.caller.clone();
    stranger.on_behalf_of = Some(livery_core::id::EndUserId::from_bits(1));
    assert!(matches!(node.platform.shell_of(&stranger, run).await, Err(Error::NotFound { .. })));
    stranger.principal.scopes.retain(|scope| *scope != crate::Scope::RunsShell);
    assert!(matches!(node.platform.shell_of(&stranger, run).await, Err(Error::Forbidden { .. })));
    let audited = node.platform.store.org_events_after(node.caller.principal.org, 0, 1000).await.unwrap();
    assert!(audited.iter().all(|event| !event.event_type.contains("shell")), "what is refused is not opened");
}

#[tokio::test]
async fn a_run_ends_although_the_database_refuses_its_workspace() {
    let node = Node::new().await;
    let run = node.claimed(QUICK).await;
    let platform = &node.platform;
    let new = NewEndUser { external_id: "ada".to_owned(), name: None, application: None };
    let Posted::Fresh(user) = platform.create_end_user(&node.caller, new).await.unwrap() else { unreachable!() };
    let (org, lease, now) = (run.lease.org, run.lease, at(0));
    let workspace = WorkspaceId::from_bits(platform.mint());
    let packed = platform.objects.spool_bytes("a workspace", bytes::Bytes::from_static(b"tgz")).await.unwrap();
    let file = platform.keep_file(org, None, "workspace.tgz", "application/gzip", &packed).await.unwrap();
    let id = SnapshotId::from_bits(platform.mint());
    let new = NewSnapshot { org, workspace, id, run: None, file, quota_bytes: 100, at: now };
    let twin = new.clone();
    let user = user.id;
    let written = platform.store.write(move |tx| {
        Box::pin(async move {
            tx.open_workspace(org, workspace, "hello", user, now).await?;
            tx.save_workspace(None, &twin).await
        })
    });
    assert_eq!(written.await.unwrap(), Kept::Current);
    // The same one again has an id that is there already.
    let save = Save::of(new);
    let (event_type, data) = save.event();
    assert_eq!(event_type, EventType::WorkspaceSaved);
    let events = vec![
        NewEvent::new(event_type, "worker", now, &data).unwrap(),
        NewEvent::new(EventType::RunSucceeded, "worker", now, &json!({"output": {}})).unwrap(),
    ];
    let (usage, cost) = (run.run.usage, run.run.cost);
    let end = Terminal { status: RunStatus::Succeeded, output: None, error: None, usage, cost, finished_at: now };
    let step = Step {
        platform: platform.clone(),
        lease,
        head: run.run.last_seq,
        events,
        spilled: Vec::new(),
        artifacts: Vec::new(),
        progress: Progress { usage, cost },
        end: Some(end),
        approval: None,
        save: Some((0, save)),
        given_up: OnceLock::new(),
        outbox: Outbox::of_run(platform.clone(), &run.run).unwrap(),
    };
    Arc::new(step).commit(&CancellationToken::new()).await.unwrap();
    assert_eq!(node.row(lease.run).await.status, RunStatus::Succeeded);
    let unsaved = node.data_of(lease.run, "workspace.unsaved").await;
    assert_eq!(
        unsaved,
        [json!({"workspace": workspace, "code": "conflict", "message": "the database refused the new state"})]
    );
    assert!(node.data_of(lease.run, "workspace.saved").await.is_empty());
}
