//! What is kept of a command's output: the head streamed live, the last bytes at the end, everything in a file.
//!
//! A command is never stopped for writing much: its pipes are drained for as long as it lives, in constant memory.
//! Read next: `process.rs`.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use livery_guest::wire::message::Tail;
use livery_guest::wire::{Kind, PAYLOAD_BYTES_MAX};

use crate::channel::Channel;

/// Where whole outputs are kept.
pub(crate) const OUTPUT_DIR: &str = "/workspace/.livery";
/// Bytes of one whole output; what comes after is counted, not kept.
const SPILL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One of a command's two outputs.
pub(crate) struct Capture {
    kind: Kind,
    tail_kind: Kind,
    /// Bytes that may still be streamed live.
    head_left: usize,
    tail: VecDeque<u8>,
    tail_max: usize,
    /// Bytes that fell out between head and tail.
    skipped: u64,
}

impl Capture {
    pub(crate) const fn new(kind: Kind, tail_kind: Kind, limit: usize) -> Self {
        let head_left = limit / 2;
        Self { kind, tail_kind, head_left, tail: VecDeque::new(), tail_max: limit - head_left, skipped: 0 }
    }

    /// Takes the next bytes. Answers whether something has been left out.
    pub(crate) fn push(&mut self, stream: u32, bytes: &[u8], channel: &mut Channel) -> bool {
        let (live, late) = bytes.split_at(bytes.len().min(self.head_left));
        if !live.is_empty() {
            self.head_left -= live.len();
            channel.send(self.kind, stream, live);
        }
        self.tail.extend(late);
        let excess = self.tail.len().saturating_sub(self.tail_max);
        self.tail.drain(..excess);
        self.skipped += excess as u64;
        self.skipped > 0
    }

    /// Sends the tail, at the command's end.
    pub(crate) fn finish(&mut self, stream: u32, channel: &mut Channel) {
        let mut skipped = self.skipped;
        for bytes in self.tail.make_contiguous().chunks(PAYLOAD_BYTES_MAX - 8) {
            channel.send(self.tail_kind, stream, &Tail { skipped, bytes }.encode());
            skipped = 0;
        }
    }
}

/// Both outputs of a command in the order they came, in a file that is made only once something is left out.
pub(crate) struct Spill {
    path: String,
    state: State,
    written: usize,
}

enum State {
    /// Nothing left out yet: kept in memory, bounded by the two captures' limits.
    Early(Vec<u8>),
    Open(File),
    /// It cannot be kept (the disk is full, or the folder was replaced).
    Lost,
}

impl Spill {
    pub(crate) fn new(stream: u32) -> Self {
        Self { path: format!("{OUTPUT_DIR}/output-{stream}.log"), state: State::Early(Vec::new()), written: 0 }
    }

    /// Adds bytes; `cut` says that something was left out of what the host gets.
    pub(crate) fn push(&mut self, bytes: &[u8], cut: bool) {
        if let State::Early(early) = &mut self.state {
            early.extend_from_slice(bytes);
            if !cut {
                return;
            }
            let early = std::mem::take(early);
            self.state = create(&self.path).map_or(State::Lost, State::Open);
            self.append(&early);
        } else {
            self.append(bytes);
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let State::Open(file) = &mut self.state else { return };
        let keep = bytes.len().min(SPILL_BYTES_MAX - self.written);
        self.written += keep;
        if file.write_all(&bytes[..keep]).is_err() {
            self.state = State::Lost;
        }
    }

    /// The file's path if there is one.
    pub(crate) fn into_path(self) -> Option<String> {
        matches!(self.state, State::Open(_)).then_some(self.path)
    }
}

/// Creates a fresh output file; a link left in its place is not followed.
pub(crate) fn create(path: &str) -> std::io::Result<File> {
    match DirBuilder::new().mode(0o755).create(OUTPUT_DIR) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).custom_flags(flags).open(path)
}
