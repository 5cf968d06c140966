//! Requests of a program to the hosts that its agent names: no connection, no secret, and the same log as for all that leaves.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use livery_broker::proxy::{Answered, Asked, Refusal};
use livery_core::RunError;
use serde_json::json;

use super::Door;
use super::answer::{Under, relay};
use super::gate::{GivenUp, RunGate};
use super::told::{Entry, Outcome};

/// How long a request waits for the next look whether it may go: these are slowed down, not refused, as nobody asked for them
/// one by one.
const PACE: Duration = Duration::from_millis(20);

impl RunGate {
    /// Sends a request to a host of the list. The intent of one that may change something is in the log before it leaves, that of
    /// any other before its answer is used.
    pub(super) async fn straight(&self, door: Arc<Door>, asked: Asked) -> Result<Answered, Refusal> {
        tokio::select! {
            () = self.wait_for_pace() => {}
            () = door.closed() => return Err(OVER),
        }
        let host = asked.target.host().to_string();
        let mut leaving = self.direct.prepare(asked).await?;
        let place = leaving.turn.take().ok_or(Refusal::Busy)?;
        let (entry, account, is_safe) = (Arc::new(Entry::direct()), leaving.account.take(), leaving.is_safe());
        let requested = entry.requested(&leaving.facts, &json!({"rule": "network"}));
        let written = door.write(vec![requested], None).await;
        let mut intent = Some(gone(&door, written).await?);
        if let Some(written) = intent.take_if(|_| !is_safe) {
            gone(&door, written.done().await).await?;
        }
        let given_up = GivenUp::by(&door, &entry);
        let sent = tokio::select! {
            sent = self.direct.send(leaving) => sent,
            () = door.closed() => return Err(OVER),
        };
        given_up.disarm();
        match sent {
            Ok(inbound) => {
                if let Some(written) = intent {
                    gone(&door, written.done().await).await?;
                }
                Ok(relay(Under { door, entry, account, credential: None, place, host }, inbound))
            }
            Err(error) => {
                gone(&door, door.finish(&entry, None, Outcome::unanswered(error)).await).await?;
                let stopped = account.and_then(|account| account.stopped());
                Err(stopped.unwrap_or(Refusal::Upstream(error)))
            }
        }
    }

    async fn wait_for_pace(&self) {
        while !self.pace.lock().unwrap_or_else(PoisonError::into_inner).allows() {
            tokio::time::sleep(PACE).await;
        }
    }
}

const OVER: Refusal = Refusal::Unavailable { why: "the run is over" };

/// What cannot be written ends the run's part: nothing leaves that the log does not know.
async fn gone<T>(door: &Door, result: Result<T, RunError>) -> Result<T, Refusal> {
    match result {
        Ok(done) => Ok(done),
        Err(error) => {
            door.end_run(error).await;
            Err(OVER)
        }
    }
}
