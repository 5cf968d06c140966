//! Files: input for runs and artifacts they left behind.

use livery_core::Timestamp;
use livery_core::id::FileId;
use serde::Serialize;

/// Largest file.
pub const FILE_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// Longest name.
pub const NAME_BYTES_MAX: usize = 255;

/// A file without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileView {
    /// Its id.
    pub id: FileId,
    /// Its name; a run finds it in `/workspace` under it.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the content, hex.
    pub sha256: String,
    /// As uploaded; never trusted for rendering.
    pub content_type: String,
    /// When it was stored.
    pub created_at: Timestamp,
}
