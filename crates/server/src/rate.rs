//! How often one API key may call: a token bucket per key, in memory, per node.
//!
//! The key of the first start is not counted: its principal says so.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use livery_core::Error;
use livery_core::id::KeyId;
use livery_platform::Principal;
use tokio::time::Instant;

use crate::options::RATE_KEYS_MAX;

/// What a key has left, for the `RateLimit` fields (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    burst: u32,
    per_s: u32,
    remaining: u32,
}

impl Allowance {
    /// Writes `RateLimit-Policy` and `RateLimit`.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        // The bucket refills completely within this window.
        let window_s = self.burst.div_ceil(self.per_s.max(1)).max(1);
        let policy = format!("\"default\";q={};w={window_s}", self.burst);
        // One second refills `per_s` requests, so more quota is never further away.
        let state = format!("\"default\";r={};t=1", self.remaining);
        for (name, text) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

/// All keys seen lately. The state of one is the moment at which its bucket will be full again.
#[derive(Debug)]
pub(crate) struct Buckets<K = KeyId> {
    per_s: u32,
    burst: u32,
    full_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new(per_s: u32, burst: u32) -> Self {
        Self { per_s: per_s.max(1), burst: burst.max(1), full_at: Mutex::default() }
    }

    /// Takes one request out of a bucket, and says what is missing in it now.
    ///
    /// # Errors
    /// [`Error::Limited`] when it is empty; `who` begins the sentence.
    pub(crate) fn draw(&self, key: K, who: &str, now: Instant) -> Result<Duration, Error> {
        let each = Duration::from_secs(1) / self.per_s;
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= RATE_KEYS_MAX {
            full_at.retain(|_, moment| *moment > now);
        }
        let later = full_at.get(&key).copied().unwrap_or(now).max(now) + each;
        if later - now > each * self.burst {
            let detail = format!("{who} {} requests a second", self.per_s);
            return Err(Error::Limited { code: "rate_limited", detail, retry_after_s: 1 });
        }
        full_at.insert(key, later);
        Ok(later - now)
    }
}

impl Buckets {
    /// Takes one request out of the caller's bucket; `None` for a caller who has none.
    ///
    /// # Errors
    /// [`Error::Limited`] when the bucket is empty.
    pub(crate) fn take(&self, principal: &Principal, now: Instant) -> (Option<Allowance>, Result<(), Error>) {
        if !principal.rate_limited {
            return (None, Ok(()));
        }
        let each = Duration::from_secs(1) / self.per_s;
        let drawn = self.draw(principal.key, "this API key may make", now);
        let missing = *drawn.as_ref().unwrap_or(&(each * self.burst));
        let used = u32::try_from(missing.as_nanos().div_ceil(each.as_nanos().max(1))).unwrap_or(u32::MAX);
        let remaining = self.burst.saturating_sub(used);
        (Some(Allowance { burst: self.burst, per_s: self.per_s, remaining }), drawn.map(drop))
    }
}

#[cfg(test)]
mod tests;
