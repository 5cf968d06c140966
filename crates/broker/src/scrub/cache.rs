//! Matchers kept per credential version: building one costs more than scanning a usual answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use livery_core::id::OrgId;

use super::Matcher;
use crate::Secret;

/// Matchers kept; the one used longest ago makes room.
const KEPT_MAX: usize = 128;

type Key = (OrgId, String, u32);

/// What an owner belongs to: the part before the `/`.
pub(crate) fn belongs_to(owner: &str) -> &str {
    owner.split_once('/').map_or(owner, |(id, _)| id)
}

/// What of an owner is shown: the part behind the `/`.
pub(crate) fn shown(owner: &str) -> &str {
    owner.split_once('/').map_or(owner, |(_, slug)| slug)
}

#[derive(Default)]
pub(crate) struct MatcherCache {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    clock: u64,
}

struct Entry {
    matcher: Arc<Matcher>,
    used: u64,
}

impl MatcherCache {
    /// The matcher of this credential version, built if need be; `None` when no secret is long enough to be searched for.
    ///
    /// The secrets are compared with those the matcher was made from, so a version number used twice is no leak.
    pub(crate) fn get(&self, tenant: OrgId, owner: &str, version: u32, secrets: &[Secret]) -> Option<Arc<Matcher>> {
        let secrets: Vec<&Secret> = secrets.iter().collect();
        let key = (tenant, owner.to_owned(), version);
        if let Some(found) = self.look_up(&key, &secrets) {
            return Some(found);
        }
        let matcher = Arc::new(Matcher::new(&secrets, shown(owner))?);
        self.keep(key, Arc::clone(&matcher));
        Some(matcher)
    }

    /// Forgets every version of a credential: after a rotation or deletion.
    pub(crate) fn forget(&self, tenant: OrgId, owner: &str) {
        self.locked(|entries| entries.by_key.retain(|key, _| key.0 != tenant || belongs_to(&key.1) != owner));
    }

    fn look_up(&self, key: &Key, secrets: &[&Secret]) -> Option<Arc<Matcher>> {
        self.locked(|entries| {
            entries.clock += 1;
            let now = entries.clock;
            let entry = entries.by_key.get_mut(key).filter(|entry| entry.matcher.is_for(secrets))?;
            entry.used = now;
            Some(Arc::clone(&entry.matcher))
        })
    }

    fn keep(&self, key: Key, matcher: Arc<Matcher>) {
        self.locked(|entries| {
            if entries.by_key.len() >= KEPT_MAX && !entries.by_key.contains_key(&key) {
                let oldest = entries.by_key.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
                if let Some(oldest) = oldest {
                    entries.by_key.remove(&oldest);
                }
            }
            let used = entries.clock;
            entries.by_key.insert(key, Entry { matcher, used });
        });
    }

    fn locked<T>(&self, act: impl FnOnce(&mut Entries) -> T) -> T {
        act(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
