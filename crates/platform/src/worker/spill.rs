//! Event payloads that are too large for the log: kept as a file, with a reference in their place.

use livery_core::id::{AppId, FileId, OrgId};
use livery_core::run::EVENT_PAYLOAD_BYTES_MAX;
use livery_core::{Error, Result, canonical};
use livery_harness::replay::Logged;
use livery_store::{FileRow, Json, StoredEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Platform;
use crate::effects::{EffectKind, Phase};

/// What stands in the log instead: `{"spilled": {"file": "fil_…", "bytes": 300000}}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spilled {
    spilled: Reference,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    file: FileId,
    bytes: u64,
    /// SHA-256 of the payload itself, hex; the log's own digest is that of this reference. Absent in older logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// The file a stored payload was spilled to, if it was.
pub(crate) fn spilled_file(data: &Json) -> Option<FileId> {
    data.parse::<Spilled>().ok().map(|spilled| spilled.spilled.file)
}

impl Platform {
    /// The payload as the log takes it, and the file it was spilled to.
    pub(crate) async fn fit(&self, org: OrgId, app: Option<AppId>, data: String) -> Result<(Json, Option<FileRow>)> {
        if data.len() <= EVENT_PAYLOAD_BYTES_MAX {
            return Ok((Json::from_text(data)?, None));
        }
        let bytes = data.len() as u64;
        self.reached(EffectKind::Spill, Phase::Before);
        let content = self.objects.spool_bytes("an event", data.into()).await?;
        let row = self.keep_file(org, app, "event.json", "application/json", &content).await?;
        self.reached(EffectKind::Spill, Phase::After);
        let reference = Spilled { spilled: Reference { file: row.id, bytes, sha256: Some(row.sha256.clone()) } };
        Ok((Json::from_text(canonical::text(&reference))?, Some(row)))
    }

    /// The payload itself, wherever it lies.
    pub(super) async fn whole(&self, org: OrgId, data: Value) -> Result<Value> {
        let Ok(reference) = Spilled::deserialize(&data) else { return Ok(data) };
        let row = self.store.get_file(org, reference.spilled.file).await?;
        let row = row.ok_or_else(|| Error::internal("a spilled event payload is gone"))?;
        serde_json::from_slice(&self.file_bytes(&row).await?).map_err(Error::internal)
    }

    /// An event as a replay gets it: the payload itself with the digest it has to have.
    pub(crate) async fn logged(&self, org: OrgId, event: StoredEvent) -> Result<Logged> {
        let mut logged =
            Logged { seq: event.seq, event_type: event.event_type, digest: Some(event.digest), data: None };
        let Some(stored) = event.data.map(Json::into_string) else { return Ok(logged) };
        let reference = serde_json::from_str::<Spilled>(&stored).ok();
        let Some(Spilled { spilled }) = reference.filter(|_| logged.digest == Some(canonical::sha256_hex(&stored)))
        else {
            return Ok(Logged { data: Some(stored), ..logged });
        };
        if let Some(row) = self.store.get_file(org, spilled.file).await? {
            logged.data = Some(String::from_utf8_lossy(&self.file_bytes(&row).await?).into_owned());
        }
        Ok(Logged { digest: spilled.sha256, ..logged })
    }
}
