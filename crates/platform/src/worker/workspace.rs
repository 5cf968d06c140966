//! The workspace that a run has from the one before it, where its agent says so: opened when its sandbox is filled, saved with
//! the run's end.
//!
//! Like a copy, a snapshot is packed and unpacked inside the sandbox, by its own user: this process sees bytes with a limit and a
//! digest. They are whole in the object store before the transaction that ends the run says that they are the state to begin
//! with, and it says so only if that state is still the one this run began with.

use std::time::Duration;

use livery_core::id::{SnapshotId, WorkspaceId};
use livery_core::{Error, ErrorCode, EventType, RunError, RunStatus};
use livery_sandbox::Sandbox;
use livery_store::{Kept, NewEvent, NewSnapshot, RunRow, WorkspaceRow, WorkspaceSnapshotRow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::hands::{Hands, lost_or};
use super::pack::{self, Failed, What};
use super::patience::{patiently, read_patiently};
use crate::Platform;
use crate::effects::{EffectKind, Phase};
use crate::objects::Spooled;
use crate::workspaces::{FILE_NAME, FILE_TYPE, SNAPSHOT_BYTES_MAX};

/// Packing and receiving: a run's end does not wait for ever.
const COLLECT_MAX: Duration = Duration::from_secs(120);
/// How often another state is looked for when the bytes of one went away between the look and the reading.
const LOOKS_MAX: u32 = 3;
/// What an earlier life of the run left half done goes before a snapshot is laid out.
const CLEAR: &str = "find /workspace -mindepth 1 -maxdepth 1 ! -name .livery -exec rm -rf {} + &&";
/// Whatever the run left running is ended before its workspace is packed: nothing changes it any more.
const END_ALL: &str = "kill -KILL -1 2>/dev/null; ";

/// The workspace a run works in, and what it began with. As `workspace.opened` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) workspace: WorkspaceId,
    /// `None`: nothing was saved before.
    pub(super) snapshot: Option<SnapshotId>,
}

/// Opens the workspace of the run's agent and end user, and lays what was saved last into a new sandbox.
///
/// # Errors
/// What ends the run: there is no such end user any more, or what was saved cannot be laid out.
pub(super) async fn open(hands: &Hands, sandbox: &Sandbox) -> Result<Opened, RunError> {
    let platform = &hands.platform;
    for _ in 0..LOOKS_MAX {
        let (row, saved) = look(hands).await?;
        let opened = Opened { workspace: row.id, snapshot: row.snapshot };
        let Some(saved) = saved else {
            if row.snapshot.is_none() {
                return Ok(opened);
            }
            continue;
        };
        let fetch = async |_| Ok(platform.fetch_file(&saved.file).await?);
        let fetched = patiently(hands.row.id, "a saved workspace", &CancellationToken::new(), fetch).await;
        match fetched {
            Ok(packed) => {
                let laid = pack::lay_out(platform, sandbox, &packed, What::Kept, CLEAR).await;
                laid.map_err(|failed| not_laid(&saved, failed))?;
                return Ok(opened);
            }
            // Another run may have saved meanwhile, and what this one wanted to read is gone.
            Err(error) => {
                tracing::warn!(run = %hands.row.id, %error, snapshot = %saved.id, "a snapshot is looked for again")
            }
        }
    }
    let message = "what was saved of the workspace is not in the object store; restore another snapshot of it";
    Err(RunError::retryable(ErrorCode::SandboxUnavailable, message.to_owned()))
}

async fn look(hands: &Hands) -> Result<(WorkspaceRow, Option<WorkspaceSnapshotRow>), RunError> {
    let unavailable = |code: &str| {
        RunError::retryable(ErrorCode::SandboxUnavailable, format!("the workspace cannot be opened: {code}"))
    };
    let (platform, row) = (&hands.platform, &hands.row);
    let Some(end_user) = row.end_user else { return Err(unavailable("no end user")) };
    platform.reached(EffectKind::WorkspaceOpen, Phase::Before);
    let open = || {
        let (org, agent, id) = (row.org, row.agent_name.clone(), WorkspaceId::from_bits(platform.mint()));
        let now = platform.clock.now();
        platform.store.write_work(move |tx| {
            let agent = agent.clone();
            Box::pin(async move { tx.open_workspace(org, id, &agent, end_user, now).await })
        })
    };
    let opened = read_patiently(row.id, "a workspace", hands.time(), open).await;
    let opened = opened.map_err(|error| unavailable(Error::from(error).code()))?;
    let opened = opened.ok_or_else(|| unavailable("its end user was deleted"))?;
    let Some(snapshot) = opened.snapshot else { return Ok((opened, None)) };
    let find = || platform.store.get_workspace_snapshot(row.org, opened.id, snapshot);
    let saved = read_patiently(row.id, "a snapshot", hands.time(), find).await;
    let saved = saved.map_err(|error| unavailable(Error::from(error).code()))?;
    Ok((opened, saved))
}

/// Only what `tar` refused would be refused again.
fn not_laid(saved: &WorkspaceSnapshotRow, failed: Failed) -> RunError {
    tracing::warn!(snapshot = %saved.id, ?failed, "a workspace cannot be laid out");
    let said = |why: &str| {
        let (id, bytes) = (saved.id, saved.file.bytes);
        format!("the saved workspace ({id}, {bytes} bytes packed) cannot be laid out: {why}")
    };
    let passing = |why: &str| RunError::retryable(ErrorCode::SandboxUnavailable, said(why));
    match failed {
        Failed::Sandbox(error) => lost_or(&error, || passing(&error.to_string())),
        Failed::Refused(why) => {
            let advice = "it may need a larger sandbox.disk_mb, or another snapshot of it restored";
            RunError::fatal(ErrorCode::AgentError, said(&format!("{why}; {advice}")))
        }
        Failed::Other(error) => passing(error.code()),
    }
}

/// A snapshot of a run under way, whose bytes are kept; its row is the asker's to insert.
pub(crate) type Snapped = NewSnapshot;

/// Takes a snapshot of the workspace as it is.
///
/// # Errors
/// [`Error::Conflict`] when there is nothing to take one of, or it cannot be packed; [`Error::TooLarge`].
pub(super) async fn snap(hands: &Hands, lost: &CancellationToken) -> livery_core::Result<Snapped> {
    let conflict = |detail: &str| Error::Conflict { code: "conflict", detail: detail.to_owned() };
    let none = || conflict("the run has no sandbox now, so there is nothing that the next run would not begin with");
    let (sandbox, opened) = hands.made().zip(hands.opened()).ok_or_else(none)?;
    let packed = pack::pack(&hands.platform, sandbox, &hands.packing, What::Kept, "", SNAPSHOT_BYTES_MAX).await?;
    keep(&hands.platform, &hands.row, opened, &packed, lost).await
}

/// What the end of a run does to its workspace.
pub(super) struct Save {
    /// What it worked in; `None`: nobody knows any more.
    opened: Option<Opened>,
    outcome: Result<NewSnapshot, Unsaved>,
}

/// Why a workspace was not saved.
struct Unsaved {
    code: &'static str,
    message: String,
}

impl Unsaved {
    fn of(error: &Error) -> Self {
        let message = match error {
            Error::TooLarge { .. } => format!("packed, it is larger than {SNAPSHOT_BYTES_MAX} bytes"),
            error => error.to_string(),
        };
        Self { code: error.code(), message }
    }

    fn lost(message: impl Into<String>) -> Self {
        Self { code: "sandbox_lost", message: message.into() }
    }
}

/// Packs what a run that succeeded leaves in its workspace and keeps the bytes; the state changes with the run's end. Never an
/// error: a run that ended has ended, and why its workspace was not saved is in its log. One that only read, or did not
/// succeed, leaves the state as it was.
pub(super) async fn collect(
    platform: &Platform,
    row: &RunRow,
    hands: &Hands,
    status: RunStatus,
    lost: &CancellationToken,
) -> Option<Save> {
    if status != RunStatus::Succeeded || !hands.persists() || !hands.may_have_changed() {
        return None;
    }
    platform.reached(EffectKind::WorkspaceSave, Phase::Before);
    let packed = match tokio::time::timeout(COLLECT_MAX, Box::pin(pack_last(hands))).await {
        Ok(packed) => packed,
        Err(_) => Err(Unsaved::of(&Error::internal(format!("packing took longer than {} s", COLLECT_MAX.as_secs())))),
    };
    let outcome = match packed {
        Ok((opened, packed)) => {
            let kept = keep(platform, row, opened, &packed, lost).await;
            kept.map_err(|error| Unsaved::of(&error))
        }
        Err(unsaved) => Err(unsaved),
    };
    platform.reached(EffectKind::WorkspaceSave, Phase::After);
    Some(Save { opened: hands.last_opened(), outcome })
}

/// The last that is done with the sandbox. After a crash the workspace, or the copy of it, may wait for a sandbox that nobody
/// has asked for yet; where there is neither, what the run did in it is lost, and nothing takes the place of the state before.
async fn pack_last(hands: &Hands) -> Result<(Opened, Spooled), Unsaved> {
    if hands.made().is_none() && !hands.has_workspace() {
        return Err(Unsaved::lost("the workspace was lost with its node, and no copy of it is there"));
    }
    let sandbox = hands.sandbox().await.map_err(|error| Unsaved::lost(error.message))?;
    let opened = hands.opened().ok_or_else(|| Unsaved::lost("what the run began with is not known any more"))?;
    let pack = pack::pack(&hands.platform, &sandbox, &hands.packing, What::Kept, END_ALL, SNAPSHOT_BYTES_MAX).await;
    let packed = pack.map_err(|failed| match failed {
        Failed::Sandbox(error) => Unsaved::lost(error.to_string()),
        failed => Unsaved::of(&failed.into()),
    })?;
    Ok((opened, packed))
}

/// Stores what was packed; the row comes with the transaction that names it.
pub(super) async fn keep(
    platform: &Platform,
    row: &RunRow,
    opened: Opened,
    packed: &Spooled,
    lost: &CancellationToken,
) -> livery_core::Result<NewSnapshot> {
    let store = async |_| Ok(platform.keep_file(row.org, row.application, FILE_NAME, FILE_TYPE, packed).await?);
    let file = patiently(row.id, "a workspace", lost, store).await?;
    Ok(NewSnapshot {
        org: row.org,
        workspace: opened.workspace,
        id: SnapshotId::from_bits(platform.mint()),
        run: Some(row.id),
        at: file.created_at,
        file,
        quota_bytes: platform.config.workspace_bytes_max,
    })
}

impl Save {
    #[cfg(test)]
    pub(super) fn of(new: NewSnapshot) -> Self {
        Self { opened: Some(Opened { workspace: new.workspace, snapshot: None }), outcome: Ok(new) }
    }

    /// What the log says when the state changes as wanted.
    pub(super) fn event(&self) -> (EventType, Value) {
        match &self.outcome {
            Ok(new) => self.told(new, Kept::Current),
            Err(Unsaved { code, message }) => self.unsaved(code, message),
        }
    }

    /// The snapshot, and the state it was begun from.
    pub(super) fn snapshot(&self) -> Option<(Option<SnapshotId>, &NewSnapshot)> {
        self.outcome.as_ref().ok().map(|new| (self.opened.and_then(|opened| opened.snapshot), new))
    }

    /// The event of a step with what became of the snapshot.
    ///
    /// # Errors
    /// None in truth: what is written is plain JSON.
    pub(super) fn settle(&self, event: &NewEvent, kept: Kept) -> livery_store::Result<NewEvent> {
        let Ok(new) = &self.outcome else { return Ok(event.clone()) };
        let (event_type, data) = self.told(new, kept);
        Self::changed(event, event_type, &data)
    }

    /// The same where the state could not be changed at all.
    ///
    /// # Errors
    /// None in truth.
    pub(super) fn given_up(&self, event: &NewEvent, code: &str) -> livery_store::Result<NewEvent> {
        let (event_type, data) = self.unsaved(code, "the database refused the new state");
        Self::changed(event, event_type, &data)
    }

    fn changed(event: &NewEvent, event_type: EventType, data: &Value) -> livery_store::Result<NewEvent> {
        let mut settled = NewEvent::new(event_type, event.actor.clone(), event.at, data)?;
        settled.on_behalf_of = event.on_behalf_of.clone();
        Ok(settled)
    }

    fn told(&self, new: &NewSnapshot, kept: Kept) -> (EventType, Value) {
        let full = |used: u64| {
            format!(
                "the snapshots of the application have {used} of {} bytes, and this one needs {}: delete some",
                new.quota_bytes, new.file.bytes
            )
        };
        match kept {
            Kept::Current | Kept::Aside => {
                let data = json!({
                    "workspace": new.workspace,
                    "snapshot": new.id,
                    "began_with": self.opened.and_then(|opened| opened.snapshot),
                    "bytes": new.file.bytes,
                    "sha256": new.file.sha256,
                    "current": kept == Kept::Current,
                });
                (EventType::WorkspaceSaved, data)
            }
            Kept::Gone => self.unsaved("not_found", "the workspace was deleted meanwhile"),
            Kept::Full { used_bytes } => self.unsaved("quota_exceeded", &full(used_bytes)),
            Kept::TooMany | Kept::Already => self.unsaved("quota_exceeded", "the workspace has too many snapshots"),
        }
    }

    fn unsaved(&self, code: &str, message: &str) -> (EventType, Value) {
        let workspace = self.opened.map(|opened| opened.workspace);
        let data = json!({"workspace": workspace, "code": code, "message": message});
        (EventType::WorkspaceUnsaved, data)
    }
}
