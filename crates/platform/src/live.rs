//! Live-only news of a run: pieces of a model's answer, output of a tool. Never stored, never waited for: a reader that is
//! too slow loses pieces and sees the whole thing in the event that follows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use livery_core::id::RunId;
use serde_json::Value;
use tokio::sync::broadcast;

/// Pieces kept for a slow reader of one run.
const PIECES_MAX: usize = 256;

/// One piece of news: `model.delta`, `model.reset` or `tool.output`.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// The SSE event name.
    pub name: &'static str,
    /// What it carries.
    pub data: Value,
}

type Channels = Mutex<HashMap<RunId, broadcast::Sender<Arc<Live>>>>;

/// Who listens to which run on this node. Runs without listeners cost nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct LiveBus {
    channels: Arc<Channels>,
}

impl LiveBus {
    /// Tells the listeners of `run`; `data` is only made when there are any.
    pub(crate) fn publish(&self, run: RunId, name: &'static str, data: impl FnOnce() -> Value) {
        let sender = self.lock().get(&run).cloned();
        if let Some(sender) = sender {
            // Nobody listening any more is no error: the last listener is just leaving.
            let _ = sender.send(Arc::new(Live { name, data: data() }));
        }
    }

    /// Listens to `run` until the listener is dropped.
    pub(crate) fn listen(&self, run: RunId) -> Listener {
        let mut channels = self.lock();
        let sender = channels.entry(run).or_insert_with(|| broadcast::channel(PIECES_MAX).0);
        Listener { receiver: sender.subscribe(), run, bus: self.clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, broadcast::Sender<Arc<Live>>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader's end.
#[derive(Debug)]
pub(crate) struct Listener {
    receiver: broadcast::Receiver<Arc<Live>>,
    run: RunId,
    bus: LiveBus,
}

impl Listener {
    /// The next piece; pieces that were missed are skipped. Never ends by itself.
    pub(crate) async fn next(&mut self) -> Arc<Live> {
        loop {
            match self.receiver.recv().await {
                Ok(live) => return live,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                // The sender lives in the bus as long as a listener does; without one there is nothing to tell.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut channels = self.bus.lock();
        if channels.get(&self.run).is_some_and(|sender| sender.receiver_count() <= 1) {
            channels.remove(&self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LiveBus;
    use livery_core::id::RunId;
    use serde_json::json;

    #[tokio::test]
    async fn listeners_hear_their_own_run_and_leave_nothing_behind() {
        let bus = LiveBus::default();
        let (mine, other) = (RunId::from_bits(1), RunId::from_bits(2));
        let mut listener = bus.listen(mine);
        bus.publish(other, "model.delta", || unreachable!("nobody listens"));
        bus.publish(mine, "model.delta", || json!({"text": "a"}));
        assert_eq!(listener.next().await.data, json!({"text": "a"}));
        drop(listener);
        assert!(bus.lock().is_empty());
    }
}
