//! Where the log and everything around it is kept: a file of this node alone, or a Postgres database that nodes share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use livery_core::{Error, Result};
pub use livery_store::{Manifest, Piece, Rows};
use livery_store::{Observer, Options, PostgresOptions, Store};
use tokio::sync::mpsc;

use crate::startup::Startup;

/// The file below the data directory.
const FILE: &str = "livery.db";

/// A database, not opened yet. Shown without its password.
#[derive(Debug, Clone)]
pub enum Database {
    /// One SQLite file; one process at a time.
    Embedded(PathBuf),
    /// A Postgres database; any number of nodes.
    Postgres(Box<PostgresOptions>),
}

impl Database {
    /// The embedded one of a data directory.
    pub fn in_folder(data: &Path) -> Self {
        Self::Embedded(data.join(FILE))
    }

    /// The Postgres database at `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE`, trusting the certificates in
    /// `ca_file` beside the system's.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no such address; the message does not repeat it.
    pub fn at_url(url: &str, ca_file: Option<PathBuf>) -> Result<Self> {
        let mut options = PostgresOptions::from_url(url)?;
        if let Some(path) = ca_file {
            options = options.with_ca_file(path);
        }
        Ok(Self::Postgres(Box::new(options)))
    }

    /// Opens it, its schema brought up to date.
    pub(crate) async fn open(self, observer: Arc<dyn Observer>, startup: Startup) -> Result<Store> {
        match self {
            Self::Embedded(path) => {
                Ok(Store::open(&path, Options { observer: Some(observer), ..Options::default() }).await?)
            }
            Self::Postgres(mut options) => {
                options.observer = Some(observer);
                let connected = startup.step(|| Store::connect(&options)).await;
                connected.map_err(|error| refused(&options.to_string(), error))
            }
        }
    }

    /// Whether it is a file of this node.
    pub(crate) const fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }

    /// The names of the schema steps it lacks, in order. Changes nothing; an embedded one has to be stopped.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be opened, or a newer version wrote its schema.
    pub async fn pending_steps(&self) -> Result<Vec<&'static str>> {
        self.named(Store::pending_steps(self.engine()).await)
    }

    /// Applies what is pending; the names of the steps applied.
    ///
    /// # Errors
    /// As for [`Database::pending_steps`]; a step that fails is undone, those before it stay.
    pub async fn migrate(&self) -> Result<Vec<&'static str>> {
        self.named(Store::migrate(self.engine()).await)
    }

    /// Sends every row, as of one moment; what it counted. An embedded one has to be stopped.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be opened or its schema is older than this version.
    pub async fn export(&self, rows: mpsc::Sender<Rows>) -> Result<Manifest> {
        self.named(Store::system_export(self.engine(), rows).await)
    }

    /// Fills a new database, in one transaction that ends with the counts compared.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for one that has data in it, and for pieces that are not what was exported; nothing is kept.
    pub async fn import(&self, pieces: mpsc::Receiver<Piece>) -> Result<Manifest> {
        self.named(Store::system_import(self.engine(), pieces).await)
    }

    fn engine(&self) -> livery_store::Place<'_> {
        match self {
            Self::Embedded(path) => livery_store::Place::File(path),
            Self::Postgres(options) => livery_store::Place::Postgres(options),
        }
    }

    fn named<T>(&self, result: livery_store::Result<T>) -> Result<T> {
        result.map_err(|error| refused(&self.to_string(), error))
    }
}

/// The operator's own error says what the database said; a caller of the API is told less.
fn refused(place: &str, error: livery_store::Error) -> Error {
    match error {
        livery_store::Error::Domain(error) => error,
        error => Error::Unavailable { detail: format!("{place}: {error}"), retry_after_s: 0 },
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => write!(f, "{}", path.display()),
            Self::Postgres(options) => write!(f, "{options}"),
        }
    }
}
