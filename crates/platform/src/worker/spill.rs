//! Event payloads that are too large for the log: kept as a file, with a reference in their place.

use livery_core::id::{AppId, FileId, OrgId};
use livery_core::run::EVENT_PAYLOAD_BYTES_MAX;
use livery_core::{Error, Result};
use livery_store::{FileRow, Json};
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
}

impl Platform {
    /// The payload as the log takes it, and the file it was spilled to.
    pub(super) async fn fit(&self, org: OrgId, app: Option<AppId>, data: String) -> Result<(Json, Option<FileRow>)> {
        if data.len() <= EVENT_PAYLOAD_BYTES_MAX {
            return Ok((Json::from_text(data)?, None));
        }
        let bytes = data.len() as u64;
        self.reached(EffectKind::Spill, Phase::Before);
        let row = self.keep_file(org, app, "event.json", "application/json", data.into()).await?;
        self.reached(EffectKind::Spill, Phase::After);
        let reference = Spilled { spilled: Reference { file: row.id, bytes } };
        Ok((Json::of(&reference)?, Some(row)))
    }

    /// The payload itself, wherever it lies.
    pub(super) async fn whole(&self, org: OrgId, data: Value) -> Result<Value> {
        let Ok(reference) = Spilled::deserialize(&data) else { return Ok(data) };
        let row = self.store.get_file(org, reference.spilled.file).await?;
        let row = row.ok_or_else(|| Error::internal("a spilled event payload is gone"))?;
        serde_json::from_slice(&self.file_bytes(&row).await?).map_err(Error::internal)
    }
}
