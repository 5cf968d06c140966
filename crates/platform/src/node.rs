//! This node among others: the id and the lock of its data directory, the roles it has, what it says of itself.
//!
//! A node is a data directory and the process on it. Its id is made once and kept there; every process on it is a new
//! **life**. Leases are held as `NODE/LIFE`, so that a new life knows what the one before it held, and nobody waits for that
//! to run out. Nothing has to be said to join or to leave: a node that is not seen any more is gone.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use livery_core::id::NodeId;
use livery_core::{Error, Result, Timestamp};
use livery_store::NodeRow;
use serde::Serialize;

use crate::{Page, Platform, Principal, Scope};

/// Where the id is kept, below the data directory.
const ID_FILE: &str = "node.id";
/// What keeps a second process out of the data directory.
const LOCK_FILE: &str = "node.lock";
/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(5);
/// The same where no other node can look.
const BEAT_ALONE: Duration = Duration::from_secs(60);
/// Not seen for so long: gone.
const GONE_AFTER_MS: i64 = 3 * 5_000;
/// Rows of nodes that are gone are kept so long, for people to see.
pub(crate) const KEPT_MS: i64 = 3_600_000;

/// The end of a message about a role that is none.
const ROLES_THERE_ARE: &str = "there are api, worker, delivery and maintenance";

/// What a node does; see `docs/cluster.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Serves the API. Without it a node answers only whether it lives, whether it is ready, and its metrics.
    pub api: bool,
    /// Works on runs. Without it no launcher is needed.
    pub worker: bool,
    /// Delivers webhooks.
    pub delivery: bool,
    /// Takes its turn at the chores of the cluster: schedules, purges, sweeps.
    pub maintenance: bool,
}

impl Roles {
    /// The ordinary node.
    pub const ALL: Self = Self { api: true, worker: true, delivery: true, maintenance: true };

    const fn named(self) -> [(&'static str, bool); 4] {
        [("api", self.api), ("worker", self.worker), ("delivery", self.delivery), ("maintenance", self.maintenance)]
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.named().into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut roles = Self { api: false, worker: false, delivery: false, maintenance: false };
        for name in text.split(',').map(str::trim) {
            match name {
                "" => return Err(format!("a role is missing in `{text}`; {ROLES_THERE_ARE}")),
                "api" => roles.api = true,
                "worker" => roles.worker = true,
                "delivery" => roles.delivery = true,
                "maintenance" => roles.maintenance = true,
                other => return Err(format!("`{other}` is no role; {ROLES_THERE_ARE}")),
            }
        }
        Ok(roles)
    }
}

/// Who this process is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: NodeId,
    pub(crate) life: String,
    /// `NODE/LIFE`, as leases have it.
    pub(crate) owner: String,
    _lock: File,
}

impl Identity {
    /// Locks the data directory and reads its node's id, or makes one. `bits` are new ones: for the life, and for a first id.
    pub(crate) fn open(data_dir: &Path, bits: u128) -> Result<Self> {
        let lock = lock(&data_dir.join(LOCK_FILE))?;
        let path = data_dir.join(ID_FILE);
        let id = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                unusable(format!("{} holds no node id; remove it, and a new one is made", path.display()))
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let id = NodeId::from_bits(bits);
                write(&path, id).map_err(|error| unusable(format!("cannot write {}: {error}", path.display())))?;
                id
            }
            Err(error) => return Err(unusable(format!("cannot read {}: {error}", path.display()))),
        };
        // The low half is random; the high one is mostly the time.
        let life = format!("{:016x}", bits & u128::from(u64::MAX));
        Ok(Self { id, owner: format!("{id}/{life}"), life, _lock: lock })
    }
}

fn unusable(detail: String) -> Error {
    Error::Unavailable { detail, retry_after_s: 0 }
}

fn lock(path: &Path) -> Result<File> {
    livery_store::lock::hold(path).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => {
            unusable(format!("another process uses this data directory ({} is locked)", path.display()))
        }
        _ => unusable(format!("cannot lock {}: {error}", path.display())),
    })
}

/// The whole id or none.
fn write(path: &Path, id: NodeId) -> std::io::Result<()> {
    let aside = path.with_extension("part");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
    writeln!(file, "{id}")?;
    file.sync_data()?;
    std::fs::rename(&aside, path)
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It takes work.
    Up,
    /// It takes no more work and ends what it has.
    Draining,
    /// It was not seen for a while.
    Gone,
}

/// A node, as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// Its id, kept in its data directory.
    pub id: NodeId,
    /// Its name, for people.
    pub name: String,
    /// How it is.
    pub state: NodeState,
    /// What it does.
    pub roles: Vec<String>,
    /// Where its API listens.
    pub address: Option<String>,
    /// Its version.
    pub version: String,
    /// When its process started.
    pub started_at: Timestamp,
    /// When it was last seen.
    pub seen_at: Timestamp,
}

impl NodeView {
    fn of(row: NodeRow, now: Timestamp, gone_after_ms: i64) -> Self {
        let state = match row.draining {
            _ if row.seen_at.plus_millis(gone_after_ms) < now => NodeState::Gone,
            true => NodeState::Draining,
            false => NodeState::Up,
        };
        Self {
            id: row.id,
            name: row.name,
            state,
            roles: row.roles.split(',').map(str::to_owned).collect(),
            address: row.address,
            version: row.version,
            started_at: row.started_at,
            seen_at: row.seen_at,
        }
    }
}

impl Platform {
    /// The nodes that take part, and those that did lately.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without the scope `nodes:read`.
    pub async fn nodes(&self, principal: &Principal) -> Result<Page<NodeView>> {
        principal.require(Scope::NodesRead)?;
        let now = self.clock.now();
        let gone_after_ms = GONE_AFTER_MS.max(i64::try_from(3 * self.beat().as_millis()).unwrap_or(i64::MAX));
        let rows = self.store.system_nodes().await?;
        let data = rows.into_iter().map(|row| NodeView::of(row, now, gone_after_ms)).collect();
        Ok(Page { data, next_cursor: None })
    }

    fn beat(&self) -> Duration {
        if self.store.is_embedded() { BEAT_ALONE } else { BEAT }
    }

    /// Says that this life begins.
    pub(crate) async fn join(&self) -> Result<()> {
        let now = self.clock.now();
        let row = NodeRow {
            id: self.identity.id,
            name: self.config.node.clone(),
            life: self.identity.life.clone(),
            roles: self.config.roles.to_string(),
            address: self.config.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            draining: false,
            started_at: now,
            seen_at: now,
        };
        Ok(self.store.write(move |tx| Box::pin(async move { tx.system_register_node(&row).await })).await?)
    }

    /// Says that this life goes on.
    pub(crate) async fn say_alive(&self) {
        let (id, life, now, draining) =
            (self.identity.id, self.identity.life.clone(), self.clock.now(), self.stop.is_cancelled());
        let write =
            self.store.write(move |tx| Box::pin(async move { tx.system_node_seen(id, &life, now, draining).await }));
        let told = match write.await {
            Ok(true) => return,
            Ok(false) => self.store.system_nodes().await.map(|rows| rows.into_iter().any(|row| row.id == id)),
            Err(error) => Err(error),
        };
        match told {
            Ok(true) => tracing::error!(
                node = %id,
                "another process says that it is this node; was the data directory copied? Remove its {ID_FILE} there"
            ),
            // It has said goodbye.
            Ok(false) if self.drained.is_cancelled() => {}
            // Its row was swept while it could not write.
            Ok(false) => drop(self.join().await),
            Err(error) => tracing::warn!(%error, "this node cannot say that it lives"),
        }
    }

    /// Says that this life ends. A node that cannot say it is gone after a while all the same.
    pub(crate) async fn leave(&self) {
        let (id, life) = (self.identity.id, self.identity.life.clone());
        let left = self.store.write(move |tx| Box::pin(async move { tx.system_node_left(id, &life).await })).await;
        if let Err(error) = left {
            tracing::debug!(%error, "this node cannot say that it leaves");
        }
    }
}

/// Says that this node lives, until it has drained; and at once when it begins to drain.
pub(crate) async fn keep_row(platform: Platform) {
    let mut told = false;
    loop {
        tokio::select! {
            () = platform.drained.cancelled() => return,
            () = platform.stop.cancelled(), if !told => told = true,
            () = tokio::time::sleep(platform.beat()) => {}
        }
        platform.say_alive().await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, Roles};

    #[test]
    fn roles_are_read_as_they_are_written() {
        assert_eq!(Roles::ALL.to_string().parse(), Ok(Roles::ALL));
        let some: Roles = "api, delivery".parse().unwrap();
        assert_eq!(some.to_string(), "api,delivery");
        assert!("api,brain".parse::<Roles>().unwrap_err().contains("`brain`"));
        for empty in ["", " ", ",", "api,", "worker,,api"] {
            assert!(empty.parse::<Roles>().unwrap_err().contains("a role is missing"), "{empty}");
        }
    }

    #[test]
    fn a_data_directory_keeps_its_id_and_has_one_process() {
        let data = tempfile::tempdir().unwrap();
        let first = Identity::open(data.path(), 1).unwrap();
        let refused = Identity::open(data.path(), 2).unwrap_err();
        assert!(refused.to_string().contains("another process"), "{refused}");
        let (id, owner) = (first.id, first.owner.clone());
        drop(first);
        let second = Identity::open(data.path(), 3).unwrap();
        assert_eq!(second.id, id);
        assert_ne!(second.owner, owner);
        drop(second);
        std::fs::write(data.path().join("node.id"), "rubbish").unwrap();
        assert!(Identity::open(data.path(), 4).unwrap_err().to_string().contains("holds no node id"));
    }
}
