//! Files in memory, and the one way they become a `.tar.gz`: the same files give the same bytes.
//!
//! Nothing of the machine that packs gets in: no owner, no time of its own, no order of a folder.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

/// Where the digests of a tree's own files are, in the tree.
const SUMS: &str = super::SUMS;

/// One file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Whether it is a program.
    pub kind: Kind,
}

/// What a file may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Read: mode 0644.
    Data,
    /// Run: mode 0755.
    Program,
}

/// Files by path relative to the archive's folder, `/` between folders.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, File>,
}

impl Tree {
    /// Adds a file to read.
    pub fn data(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), File { bytes: bytes.into(), kind: Kind::Data });
    }

    /// Adds a program.
    pub fn program(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), File { bytes: bytes.into(), kind: Kind::Program });
    }

    /// The file at a path.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// Every path, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Writes the digest of every file into `SHA256SUMS`, in the form that `sha256sum --check` reads.
    pub fn seal(&mut self) {
        self.files.remove(SUMS);
        let lines = self.files.iter().map(|(path, file)| format!("{}  {path}\n", sha256(&file.bytes)));
        let sums: String = lines.collect();
        self.data(SUMS, sums);
    }
}

/// The tree below `folder` as a compressed archive, every time set to `epoch_s`.
pub fn pack(folder: &str, tree: &Tree, epoch_s: u64) -> anyhow::Result<Vec<u8>> {
    compress(&tar(folder, tree, epoch_s)?)
}

fn tar(folder: &str, tree: &Tree, epoch_s: u64) -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, file) in &tree.files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(file.bytes.len() as u64);
        header.set_mode(if file.kind == Kind::Program { 0o755 } else { 0o644 });
        header.set_mtime(epoch_s);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root").context("the owner's name")?;
        header.set_groupname("root").context("the group's name")?;
        let path = format!("{folder}/{path}");
        archive.append_data(&mut header, &path, file.bytes.as_slice()).with_context(|| format!("packing {path}"))?;
    }
    archive.into_inner().context("ending the archive")
}

/// With the system's gzip: in a chore that was built without optimisation a library takes ten times as long.
fn compress(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut gzip = Command::new("gzip")
        // No name and no time in the header: only the content counts.
        .args(["-6", "--no-name", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start gzip; is it installed?")?;
    let mut input = gzip.stdin.take().context("gzip's input")?;
    let output = std::thread::scope(|scope| {
        // Dropped at the end, which tells gzip that this was all.
        let writer = scope.spawn(move || input.write_all(bytes));
        let output = gzip.wait_with_output();
        writer.join().map(|written| (written, output))
    });
    let Ok((written, output)) = output else { anyhow::bail!("the thread that feeds gzip died") };
    let output = output.context("waiting for gzip")?;
    anyhow::ensure!(output.status.success(), "gzip ended with {}", output.status);
    written.context("feeding gzip")?;
    Ok(output.stdout)
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
