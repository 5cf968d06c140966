//! Parsed agents that are kept at hand: so many, and so many bytes of them, whatever callers send.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Agents kept of a kind.
const AGENTS_MAX: usize = 512;
/// Bytes of their folders, all together.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Things by key, each with its weight in bytes.
pub(crate) struct Cache<K, V>(Mutex<Kept<K, V>>);

struct Kept<K, V> {
    values: HashMap<K, Arc<V>>,
    bytes: usize,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Kept { values: HashMap::new(), bytes: 0 }))
    }
}

impl<K: Eq + Hash, V> Cache<K, V> {
    /// Keeps a value. What is too heavy by itself is not kept; what has no room makes all others go.
    pub(crate) fn remember(&self, key: K, value: &Arc<V>, bytes: usize) {
        if bytes > BYTES_MAX {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.values.len() >= AGENTS_MAX || kept.bytes + bytes > BYTES_MAX {
            kept.values.clear();
            kept.bytes = 0;
        }
        kept.bytes += bytes;
        // Put twice by two who met: counted twice, which only makes it go sooner.
        kept.values.insert(key, Arc::clone(value));
    }

    /// What was kept under a key.
    pub(crate) fn recall(&self, key: &K) -> Option<Arc<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values.get(key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{AGENTS_MAX, BYTES_MAX, Cache};

    #[test]
    fn bytes_are_bounded_like_the_number() {
        let cache = Cache::default();
        let value = Arc::new(());
        for key in 0..4 {
            cache.remember(key, &value, BYTES_MAX / 4);
        }
        assert!((0..4).all(|key| cache.recall(&key).is_some()));
        cache.remember(4, &value, 1);
        assert!(cache.recall(&0).is_none() && cache.recall(&4).is_some(), "no room: the others went");
        cache.remember(5, &value, BYTES_MAX + 1);
        assert!(cache.recall(&5).is_none() && cache.recall(&4).is_some(), "too heavy by itself");
        for key in 10..10 + AGENTS_MAX {
            cache.remember(key, &value, 0);
        }
        assert!(cache.recall(&4).is_none());
    }
}
