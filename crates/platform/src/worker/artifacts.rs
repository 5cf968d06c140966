//! What a run leaves in `/workspace/outputs/` is kept when it ends, within limits; what is beyond them is said, not dropped in
//! silence.

use std::time::Duration;

use bytes::Bytes;
use livery_core::agent::folder::check_path;
use livery_core::{Error, EventType, Result, RunStatus};
use livery_sandbox::{Artifact, ArtifactLimits, Artifacts as Found, Sandbox};
use livery_store::{FileRow, RunRow};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::hands::Hands;
use super::patience::patiently;
use crate::Platform;
use crate::effects::{EffectKind, Phase};
use crate::objects::Spooled;

/// How much of `/workspace/outputs/` is kept.
const LIMITS: ArtifactLimits =
    ArtifactLimits { files: 100, file_bytes: 50 * 1024 * 1024, total_bytes: 200 * 1024 * 1024 };
/// Longest time for all of them: a run's end does not wait for ever.
const COLLECT_MAX: Duration = Duration::from_secs(30);
/// The same for a run that did not succeed, whose sandbox may be in a bad way.
const COLLECT_AFTER_FAILURE_MAX: Duration = Duration::from_secs(3);

/// What was kept, and what the log says about it.
#[derive(Default)]
pub(super) struct Artifacts {
    pub(super) files: Vec<(String, FileRow)>,
    pub(super) events: Vec<(EventType, Value)>,
}

/// Keeps what a run left. Never an error: a run that ended has ended. A cancelled run is to be gone at once, with all it has.
pub(super) async fn collect(
    platform: &Platform,
    row: &RunRow,
    hands: &Hands,
    status: RunStatus,
    lost: &CancellationToken,
) -> Artifacts {
    let mut kept = Artifacts::default();
    if hands.made().is_none() && !hands.has_workspace() {
        return kept;
    }
    let patience = match status {
        RunStatus::Succeeded => COLLECT_MAX,
        RunStatus::Cancelled => return kept,
        _ => COLLECT_AFTER_FAILURE_MAX,
    };
    let mut found = Vec::new();
    // Received to this node's disk first: the sandbox is not kept waiting for a store that is away.
    let receiving = Box::pin(receive(platform, hands, &mut kept, &mut found));
    if tokio::time::timeout(patience, receiving).await.is_err() {
        kept.say(format!("collecting artifacts took longer than {} s; what was left is not kept", patience.as_secs()));
    }
    Box::pin(keep(platform, row, found, &mut kept, lost)).await;
    kept
}

/// Moves what was found out of the sandbox, file by file and piece by piece.
async fn receive(platform: &Platform, hands: &Hands, kept: &mut Artifacts, found: &mut Vec<(String, Spooled)>) {
    // After a crash between the last tool and the end, the workspace waits for a sandbox that nobody has asked for yet.
    let Ok(sandbox) = hands.sandbox().await else { return };
    // No outputs is the ordinary case, and a sandbox that is gone has told so itself.
    let Ok(Found { files, left_out }) = sandbox.artifacts(LIMITS).await else { return };
    for (path, why) in left_out {
        kept.leave(&path, why);
    }
    let mut left = LIMITS.total_bytes;
    for Artifact { path, bytes_max } in files {
        if check_path(&path).is_err() {
            kept.leave(&path, "its name cannot be kept");
            continue;
        }
        match receive_one(platform, &sandbox, &path, bytes_max.min(left)).await {
            Ok(content) => {
                left -= content.bytes;
                found.push((path, content));
            }
            Err(Error::TooLarge { .. }) => kept.leave(&path, "too large"),
            Err(error @ Error::Unavailable { .. }) => kept.leave(&path, &error.to_string()),
            Err(_) => kept.leave(&path, "it could not be read"),
        }
    }
}

async fn receive_one(platform: &Platform, sandbox: &Sandbox, path: &str, bytes_max: u64) -> Result<Spooled> {
    let mut spool = platform.objects.spool("the artifact", bytes_max).await?;
    loop {
        let part = sandbox.artifact(path, spool.bytes()).await.map_err(Error::internal)?;
        if part.bytes.is_empty() {
            return spool.finish().await;
        }
        spool.write(Bytes::from(part.bytes)).await?;
    }
}

/// Stores what was received. A store without room is waited for: what a run made is not thrown away.
async fn keep(
    platform: &Platform,
    row: &RunRow,
    found: Vec<(String, Spooled)>,
    kept: &mut Artifacts,
    lost: &CancellationToken,
) {
    for (path, content) in found {
        platform.reached(EffectKind::Artifact, Phase::Before);
        let content_type = "application/octet-stream";
        let store = async |_| Ok(platform.keep_file(row.org, row.application, &path, content_type, &content).await?);
        match patiently(row.id, "an artifact", lost, store).await {
            Ok(file) => {
                platform.reached(EffectKind::Artifact, Phase::After);
                let data = json!({"id": file.id, "path": path, "bytes": file.bytes, "sha256": file.sha256});
                kept.events.push((EventType::ArtifactCreated, data));
                kept.files.push((path, file));
            }
            Err(error) => {
                let error = Error::from(error);
                kept.say(format!("outputs/{} could not be stored ({})", path.escape_debug(), error.code()));
            }
        }
    }
}

impl Artifacts {
    fn leave(&mut self, path: &str, why: &str) {
        self.say(format!("outputs/{} is not kept: {why}", path.escape_debug()));
    }

    fn say(&mut self, message: String) {
        self.events.push((EventType::LogWritten, json!({"level": "warning", "message": message})));
    }
}
