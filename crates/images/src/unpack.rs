//! From layers to a root: each layer is read twice, first to be checked and then to be unpacked.
//!
//! The first reading digests the bytes as they came and as they unpack, counts, and learns what the layer takes away from those
//! below it. Only when all of that is right does the second reading write anything. Read next: `tree.rs`.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use crate::blobs::Blobs;
use crate::digest::{Counting, Digest, Digesting};
use crate::error::{Doing, Error, Result};
use crate::layer::{Kind, Tar};
use crate::limits::Limits;
use crate::manifest::Descriptor;
use crate::source::is_compressed;
use crate::tree::Tree;

/// How much memory a zstd stream may ask for: two to the power of this.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What an image came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// Unpacks all layers into a new folder. An error leaves a folder that nobody may use.
pub(crate) fn unpack(
    blobs: &Blobs,
    layers: &[Descriptor],
    diff_ids: &[Digest],
    into: &Path,
    limits: &Limits,
) -> Result<Unpacked> {
    let mut tree = Tree::create(into, limits.entries).doing(|| format!("making {}", into.display()))?;
    let mut total = Unpacked::default();
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let hidden = check(blobs, layer, diff_id, limits, &mut total)?;
        for kind in hidden {
            match kind {
                Kind::Opaque(folder) => tree.empty(&folder)?,
                Kind::Whiteout(path) => tree.remove(&path)?,
                _ => {}
            }
        }
        write(blobs, layer, limits, &mut tree)?;
    }
    tree.finish()?;
    Ok(total)
}

/// Reads a layer to its end. Answers what it takes away.
fn check(
    blobs: &Blobs,
    layer: &Descriptor,
    diff_id: &Digest,
    limits: &Limits,
    total: &mut Unpacked,
) -> Result<Vec<Kind>> {
    let what = || format!("the layer {}", layer.digest);
    let mut coming = Digesting::new(blobs.open(&layer.digest)?);
    let left = Limits { unpacked_bytes: limits.unpacked_bytes.saturating_sub(total.bytes), ..*limits };
    let mut plain = Digesting::new(decoded(&mut coming, &left)?);
    let mut tar = Tar::new(&mut plain, limits.file_bytes);
    let mut hidden = Vec::new();
    let mut hidden_bytes = 0;
    while let Some(entry) = tar.next_entry()? {
        total.entries += 1;
        if total.entries > limits.entries {
            return Err(Error::limit("names in the image", limits.entries));
        }
        if let Kind::Opaque(path) | Kind::Whiteout(path) = &entry.kind {
            hidden_bytes += path.len();
            if hidden_bytes > limits.hidden_bytes {
                return Err(Error::limit("bytes of the names a layer takes away", limits.hidden_bytes as u64));
            }
            hidden.push(entry.kind);
        }
    }
    tar.drain()?;
    let (found, bytes) = plain.finish();
    total.bytes += bytes;
    same(&format!("{}, unpacked,", what()), diff_id, found)?;
    io::copy(&mut coming, &mut io::sink()).doing(|| format!("reading {}", what()))?;
    let (found, size) = coming.finish();
    if found != layer.digest {
        blobs.discard(&layer.digest);
    }
    same(&what(), &layer.digest, found)?;
    if size == layer.size {
        Ok(hidden)
    } else {
        Err(Error::invalid(format!("{} has {size} bytes, not {}", what(), layer.size)))
    }
}

fn same(what: &str, expected: &Digest, found: Digest) -> Result<()> {
    if *expected == found {
        return Ok(());
    }
    Err(Error::Digest { what: what.to_owned(), expected: expected.clone(), found })
}

fn write(blobs: &Blobs, layer: &Descriptor, limits: &Limits, tree: &mut Tree) -> Result<()> {
    let mut tar = Tar::new(decoded(blobs.open(&layer.digest)?, limits)?, limits.file_bytes);
    while let Some(entry) = tar.next_entry()? {
        match entry.kind {
            Kind::Folder => tree.folder(&entry.path)?,
            Kind::File { executable } => tree.file(&entry.path, &mut tar, executable, entry.mtime)?,
            Kind::Hard(target) => tree.hard(&entry.path, &target)?,
            Kind::Symbolic(text) => tree.symbolic(&entry.path, &text)?,
            Kind::Whiteout(_) | Kind::Opaque(_) | Kind::Left => {}
        }
    }
    Ok(())
}

/// What a stream holds, by its first bytes: gzip, zstd, or itself. Bounded in length, and in what it makes of how little.
pub(crate) fn decoded<'a>(mut reader: impl Read + 'a, limits: &Limits) -> Result<Box<dyn Read + 'a>> {
    let mut head = [0; 4];
    let mut filled = 0;
    while filled < head.len() {
        match reader.read(&mut head[filled..]).doing(|| "reading an archive".to_owned())? {
            0 => break,
            read => filled += read,
        }
    }
    let compressed = Rc::new(Cell::new(0));
    let whole = io::Cursor::new(head).take(filled as u64).chain(reader);
    let coming = Counting { inner: whole, count: Rc::clone(&compressed) };
    let coming = BufReader::with_capacity(64 * 1024, coming);
    let inner: Box<dyn Read + 'a> = if !is_compressed(head) {
        Box::new(coming)
    } else if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(coming))
    } else {
        let mut decoder = zstd::Decoder::with_buffer(coming).doing(|| "reading a zstd stream".to_owned())?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).doing(|| "reading a zstd stream".to_owned())?;
        Box::new(decoder)
    };
    Ok(Box::new(Bounded { inner, out: 0, compressed, limits: *limits }))
}

/// Stops what becomes too much.
struct Bounded<R> {
    inner: R,
    out: u64,
    compressed: Rc<Cell<u64>>,
    limits: Limits,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.out += read as u64;
        let Limits { unpacked_bytes, ratio, ratio_free_bytes, .. } = self.limits;
        if self.out > unpacked_bytes {
            return Err(io::Error::other(Error::limit("bytes of the image, unpacked", unpacked_bytes)));
        }
        if self.out > ratio_free_bytes && self.out / ratio > self.compressed.get() {
            return Err(io::Error::other(Error::limit("bytes unpacked from one that came", ratio)));
        }
        Ok(read)
    }
}
