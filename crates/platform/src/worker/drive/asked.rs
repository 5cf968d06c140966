//! Snapshots of the workspace that somebody asks for while the run is under way: taken between two steps, when no tool is at work.

use std::sync::Arc;
use std::time::Duration;

use livery_core::{Error, Result};
use tokio::sync::oneshot;

use super::Drive;
use crate::worker::workspace::{self, Snapped};

/// Where the answer goes.
pub(in crate::worker) type Asked = oneshot::Sender<Result<Snapped>>;

/// Who may wait at a time.
const ASKED_MAX: usize = 4;
/// Longest time for one: the run stands still meanwhile. Who asks gives up earlier when a tool was waited for before.
const SNAPSHOT_MAX: Duration = Duration::from_secs(60);
/// What all of them together may add to a run's time; beyond it they are the run's own loss.
const EXTENSION_MAX: Duration = Duration::from_secs(120);

impl Drive {
    /// Remembers somebody who asks.
    pub(super) fn ask(&mut self, asked: Asked) {
        if self.asked.len() < ASKED_MAX {
            self.asked.push(asked);
        } else {
            let detail = "others wait for a snapshot of this run; try again".to_owned();
            // Who asked may have gone.
            let _ = asked.send(Err(Error::Unavailable { detail, retry_after_s: 1 }));
        }
    }

    /// Answers those who asked, when no tool is at work. What the run left in the background may go on writing.
    pub(super) async fn answer_asked(&mut self) {
        if self.tools > 0 || self.asked.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.asked);
        let (hands, signals) = (Arc::clone(&self.hands), self.entry.signals.clone());
        let began = tokio::time::Instant::now();
        for mut asked in waiting {
            let snap = Box::pin(workspace::snap(&hands, &signals.lost));
            let snapped = tokio::select! {
                biased;
                // Its end comes first; who asked hears that it ended.
                () = signals.cancel.cancelled() => return,
                () = signals.lost.cancelled() => return,
                () = self.platform.stop.cancelled() => return,
                // Nobody waits for this one any more.
                () = asked.closed() => continue,
                snapped = tokio::time::timeout(SNAPSHOT_MAX, snap) => snapped,
            };
            let late = Error::Unavailable { detail: "taking the snapshot took too long".to_owned(), retry_after_s: 5 };
            let _ = asked.send(snapped.unwrap_or(Err(late)));
        }
        // That somebody looked is not the run's own time.
        let extension = began.elapsed().min(EXTENSION_MAX.saturating_sub(self.extended));
        self.extended += extension;
        self.deadline += extension;
    }
}
