//! Disks for virtual machines: an image as one read-only file, a workspace as another, both written here byte by byte.
//!
//! No tool of the host's makes them and the host never mounts one: what a machine wrote on its disk is read by that run's own
//! kernel alone. Read next: `disks/erofs.rs`, `disks/ext4.rs`, `disks/cache.rs`.

pub(crate) mod cache;
pub(crate) mod erofs;
pub(crate) mod ext4;
pub(crate) mod walk;

/// Bytes of a block, on either kind of disk.
const BLOCK: u64 = 4096;

/// Little-endian numbers at their places.
struct Record<'a>(&'a mut [u8]);

impl Record<'_> {
    fn u16(&mut self, at: usize, value: u16) -> &mut Self {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(&mut self, at: usize, value: u64) -> &mut Self {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
        self
    }
}

/// For numbers whose limits were checked.
fn low32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn low16(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}
