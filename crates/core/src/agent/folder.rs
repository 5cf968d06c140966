//! An agent's folder as a value: paths and bytes, checked on the way in.
//!
//! Entries come from zips, JSON bodies and disks, all of them hostile. A [`Builder`] refuses what could leave the folder or
//! grow without bound, before the bytes are read where that is possible ([`Builder::room`]). It knows no archive format
//! and touches no disk.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::finding::{Finding, Findings, Mark, is_unprintable, quote};

/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 255;
/// Most parts of a path.
pub const PATH_PARTS_MAX: usize = 16;
/// Most files.
pub const FILES_MAX: usize = 2_000;
/// Largest file.
pub const FILE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Largest sum of all files.
pub const FOLDER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The file that makes a folder an agent.
pub const AGENT_MD: &str = "AGENT.md";

/// One file of a folder. JSON: `{"base64": "…", "executable": true}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The content.
    pub bytes: Vec<u8>,
    /// Whether it is to be a program; a file that begins with `#!` always is.
    pub executable: bool,
}

impl File {
    /// A file; beginning with `#!` makes it executable, because zips and JSON often lose the bit.
    pub fn new(bytes: impl Into<Vec<u8>>, executable: bool) -> Self {
        let bytes = bytes.into();
        let executable = executable || bytes.starts_with(b"#!");
        Self { bytes, executable }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJson {
    base64: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    executable: bool,
}

impl Serialize for File {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FileJson { base64: STANDARD.encode(&self.bytes), executable: self.executable }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let file = FileJson::deserialize(deserializer)?;
        let bytes = STANDARD.decode(&file.base64).map_err(|_| serde::de::Error::custom("not base64"))?;
        Ok(Self::new(bytes, file.executable))
    }
}

/// Files by path. Paths are relative, normalised and below the limits above; no path is a folder of another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Folder {
    files: BTreeMap<String, File>,
}

impl<'de> Deserialize<'de> for Folder {
    /// Reads what `Serialize` wrote; the limits hold here too.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let files = BTreeMap::<String, File>::deserialize(deserializer)?;
        let entries = files.into_iter().map(|(path, file)| (path, file.bytes, file.executable));
        Self::from_entries(entries).map_err(|findings| match findings.first() {
            Some(finding) => serde::de::Error::custom(finding),
            None => serde::de::Error::custom("not a folder"),
        })
    }
}

impl Folder {
    /// A folder of `(path, bytes, executable)`.
    ///
    /// # Errors
    /// Every entry that breaks a rule, each once.
    pub fn from_entries<P: AsRef<str>, B: Into<Vec<u8>>>(
        entries: impl IntoIterator<Item = (P, B, bool)>,
    ) -> Result<Self, Vec<Finding>> {
        let mut builder = Builder::new();
        for (path, bytes, executable) in entries {
            builder.add(path.as_ref(), bytes.into(), executable);
        }
        builder.finish()
    }

    /// The folder of an inline agent: `{"agent_md": "…", "files": {"path": "base64"}}`.
    ///
    /// # Errors
    /// Every file that is no base64 or breaks a rule of the folder.
    pub fn from_inline(agent_md: &str, files: &BTreeMap<String, String>) -> Result<Self, Vec<Finding>> {
        let mut builder = Builder::new();
        builder.add(AGENT_MD, agent_md.as_bytes().to_vec(), false);
        for (path, text) in files {
            // Refused before decoding: the decoded size is known from the text's length.
            if text.len() / 4 * 3 > builder.room() + 2 {
                builder.refuse_size(path);
                continue;
            }
            match STANDARD.decode(text) {
                Ok(bytes) => builder.add(path, bytes, false),
                Err(_) => builder.refuse(path, "the content is not base64", "use the standard alphabet with padding"),
            }
        }
        builder.finish()
    }

    /// The content of a file.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// Whether there is a file at this path.
    pub fn contains(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// All files, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The files below `prefix` (which ends with `/`), with their paths from there on.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a File)> {
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        self.files.range::<str, _>(from).map_while(move |(path, file)| Some((path.strip_prefix(prefix)?, file)))
    }

    /// The names directly below `prefix`, each once: folders end with `/`.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let mut last = "";
        self.below(prefix).filter_map(move |(path, _)| {
            let name = path.split_inclusive('/').next()?;
            (name != last).then(|| {
                last = name;
                name
            })
        })
    }

    /// How many files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The sum of all files in bytes.
    pub fn bytes(&self) -> usize {
        self.files.values().map(|file| file.bytes.len()).sum()
    }

    /// The folder one level down, when everything lies in one folder that has the `AGENT.md`: archives are often made so.
    #[must_use]
    pub fn unwrapped(self) -> Self {
        let wrapper = match self.files.keys().next().and_then(|path| path.split_once('/')) {
            Some((first, _)) if !self.contains(AGENT_MD) => format!("{first}/"),
            _ => return self,
        };
        let wraps_all = self.files.keys().all(|path| path.starts_with(&wrapper));
        if !wraps_all || !self.contains(&format!("{wrapper}{AGENT_MD}")) {
            return self;
        }
        let strip = |(path, file): (String, File)| (path[wrapper.len()..].to_owned(), file);
        Self { files: self.files.into_iter().map(strip).collect() }
    }

    /// The folder's identity: SHA-256 in hexadecimal over paths, bits and bytes, in whatever order they came.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"livery-folder-1\n");
        for (path, file) in &self.files {
            // Lengths before contents: no two folders have the same bytes here.
            hasher.update(format!("{} {} {}\n", path.len(), u8::from(file.executable), file.bytes.len()));
            hasher.update(path);
            hasher.update(&file.bytes);
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Gathers entries one by one and refuses what breaks a rule.
///
/// For an archive: look at [`room`](Self::room), inflate at most that many bytes and one more, then [`add`](Self::add)
/// them. What an archive says about its sizes is never trusted.
#[derive(Debug, Default)]
pub struct Builder {
    files: BTreeMap<String, File>,
    bytes: usize,
    entries: usize,
    findings: Findings,
}

impl Builder {
    /// An empty folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Most bytes the next file may have; reading more is pointless, and zero means: stop.
    pub fn room(&self) -> usize {
        if self.entries >= FILES_MAX { 0 } else { FILE_BYTES_MAX.min(FOLDER_BYTES_MAX - self.bytes) }
    }

    /// Adds a file, or notes why not.
    pub fn add(&mut self, path: &str, bytes: Vec<u8>, executable: bool) {
        self.entries += 1;
        if self.entries > FILES_MAX {
            if self.entries == FILES_MAX + 1 {
                self.refuse("", format!("more than {FILES_MAX} files"), "leave out what the agent does not need");
            }
            return;
        }
        if let Err(problem) = check_path(path) {
            self.refuse(path, problem.message, problem.hint);
            return;
        }
        if bytes.len() > FILE_BYTES_MAX || self.bytes + bytes.len() > FOLDER_BYTES_MAX {
            self.refuse_size(path);
            return;
        }
        if self.files.contains_key(path) {
            self.refuse(path, "this path is here twice", "keep one");
            return;
        }
        self.bytes += bytes.len();
        self.files.insert(path.to_owned(), File::new(bytes, executable));
    }

    /// Notes an entry that cannot be part of a folder (a link, a device, an unreadable one).
    pub fn refuse(&mut self, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.error(&shown(path), Mark::START, message, hint);
    }

    /// Notes an entry that is larger than [`room`](Self::room).
    pub fn refuse_size(&mut self, path: &str) {
        let message = format!("too large: a file has at most {FILE_BYTES_MAX} bytes, the folder {FOLDER_BYTES_MAX}");
        self.refuse(path, message, "upload large data as an input file of the run");
    }

    /// The folder.
    ///
    /// # Errors
    /// Everything that was refused.
    pub fn finish(mut self) -> Result<Folder, Vec<Finding>> {
        let mut nested = Vec::new();
        for path in self.files.keys() {
            let mut parents = path.match_indices('/').map(|(end, _)| &path[..end]);
            if let Some(parent) = parents.find(|parent| self.files.contains_key(*parent)) {
                nested.push((path.clone(), parent.to_owned()));
            }
        }
        for (path, parent) in nested {
            self.refuse(&path, format!("{} is a file and a folder", quote(&parent)), "rename one");
        }
        if self.findings.has_errors() { Err(self.findings.into_vec()) } else { Ok(Folder { files: self.files }) }
    }
}

/// A path fit for a finding.
fn shown(path: &str) -> String {
    let text: String = path
        .chars()
        .take(PATH_BYTES_MAX)
        .map(|letter| if is_unprintable(letter) { '\u{fffd}' } else { letter })
        .collect();
    if text.is_empty() { "(folder)".into() } else { text }
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathProblem {
    /// What is wrong.
    pub message: &'static str,
    /// What to do.
    pub hint: &'static str,
}

/// Whether a path is relative, normalised and short: parts between single `/`, none of them `.` or `..`, no backslash, no
/// control characters.
///
/// # Errors
/// The first rule it breaks.
pub fn check_path(path: &str) -> Result<(), PathProblem> {
    const PLAIN: &str = "use a relative path like files/data.csv";
    let problem = |message, hint| Err(PathProblem { message, hint });
    if path.is_empty() {
        return problem("an empty path", PLAIN);
    }
    if path.len() > PATH_BYTES_MAX {
        return problem("the path is longer than 255 bytes", "shorten it");
    }
    if path.contains('\\') {
        return problem("the path has a backslash", "separate folders with /");
    }
    if path.chars().any(is_unprintable) {
        return problem("the path has a control character", PLAIN);
    }
    if path.starts_with('/') {
        return problem("the path is absolute", PLAIN);
    }
    if path.split('/').count() > PATH_PARTS_MAX {
        return problem("the path has more than 16 parts", "flatten it");
    }
    for part in path.split('/') {
        match part {
            "" => return problem("the path has an empty part", PLAIN),
            "." | ".." => return problem("the path has a `.` or `..` part", PLAIN),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
