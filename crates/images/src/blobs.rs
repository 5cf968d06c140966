//! Blobs: bytes under their own digest, written once, never changed.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Digesting};
use crate::error::{Doing, Error, Result};

/// What a blob has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected<'a> {
    /// These very bytes.
    Exactly(&'a Digest, u64),
    /// Whatever they are, up to a length; what they should be is found out by others.
    AtMost(u64),
}

/// The folder of blobs.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    folder: PathBuf,
    staging: PathBuf,
}

impl Blobs {
    pub(crate) fn new(folder: PathBuf, staging: PathBuf) -> Self {
        Self { folder, staging }
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// Keeps what `reader` gives, if it is what was expected; its digest and length.
    pub(crate) fn put(&self, what: &str, reader: impl Read, expected: Expected<'_>) -> Result<(Digest, u64)> {
        let max = match expected {
            Expected::Exactly(digest, size) => {
                if self.has(digest, size) {
                    return Ok((digest.clone(), size));
                }
                size
            }
            Expected::AtMost(max) => max,
        };
        let coming = self.staging.join("blob");
        let doing = || format!("storing {what}");
        let mut file = create(&coming).doing(doing)?;
        let mut digesting = Digesting::new(reader.take(max + 1));
        io::copy(&mut digesting, &mut file).doing(doing)?;
        let (found, size) = digesting.finish();
        if size > max {
            return Err(Error::limit(format!("bytes of {what}"), max));
        }
        if let Expected::Exactly(digest, _) = expected
            && (found != *digest || size != max)
        {
            return Err(Error::Digest { what: format!("{what} ({size} bytes)"), expected: digest.clone(), found });
        }
        file.flush().and_then(|()| file.sync_all()).doing(doing)?;
        fs::rename(&coming, self.path(&found)).doing(doing)?;
        Ok((found, size))
    }

    /// Whether it is here, whole.
    pub(crate) fn has(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.path(digest)).is_ok_and(|found| found.is_file() && found.len() == size)
    }

    pub(crate) fn open(&self, digest: &Digest) -> Result<BufReader<File>> {
        let file = File::open(self.path(digest)).doing(|| format!("opening the blob {digest}"))?;
        Ok(BufReader::with_capacity(64 * 1024, file))
    }

    /// Forgets one that is damaged: the next import brings it anew.
    pub(crate) fn discard(&self, digest: &Digest) {
        // What resists stays damaged, and is refused each time.
        let _ = fs::remove_file(self.path(digest));
    }

    /// A small one whole, and right.
    pub(crate) fn document(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let reader = self.open(digest)?;
        reader.take(bytes_max + 1).read_to_end(&mut bytes).doing(|| format!("reading the blob {digest}"))?;
        if bytes.len() as u64 > bytes_max {
            return Err(Error::limit(format!("bytes of the blob {digest}"), bytes_max));
        }
        let found = Digest::of(&bytes);
        if found != *digest {
            self.discard(digest);
            return Err(Error::Digest { what: "a blob".to_owned(), expected: digest.clone(), found });
        }
        Ok(bytes)
    }
}

/// A new file for its owner alone; one of that name goes.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// A folder for its owner alone, unless it is there.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
