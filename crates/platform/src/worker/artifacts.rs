//! What a run leaves in `/workspace/outputs/` is kept when it ends, within limits; what is beyond them is said, not dropped in
//! silence.

use std::time::Duration;

use bytes::Bytes;
use livery_core::agent::folder::check_path;
use livery_core::{EventType, RunStatus};
use livery_sandbox::{ArtifactLimits, Artifacts as Found};
use livery_store::{FileRow, RunRow};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::hands::Hands;
use super::patience::patiently;
use crate::Platform;
use crate::effects::{EffectKind, Phase};

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
    let look = async {
        // After a crash between the last tool and the end, the workspace waits for a sandbox that nobody has asked for yet.
        let sandbox = hands.sandbox().await.ok()?;
        // No outputs is the ordinary case, and a sandbox that is gone has told so itself.
        sandbox.artifacts(LIMITS).await.ok()
    };
    match tokio::time::timeout(patience, Box::pin(look)).await {
        Ok(Some(found)) => Box::pin(keep(platform, row, found, &mut kept, lost)).await,
        Ok(None) => {}
        Err(_) => {
            kept.say(format!("collecting artifacts took longer than {} s; they are not kept", patience.as_secs()));
        }
    }
    kept
}

/// Stores what was found. A store without room is waited for: what a run made is not thrown away.
async fn keep(platform: &Platform, row: &RunRow, found: Found, kept: &mut Artifacts, lost: &CancellationToken) {
    for (path, why) in found.left_out {
        kept.say(format!("outputs/{} is not kept: {why}", path.escape_debug()));
    }
    for artifact in found.files {
        if check_path(&artifact.path).is_err() {
            kept.say(format!("outputs/{} is not kept: its name cannot be kept", artifact.path.escape_debug()));
            continue;
        }
        platform.reached(EffectKind::Artifact, Phase::Before);
        let bytes = Bytes::from(artifact.bytes);
        let (path, content_type) = (&artifact.path, "application/octet-stream");
        let store = |_| {
            let stored = platform.keep_file(row.org, row.application, path, content_type, bytes.clone());
            async { Ok(stored.await?) }
        };
        match patiently(row.id, "an artifact", lost, store).await {
            Ok(file) => {
                platform.reached(EffectKind::Artifact, Phase::After);
                let data = json!({"id": file.id, "path": path, "bytes": file.bytes, "sha256": file.sha256});
                kept.events.push((EventType::ArtifactCreated, data));
                kept.files.push((artifact.path, file));
            }
            Err(error) => {
                let error = livery_core::Error::from(error);
                kept.say(format!("outputs/{} could not be stored ({})", path.escape_debug(), error.code()));
            }
        }
    }
}

impl Artifacts {
    fn say(&mut self, message: String) {
        self.events.push((EventType::LogWritten, json!({"level": "warning", "message": message})));
    }
}
