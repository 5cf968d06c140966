//! Whether the object store takes writes, asked for at a pace of its own: `/readyz` reads the last answer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::Failure;
use crate::Platform;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The last answer.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Option<Failure>>);

impl Health {
    /// What is wrong, as far as is known.
    pub(crate) fn trouble(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes an answer; `true`: it differs from the one before.
    fn note(&self, answer: Option<Failure>) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *last != answer;
        *last = answer;
        changed
    }
}

/// Asks until the node stops, and says in the log when the answer changes.
pub(crate) async fn watch(platform: Platform) {
    let node = platform.identity.id.to_string();
    while !platform.stop.is_cancelled() {
        let asked = timeout(ANSWER_MAX, platform.objects.check(&node)).await.unwrap_or(Err(Failure::Slow));
        let trouble = asked.err();
        if platform.objects_health.note(trouble.clone()) {
            match trouble {
                Some(trouble) => {
                    tracing::error!(%trouble, "the object store cannot be written; uploads are refused and runs wait")
                }
                None => tracing::info!("the object store can be written again"),
            }
        }
        tokio::select! {
            () = platform.stop.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
