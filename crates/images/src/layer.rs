//! Reading tar archives that nobody vouches for: names made plain, sizes bounded, anything odd refused.
//!
//! POSIX ustar, GNU's long names and PAX records are understood. Sparse files, names that climb and records beyond a limit are
//! refused. Owners, permission bits beyond "executable", extended attributes and so file capabilities are left behind.
//! Read next: `unpack.rs`, which gives the entries a place.

mod pax;

use std::io::Read;

use tar::{EntryType, Header};

use crate::error::{Doing, Error, Result};
use crate::limits::{DEPTH_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX};

const BLOCK: usize = 512;
/// Before the name of what a layer takes away.
const WHITEOUT: &[u8] = b".wh.";
/// In a folder of which a layer hides everything below.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other files of that storage driver's own.
const DRIVER: &[u8] = b".wh..wh.";
/// Latest modification time that is kept: seconds, some time in the year 2242.
const MTIME_MAX: u64 = 1 << 33;

/// A plain path: no leading slash, no empty part, no `.` and no `..`. Empty: the root itself.
pub type Path = Vec<u8>;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file of [`Entry::size`] bytes, which follow.
    File {
        /// Whether anybody may execute it.
        executable: bool,
    },
    /// Another name of a file.
    Hard(Path),
    /// A link, to whatever text it says.
    Symbolic(Vec<u8>),
    /// The layer takes this away from those below.
    Whiteout(Path),
    /// The layer hides everything in this folder of those below.
    Opaque(Path),
    /// A device, a pipe or a file of a storage driver: nothing for a sandbox.
    Left,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: Path,
    /// What.
    pub kind: Kind,
    /// Bytes that follow; only a file has any.
    pub size: u64,
    /// Seconds since 1970, when it was last modified.
    pub mtime: u64,
    /// Where the bytes begin, from the beginning of the archive.
    pub offset: u64,
}

/// An archive being read.
#[derive(Debug)]
pub struct Tar<R> {
    inner: R,
    /// Bytes of the present entry that were not read yet, and what fills its last block.
    left: u64,
    padding: u64,
    offset: u64,
    file_bytes_max: u64,
    over: bool,
}

impl<R: Read> Tar<R> {
    /// Reads `inner`, of which the caller has bounded the length. No file in it may be longer than `file_bytes_max`.
    pub fn new(inner: R, file_bytes_max: u64) -> Self {
        Self { inner, left: 0, padding: 0, offset: 0, file_bytes_max, over: false }
    }

    /// The next entry, after whatever was not read of the one before.
    ///
    /// # Errors
    /// What is there is no archive, or nothing that should be in one. The archive cannot be read on then.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extra = pax::Extra::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return if extra.is_empty() {
                    Ok(None)
                } else {
                    Err(Error::invalid("the archive ends after a long name"))
                };
            };
            let size = header.entry_size().map_err(|_| Error::invalid("an entry's size is no number"))?;
            match header.entry_type() {
                EntryType::GNULongName => extra.name(self.text(size)?)?,
                EntryType::GNULongLink => extra.link(self.text(size)?)?,
                EntryType::XHeader => extra.records(&self.record(size)?)?,
                // About all that follow: a comment at most, in every archive we have seen.
                EntryType::XGlobalHeader => pax::Extra::default().global(&self.record(size)?)?,
                _ => return self.entry(&header, size, extra).map(Some),
            }
        }
    }

    /// Reads to the end of everything, so that whoever digests below has seen all of it.
    ///
    /// # Errors
    /// Reading failed, or a limit below was passed.
    pub fn drain(mut self) -> Result<R> {
        std::io::copy(&mut self.inner, &mut std::io::sink()).doing(|| "reading an archive".to_owned())?;
        Ok(self.inner)
    }

    fn entry(&mut self, header: &Header, size: u64, extra: pax::Extra) -> Result<Entry> {
        let raw = extra.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let is_folder_by_name = raw.ends_with(b"/");
        let path = plain(&raw)?;
        let target = extra.link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        if extra.size.is_some_and(|said| said != size) {
            return Err(Error::invalid(format!("{} has two sizes", show(&path))));
        }
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Folder,
            EntryType::Regular | EntryType::Continuous if is_folder_by_name => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => {
                Kind::File { executable: header.mode().unwrap_or(0) & 0o111 != 0 }
            }
            EntryType::Link => Kind::Hard(plain(&target.unwrap_or_default())?),
            EntryType::Symlink => Kind::Symbolic(link_text(target.unwrap_or_default(), &path)?),
            EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Left,
            other => {
                let byte = other.as_byte().escape_ascii();
                return Err(Error::invalid(format!("{} is of the kind `{byte}`, which is not taken", show(&path))));
            }
        };
        if matches!(kind, Kind::File { .. }) {
            if size > self.file_bytes_max {
                return Err(Error::limit(format!("bytes of {}", show(&path)), self.file_bytes_max));
            }
            self.expect(size);
        } else if size != 0 {
            // Writers disagree about what follows then, and so would readers.
            return Err(Error::invalid(format!("{} is no file and has a size", show(&path))));
        }
        let mtime = header.mtime().unwrap_or(0).min(MTIME_MAX);
        let kind = whiteout(&path, kind)?;
        Ok(Entry { path, kind, size, mtime, offset: self.offset })
    }

    /// The next header; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>> {
        if self.over {
            return Ok(None);
        }
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|byte| *byte == 0) {
            self.over = true;
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum = bytes[..148].iter().chain(&bytes[156..]).fold(8 * 32, |sum: u32, byte| sum + u32::from(*byte));
        if header.cksum().ok() != Some(sum) {
            return Err(Error::invalid("this is no tar archive, or a broken one"));
        }
        Ok(Some(header))
    }

    /// `false` at the end of the archive; half a block is an error.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]).doing(|| "reading an archive".to_owned())? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(Error::invalid("the archive ends in the middle of an entry")),
                read => filled += read,
            }
        }
        self.offset += BLOCK as u64;
        Ok(true)
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip(&mut self) -> Result<()> {
        let wanted = self.left + self.padding;
        let skipped = std::io::copy(&mut (&mut self.inner).take(wanted), &mut std::io::sink());
        let skipped = skipped.doing(|| "reading an archive".to_owned())?;
        self.offset += skipped;
        (self.left, self.padding) = (0, 0);
        if skipped == wanted { Ok(()) } else { Err(Error::invalid("the archive ends in the middle of a file")) }
    }

    /// A long name, without the byte that ends it.
    fn text(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut text = self.bounded(size, PATH_BYTES_MAX + 1, "a name")?;
        if text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    fn record(&mut self, size: u64) -> Result<Vec<u8>> {
        self.bounded(size, pax::RECORDS_BYTES_MAX, "an extended header")
    }

    fn bounded(&mut self, size: u64, max: usize, what: &str) -> Result<Vec<u8>> {
        let size = usize::try_from(size).ok().filter(|size| *size <= max);
        let Some(size) = size else { return Err(Error::limit(format!("bytes of {what}"), max as u64)) };
        self.expect(size as u64);
        let mut bytes = vec![0; size];
        self.read_exact(&mut bytes).doing(|| "reading an archive".to_owned())?;
        Ok(bytes)
    }
}

/// The bytes of the present entry.
impl<R: Read> Read for Tar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(std::io::Error::other(Error::invalid("the archive ends in the middle of a file")));
        }
        self.left -= read as u64;
        self.offset += read as u64;
        Ok(read)
    }
}

/// A path with nothing in it but names. A leading slash says nothing: every path is below the image's root.
fn plain(raw: &[u8]) -> Result<Path> {
    if raw.len() > PATH_BYTES_MAX {
        return Err(Error::limit("bytes of a path", PATH_BYTES_MAX as u64));
    }
    let mut path = Vec::with_capacity(raw.len());
    let mut depth = 0;
    for part in raw.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." || part.contains(&0) {
            return Err(Error::invalid(format!("{} leads out of the image", show(raw))));
        }
        if part.len() > NAME_BYTES_MAX {
            return Err(Error::limit("bytes of a name", NAME_BYTES_MAX as u64));
        }
        depth += 1;
        if depth > DEPTH_MAX {
            return Err(Error::limit("folders in each other", DEPTH_MAX as u64));
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    Ok(path)
}

fn link_text(text: Vec<u8>, path: &[u8]) -> Result<Vec<u8>> {
    if text.is_empty() || text.len() > PATH_BYTES_MAX || text.contains(&0) {
        return Err(Error::invalid(format!("{} links to nothing that could be a path", show(path))));
    }
    Ok(text)
}

/// What an entry by a whiteout's name means. A file below such a name means nothing and is refused.
fn whiteout(path: &[u8], kind: Kind) -> Result<Kind> {
    let (folder, name) = split(path);
    let odd = || Error::invalid(format!("{} is no whiteout", show(path)));
    if folder.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
        return Err(odd());
    }
    if let Kind::Hard(target) = &kind
        && split(target).1.starts_with(WHITEOUT)
    {
        return Err(odd());
    }
    if name == OPAQUE {
        return Ok(Kind::Opaque(folder.to_vec()));
    }
    if name.starts_with(DRIVER) {
        return Ok(Kind::Left);
    }
    let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(kind) };
    if hidden.is_empty() || hidden == b"." || hidden == b".." {
        return Err(odd());
    }
    Ok(Kind::Whiteout(join(folder, hidden)))
}

/// The folder and the name of a plain path.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

fn join(folder: &[u8], name: &[u8]) -> Path {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// A path for people.
pub(crate) fn show(path: &[u8]) -> String {
    let shown = path.escape_ascii().to_string();
    if shown.chars().count() <= 120 { shown } else { shown.chars().take(120).chain("…".chars()).collect() }
}

#[cfg(test)]
mod tests;
