//! `Idempotency-Key` as an upstream that honours it: the first good answer under a key is kept and given again.
//!
//! Refused: a key that comes back with another body. A client that does so has not repeated its request.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use livery_llm::stream::ModelResponse;

use crate::listener::Received;

/// The most keys kept; then keeping begins anew, and the count says so.
const KEYS_MAX: usize = 200_000;

/// What came of requests with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyCounts {
    /// Answered for the first time: an effect each.
    pub performed: u64,
    /// Answered again from what was kept: no effect.
    pub repeated: u64,
    /// Refused: the body was another one.
    pub refused: u64,
    /// How often everything kept was forgotten to make room.
    pub forgotten: u64,
}

/// Answers by key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    kept: HashMap<String, (u64, ModelResponse)>,
    pub(super) counts: KeyCounts,
}

/// What is known of a request's key.
#[derive(Debug)]
pub(super) enum Known {
    /// Nothing, or there is none.
    Nothing,
    /// The same request was answered so.
    Same(ModelResponse),
    /// Another request had it.
    Other,
}

impl Keys {
    pub(super) fn find(&mut self, received: &Received) -> Known {
        let Some((hash, answer)) = key_of(received).and_then(|key| self.kept.get(key)) else { return Known::Nothing };
        if *hash != hash_of(&received.body) {
            self.counts.refused += 1;
            return Known::Other;
        }
        self.counts.repeated += 1;
        Known::Same(answer.clone())
    }

    /// Keeps the answer, when there is a key and none is kept yet.
    pub(super) fn keep(&mut self, received: &Received, answer: &ModelResponse) {
        let Some(key) = key_of(received).filter(|key| !self.kept.contains_key(*key)) else { return };
        if self.kept.len() >= KEYS_MAX {
            self.kept.clear();
            self.counts.forgotten += 1;
        }
        self.counts.performed += 1;
        self.kept.insert(key.to_owned(), (hash_of(&received.body), answer.clone()));
    }
}

fn key_of(received: &Received) -> Option<&str> {
    received.headers.get("idempotency-key")?.to_str().ok()
}

fn hash_of(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}
