//! What people do in a run's sandbox, in the run's log: the opening of a shell and its end. A shell that the log has open is closed
//! there too before the run lets go of its lease; a run that is over takes no more events, and one whose lease is lost writes none.

use std::time::Duration;

use livery_core::EventType;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::{Drive, Left, Let, Signal, lost};

/// How long people's shells may take to say how they ended, when the run lets go of its sandbox.
const HANG_UP_MAX: Duration = Duration::from_secs(3);

/// Something that somebody else than the worker did.
pub(in crate::worker) struct Deed {
    pub(in crate::worker) actor: String,
    pub(in crate::worker) event_type: EventType,
    pub(in crate::worker) data: Value,
    /// Told when it is written.
    pub(in crate::worker) done: oneshot::Sender<()>,
}

/// A shell whose opening is in the log, and whose end is not.
pub(super) struct Open {
    actor: String,
    /// As it was opened: which request, which tier.
    data: Value,
}

impl Open {
    fn is_of(&self, deed: &Deed) -> bool {
        self.actor == deed.actor && self.data["request_id"] == deed.data["request_id"]
    }
}

impl Drive {
    /// Writes a deed down. Of a shell that nobody waits for any more there is neither beginning nor end.
    pub(super) async fn take_in(&mut self, deed: Deed) -> Result<(), Let> {
        let open = self.shells.iter().position(|open| open.is_of(&deed));
        let counts = match deed.event_type {
            EventType::ShellOpened => !deed.done.is_closed(),
            EventType::ShellClosed => open.is_some(),
            _ => true,
        };
        if !counts {
            return Ok(());
        }
        let Deed { actor, event_type, data, done } = deed;
        self.log_deed(actor.clone(), event_type, &data).await?;
        match (event_type, open) {
            (EventType::ShellOpened, _) => self.shells.push(Open { actor, data }),
            (EventType::ShellClosed, Some(open)) => drop(self.shells.swap_remove(open)),
            _ => {}
        }
        // A person in the sandbox may change files as well as a tool.
        self.hands.note_change();
        // Who asked may have been given up meanwhile.
        let _ = done.send(());
        Ok(())
    }

    async fn log_deed(&mut self, actor: String, event_type: EventType, data: &Value) -> Result<(), Let> {
        let mut written = self.writing(&self.state);
        written.event_of(actor, event_type, data.to_string()).await.map_err(|error| lost(&error.into()))?;
        self.write(written, None, Left::default()).await
    }

    /// Nobody comes in any more, and who is in is hung up. Of a run that goes on the log is told how.
    pub(super) async fn hang_up(&mut self, left: Option<&Let>) {
        self.platform.running.standing.leave(self.row.id, &self.hands);
        if !matches!(left, Some(Let::Released | Let::Interrupted | Let::Waiting)) {
            return;
        }
        if self.tell_ends().await.is_err() {
            tracing::warn!(run = %self.row.id, "the end of a shell is not in its run's log; the audit log has it");
        }
    }

    async fn tell_ends(&mut self) -> Result<(), Let> {
        let until = Instant::now() + HANG_UP_MAX;
        while !self.shells.is_empty() {
            match timeout_at(until, self.signals.recv()).await {
                Ok(Some(Signal::Acted(deed))) if deed.event_type == EventType::ShellClosed => {
                    self.take_in(deed).await?;
                }
                // Nobody comes in any more, and whatever else is told is done again by whoever goes on.
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        for Open { actor, mut data } in std::mem::take(&mut self.shells) {
            data["reason"] = json!(self.platform.why_let_go().as_str());
            self.log_deed(actor, EventType::ShellClosed, &data).await?;
        }
        Ok(())
    }
}
