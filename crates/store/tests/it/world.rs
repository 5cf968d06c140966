//! A store of its own for one test, with two tenants in it, and short words for making things.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use livery_core::event::EventType;
use livery_core::id::{AgentId, AppId, OrgId, RunId};
use livery_core::run::{Cost, Limits, Pricing, Usage};
use livery_core::{RunStatus, Timestamp};
use livery_store::{
    AgentRow, ApplicationRow, ClaimedRun, Json, Lease, NewAgent, NewEvent, NewRun, Options, OrganizationRow, Result,
    Store, Terminal, Tx,
};
use serde_json::json;

use crate::server::Database;

/// Counts up, so that ids and times are unique and in order.
static COUNTER: AtomicU64 = AtomicU64::new(1);

/// Bits for a new id.
pub(crate) fn bits() -> u128 {
    u128::from(COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A moment, in seconds since the test's own beginning of time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + seconds * 1_000_000)
}

/// A tenant with an application and an agent.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) org: OrgId,
    pub(crate) app: AppId,
    pub(crate) agent: AgentRow,
}

/// A store and its tenants.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) one: Tenant,
    pub(crate) two: Tenant,
    place: Place,
}

/// Where the store keeps its data.
pub(crate) enum Place {
    Folder(tempfile::TempDir),
    Database(Database),
}

impl Place {
    async fn open(&self) -> Store {
        match self {
            Self::Folder(folder) => Store::open(&folder.path().join("livery.db"), Options::default()).await.unwrap(),
            Self::Database(database) => Store::connect(&database.options()).await.unwrap(),
        }
    }
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        Self::at(Place::Folder(tempfile::tempdir().unwrap())).await
    }

    /// `None`, after saying so, without a server on this machine.
    pub(crate) async fn postgres() -> Option<Self> {
        Some(Self::at(Place::Database(Database::new().await?)).await)
    }

    async fn at(place: Place) -> Self {
        let store = place.open().await;
        let (one, two) = (tenant(&store).await, tenant(&store).await);
        Self { store, one, two, place }
    }

    /// Closes the store and opens it again.
    pub(crate) async fn reopened(self) -> Self {
        self.store.close().await;
        let store = self.place.open().await;
        Self { store, ..self }
    }

    /// The file of an embedded store.
    pub(crate) fn path(&self) -> std::path::PathBuf {
        match &self.place {
            Place::Folder(folder) => folder.path().join("livery.db"),
            Place::Database(_) => panic!("this store has no file"),
        }
    }

    /// Another node on the same database.
    pub(crate) async fn other_node(&self) -> Store {
        self.place.open().await
    }

    /// One write, unwrapped.
    pub(crate) async fn write<T, F>(&self, operation: F) -> T
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
    {
        self.store.write(operation).await.unwrap()
    }

    /// Accepts and queues a run of the first tenant.
    pub(crate) async fn queued(&self) -> RunId {
        queued(&self.store, new_run(&self.one)).await
    }

    /// Accepts a run of the first tenant and takes it.
    pub(crate) async fn running(&self) -> Lease {
        self.queued().await;
        let claimed = self.claim("worker", 10, 1).await;
        assert_eq!(claimed.len(), 1);
        claimed[0].lease
    }

    /// Claims as `owner` at second `now`; leases last 30 seconds.
    pub(crate) async fn claim(&self, owner: &'static str, now: i64, max: u32) -> Vec<ClaimedRun> {
        self.write(move |tx| async move { tx.system_claim_runs(owner, at(now), at(now + 30), max).await }.boxed()).await
    }
}

pub(crate) async fn tenant(store: &Store) -> Tenant {
    let (org, app, agent) = (OrgId::from_bits(bits()), AppId::from_bits(bits()), AgentId::from_bits(bits()));
    store
        .write(move |tx| {
            async move {
                let row = OrganizationRow {
                    id: org,
                    name: "org".into(),
                    max_concurrent_runs: None,
                    created_at: at(0),
                    minimum_tier: None,
                };
                tx.insert_organization(&row).await?;
                tx.insert_application(&ApplicationRow {
                    id: app,
                    org,
                    name: "app".into(),
                    created_at: at(0),
                    minimum_tier: None,
                })
                .await?;
                let (agent, _) = tx.insert_agent_version(&new_agent(org, app, agent, "hello", "d1")).await?;
                Ok(Tenant { org, app, agent })
            }
            .boxed()
        })
        .await
        .unwrap()
}

pub(crate) fn new_agent(org: OrgId, app: AppId, id: AgentId, name: &str, digest: &str) -> NewAgent {
    NewAgent {
        id,
        org,
        application: Some(app),
        name: name.into(),
        digest: digest.into(),
        manifest: Json::of(&json!({"name": name})).unwrap(),
        agent_md: "---\nname: hello\n---\nSay hello.\n".into(),
        files: vec![livery_store::AgentFile {
            path: "scripts/a.yaml".into(),
            mode: 0o644,
            bytes: b"turns: []".to_vec(),
        }],
        created_at: at(0),
    }
}

pub(crate) fn new_run(tenant: &Tenant) -> NewRun {
    let bits = bits();
    NewRun {
        id: RunId::from_bits(bits),
        org: tenant.org,
        application: Some(tenant.app),
        end_user: None,
        agent_id: tenant.agent.id,
        agent_name: tenant.agent.name.clone(),
        agent_version: tenant.agent.version,
        input: Json::of(&json!({"month": "2026-10"})).unwrap(),
        model: "scripted/hello".into(),
        sandbox: Json::of(&json!({"tier": "container"})).unwrap(),
        limits: Limits { timeout_s: Some(60), ..Limits::default() },
        metadata: Json::of(&json!({})).unwrap(),
        connections: Json::of(&json!({})).unwrap(),
        webhook: None,
        pricing: Pricing::Free,
        created_at: at(i64::try_from(bits).unwrap()),
        schedule: None,
        trigger: None,
        start_at: None,
        origin: None,
        minimum_tier: None,
    }
}

pub(crate) fn event(event_type: EventType, number: u64) -> NewEvent {
    NewEvent::new(event_type, "worker", at(20), &json!({"number": number})).unwrap()
}

pub(crate) fn ended(status: RunStatus) -> Terminal {
    Terminal {
        status,
        output: Some(Json::of(&json!({"text": "hello"})).unwrap()),
        error: None,
        usage: Usage { turns: 3, ..Usage::default() },
        cost: Cost::default(),
        finished_at: at(50),
    }
}

pub(crate) async fn accepted(store: &Store, run: NewRun) -> RunId {
    store
        .write(move |tx| {
            async move { tx.insert_run(&run, &[event(EventType::RunQueued, 1)]).await.map(|()| run.id) }.boxed()
        })
        .await
        .unwrap()
}

pub(crate) async fn queued(store: &Store, run: NewRun) -> RunId {
    store
        .write(move |tx| {
            async move {
                tx.insert_run(&run, &[event(EventType::RunQueued, 1)]).await?;
                tx.enqueue(run.org, run.id, at(0)).await?;
                Ok(run.id)
            }
            .boxed()
        })
        .await
        .unwrap()
}

pub(crate) async fn append(store: &Store, lease: Lease, number: u64) -> Result<u64> {
    store
        .write(move |tx| {
            async move { tx.append_run_events(&lease, &[event(EventType::LogWritten, number)]).await }.boxed()
        })
        .await
}

pub(crate) async fn finish(store: &Store, lease: Lease, status: RunStatus) -> Result<u64> {
    store
        .write(move |tx| {
            async move { tx.finish_run(&lease, &ended(status), &[event(EventType::RunSucceeded, 0)]).await }.boxed()
        })
        .await
}
