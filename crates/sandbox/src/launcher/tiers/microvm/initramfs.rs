//! The first file system of a machine, in memory: the guest as `/init`, the kernel's modules, and a console.
//!
//! An archive in the format `newc` of cpio. Layout: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`.

use livery_guest::vm::MODULES;

const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const CHARACTERS: u32 = 0o020_000;

/// The whole archive. `modules` is one too, with files in the folder [`MODULES`]; the kernel unpacks one after the other.
pub(super) fn archive(guest: &[u8], modules: Vec<u8>) -> Vec<u8> {
    let mut archive = Archive { bytes: modules, next: 1 };
    archive.align();
    let folder = MODULES.trim_start_matches('/');
    for name in ["dev", "proc", "root", "devices", folder] {
        archive.add(name, FOLDER | 0o755, (0, 0), &[]);
    }
    archive.add("dev/console", CHARACTERS | 0o600, (5, 1), &[]);
    archive.add("init", FILE | 0o755, (0, 0), guest);
    archive.add("TRAILER!!!", 0, (0, 0), &[]);
    archive.bytes
}

struct Archive {
    bytes: Vec<u8>,
    next: usize,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, device: (usize, usize), data: &[u8]) {
        let mode = usize::try_from(mode).unwrap_or(0);
        // Number, mode, user, group, links, time, length, device of the file system, device, length of the name, checksum.
        let fields = [self.next, mode, 0, 0, 1, 0, data.len(), 0, 0, device.0, device.1, name.len() + 1, 0];
        self.next += 1;
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(data);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
