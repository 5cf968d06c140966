//! An empty ext4 file system with a journal, whose root belongs to the run's user: a workspace's disk.
//!
//! The simplest layout Linux knows: blocks of 4 KiB, no spare superblocks, no checksums. The file is sparse, so an empty disk
//! costs a few hundred KiB whatever its size. Layout: Linux, `Documentation/filesystems/ext4`.
//! Read next: `../tiers/microvm.rs`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{BLOCK, Record, low16, low32};

const BLOCKS_PER_GROUP: u64 = 32_768;
const INODE_BYTES: u64 = 256;
const INODES_PER_BLOCK: u64 = BLOCK / INODE_BYTES;
/// Data for each name there can be.
const BYTES_PER_INODE: u64 = 16 * 1024;
const INODES_MIN: u64 = 1024;
/// The least that Linux takes.
const JOURNAL_BLOCKS: u64 = 1024;
const ROOT_INODE: u64 = 2;
const JOURNAL_INODE: u64 = 8;
/// The first one for names.
const FIRST_INODE: u64 = 11;
const EXTENTS: u32 = 0x8_0000;

/// Where everything is, for a disk with room for `data_mb` MiB of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    blocks: u64,
    groups: u64,
    /// Blocks of group descriptors.
    descriptors: u64,
    inodes_per_group: u64,
}

impl Layout {
    fn of(data_mb: u64) -> Self {
        let data = (data_mb << 20) / BLOCK;
        let mut layout = Self { blocks: data, groups: 1, descriptors: 1, inodes_per_group: 0 };
        // What it needs for itself makes it longer, which may need more again.
        for _ in 0..4 {
            layout.groups = layout.blocks.div_ceil(BLOCKS_PER_GROUP);
            layout.descriptors = (layout.groups * 32).div_ceil(BLOCK);
            let inodes = ((data_mb << 20) / BYTES_PER_INODE).max(INODES_MIN).div_ceil(layout.groups);
            layout.inodes_per_group = inodes.next_multiple_of(INODES_PER_BLOCK * 8).min(BLOCKS_PER_GROUP);
            layout.blocks = data + 2 + layout.descriptors + JOURNAL_BLOCKS + layout.groups * layout.own();
        }
        // A last group too short for its own tables is left away.
        let rest = layout.blocks % BLOCKS_PER_GROUP;
        if layout.groups > 1 && rest != 0 && rest < layout.own() + 64 {
            layout.blocks -= rest;
        }
        layout.groups = layout.blocks.div_ceil(BLOCKS_PER_GROUP);
        layout
    }

    fn table(&self) -> u64 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// Blocks of each group's bitmaps and inodes.
    fn own(&self) -> u64 {
        2 + self.table()
    }

    /// The block bitmap of a group; the inode bitmap and the inodes follow it.
    fn bitmap(&self, group: u64) -> u64 {
        group * BLOCKS_PER_GROUP + if group == 0 { 1 + self.descriptors } else { 0 }
    }

    fn root(&self) -> u64 {
        self.bitmap(0) + self.own()
    }

    fn journal(&self) -> u64 {
        self.root() + 1
    }

    /// Blocks of a group, and how many of them are in use from its start on.
    fn use_of(&self, group: u64) -> (u64, u64) {
        let blocks = BLOCKS_PER_GROUP.min(self.blocks - group * BLOCKS_PER_GROUP);
        let used = if group == 0 { self.journal() + JOURNAL_BLOCKS } else { self.own() };
        (blocks, used)
    }

    fn bytes(&self) -> u64 {
        self.blocks * BLOCK
    }
}

/// Bytes of the whole disk, with what it needs for itself.
pub(crate) fn bytes(data_mb: u64) -> u64 {
    Layout::of(data_mb).bytes()
}

/// Makes `file`, which is empty, such a disk. `id` tells it apart, `owner` is the user and group of its root.
pub(crate) fn format(file: &File, data_mb: u64, owner: u32, id: [u8; 16]) -> io::Result<()> {
    let layout = Layout::of(data_mb);
    file.set_len(layout.bytes())?;
    let mut free = 0;
    let mut descriptors = vec![0; usize::try_from(layout.descriptors * BLOCK).unwrap_or(0)];
    for group in 0..layout.groups {
        let (blocks, used) = layout.use_of(group);
        free += blocks - used;
        let at = usize::try_from(group * 32).unwrap_or(0);
        descriptor(&layout, group, &mut descriptors[at..at + 32]);
        let inodes = if group == 0 { FIRST_INODE - 1 } else { 0 };
        let start = layout.bitmap(group) * BLOCK;
        file.write_all_at(&bitmap(used, blocks), start)?;
        file.write_all_at(&bitmap(inodes, layout.inodes_per_group), start + BLOCK)?;
    }
    file.write_all_at(&descriptors, BLOCK)?;
    let inode = |number: u64| (layout.bitmap(0) + 2) * BLOCK + (number - 1) * INODE_BYTES;
    let root = Inode { mode: 0o040_700, links: 2, owner, first: layout.root(), blocks: 1 };
    let journal = Inode { mode: 0o100_600, links: 1, owner: 0, first: layout.journal(), blocks: JOURNAL_BLOCKS };
    file.write_all_at(&root.encode(), inode(ROOT_INODE))?;
    file.write_all_at(&journal.encode(), inode(JOURNAL_INODE))?;
    file.write_all_at(&empty_folder(), layout.root() * BLOCK)?;
    file.write_all_at(&journal_head(id), layout.journal() * BLOCK)?;
    file.write_all_at(&superblock(&layout, free, id), 1024)
}

fn descriptor(layout: &Layout, group: u64, record: &mut [u8]) {
    let (blocks, used) = layout.use_of(group);
    let bitmap = layout.bitmap(group);
    let inodes = if group == 0 { FIRST_INODE - 1 } else { 0 };
    let mut record = Record(record);
    record.u32(0, low32(bitmap)).u32(4, low32(bitmap + 1)).u32(8, low32(bitmap + 2));
    record.u16(12, low16(blocks - used)).u16(14, low16(layout.inodes_per_group - inodes));
    record.u16(16, u16::from(group == 0));
}

/// A block of bits: the first `used` set, and those that stand for nothing.
fn bitmap(used: u64, all: u64) -> Vec<u8> {
    let byte = |index: u64| {
        let bits = (0..8).filter(|bit| (index * 8 + bit < used) || (index * 8 + bit >= all));
        bits.fold(0, |byte, bit| byte | 1 << bit)
    };
    (0..BLOCK).map(byte).collect()
}

struct Inode {
    mode: u16,
    links: u16,
    owner: u32,
    first: u64,
    blocks: u64,
}

impl Inode {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        let mut record = Record(&mut bytes);
        record.u16(0, self.mode).u32(4, low32(self.blocks * BLOCK)).u16(26, self.links);
        record.u16(2, low16(u64::from(self.owner & 0xFFFF))).u16(24, low16(u64::from(self.owner & 0xFFFF)));
        record.u16(120, low16(u64::from(self.owner >> 16))).u16(122, low16(u64::from(self.owner >> 16)));
        record.u32(28, low32(self.blocks * BLOCK / 512)).u32(32, EXTENTS);
        // One extent: magic, entries, room; then its first block in the file, length, and place.
        record.u16(40, 0xF30A).u16(42, 1).u16(44, 4);
        record.u32(52, 0).u16(56, low16(self.blocks)).u32(60, low32(self.first));
        record.u16(128, 32);
        bytes
    }
}

/// A folder's only block: itself, and what is above it.
fn empty_folder() -> Vec<u8> {
    const FOLDER: u8 = 2;
    let mut bytes = vec![0; 24];
    let mut record = Record(&mut bytes);
    record.u32(0, low32(ROOT_INODE)).u16(4, 12).u32(12, low32(ROOT_INODE)).u16(16, low16(BLOCK - 12));
    (bytes[6], bytes[7], bytes[8]) = (1, FOLDER, b'.');
    (bytes[18], bytes[19]) = (2, FOLDER);
    bytes[20..22].copy_from_slice(b"..");
    bytes
}

/// The journal's own superblock; its numbers are big-endian.
fn journal_head(id: [u8; 16]) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let mut number = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    number(0, 0xC03B_3998);
    // Kind: a superblock of version 2.
    number(4, 4);
    number(12, low32(BLOCK));
    number(16, low32(JOURNAL_BLOCKS));
    // The first block of the log and its first number; empty.
    number(20, 1);
    number(24, 1);
    number(64, 1);
    bytes[48..64].copy_from_slice(&id);
    bytes
}

fn superblock(layout: &Layout, free: u64, id: [u8; 16]) -> Vec<u8> {
    /// A journal; hashed folders; at most two spare superblocks, and none is named.
    const COMPATIBLE: u32 = 0x4 | 0x20 | 0x200;
    /// Kinds in folders; extents.
    const INCOMPATIBLE: u32 = 0x2 | 0x40;
    /// Files above 2 GiB and above 2 TiB; folders with many folders; inodes with more fields.
    const READ_ONLY_COMPATIBLE: u32 = 0x2 | 0x8 | 0x20 | 0x40;
    let inodes = layout.inodes_per_group * layout.groups;
    let mut bytes = vec![0; 1024];
    let mut record = Record(&mut bytes);
    record.u32(0, low32(inodes)).u32(4, low32(layout.blocks)).u32(12, low32(free));
    record.u32(16, low32(inodes - (FIRST_INODE - 1)));
    // Blocks and clusters of 4 KiB.
    record.u32(24, 2).u32(28, 2).u32(32, low32(BLOCKS_PER_GROUP)).u32(36, low32(BLOCKS_PER_GROUP));
    record.u32(40, low32(layout.inodes_per_group)).u16(54, 0xFFFF).u16(56, 0xEF53);
    // Clean; go on after errors, unless the mount says otherwise.
    record.u16(58, 1).u16(60, 1).u32(76, 1);
    record.u32(84, low32(FIRST_INODE)).u16(88, low16(INODE_BYTES));
    record.u32(92, COMPATIBLE).u32(96, INCOMPATIBLE).u32(100, READ_ONLY_COMPATIBLE);
    record.u32(224, low32(JOURNAL_INODE));
    // Names are hashed by half MD4, signed.
    record.u16(348, 32).u16(350, 32).u32(352, 1);
    bytes[252] = 1;
    bytes[104..120].copy_from_slice(&id);
    bytes[236..252].copy_from_slice(&id);
    bytes
}

#[cfg(test)]
mod tests {
    //! The system's own checker agrees, for disks of one group and of many.

    use super::*;

    #[test]
    fn a_checker_finds_nothing_to_mend() {
        let checker = ["/sbin/e2fsck", "/usr/sbin/e2fsck"].into_iter().find(|path| std::path::Path::new(path).exists());
        let temp = tempfile::tempdir().unwrap();
        for data_mb in [1, 8, 100, 128, 131, 1024, 5_000] {
            let path = temp.path().join("disk");
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
            format(&file, data_mb, 1000, [7; 16]).unwrap();
            let layout = Layout::of(data_mb);
            assert_eq!(file.metadata().unwrap().len(), layout.bytes());
            let free: u64 = (0..layout.groups).map(|group| layout.use_of(group).0 - layout.use_of(group).1).sum();
            assert!(free * BLOCK >= (data_mb << 20) - (1 << 20), "{data_mb} {free}");
            if let Some(checker) = checker {
                let checked = std::process::Command::new(checker).args(["-f", "-n"]).arg(&path).output().unwrap();
                let said = String::from_utf8_lossy(&checked.stdout).into_owned();
                assert!(checked.status.success(), "{data_mb} MiB: {said} {}", String::from_utf8_lossy(&checked.stderr));
            }
        }
    }
}
