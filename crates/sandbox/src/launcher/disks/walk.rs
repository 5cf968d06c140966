//! What is to be on an image's disk: the tree of a root plan, as every user of the host may read it.
//!
//! What is closed to others is left out, as nobody inside could read it in a container either; a machine's own root could.
//! Read next: `erofs.rs`.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::launcher::root::RootPlan;

const NODES_MAX: usize = 4_000_000;
const DEPTH_MAX: usize = 128;
/// Names longer than Linux has them do not come from Linux.
const NAME_BYTES_MAX: usize = 255;

/// One file, folder or link.
pub(crate) struct Node {
    /// Kind and permissions, without setuid and its like.
    pub(crate) mode: u32,
    pub(crate) modified: (i64, u32),
    pub(crate) body: Body,
}

pub(crate) enum Body {
    /// Names and node numbers.
    Folder(BTreeMap<Vec<u8>, usize>),
    File(PathBuf, u64),
    Link(Vec<u8>),
}

/// A whole tree; node 0 is its root.
pub(crate) struct Forest {
    pub(crate) nodes: Vec<Node>,
    /// The first so many are copies that a launcher makes at its start: what counts of them is what they hold.
    copies: usize,
    /// Files with several names, by device and number.
    known: HashMap<(u64, u64), usize>,
}

impl Forest {
    /// Everything of a plan, its binds on top of its skeleton.
    pub(crate) fn of(plan: &RootPlan) -> io::Result<Self> {
        let mut forest = Self { nodes: Vec::new(), copies: 0, known: HashMap::new() };
        if forest.plant(&plan.skeleton, DEPTH_MAX)? != Some(0) {
            return Err(io::Error::other("its skeleton is gone"));
        }
        forest.copies = forest.nodes.len();
        forest.nodes.iter_mut().for_each(|node| node.modified = (0, 0));
        for (source, name) in &plan.binds {
            let Some(node) = forest.plant(source, DEPTH_MAX)? else { continue };
            forest.graft(name, node);
        }
        Ok(forest)
    }

    /// Two trees with the same digest make the same disk.
    pub(crate) fn digest(&self) -> io::Result<String> {
        let mut hasher = Sha256::new();
        hasher.update(b"erofs 1\n");
        for (number, node) in self.nodes.iter().enumerate() {
            let name = |(name, to): (&Vec<u8>, &usize)| [name.as_slice(), b"\0", &to.to_le_bytes()].concat();
            let (kind, detail) = match &node.body {
                Body::Folder(names) => ("d", names.iter().flat_map(name).collect()),
                Body::File(path, _) if number < self.copies => ("c", fs::read(path)?),
                Body::File(path, size) => ("f", [path.as_os_str().as_bytes(), b"\0", &size.to_le_bytes()].concat()),
                Body::Link(target) => ("l", target.clone()),
            };
            hasher.update(format!("{kind} {:o} {:?} {}\n", node.mode, node.modified, detail.len()));
            hasher.update(&detail);
        }
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn plant(&mut self, path: &Path, depth: usize) -> io::Result<Option<usize>> {
        // What vanishes while it is looked at is not there.
        let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(None) };
        if self.nodes.len() >= NODES_MAX || depth == 0 {
            return Err(io::Error::other("the image has too many files, or too deep ones"));
        }
        let mode = metadata.mode();
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let Ok(target) = fs::read_link(path) else { return Ok(None) };
            return Ok(Some(self.add(&metadata, Body::Link(target.into_os_string().into_vec()))));
        }
        if kind.is_dir() {
            let folder = self.add(&metadata, Body::Folder(BTreeMap::new()));
            if mode & 0o005 == 0o005 {
                self.fill(path, folder, depth)?;
            }
            return Ok(Some(folder));
        }
        if !kind.is_file() || mode & 0o004 == 0 {
            return Ok(None);
        }
        let identity = (metadata.dev(), metadata.ino());
        if let Some(known) = self.known.get(&identity) {
            return Ok(Some(*known));
        }
        let node = self.add(&metadata, Body::File(path.to_owned(), metadata.len()));
        if metadata.nlink() > 1 {
            self.known.insert(identity, node);
        }
        Ok(Some(node))
    }

    fn fill(&mut self, path: &Path, folder: usize, depth: usize) -> io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(path)?.flatten().map(|entry| entry.file_name()).collect();
        // The order of the numbers is that of the names, so that the digest does not depend on the host's own order.
        entries.sort();
        for name in entries.into_iter().filter(|name| name.len() <= NAME_BYTES_MAX) {
            if let Some(child) = self.plant(&path.join(&name), depth - 1)? {
                self.name(folder, name.as_bytes(), child);
            }
        }
        Ok(())
    }

    fn add(&mut self, metadata: &Metadata, body: Body) -> usize {
        let nanos = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        let modified = (metadata.mtime(), nanos);
        self.nodes.push(Node { mode: metadata.mode() & !0o7000, modified, body });
        self.nodes.len() - 1
    }

    fn name(&mut self, folder: usize, name: &[u8], child: usize) {
        if let Body::Folder(names) = &mut self.nodes[folder].body {
            names.insert(name.to_owned(), child);
        }
    }

    /// Puts a node in a place of the skeleton, where a mount point is.
    fn graft(&mut self, place: &Path, node: usize) {
        let parts: Vec<&OsStr> = place.iter().collect();
        let Some((last, above)) = parts.split_last() else { return };
        let mut at = 0;
        for part in above {
            let Body::Folder(names) = &self.nodes[at].body else { return };
            let Some(next) = names.get(part.as_bytes()) else { return };
            at = *next;
        }
        self.name(at, last.as_bytes(), node);
    }
}
