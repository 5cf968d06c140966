//! Where the root key comes from, and the start-up checks around it.
//!
//! A key file is created exactly once, only when nothing sealed exists yet, mode 0400, complete or not at all. A file that
//! others can read, or that is not exactly 32 bytes, is refused rather than repaired.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::SealError;
use super::key::{KEY_LEN, Kek};
use crate::Secret;

/// Where a root key is.
pub enum KekSource {
    /// A file of 32 raw bytes, mode 0400 or 0600.
    File(PathBuf),
    /// The 32 bytes themselves.
    Bytes(Secret),
    /// Text from the environment: 64 hex digits or base64 of 32 bytes.
    Text(Secret),
}

/// What the database already holds, so that a missing key is noticed before a new one is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Existing<'a> {
    /// The recorded key check value ([`super::Sealer::check_value`]).
    pub check: Option<&'a str>,
    /// Whether any wrapped data key or sealed field is stored.
    pub any_sealed: bool,
}

/// Why Livery must not start with this root key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Sealed values exist, the key file does not.
    #[error(
        "the root key file {} is missing, but the database holds values sealed under it; put the file back (a new key \
         could not open them, so none is made)", path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Another key than the one that sealed what is stored.
    #[error(
        "the root key is not the one this database was sealed under (have {have}, need {need}); give the right key, or \
         both while rotating"
    )]
    Wrong {
        /// Id of the key given.
        have: String,
        /// Id of the key needed.
        need: String,
    },
    /// Sealed values exist without a check value: the database was altered or half restored.
    #[error("the database holds sealed values but no key check value; restore it from a complete backup")]
    CheckMissing,
    /// The recorded check value is damaged.
    #[error("the recorded key check value does not open; the database was altered or is damaged")]
    CheckDamaged,
    /// Others can read the key.
    #[error("the root key file {} can be read by others (mode {mode:04o}); chmod 0400 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error("the root key in {place} is not a 256-bit key")]
    Malformed {
        /// The file, or `the environment`, or `the given bytes`.
        place: String,
    },
    /// The file system said no.
    #[error("the root key file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A key from before an earlier rotation is still there.
    #[error(
        "{} holds another key: a rotation is under way; when `livery vault status` says that nothing is left, remove it",
        path.display()
    )]
    UnderWay {
        /// The file.
        path: PathBuf,
    },
    /// No random bytes for a new key.
    #[error("no random bytes from the operating system")]
    NoRandomness,
}

impl KekSource {
    /// Loads the key, creating the file only if `may_create`.
    pub(super) fn load(self, may_create: bool) -> Result<Kek, KeyError> {
        match self {
            Self::Bytes(bytes) => {
                Kek::from_bytes(bytes).map_err(|_| KeyError::Malformed { place: "the given bytes".to_owned() })
            }
            Self::Text(text) => decode_text(&text)
                .and_then(|bytes| Kek::from_bytes(bytes).ok())
                .ok_or_else(|| KeyError::Malformed { place: "the environment".to_owned() }),
            Self::File(path) => load_file(&path, may_create),
        }
    }
}

fn decode_text(text: &Secret) -> Option<Secret> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    let text = text.expose_secret().trim_ascii();
    if text.len() == KEY_LEN * 2 {
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let bytes: Option<Vec<u8>> =
            text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
        return bytes.map(Secret::new);
    }
    [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
        .iter()
        .find_map(|engine| engine.decode(text).ok())
        .map(Secret::new)
}

fn load_file(path: &Path, may_create: bool) -> Result<Kek, KeyError> {
    match read_file(path) {
        Err(KeyError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            if !may_create {
                return Err(KeyError::Missing { path: path.to_owned() });
            }
            create_file(path, None)?;
            // Read back what is on disk: another process may have been first, and then its key is the key.
            read_file(path)
        }
        other => other,
    }
}

fn read_file(path: &Path) -> Result<Kek, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let malformed = || KeyError::Malformed { place: path.display().to_string() };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(malformed());
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::with_capacity(KEY_LEN + 1);
    file.take(KEY_LEN as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    Kek::from_bytes(Secret::new(bytes)).map_err(|_| malformed())
}

/// Writes the key beside its place and links it there, so that the name never shows half a key and never replaces one.
/// `owner`: user and group it is given to.
fn create_file(path: &Path, owner: Option<(u32, u32)>) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let key = Kek::generate().map_err(|_| KeyError::NoRandomness)?;
    let temporary = path.with_extension(format!("new-{}", key.kid()));
    let written = write_new(&temporary, key.0.material().expose_secret())
        .and_then(|file| owner.map_or(Ok(()), |(user, group)| fchown(&file, Some(user), Some(group))))
        .and_then(|()| match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        })
        .and_then(|()| sync_folder(path));
    let removed = fs::remove_file(&temporary);
    written.and(removed).map_err(io)
}

/// Puts a key into the file `path`, where there is none; its id. It belongs to whoever owns the folder: the user the server
/// runs as.
///
/// # Errors
/// There is no such folder, or what is at `path` is no key.
pub fn new_key_file(path: &Path) -> Result<String, KeyError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let owner = fs::metadata(folder).map_err(|source| KeyError::Io { path: folder.to_owned(), source })?;
    create_file(path, Some((owner.uid(), owner.gid())))?;
    Ok(read_file(path)?.kid().to_owned())
}

/// Puts a new key into the file `path`; the one before stays as `old`. Their ids, the old one first. Whoever is cut off in
/// between leaves the old key in its place, alone or beside its copy.
///
/// # Errors
/// There is an `old` that is another key: a rotation is under way. There is no key at `path`, or it cannot be exchanged.
pub fn replace_key_file(path: &Path, old: &Path) -> Result<(String, String), KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let before = read_file(path)?;
    match fs::hard_link(path, old) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if read_file(old)?.kid() != before.kid() {
                return Err(KeyError::UnderWay { path: old.to_owned() });
            }
        }
        linked => linked.map_err(|source| KeyError::Io { path: old.to_owned(), source })?,
    }
    let key = Kek::generate().map_err(|_| KeyError::NoRandomness)?;
    let temporary = path.with_extension(format!("new-{}", key.kid()));
    let owner = fs::metadata(path).map_err(io)?;
    write_new(&temporary, key.0.material().expose_secret())
        // A key made by root stays readable for the user the server runs as. By the open file: that user has the folder, and
        // could put a link to anything into the file's place.
        .and_then(|file| fchown(&file, Some(owner.uid()), Some(owner.gid())))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(path))
        .map_err(io)?;
    Ok((before.kid().to_owned(), key.kid().to_owned()))
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

impl From<SealError> for KeyError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::NoRandomness => Self::NoRandomness,
            _ => Self::CheckDamaged,
        }
    }
}
