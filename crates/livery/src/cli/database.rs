//! Where everything is kept, and the commands that look after it as a whole.

use std::path::PathBuf;

use clap::Args;
use livery_platform::Database;

/// Which database, when it is not the one in the data directory.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Keep everything in this Postgres database; prefer the environment, other users can read your command line.
    #[arg(long, value_name = "URL", env = "LIVERY_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<DatabaseUrl>,
    /// Trust the certificates in this PEM file for the database, besides the system's.
    #[arg(long, value_name = "FILE", env = "LIVERY_DATABASE_CA", requires = "database")]
    pub(crate) database_ca: Option<PathBuf>,
}

/// An address with a password in it: never shown.
#[derive(Clone)]
pub(crate) struct DatabaseUrl(String);

impl std::str::FromStr for DatabaseUrl {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}

impl Place {
    /// The Postgres database, if one is named.
    pub(crate) fn shared(&self) -> anyhow::Result<Option<Database>> {
        let Some(DatabaseUrl(url)) = &self.database else { return Ok(None) };
        match Database::at_url(url, self.database_ca.clone()) {
            Ok(database) => Ok(Some(database)),
            Err(error) => Err(crate::exit::Usage(format!("--database: {error}")).into()),
        }
    }

    /// That, or the one in the data directory.
    pub(crate) fn or_in(&self, data: &std::path::Path) -> anyhow::Result<Database> {
        Ok(self.shared()?.unwrap_or_else(|| Database::in_folder(data)))
    }
}

/// `livery migrate`.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// The data directory of a stopped server, unless --database names another place.
    #[arg(long, value_name = "DIR", env = "LIVERY_DATA", default_value = "livery-data")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Started as root: become this user before touching a data directory (default: `livery`, else `nobody`).
    #[arg(long, value_name = "NAME", env = "LIVERY_USER")]
    pub(crate) user: Option<String>,
    /// Show the pending steps and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the steps as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `livery export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The data directory: its files, and its database unless --database names another. The server is stopped.
    #[arg(long, value_name = "DIR", env = "LIVERY_DATA", default_value = "livery-data")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
    /// The file to write (mode 0600).
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Started as root: become this user before reading (default: `livery`, else `nobody`).
    #[arg(long, value_name = "NAME", env = "LIVERY_USER")]
    pub(crate) user: Option<String>,
}

/// `livery import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The export.
    pub(crate) file: PathBuf,
    /// The data directory to put files into, and the database unless --database names another. The server is stopped.
    #[arg(long, value_name = "DIR", env = "LIVERY_DATA", default_value = "livery-data")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Started as root: become this user before writing (default: `livery`, else `nobody`).
    #[arg(long, value_name = "NAME", env = "LIVERY_USER")]
    pub(crate) user: Option<String>,
}

/// `livery backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The data directory; its server may be at work.
    #[arg(long, value_name = "DIR", env = "LIVERY_DATA", default_value = "livery-data")]
    pub(crate) data: PathBuf,
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Put the root key into it too: whoever has the file then has every secret in it.
    #[arg(long)]
    pub(crate) include_root_key: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `livery restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// A file that `livery backup` wrote.
    pub(crate) file: PathBuf,
    /// The data directory to make; it must not exist, or be empty.
    #[arg(long, value_name = "DIR", env = "LIVERY_DATA", default_value = "livery-data")]
    pub(crate) data: PathBuf,
    /// As root: whose the directory will be (default: `livery`, else `nobody`).
    #[arg(long, value_name = "NAME", env = "LIVERY_USER")]
    pub(crate) user: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
