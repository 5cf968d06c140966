//! The frames of the one stream between a host and its guest.
//!
//! A frame is a 12-byte header and a payload: `length: u32, stream: u32, kind: u8, 0, 0, 0`, all little endian. The host
//! chooses stream numbers (from 1, never used again within a sandbox); every answer carries the number of its request, so
//! that commands and file transfers share the channel. Stream 0 is the channel itself ([`Kind::Hello`]).
//!
//! Flows (see [`flow`]) are the one thing a guest begins: their frames carry a number the guest chose, in a space of its own.
//! A terminal (see [`terminal`]) lives on after the answer to the request that opened it, under that request's number.
//!
//! Owns: the layout, its limits, and a parser that refuses anything else. It refuses to allocate for a length it has
//! not checked, and knows no sockets. Read next: [`message`] for what the payloads say.

pub mod code;
mod codec;
pub mod flow;
pub mod job;
pub mod message;
pub mod terminal;

#[cfg(test)]
mod tests;

pub use codec::{Reader, Writer};

/// The version both sides must have; a guest is embedded in its host, so a difference means a broken build.
pub const VERSION: u16 = 2;
/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 12;
/// The largest payload of one frame.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Standard input bytes a host may send on one command before the guest has granted more with [`Kind::Window`].
pub const STDIN_WINDOW_BYTES: u32 = 64 * 1024;
/// Commands and transfers a guest serves at once; more are answered with an error.
pub const STREAMS_MAX: usize = 64;

/// What a frame means. Values below 64 go from host to guest, the others from guest to host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Start a command: [`message::Exec`].
    Exec = 1,
    /// Raw bytes for a command's standard input, within its window.
    Stdin = 2,
    /// Standard input ends here. Empty payload.
    StdinEnd = 3,
    /// Send a signal to a command's process group: one `u32`.
    Signal = 4,
    /// Start writing a file: [`message::Put`].
    Put = 5,
    /// The next bytes of that file.
    PutData = 6,
    /// The file is complete: sync the name into place.
    PutEnd = 7,
    /// Read a part of a file: [`message::Get`].
    Get = 8,
    /// List a folder: [`message::List`].
    List = 9,
    /// Describe one path: [`message::Stat`].
    Stat = 10,
    /// Accept connections on loopback from now on and carry each as a flow: [`flow::Listen`].
    Listen = 11,
    /// Raw bytes for a flow's connection, within the window the guest granted.
    FlowWrite = 12,
    /// No more bytes follow: end the connection's reading side once all are written. Empty payload.
    FlowWriteEnd = 13,
    /// The guest may send this many more bytes on the flow: [`flow::Grant`].
    FlowGrant = 14,
    /// Close the connection at once, whatever is still unwritten. Empty payload; the host's last frame of the flow.
    FlowCut = 15,
    /// Open a terminal and start its program: [`terminal::Open`]. Answered with [`Kind::Done`] (the process number).
    TerminalOpen = 16,
    /// Raw bytes typed into a terminal, within its window.
    TerminalInput = 17,
    /// Say how large a terminal is: [`terminal::Size`].
    TerminalResize = 18,
    /// Ask what a terminal shows from an offset on: [`terminal::Read`].
    TerminalRead = 19,
    /// Hang a terminal up and forget it. Empty payload; the host's last frame of it.
    TerminalClose = 21,
    /// Ask which background commands run. Empty payload. Answered with [`Kind::Running`].
    Jobs = 22,
    /// Run a program in an isolate: [`code::Code`]. What it is follows as [`Kind::Stdin`]; its answer comes as [`Kind::Data`].
    Code = 20,
    /// The guest is up: [`message::Hello`], on stream 0, once, first.
    Hello = 64,
    /// Live bytes of a command's standard output.
    Stdout = 65,
    /// Live bytes of a command's standard error.
    Stderr = 66,
    /// The end of standard output when its middle was left out: [`message::Tail`].
    StdoutTail = 67,
    /// The end of standard error when its middle was left out: [`message::Tail`].
    StderrTail = 68,
    /// A command ended (or, in the background, began): [`message::Exit`]. Last frame of its stream.
    Exit = 69,
    /// The next bytes of a file being read.
    Data = 70,
    /// Some entries of a listing: a sequence of [`message::Entry`].
    Entries = 71,
    /// A file request succeeded: [`message::Done`]. Last frame of its stream.
    Done = 72,
    /// A request failed: [`message::Failure`]. Last frame of its stream.
    Failed = 73,
    /// The host may send this many more bytes on the stream: one `u32`.
    Window = 74,
    /// A connection was accepted; its frames carry this number, which counts up from 1. Empty payload.
    FlowOpened = 75,
    /// Raw bytes the connection sent, within the window the host granted. Never empty.
    FlowRead = 76,
    /// The connection sends no more. Empty payload.
    FlowReadEnd = 77,
    /// The host may send this many more bytes on the flow: [`flow::Grant`].
    FlowGranted = 78,
    /// The connection is closed, after the host ended or cut it. Empty payload; the last frame of the flow.
    FlowClosed = 79,
    /// What a terminal shows, asked for with a [`Kind::TerminalRead`]: [`terminal::Output`].
    TerminalOutput = 80,
    /// The host may type this many more bytes into a terminal: [`flow::Grant`].
    TerminalGranted = 81,
    /// The background commands that run: a sequence of [`job::Job`]. Last frame of its stream.
    Running = 82,
}

impl Kind {
    const ALL: [Self; 41] = [
        Self::Exec,
        Self::Stdin,
        Self::StdinEnd,
        Self::Signal,
        Self::Put,
        Self::PutData,
        Self::PutEnd,
        Self::Get,
        Self::List,
        Self::Stat,
        Self::Listen,
        Self::FlowWrite,
        Self::FlowWriteEnd,
        Self::FlowGrant,
        Self::FlowCut,
        Self::Code,
        Self::TerminalOpen,
        Self::TerminalInput,
        Self::TerminalResize,
        Self::TerminalRead,
        Self::TerminalClose,
        Self::Jobs,
        Self::Hello,
        Self::Stdout,
        Self::Stderr,
        Self::StdoutTail,
        Self::StderrTail,
        Self::Exit,
        Self::Data,
        Self::Entries,
        Self::Done,
        Self::Failed,
        Self::Window,
        Self::FlowOpened,
        Self::FlowRead,
        Self::FlowReadEnd,
        Self::FlowGranted,
        Self::FlowClosed,
        Self::TerminalOutput,
        Self::TerminalGranted,
        Self::Running,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Whether a guest's frame belongs to a flow, and so carries a number of the guest's.
    #[must_use]
    pub const fn is_of_flow(self) -> bool {
        matches!(self, Self::FlowOpened | Self::FlowRead | Self::FlowReadEnd | Self::FlowGranted | Self::FlowClosed)
    }

    /// Whether a guest's frame belongs to a terminal that is open.
    #[must_use]
    pub const fn is_of_terminal(self) -> bool {
        matches!(self, Self::TerminalOutput | Self::TerminalGranted)
    }

    /// Whether the guest sends it (otherwise the host does).
    #[must_use]
    pub const fn is_from_guest(self) -> bool {
        self as u8 >= 64
    }
}

/// Which end of the channel is reading, and so which kinds it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Reads what a guest sends.
    Host,
    /// Reads what the host sends.
    Guest,
}

/// One parsed frame, borrowing the decoder's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it means.
    pub kind: Kind,
    /// Which command or transfer it belongs to.
    pub stream: u32,
    /// At most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: &'a [u8],
}

/// Why bytes are not what the other side may send. There is no way to go on after one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A payload longer than [`PAYLOAD_BYTES_MAX`], or a field longer than its limit.
    TooLong,
    /// A kind that does not exist or that this side must not send.
    Kind(u8),
    /// Reserved bytes that are not zero.
    Reserved,
    /// A payload that ends early, has bytes left over, or has an impossible value.
    Malformed,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong => f.write_str("a frame or field is longer than its limit"),
            Self::Kind(byte) => write!(f, "frame kind {byte} is not one this side may send"),
            Self::Reserved => f.write_str("reserved header bytes are not zero"),
            Self::Malformed => f.write_str("a payload does not have the shape of its kind"),
        }
    }
}

impl std::error::Error for Error {}

/// Appends one frame to `out`.
///
/// # Panics
/// If the payload is longer than [`PAYLOAD_BYTES_MAX`]: the caller splits its data.
pub fn encode(out: &mut Vec<u8>, kind: Kind, stream: u32, payload: &[u8]) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "the caller splits payloads");
    let length = u32::try_from(payload.len()).expect("checked above");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&stream.to_le_bytes());
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    out.extend_from_slice(payload);
}

/// Turns received bytes into frames. Holds at most one frame and one read's worth of bytes.
#[derive(Debug)]
pub struct Decoder {
    side: Side,
    buffer: Vec<u8>,
    /// Where the unread bytes of `buffer` begin.
    start: usize,
}

impl Decoder {
    /// An empty decoder for the given reading side.
    #[must_use]
    pub const fn new(side: Side) -> Self {
        Self { side, buffer: Vec::new(), start: 0 }
    }

    /// Adds received bytes. Call [`Self::next`] until it answers `None` before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, `None` when more bytes are needed.
    ///
    /// # Errors
    /// The bytes are not a frame this side may receive; the channel is beyond repair.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its buffer")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let unread = &self.buffer[self.start..];
        let Some(header) = unread.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let (kind, stream, length) = parse_header(*header, self.side)?;
        let end = HEADER_BYTES + length;
        if unread.len() < end {
            return Ok(None);
        }
        let payload_start = self.start + HEADER_BYTES;
        self.start += end;
        Ok(Some(Frame { kind, stream, payload: &self.buffer[payload_start..self.start] }))
    }

    /// Gives memory back after a large frame, so that an idle guest is small.
    pub fn shrink(&mut self) {
        if self.start == self.buffer.len() && self.buffer.capacity() > 16 * 1024 {
            self.buffer = Vec::new();
            self.start = 0;
        }
    }
}

fn parse_header(header: [u8; HEADER_BYTES], side: Side) -> Result<(Kind, u32, usize), Error> {
    let [l0, l1, l2, l3, s0, s1, s2, s3, kind, reserved @ ..] = header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let length = usize::try_from(length).map_err(|_| Error::TooLong)?;
    if length > PAYLOAD_BYTES_MAX {
        return Err(Error::TooLong);
    }
    if reserved != [0; 3] {
        return Err(Error::Reserved);
    }
    let kind = match Kind::from_byte(kind) {
        Some(known) if known.is_from_guest() == (side == Side::Host) => known,
        _ => return Err(Error::Kind(kind)),
    };
    Ok((kind, u32::from_le_bytes([s0, s1, s2, s3]), length))
}
