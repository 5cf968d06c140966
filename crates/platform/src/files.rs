//! Files: input for runs and artifacts they left behind.

use bytes::Bytes;
use livery_core::agent::folder::check_path;
use livery_core::id::{AppId, FileId, OrgId};
use livery_core::{Error, Result, Timestamp};
use livery_store::FileRow;
use serde::Serialize;

use crate::effects::{EffectKind, Phase};
use crate::objects::{Content, Spool, Spooled};
use crate::{Caller, Platform, Posted, Principal, Scope};

/// Largest file.
pub const FILE_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// Longest media type.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

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

impl Platform {
    /// A place to receive a file in; nothing is known of it until [`Platform::upload_file`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] when this node has no room.
    pub async fn receive_file(&self) -> Result<Spool> {
        self.objects.spool("the file", FILE_BYTES_MAX).await
    }

    /// Stores a file for runs to come.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that cannot stand in a workspace, [`Error::TooLarge`].
    pub async fn upload_file(
        &self,
        caller: &Caller,
        name: &str,
        content_type: &str,
        content: Spooled,
    ) -> Result<Posted<FileView>> {
        let principal = &caller.principal;
        principal.require(Scope::FilesWrite)?;
        check_path(name)
            .map_err(|problem| Error::invalid_field("/name", format!("{} ({})", problem.message, problem.hint)))?;
        check_content_type(content_type)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        self.reached(EffectKind::FileUpload, Phase::Before);
        let row = self.keep_file(principal.org, principal.app, name, content_type, &content).await?;
        self.reached(EffectKind::FileUpload, Phase::After);
        let view = view_of(&row);
        let posted = self
            .post(caller, move |tx| {
                Box::pin(async move {
                    tx.insert_file(&row).await?;
                    Ok(view)
                })
            })
            .await?;
        self.reached(EffectKind::FileUpload, Phase::Committed);
        Ok(posted)
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_file(&self, principal: &Principal, file: FileId) -> Result<FileView> {
        principal.require(Scope::FilesRead)?;
        Ok(view_of(&self.visible_file(principal, file).await?))
    }

    /// A file with its content, to be read piece by piece.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unavailable`] when the object store is.
    pub async fn download_file(&self, principal: &Principal, file: FileId) -> Result<(FileView, Content)> {
        principal.require(Scope::FilesRead)?;
        let row = self.visible_file(principal, file).await?;
        let content = self.file_content(&row).await?;
        Ok((view_of(&row), content))
    }

    async fn visible_file(&self, principal: &Principal, file: FileId) -> Result<FileRow> {
        let row = self.store.get_file(principal.org, file).await?;
        row.filter(|row| principal.sees(row.application)).ok_or(Error::NotFound { what: "file" })
    }

    /// Keeps what was received, durably; the row is the caller's to insert. Bytes whose row never comes are swept.
    pub(crate) async fn keep_file(
        &self,
        org: OrgId,
        app: Option<AppId>,
        name: &str,
        content_type: &str,
        content: &Spooled,
    ) -> Result<FileRow> {
        let id = FileId::from_bits(self.mint());
        let row = FileRow {
            id,
            org,
            application: app,
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            bytes: content.bytes,
            sha256: content.sha256.clone(),
            storage_path: storage_path(org, id),
            created_at: self.clock.now(),
        };
        self.objects.put(&row.storage_path, content).await?;
        Ok(row)
    }

    /// The content of a file, checked against its digest as it is read.
    pub(crate) async fn file_content(&self, row: &FileRow) -> Result<Content> {
        Ok(self.objects.get(&row.storage_path, row.bytes, &row.sha256).await?)
    }

    /// The content of a file on this node's own disk.
    pub(crate) async fn fetch_file(&self, row: &FileRow) -> Result<Spooled> {
        self.objects.fetch(&row.storage_path, row.bytes, &row.sha256).await
    }

    /// The whole content of a file, for what is small.
    pub(crate) async fn file_bytes(&self, row: &FileRow) -> Result<Bytes> {
        Ok(self.objects.read(&row.storage_path, row.bytes, &row.sha256).await?)
    }
}

/// The key of a file: by organization and by the id's last characters (its first ones are the time and would put
/// everything of a day into one folder).
fn storage_path(org: OrgId, file: FileId) -> String {
    let name = file.to_string();
    format!("files/{org}/{}/{name}", &name[name.len() - 2..])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn check_content_type(text: &str) -> Result<()> {
    if text.len() <= CONTENT_TYPE_BYTES_MAX
        && text.contains('/')
        && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    {
        return Ok(());
    }
    Err(Error::invalid_field("/content_type", "not a media type such as text/csv"))
}

fn view_of(row: &FileRow) -> FileView {
    FileView {
        id: row.id,
        name: row.name.clone(),
        bytes: row.bytes,
        sha256: row.sha256.clone(),
        content_type: row.content_type.clone(),
        created_at: row.created_at,
    }
}
