//! [`Platform`]: the handle everybody above holds, and what it is made of.

use std::sync::Arc;
use std::time::Duration;

use livery_broker::{Broker, BrokerConfig};
use livery_core::id::RequestId;
use livery_core::{Error, Result, Timestamp};
use livery_sandbox::Sandboxes;
use livery_store::Store;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agents::AgentCache;
use crate::connections::Tokens;
use crate::database::Database;
use crate::duties::Duties;
use crate::ids::Ids;
use crate::keys::KeyCache;
use crate::live::LiveBus;
use crate::metrics::Metrics;
use crate::node::Identity;
use crate::objects::{self, Objects};
use crate::policies::PolicySets;
use crate::providers::EnvironmentProviders;
use crate::runs::Tails;
use crate::startup::Startup;
use crate::vault::{RootKeys, Vault};
use crate::worker::Running;
use crate::{Clock, Config, Roles};

/// Runs that are set up at a time; each may hold a long log in memory.
const SETUPS_MAX: usize = 32;
/// How long giving runs back may take once their sandboxes are gone.
const GIVE_BACK_MAX: Duration = Duration::from_secs(5);

/// Everything one node is made of, as `livery` hands it over.
pub struct Parts {
    /// Limits and places.
    pub config: Config,
    /// Where everything but files and workspaces is kept.
    pub database: Database,
    /// The time.
    pub clock: Clock,
    /// What may be dialled.
    pub broker: BrokerConfig,
    /// The root keys of the vault.
    pub root_keys: RootKeys,
    /// Providers set in the environment; used where an organization has none of that name.
    pub environment: EnvironmentProviders,
    /// The sandboxes of this host; without them, runs that need one fail as `sandbox_unavailable`.
    pub sandboxes: Option<Sandboxes>,
}

/// The engine of one node. Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    pub(crate) inner: Arc<Inner>,
}

/// What [`Platform`] shares with its own tasks. Opaque outside.
pub struct Inner {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) identity: Identity,
    pub(crate) duties: Duties,
    pub(crate) store: Store,
    /// Files, artifacts, copies of workspaces.
    pub(crate) objects: Objects,
    pub(crate) objects_health: objects::Health,
    pub(crate) broker: Broker,
    pub(crate) vault: Vault,
    pub(crate) environment: EnvironmentProviders,
    pub(crate) sandboxes: Option<Sandboxes>,
    pub(crate) live: LiveBus,
    pub(crate) tails: Tails,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) running: Running,
    /// Rings on this node when a run that waited for its time may start.
    pub(crate) runs_due: Notify,
    /// Runs that are being set up: after a restart there may be a thousand at once.
    pub(crate) setups: Semaphore,
    pub(crate) keys: KeyCache,
    pub(crate) agents: AgentCache,
    pub(crate) tokens: Tokens,
    pub(crate) policies: PolicySets,
    pub(crate) tasks: TaskTracker,
    /// Tasks that outlast a drain, which does not wait for them.
    pub(crate) until_drained: TaskTracker,
    /// Cancelled when this node begins to drain: it takes no more work.
    pub(crate) stop: CancellationToken,
    /// Cancelled when what it had is given back: whoever waits for something here is to ask another node.
    pub(crate) drained: CancellationToken,
}

impl std::ops::Deref for Platform {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Platform {
    /// Opens the data directory. Nothing runs yet; [`Platform::start`] does that.
    ///
    /// # Errors
    /// When the database, the root key or the broker's configuration cannot be used.
    pub async fn open(parts: Parts) -> Result<Self> {
        let Parts { config, database, clock, broker, root_keys, environment, sandboxes } = parts;
        let ids = Ids::default();
        let (data_dir, bits) = (config.data_dir.clone(), ids.mint(clock.now()));
        let opened = tokio::task::spawn_blocking(move || Identity::open(&data_dir, bits));
        let identity = opened.await.map_err(Error::internal)??;
        let metrics = Arc::new(Metrics::new(clock.now()));
        let startup = Startup::begin(database.is_embedded());
        let store = database.open(metrics.clone(), startup).await?;
        let vault = Vault::open(&store, root_keys, startup).await?;
        let objects = Objects::open(&config.objects, &config.data_dir, broker.upstream_ca.as_deref()).await?;
        let broker =
            Broker::new(broker).map_err(|error| Error::Unavailable { detail: error.to_string(), retry_after_s: 0 })?;
        let inner = Inner {
            config,
            clock,
            ids,
            identity,
            duties: Duties::default(),
            store,
            objects,
            objects_health: objects::Health::default(),
            broker,
            vault,
            environment,
            sandboxes,
            live: LiveBus::default(),
            tails: Tails::default(),
            metrics,
            running: Running::default(),
            runs_due: Notify::new(),
            setups: Semaphore::new(SETUPS_MAX),
            keys: KeyCache::default(),
            agents: AgentCache::default(),
            tokens: Tokens::default(),
            policies: PolicySets::default(),
            tasks: TaskTracker::new(),
            until_drained: TaskTracker::new(),
            stop: CancellationToken::new(),
            drained: CancellationToken::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Starts the tasks of this node's roles: working on runs, delivering webhooks, cleaning up. What an earlier life of this
    /// node had begun goes on at once: its process is gone, so nobody else holds that.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn start(&self) -> Result<()> {
        let works = self.config.roles.worker;
        let startup = Startup::begin(self.store.is_embedded());
        startup.step(|| self.join()).await?;
        startup.step(|| self.void_earlier_lives()).await?;
        self.until_drained.spawn(crate::node::keep_row(self.clone()));
        self.tasks.spawn(objects::watch(self.clone()));
        if works {
            self.tasks.spawn(crate::worker::work(self.clone()));
            self.tasks.spawn(crate::runs::wake_delayed(self.clone()));
        }
        if self.config.roles.delivery {
            self.tasks.spawn(crate::webhooks::deliver(self.clone()));
        }
        if self.config.roles.maintenance {
            self.tasks.spawn(crate::schedules::keep_time(self.clone()));
            self.tasks.spawn(crate::triggers::forget_deliveries(self.clone()));
        }
        self.tasks.spawn(crate::housekeeping::keep_house(self.clone()));
        Ok(())
    }

    /// Nobody but this node's earlier processes holds these, and they are gone.
    async fn void_earlier_lives(&self) -> Result<()> {
        let (owner, works) = (self.identity.owner.clone(), self.config.roles.worker);
        let voided = self.store.write(move |tx| {
            Box::pin(async move {
                tx.system_expire_own_delivery_claims(&owner).await?;
                // A node that works takes its own runs itself, before others can; see `worker`.
                if works { Ok(0) } else { tx.system_expire_own_leases(&owner).await }
            })
        });
        Ok(voided.await.map(drop)?)
    }

    /// Takes no more work, gives running work until the drain limit to reach a safe point, and gives back what did not end:
    /// another node takes it at once, or this one after its next start. Everything else is served meanwhile; at the end,
    /// followers and waiters are sent away.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(self.config.drain, self.tasks.wait()).await.is_err() {
            tracing::warn!("work did not reach a safe point in {:?}; tools under way are ended", self.config.drain);
        }
        if let Some(sandboxes) = &self.sandboxes
            && let Err(error) = sandboxes.shutdown().await
        {
            tracing::warn!(%error, "the launcher did not end in order; the next start sweeps what it left");
        }
        // Without their sandboxes the tools are over, and their runs are given back.
        if tokio::time::timeout(GIVE_BACK_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!("some work could not be given back; others take it when its lease runs out");
        }
        self.drained.cancel();
    }

    /// Drains, if nobody did, and closes the store.
    pub async fn shutdown(self) {
        if !self.drained.is_cancelled() {
            self.drain().await;
        }
        self.until_drained.close();
        // Whatever it still writes is about this node alone.
        let _ = tokio::time::timeout(GIVE_BACK_MAX, self.until_drained.wait()).await;
        self.leave().await;
        self.store.clone().close().await;
    }

    /// What this node does.
    pub fn roles(&self) -> Roles {
        self.config.roles
    }

    /// A new id for a request that brought none.
    pub fn new_request_id(&self) -> RequestId {
        RequestId::from_bits(self.mint())
    }

    /// The time of this node.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Bits for a new id of any kind.
    pub(crate) fn mint(&self) -> u128 {
        self.ids.mint(self.clock.now())
    }
}
