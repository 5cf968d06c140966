//! The file format: a zstd-compressed tar of regular files, written here and read with suspicion.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use livery_core::{Error, Result};

use super::failed;

/// A little over the fastest: backups are mostly text.
const COMPRESSION: i32 = 3;
/// Most memory the decompressor takes, as a power of two: a hostile file may ask for more.
const WINDOW_LOG_MAX: u32 = 27;
/// How much is read and written at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// An archive being written; mode 0600.
pub(super) struct Writer {
    tar: tar::Builder<zstd::Encoder<'static, BufWriter<File>>>,
    path: std::path::PathBuf,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let open = || -> io::Result<_> {
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            Ok(tar::Builder::new(zstd::Encoder::new(BufWriter::new(file), COMPRESSION)?))
        };
        Ok(Self { tar: open().map_err(|error| failed("write", path, error))?, path: path.to_owned() })
    }

    pub(super) fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.entry(name, bytes.len() as u64, bytes)
    }

    pub(super) fn file(&mut self, name: &str, source: &Path) -> Result<()> {
        let open = || -> io::Result<(File, u64)> {
            let file = File::open(source)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(|error| failed("read", source, error))?;
        self.entry(name, bytes, file)
    }

    fn entry(&mut self, name: &str, bytes: u64, content: impl Read) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_entry_type(tar::EntryType::Regular);
        self.tar.append_data(&mut header, name, content).map_err(|error| failed("write", &self.path, error))
    }

    /// Completes the file; what was written is on the disk afterwards.
    pub(super) fn finish(self) -> Result<()> {
        let path = self.path;
        let finish = || -> io::Result<()> {
            let mut file = self.tar.into_inner()?.finish()?;
            file.flush()?;
            file.get_ref().sync_all()
        };
        finish().map_err(|error| failed("write", &path, error))
    }
}

/// One entry being read: its name, its size as it says, and its bytes.
pub(super) struct Entry<'a> {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) content: &'a mut dyn Read,
}

/// Reads an archive, entry by entry. Anything but a regular file with a plain name is refused.
///
/// # Errors
/// What `take` says; a file that is no such archive, is cut off, or holds what has no place in one.
pub(super) fn read(path: &Path, mut take: impl FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
    let broken = |error: io::Error| damaged(path, &error);
    let file = File::open(path).map_err(|error| failed("read", path, error))?;
    let mut decoder = zstd::Decoder::with_buffer(BufReader::new(file)).map_err(broken)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
    let mut tar = tar::Archive::new(decoder);
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let refuse = |why: &str| failed("restore", path, why);
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(refuse("it holds something that is no file"));
        }
        let name = String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| refuse("it holds a strange name"))?;
        let bytes = entry.size();
        take(Entry { name, bytes, content: &mut entry })?;
    }
    // The end of the tar is not the end of the frame: a cut-off or altered tail shows only when it is read.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
    Ok(())
}

/// Copies exactly the bytes an entry said it has into a new file. `from` is the archive, for what is said of it.
pub(super) fn lay_down(from: &Path, entry: Entry<'_>, target: &Path) -> Result<()> {
    let unwritable = |error: io::Error| failed("write", target, error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(unwritable)?;
    let mut left = entry.bytes;
    let mut piece = vec![0; PIECE_BYTES];
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        // What cannot be read is the archive's fault, what cannot be written the disk's: told apart for who mends it.
        let read = match entry.content.read(&mut piece[..room]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(|error| damaged(from, &error))?,
        };
        if read == 0 {
            return Err(damaged(from, &io::ErrorKind::UnexpectedEof.into()));
        }
        file.write_all(&piece[..read]).map_err(unwritable)?;
        left -= read as u64;
    }
    file.sync_data().map_err(unwritable)
}

fn damaged(path: &Path, error: &io::Error) -> Error {
    failed("read", path, format!("it is damaged or no backup ({error})"))
}
