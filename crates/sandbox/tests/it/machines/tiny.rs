//! The smallest kernel that fails: it writes one character to the serial line and has the processor fault three times over.
//!
//! An ELF file of 32 bits with the note by which QEMU finds where a kernel begins (Xen's `PHYS32_ENTRY`, type 18).

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::house::PATIENCE;

const ENTRY: u32 = 0x10_0000;
/// Where the code lies in the file.
const CODE_AT: usize = 0x1000;
/// What it says before it fails.
const WORD: u8 = b'!';

const CODE: [u8; 16] = [
    0xBA, 0xF8, 0x03, 0x00, 0x00, // mov edx, 0x3f8: the serial line
    0xB0, WORD, // mov al, WORD
    0xEE, // out dx, al
    0x0F, 0x01, 0x1D, 0x20, 0x00, 0x10, 0x00, // lidt [0x100020]: a table without entries
    0xCC, // int3: no entry for it, none for that fault, none for the next
];

/// The whole file.
pub(super) fn kernel() -> Vec<u8> {
    let mut file = Vec::new();
    file.extend_from_slice(b"\x7FELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    let halves =
        |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| file.extend_from_slice(&v.to_le_bytes()));
    let words =
        |file: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| file.extend_from_slice(&v.to_le_bytes()));
    // A program for i386; its entry, its table of two segments behind this header, no sections, no flags.
    halves(&mut file, &[2, 3]);
    words(&mut file, &[1, ENTRY, 52, 0, 0]);
    halves(&mut file, &[52, 32, 2, 0, 0, 0]);
    let code_at = u32::try_from(CODE_AT).unwrap();
    // To be loaded: from, to (twice), bytes in the file and in memory, rights, alignment.
    words(&mut file, &[1, code_at, ENTRY, ENTRY, 0x40, 0x40, 5, 0x1000]);
    words(&mut file, &[4, 116, 0, 0, 20, 20, 4, 4]);
    words(&mut file, &[4, 4, 18]);
    file.extend_from_slice(b"Xen\0");
    words(&mut file, &[ENTRY]);
    file.resize(CODE_AT, 0);
    file.extend_from_slice(&CODE);
    file.resize(CODE_AT + 0x40, 0);
    file
}

/// Without an order to end at a reset, QEMU starts the same machine over: its word comes more than once.
pub(super) fn boots_again_and_again(kernel: &Path) {
    let mut command = Command::new("/usr/bin/qemu-system-x86_64");
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-M", "microvm", "-accel", "tcg", "-m", "64M"]);
    command.args(["-serial", "stdio", "-kernel"]).arg(kernel);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut heard, began) = (Vec::new(), Instant::now());
    let mut stdout = child.stdout.take().unwrap();
    while heard.len() < 3 && began.elapsed() < PATIENCE {
        let mut byte = [0];
        let mut fds = [PollFd::new(&stdout, PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).unwrap() == 1 {
            stdout.read_exact(&mut byte).unwrap();
            heard.push(byte[0]);
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(heard, [WORD; 3]);
}
