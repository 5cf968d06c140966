//! Idle connections, kept apart by tenant, credential version and origin, and the count of calls in flight.
//!
//! A connection is never shared across the parts of its key, so nothing an upstream ties to a connection (an authenticated
//! state, a session) reaches another tenant or outlives a rotation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use livery_core::id::OrgId;
use tokio::time::Instant;

use super::Limits;
use super::wire::Wire;
use crate::guard::{Host, Scheme};
use crate::scrub::belongs_to;
use crate::{Error, Result};

/// What two calls must share to share a connection.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) tenant: OrgId,
    pub(super) credential: Option<(String, u32)>,
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
}

struct Idle {
    wire: Wire,
    since: Instant,
}

/// The pool. All methods are short and never wait.
pub(super) struct Pool {
    idle: Mutex<HashMap<PoolKey, Vec<Idle>>>,
    in_flight: Mutex<HashMap<OrgId, usize>>,
    limits: Limits,
}

impl Pool {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), in_flight: Mutex::default(), limits })
    }

    /// The most recently used live connection for this key. One that several can use at a time stays here, too.
    pub(super) fn take(&self, key: &PoolKey) -> Option<Wire> {
        let mut idle = lock(&self.idle);
        let list = idle.get_mut(key)?;
        let mut found = None;
        while let Some(candidate) = list.pop() {
            if candidate.is_fresh(self.limits.idle_connection) {
                if let Some(shared) = candidate.wire.share() {
                    list.push(Idle { wire: shared, since: Instant::now() });
                }
                found = Some(candidate.wire);
                break;
            }
        }
        if list.is_empty() {
            idle.remove(key);
        }
        found
    }

    /// Keeps a connection for the next call, unless the pool is full even without the stale ones.
    pub(super) fn put(&self, key: PoolKey, wire: Wire) {
        let mut idle = lock(&self.idle);
        idle.retain(|_, list| {
            list.retain(|entry| entry.is_fresh(self.limits.idle_connection));
            !list.is_empty()
        });
        let total: usize = idle.values().map(Vec::len).sum();
        let list = idle.get(&key).map_or(0, Vec::len);
        if total < self.limits.idle_total_max && list < self.limits.idle_per_origin_max {
            idle.entry(key).or_default().push(Idle { wire, since: Instant::now() });
        }
    }

    /// Drops every idle connection of a credential: for a rotation or a revocation.
    pub(super) fn forget(&self, tenant: OrgId, owner: &str) {
        lock(&self.idle).retain(|key, _| {
            key.tenant != tenant || key.credential.as_ref().is_none_or(|(name, _)| belongs_to(name) != owner)
        });
    }

    /// Counts a call in, or refuses it.
    pub(super) fn enter(self: &Arc<Self>, tenant: OrgId) -> Result<Permit> {
        let mut in_flight = lock(&self.in_flight);
        let count = in_flight.entry(tenant).or_default();
        if *count >= self.limits.in_flight_per_tenant_max {
            return Err(Error::Busy);
        }
        *count += 1;
        Ok(Permit { pool: Arc::clone(self), tenant })
    }
}

impl Idle {
    fn is_fresh(&self, limit: Duration) -> bool {
        self.since.elapsed() < limit && !self.wire.is_closed()
    }
}

/// One call in flight; dropping it counts it out.
pub(crate) struct Permit {
    pool: Arc<Pool>,
    tenant: OrgId,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut in_flight = lock(&self.pool.in_flight);
        if let Some(count) = in_flight.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                in_flight.remove(&self.tenant);
            }
        }
    }
}

/// A panic while the lock was held left the map whole: every change here is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
