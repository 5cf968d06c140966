//! What a worker gets for the slots of a run, and the one place where a value is opened to be sent.

use std::collections::BTreeMap;

use livery_broker::{Credential, Secret, Slot};
use livery_core::connector::Connector;
use livery_core::id::{ConnectionId, OrgId};
use livery_core::{Error, Result, Timestamp};
use livery_store::{ConnectionRow, ConnectionStatus, RunRow};

use super::mint::owner_of;
use super::tokens::needs_reauth;
use super::{VALUE_FIELD, auth_of, settled};
use crate::Platform;

/// How often a use is written down, in milliseconds.
const TOUCH_INTERVAL_MS: u64 = 60_000;

/// A slot's connection, without its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// Which connection.
    pub connection: ConnectionId,
    /// Its version when it was looked at; a rotation counts it up.
    pub version: u32,
    /// Its name: what stands in place of its value in `[REDACTED:NAME]`.
    pub slug: String,
    /// Where the value may go, in which slot, with which constant headers.
    pub connector: Connector,
}

impl Platform {
    /// The connections of a run's slots as they are now. One that was revoked is among them: what it is good for is said
    /// when it is used.
    ///
    /// # Errors
    /// Those of the database; [`Error::Conflict`] when a connector no longer takes a connection's settings.
    pub async fn bound_connections(&self, run: &RunRow) -> Result<BTreeMap<String, Bound>> {
        let ids: BTreeMap<String, ConnectionId> = run.connections.parse()?;
        let mut bound = BTreeMap::new();
        for (slot, id) in ids {
            let row = self.store.get_connection(run.org, id).await?.filter(|row| is_for(row, run));
            let row = row.ok_or(Error::NotFound { what: "connection" })?;
            let connector = settled(&row)?;
            bound.insert(slot, Bound { connection: id, version: row.version, slug: row.name, connector });
        }
        Ok(bound)
    }

    /// Opens a connection's present value, or the token it is exchanged for, for one request. The row is read anew each time, so a revoked connection gives
    /// nothing from that moment on, and a rotated one its new value.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] when it is revoked or has to be authorised again; [`Error::Unavailable`] when
    /// whoever gives tokens out gives none now.
    pub(crate) async fn materialise(&self, org: OrgId, connection: ConnectionId) -> Result<Credential> {
        let row = self.store.get_connection(org, connection).await?.ok_or(Error::NotFound { what: "connection" })?;
        self.credential_of(&row).await
    }

    /// The value of a row that was just read.
    pub(super) async fn credential_of(&self, row: &ConnectionRow) -> Result<Credential> {
        check_usable(row)?;
        let now = self.clock.now();
        // What is shown is a version of what is sent: of the value, or of the token it was exchanged for.
        let (secret, version) = match auth_of(row)?.is_exchanged() {
            true => Box::pin(self.access_token(row)).await?,
            false => (self.open_value(row).await?, row.version),
        };
        if row.last_used_at.is_none_or(|last| now.millis_since(last) >= TOUCH_INTERVAL_MS) {
            self.store.touch_connection(row.org, row.id, now);
        }
        let slot = Slot::of(&settled(row)?.slot).map_err(Error::internal)?;
        // Pools and caches go by the id; answers show the name.
        Ok(Credential { slot, secret, owner: owner_of(row), version, at: now })
    }

    /// Seals a value for a row and the version it is going to have.
    pub(super) async fn seal_value(
        &self,
        org: OrgId,
        connection: ConnectionId,
        version: u32,
        value: &Secret,
        now: Timestamp,
    ) -> Result<String> {
        let id = connection.to_string();
        self.vault.seal_version(&self.store, org, (&id, VALUE_FIELD, version), value, now).await
    }
}

/// Checked when the run was accepted, and again at every use.
fn is_for(row: &ConnectionRow, run: &RunRow) -> bool {
    (row.application.is_none() || row.application == run.application)
        && (row.end_user.is_none() || row.end_user == run.end_user)
}

fn check_usable(row: &ConnectionRow) -> Result<()> {
    match row.status {
        ConnectionStatus::Active if row.sealed_value.is_some() => Ok(()),
        ConnectionStatus::NeedsReauth => Err(needs_reauth()),
        _ => Err(Error::Conflict { code: "conflict", detail: "the connection is revoked".to_owned() }),
    }
}
