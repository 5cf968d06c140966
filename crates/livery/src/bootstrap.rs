//! `DIR/bootstrap.json`: where the server is and the first key, for the operator's own tools. Mode 0600.
//!
//! The database has a digest of the key alone, so the file comes first: it is written under another name before the key is
//! committed ([`keep`]) and gets its own name afterwards ([`settle`]), which takes no room on a disk. A start that died
//! in between left the other name, and the next one settles it.

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

/// What became of a key that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The database knows it.
    Holds,
    /// It does not: the start died before, or another node was faster.
    IsVoid,
}

fn path_in(data: &Path) -> PathBuf {
    data.join("bootstrap.json")
}

/// The file until its key is committed.
fn waiting_in(data: &Path) -> PathBuf {
    data.join("bootstrap.json.new")
}

/// Keeps the first key, durably, before it is committed.
pub(crate) fn keep(data: &Path, url: &str, first: &Bootstrap) -> anyhow::Result<()> {
    let path = waiting_in(data);
    write(&path, &BootstrapFile { url: url.to_owned(), first: first.clone() })?;
    let folder = fs::File::open(data).and_then(|folder| folder.sync_all());
    folder.with_context(|| format!("cannot write to {}", data.display()))
}

/// The key that an earlier start kept and did not settle.
pub(crate) fn waiting(data: &Path) -> Option<String> {
    let text = fs::read_to_string(waiting_in(data)).ok()?;
    // Cut off: the start died while it wrote, and nothing was committed.
    serde_json::from_str::<BootstrapFile>(&text).ok().map(|file| file.first.api_key).or(Some(String::new()))
}

/// Gives the kept file its name, or takes it away.
pub(crate) fn settle(data: &Path, waiting: Waiting) -> anyhow::Result<()> {
    let from = waiting_in(data);
    let settled = match waiting {
        Waiting::Holds => fs::rename(&from, path_in(data)),
        Waiting::IsVoid => fs::remove_file(&from),
    };
    settled.with_context(|| format!("cannot rename or remove {}", from.display()))
}

/// Puts the address right; where the file is. `None`: somebody removed it, and with it the only copy of the key.
pub(crate) fn update(data: &Path, url: &str) -> anyhow::Result<Option<PathBuf>> {
    let path = path_in(data);
    let Some(file) = read(data)? else { return Ok(None) };
    if file.url != url {
        let aside = path.with_extension("json.part");
        write(&aside, &BootstrapFile { url: url.to_owned(), first: file.first })?;
        fs::rename(&aside, &path)?;
    }
    Ok(Some(path))
}

fn write(path: &Path, content: &BootstrapFile) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(content)?;
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = written.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", path.display()))
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
