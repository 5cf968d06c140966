//! Files: what is known about them, and which runs they belong to. The bytes lie elsewhere, at `storage_path`.

use std::fmt;

use livery_core::Timestamp;
use livery_core::id::{AppId, FileId, OrgId, RunId};

use crate::error::{Error, Result};
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Files of one run that are read at once.
const RUN_FILES_MAX: u32 = 10_000;

/// The columns of [`FileRow`], in its order.
macro_rules! file_columns {
    () => {
        "f.id, f.org_id, f.application_id, f.name, f.content_type, f.bytes, f.sha256, f.storage_path, f.created_at"
    };
}

pub(crate) use file_columns;

statements! {
    INSERT = "insert into files
        (id, org_id, application_id, name, content_type, bytes, sha256, storage_path, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    GET = concat!("select ", file_columns!(), " from files f where f.org_id = $1 and f.id = $2");
    LIST = concat!("select ", file_columns!(), " from files f where f.org_id = $1 and (f.created_at, f.id) < ($2, $3)
        and (f.application_id = $4 or $4 is null) order by f.created_at desc, f.id desc limit $5");
    DELETE = "delete from files where org_id = $1 and id = $2";
    ATTACH = "insert into run_files (run_id, role, path, file_id)
        select r.id, $3, $4, f.id from runs r join files f on f.org_id = r.org_id
        where r.id = $2 and (r.org_id = $1) is true and f.id = $5
        on conflict (run_id, role, path) do update set file_id = excluded.file_id";
    OF_RUN = concat!("select x.path, ", file_columns!(), " from run_files x join runs r on r.id = x.run_id
        join files f on f.id = x.file_id
        where r.org_id = $1 and x.run_id = $2 and x.role = $3 order by x.path limit $4");
}

/// What a file is to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileRole {
    /// Given with the request, put into the workspace.
    Input,
    /// Left behind in `outputs/`.
    Artifact,
}

impl FileRole {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Artifact => "artifact",
        }
    }
}

impl fmt::Display for FileRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Its id.
    pub id: FileId,
    /// The tenant.
    pub org: OrgId,
    /// The application it belongs to.
    pub application: Option<AppId>,
    /// Its name.
    pub name: String,
    /// Its media type, as the uploader said.
    pub content_type: String,
    /// Its size.
    pub bytes: u64,
    /// Its digest, hex.
    pub sha256: String,
    /// Where the bytes are, as the file store names it.
    pub storage_path: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl FromRow for FileRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            name: row.take()?,
            content_type: row.take()?,
            bytes: row.take()?,
            sha256: row.take()?,
            storage_path: row.take()?,
            created_at: row.take()?,
        })
    }
}

/// A file and its place in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFile {
    /// Relative path in the run.
    pub path: String,
    /// The file.
    pub file: FileRow,
}

impl FromRow for RunFile {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self { path: row.take()?, file: FileRow::from_row(row)? })
    }
}

impl Tx {
    /// A new file.
    ///
    /// # Errors
    /// `NotFound` for an application that is not of this tenant.
    pub async fn insert_file(&mut self, row: &FileRow) -> Result<()> {
        let args = args![
            row.id,
            row.org,
            row.application,
            &row.name,
            &row.content_type,
            row.bytes,
            &row.sha256,
            &row.storage_path,
            row.created_at,
        ];
        self.execute(INSERT, args).await.map(drop)
    }

    /// Gives a file to a run under a path; the same path again replaces it.
    ///
    /// # Errors
    /// `NotFound` when the run or the file is not of this tenant.
    pub async fn attach_file(
        &mut self,
        org: OrgId,
        run: RunId,
        role: FileRole,
        path: &str,
        file: FileId,
    ) -> Result<()> {
        match self.execute(ATTACH, args![org, run, role.as_str(), path.to_owned(), file]).await? {
            0 => Err(Error::NotFound { what: "file" }),
            _ => Ok(()),
        }
    }

    /// Forgets a file that no run has.
    ///
    /// # Errors
    /// `NotFound` without that file in this tenant, and for one that a run has.
    pub async fn delete_file(&mut self, org: OrgId, file: FileId) -> Result<()> {
        match self.execute(DELETE, args![org, file]).await? {
            0 => Err(Error::NotFound { what: "file" }),
            _ => Ok(()),
        }
    }

    /// Deletes a file that may be gone already.
    ///
    /// # Errors
    /// `NotFound` for one that a run has.
    pub async fn remove_file(&mut self, org: OrgId, file: FileId) -> Result<()> {
        self.execute(DELETE, args![org, file]).await.map(drop)
    }
}

impl Store {
    /// One file of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_file(&self, org: OrgId, file: FileId) -> Result<Option<FileRow>> {
        self.fetch_optional(GET, args![org, file]).await
    }

    /// Files of the tenant, of one application or of all.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_files(&self, org: OrgId, app: Option<AppId>, page: &Page) -> Result<List<FileRow>> {
        let scope = Scope::new("files", org).with(&app.map(|app| app.to_string()).unwrap_or_default());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, from.created_at, FileId::from_bits(from.id_bits), app, rows];
        let rows = self.fetch_page(Lane::Scan, LIST, args).await?;
        let position = |row: &FileRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }

    /// A run's files in one role, by path. Empty for another tenant's run.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn run_files(&self, org: OrgId, run: RunId, role: FileRole) -> Result<Vec<RunFile>> {
        self.fetch_all(Lane::Point, OF_RUN, args![org, run, role.as_str(), RUN_FILES_MAX]).await
    }
}
