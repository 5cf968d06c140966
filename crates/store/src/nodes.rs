//! Nodes: who takes part in this database, as each says of itself. Nothing depends on a row here: leases decide who works.

use livery_core::Timestamp;
use livery_core::id::NodeId;

use crate::error::Result;
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Nodes listed at most.
const NODES_MAX: u32 = 1000;

statements! {
    REGISTER = "insert into nodes (id, name, life, roles, address, version, draining, started_at, seen_at)
        values ($1, $2, $3, $4, $5, $6, 0, $7, $7)
        on conflict (id) do update set name = excluded.name, life = excluded.life, roles = excluded.roles,
            address = excluded.address, version = excluded.version, draining = 0, started_at = excluded.started_at,
            seen_at = excluded.seen_at";
    SEEN = "update nodes set seen_at = $3, draining = $4 where id = $1 and life = $2";
    LEAVE = "delete from nodes where id = $1 and life = $2";
    GONE = "delete from nodes where seen_at < $1";
    LIST = "select id, name, life, roles, address, version, draining, started_at, seen_at from nodes
        order by id limit $1";
}

/// A node, as it said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Kept in its data directory.
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// The process: another one on the same data directory has another.
    pub life: String,
    /// What it does, separated by commas.
    pub roles: String,
    /// Where its API listens.
    pub address: Option<String>,
    /// Its version.
    pub version: String,
    /// Whether it takes no more work.
    pub draining: bool,
    /// When this life began.
    pub started_at: Timestamp,
    /// When it last said that it lives.
    pub seen_at: Timestamp,
}

impl FromRow for NodeRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            name: row.take()?,
            life: row.take()?,
            roles: row.take()?,
            address: row.take()?,
            version: row.take()?,
            draining: row.take()?,
            started_at: row.take()?,
            seen_at: row.take()?,
        })
    }
}

impl Tx {
    /// Says that this node begins a life; `draining` and `seen_at` of the row are set by it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_register_node(&mut self, row: &NodeRow) -> Result<()> {
        let args = args![
            row.id,
            row.name.clone(),
            row.life.clone(),
            row.roles.clone(),
            row.address.clone(),
            row.version.clone(),
            row.started_at,
        ];
        self.execute(REGISTER, args).await.map(drop)
    }

    /// Says that this life of a node goes on. `false`: another life has taken its place, or the row was swept.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_node_seen(&mut self, id: NodeId, life: &str, now: Timestamp, draining: bool) -> Result<bool> {
        Ok(self.execute(SEEN, args![id, life.to_owned(), now, draining]).await? == 1)
    }

    /// Says that this life of a node ends.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_node_left(&mut self, id: NodeId, life: &str) -> Result<()> {
        self.execute(LEAVE, args![id, life.to_owned()]).await.map(drop)
    }

    /// Removes nodes that were not seen since `before`; how many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_sweep_nodes(&mut self, before: Timestamp) -> Result<u64> {
        self.execute(GONE, args![before]).await
    }
}

impl Store {
    /// The nodes that take part or took part lately, at most a thousand.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_nodes(&self) -> Result<Vec<NodeRow>> {
        self.fetch_all(Lane::Scan, LIST, args![NODES_MAX]).await
    }
}
