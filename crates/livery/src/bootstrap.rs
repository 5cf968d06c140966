//! `DIR/bootstrap.json`: where the server is and the first key, for the operator's own tools. Mode 0600.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use livery_platform::organizations::Bootstrap;
use serde::{Deserialize, Serialize};

/// `{url, organization, application, api_key}`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct BootstrapFile {
    /// Where the server listened last.
    pub(crate) url: String,
    #[serde(flatten)]
    pub(crate) first: Bootstrap,
}

fn path_in(data: &Path) -> PathBuf {
    data.join("bootstrap.json")
}

/// Writes the file at the first start; later ones only put the address right.
pub(crate) fn write(data: &Path, url: &str, first: Option<&Bootstrap>) -> anyhow::Result<Option<PathBuf>> {
    let path = path_in(data);
    let first = match first {
        Some(first) => first.clone(),
        None => match read(data)? {
            // Somebody removed the file, and with it the only copy of the key: nothing to put right.
            None => return Ok(None),
            Some(file) => file.first,
        },
    };
    let text = serde_json::to_string_pretty(&BootstrapFile { url: url.to_owned(), first })?;
    let aside = path.with_extension("json.part");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .with_context(|| format!("cannot write {}", aside.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, &path)?;
    Ok(Some(path))
}

/// Reads the file, if it is there.
pub(crate) fn read(data: &Path) -> anyhow::Result<Option<BootstrapFile>> {
    let path = path_in(data);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_str(&text)
        .map(Some)
        .with_context(|| format!("{} is damaged; remove it or put a backup back", path.display()))
}
