//! Small chores that keep a long-lived node tidy: answers past their day go.

use std::time::Duration;

use crate::Platform;

/// How often the chores are done.
const EVERY: Duration = Duration::from_secs(300);

/// Does the chores until the node stops.
pub(crate) async fn keep_house(platform: Platform) {
    while !platform.stop.is_cancelled() {
        purge_answers(&platform).await;
        tokio::select! {
            () = platform.stop.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn purge_answers(platform: &Platform) {
    loop {
        let now = platform.clock.now();
        match platform.store.write(move |tx| Box::pin(async move { tx.system_purge_idempotency(now).await })).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "old idempotency answers cannot be purged");
                return;
            }
        }
    }
}
