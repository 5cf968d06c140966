//! A read-only file system that holds an image: EROFS, without compression.
//!
//! First the superblock, then every inode (what is short lies beside its inode), then the blocks of what is long. Each block of
//! a folder has its entries and their names. Layout: Linux, `Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h`.
//! Read next: `walk.rs` for what is in it, `cache.rs` for when it is made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use super::walk::{Body, Forest, Node};
use super::{BLOCK, Record, low16, low32};

const MAGIC: u32 = 0xE0F5_E1E2;
/// Inodes lie at multiples of this; their numbers count in units of it.
const SLOT: u64 = 32;
const INODE_BYTES: u64 = 64;
const ENTRY_BYTES: usize = 12;
/// Data up to this many bytes lie beside their inode.
const BESIDE_MAX: u64 = 2048;
const NOWHERE: u64 = u64::MAX;

/// Where one node's inode and data are.
#[derive(Clone, Copy)]
struct Place {
    inode: u64,
    data: u64,
    bytes: u64,
    links: u32,
}

/// The plan of a whole disk.
struct Map<'a> {
    forest: &'a Forest,
    places: Vec<Place>,
    /// Nodes that are in the tree, in the order of their inodes; each with what is above it.
    order: Vec<(usize, usize)>,
    blocks: u64,
}

/// Writes the disk from the start of `file`.
pub(crate) fn write(forest: &Forest, file: &File) -> io::Result<()> {
    let map = Map::draw(forest)?;
    let mut out = Writer { file: BufWriter::with_capacity(1 << 20, file), at: 0 };
    out.pad_to(1024)?;
    out.put(&map.superblock())?;
    for (node, above) in &map.order {
        let place = map.places[*node];
        out.pad_to(place.inode)?;
        out.put(&map.inode(*node))?;
        if place.data == place.inode + INODE_BYTES {
            map.body(*node, *above, &mut out)?;
        }
    }
    for (node, above) in &map.order {
        let place = map.places[*node];
        if place.data != place.inode + INODE_BYTES && place.bytes > 0 {
            out.pad_to(place.data)?;
            map.body(*node, *above, &mut out)?;
        }
    }
    out.pad_to(map.blocks * BLOCK)?;
    out.file.flush()
}

impl<'a> Map<'a> {
    fn draw(forest: &'a Forest) -> io::Result<Self> {
        let nowhere = Place { inode: NOWHERE, data: NOWHERE, bytes: 0, links: 0 };
        let places = vec![nowhere; forest.nodes.len()];
        let mut map = Self { forest, places, order: Vec::new(), blocks: 0 };
        map.reach();
        // The root comes first, and its number is not 0.
        let mut at = BLOCK;
        for (node, _) in map.order.clone() {
            at = map.place_inode(node, at);
        }
        at = at.next_multiple_of(BLOCK);
        for (node, _) in map.order.clone() {
            let place = &mut map.places[node];
            if place.data == NOWHERE && place.bytes > 0 {
                place.data = at;
                at += place.bytes.next_multiple_of(BLOCK);
            }
        }
        map.blocks = at / BLOCK;
        if map.blocks > u64::from(u32::MAX) {
            return Err(io::Error::other("the image is larger than 16 TiB"));
        }
        Ok(map)
    }

    /// Finds what is in the tree, and counts its names.
    fn reach(&mut self) {
        let mut waiting = vec![(0, 0)];
        self.places[0].links = 1;
        while let Some((node, above)) = waiting.pop() {
            self.order.push((node, above));
            let Body::Folder(names) = &self.forest.nodes[node].body else { continue };
            for child in names.values() {
                let is_folder = matches!(self.forest.nodes[*child].body, Body::Folder(_));
                let links = &mut self.places[*child].links;
                *links += 1;
                if *links == 1 {
                    waiting.push((*child, node));
                }
                if is_folder {
                    self.places[node].links += 1;
                }
            }
            self.places[node].links += 1;
        }
    }

    /// Gives a node its place from `at` on; answers the next free one.
    fn place_inode(&mut self, node: usize, at: u64) -> u64 {
        let bytes = match &self.forest.nodes[node].body {
            Body::Folder(names) => folder_bytes(names),
            Body::File(_, bytes) => *bytes,
            Body::Link(target) => target.len() as u64,
        };
        let beside = (1..=BESIDE_MAX).contains(&bytes);
        let length = INODE_BYTES + if beside { bytes } else { 0 };
        let at = if at % BLOCK + length > BLOCK { at.next_multiple_of(BLOCK) } else { at };
        let place = &mut self.places[node];
        place.inode = at;
        place.bytes = bytes;
        if beside {
            place.data = at + INODE_BYTES;
        }
        (at + length).next_multiple_of(INODE_BYTES)
    }

    fn superblock(&self) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        let mut record = Record(&mut bytes);
        record.u32(0, MAGIC).u16(14, low16(self.places[0].inode / SLOT)).u64(16, self.order.len() as u64);
        record.u32(36, low32(self.blocks));
        // Blocks of 4 KiB.
        bytes[12] = 12;
        bytes
    }

    fn inode(&self, number: usize) -> Vec<u8> {
        /// An inode of 64 bytes with data in blocks, or beside it.
        const IN_BLOCKS: u16 = 1;
        const BESIDE: u16 = 1 | 2 << 1;
        let (Node { mode, modified, .. }, place) = (&self.forest.nodes[number], self.places[number]);
        let beside = place.data == place.inode + INODE_BYTES;
        let mut bytes = vec![0; 64];
        let mut record = Record(&mut bytes);
        record.u16(0, if beside { BESIDE } else { IN_BLOCKS }).u16(4, low16(u64::from(*mode))).u64(8, place.bytes);
        if !beside && place.bytes > 0 {
            record.u32(16, low32(place.data / BLOCK));
        }
        record.u32(20, low32(place.inode / SLOT));
        record.u64(32, modified.0.cast_unsigned()).u32(40, modified.1).u32(44, place.links);
        bytes
    }

    fn body(&self, node: usize, above: usize, out: &mut Writer<'_>) -> io::Result<()> {
        match &self.forest.nodes[node].body {
            Body::Folder(names) => out.put(&self.folder(names, node, above)),
            Body::Link(target) => out.put(target),
            Body::File(path, bytes) => out.copy(&File::open(path)?, *bytes),
        }
    }

    fn folder(&self, names: &BTreeMap<Vec<u8>, usize>, node: usize, above: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for block in blocks_of(&entries(names, node, above)) {
            let start = bytes.len().next_multiple_of(usize::try_from(BLOCK).unwrap_or(usize::MAX));
            bytes.resize(start, 0);
            let mut name_at = block.len() * ENTRY_BYTES;
            for (name, to) in block {
                let mut entry = [0; ENTRY_BYTES];
                Record(&mut entry).u64(0, self.places[*to].inode / SLOT).u16(8, low16(name_at as u64));
                entry[10] = kind(&self.forest.nodes[*to].body);
                bytes.extend_from_slice(&entry);
                name_at += name.len();
            }
            for (name, _) in block {
                bytes.extend_from_slice(name);
            }
        }
        bytes
    }
}

const fn kind(body: &Body) -> u8 {
    match body {
        Body::File(..) => 1,
        Body::Folder(_) => 2,
        Body::Link(_) => 7,
    }
}

/// All entries in the order of their bytes, as a folder's search wants them.
fn entries(names: &BTreeMap<Vec<u8>, usize>, node: usize, above: usize) -> Vec<(&[u8], usize)> {
    let own: [(&[u8], usize); 2] = [(b".", node), (b"..", above)];
    let mut all: Vec<(&[u8], usize)> = names.iter().map(|(name, to)| (name.as_slice(), *to)).chain(own).collect();
    all.sort_unstable();
    all
}

/// The entries of each block.
fn blocks_of<'a, 'b>(all: &'b [(&'a [u8], usize)]) -> Vec<&'b [(&'a [u8], usize)]> {
    let (mut blocks, mut start, mut used) = (Vec::new(), 0, 0);
    for (index, (name, _)) in all.iter().enumerate() {
        let bytes = (ENTRY_BYTES + name.len()) as u64;
        if used + bytes > BLOCK {
            blocks.push(&all[start..index]);
            (start, used) = (index, 0);
        }
        used += bytes;
    }
    blocks.push(&all[start..]);
    blocks
}

fn folder_bytes(names: &BTreeMap<Vec<u8>, usize>) -> u64 {
    let all = entries(names, 0, 0);
    let blocks = blocks_of(&all);
    let of = |block: &[(&[u8], usize)]| block.iter().map(|(name, _)| (ENTRY_BYTES + name.len()) as u64).sum::<u64>();
    blocks.split_last().map_or(0, |(last, full)| full.len() as u64 * BLOCK + of(last))
}

struct Writer<'a> {
    file: BufWriter<&'a File>,
    at: u64,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Leaves a hole, or the few zeros of one.
    fn pad_to(&mut self, place: u64) -> io::Result<()> {
        let gap = place.checked_sub(self.at).ok_or_else(|| io::Error::other("a bug: two places of a disk overlap"))?;
        self.at = place;
        io::copy(&mut io::repeat(0).take(gap), &mut self.file).map(drop)
    }

    /// Exactly `bytes` of a file: one that changes meanwhile is cut, or ends in zeros.
    fn copy(&mut self, source: &File, bytes: u64) -> io::Result<()> {
        let copied = io::copy(&mut source.take(bytes), &mut self.file)?;
        self.at += copied;
        self.pad_to(self.at + bytes - copied)
    }
}

#[cfg(test)]
mod tests;
