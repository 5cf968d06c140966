//! What a run leaves behind: copies of its workspace on the way, artifacts and the workspace itself at its end.

use std::sync::Arc;

use livery_harness::{Decision, Record, Terminal};
use livery_store::FileRow;

use super::Drive;
use crate::worker::artifacts::{self, Artifacts};
use crate::worker::resume;
use crate::worker::step::Written;
use crate::worker::workspace::{self, Save};

/// What the last commit of a run keeps, beside its events.
#[derive(Default)]
pub(super) struct Left {
    pub(super) artifacts: Vec<(String, FileRow)>,
    /// What becomes of the workspace, and which event tells of it.
    pub(super) save: Option<(usize, Save)>,
}

/// The same before its events were written.
pub(super) struct Untold {
    artifacts: Artifacts,
    save: Option<Save>,
}

impl Untold {
    /// Puts what is said of it into the commit.
    pub(super) async fn told(self, written: &mut Written) -> livery_store::Result<Left> {
        for (event_type, data) in self.artifacts.events {
            written.event(event_type, data.to_string()).await?;
        }
        let mut left = Left { artifacts: self.artifacts.files, save: None };
        if let Some(save) = self.save {
            let (event_type, data) = save.event();
            written.event(event_type, data.to_string()).await?;
            left.save = Some((written.events.len() - 1, save));
        }
        Ok(left)
    }
}

impl Drive {
    /// Keeps what a run leaves that is about to end.
    pub(super) async fn collect(&mut self, terminal: Option<&Terminal>) -> Untold {
        let Some(end) = terminal else { return Untold { artifacts: Artifacts::default(), save: None } };
        // A copy would be of use to nobody now. Where it packs, it lets go of the sandbox before the workspace is saved.
        if let Some(copying) = self.copying.take() {
            copying.abort();
        }
        let (platform, row, hands, lost) = (&self.platform, &self.row, &self.hands, &self.entry.signals.lost);
        let artifacts = artifacts::collect(platform, row, hands, end.status, lost).await;
        let save = Box::pin(workspace::collect(platform, row, hands, end.status, lost)).await;
        Untold { artifacts, save }
    }

    /// Whether a step may have changed the workspace.
    pub(super) fn note_change(&self, decision: &Decision) -> bool {
        let changed = decision.records.iter().any(|record| match record {
            Record::ToolFinished(data) => data.refused.is_none() && resume::changes_workspace(&data.tool),
            Record::ToolOutcomeUnknown(data) => resume::changes_workspace(&data.tool),
            _ => false,
        });
        if changed {
            self.hands.note_change();
        }
        changed
    }

    /// Has the workspace copied after such a step, while the run goes on.
    pub(super) fn copy_workspace(&mut self) {
        if self.platform.config.snapshots && self.copies.want(self.head) {
            let (copies, hands, lease) = (Arc::clone(&self.copies), Arc::clone(&self.hands), self.lease);
            let copying = self.tasks.spawn(async move { Box::pin(copies.take(&hands, lease)).await });
            self.copying = Some(copying);
        }
    }
}
