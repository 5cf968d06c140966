//! What the payloads say: one struct per kind, each with `encode` and a strict `decode`.
//!
//! Paths are bytes, as Linux has them; a NUL in one is malformed. Both sides check the limits named here.
//! Read next: `../server.rs` (guest) and `livery-sandbox`'s `client` (host), which act on them.

use super::{Error, PAYLOAD_BYTES_MAX, Reader, Writer};

/// Arguments plus environment entries of one command.
pub const STRINGS_MAX: usize = 1024;
/// Bytes of one path.
pub const PATH_BYTES_MAX: usize = 4096;
/// Entries a listing may have.
pub const ENTRIES_MAX: u32 = 10_000;
/// Bytes of one [`Kind::Get`](super::Kind::Get): a longer file is read in several requests.
pub const GET_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// Bytes kept of each output stream of one command, head and tail together.
pub const OUTPUT_BYTES_MAX: u32 = 1024 * 1024;
/// Bytes of an error's text.
const REASON_BYTES_MAX: usize = 1024;

/// Said once by a guest that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`super::VERSION`] of the guest.
    pub version: u32,
}

impl Hello {
    /// As a payload.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(self.version);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let version = r.u32()?;
        r.finish()?;
        Ok(Self { version })
    }
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Program and arguments; a program without a slash is looked up in `PATH` of `env`.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`; this is the whole environment.
    pub env: Vec<Vec<u8>>,
    /// Absolute working directory.
    pub cwd: Vec<u8>,
    /// Milliseconds until the process group gets SIGTERM, and a second later SIGKILL. 0: none.
    pub timeout_ms: u32,
    /// Do not wait: answer with the process number at once; output goes to a file.
    pub background: bool,
    /// Bytes kept of each of stdout and stderr; at most [`OUTPUT_BYTES_MAX`].
    pub output_limit: u32,
    /// Whether `Stdin` frames follow (otherwise standard input is empty).
    pub has_stdin: bool,
}

impl Exec {
    /// As a payload.
    ///
    /// # Errors
    /// The command and its environment do not fit one frame.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut w = Writer::new();
        w.bytes(&self.cwd).u32(self.timeout_ms).u32(self.output_limit);
        w.u8(u8::from(self.background)).u8(u8::from(self.has_stdin));
        command(w, &self.argv, &self.env)
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape, an empty command, or a string with a NUL.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let cwd = path(&mut r)?;
        let timeout_ms = r.u32()?;
        let output_limit = r.u32()?;
        let background = r.flag()?;
        let has_stdin = r.flag()?;
        let argv = strings(&mut r)?;
        let env = strings(&mut r)?;
        r.finish()?;
        if argv.is_empty() || output_limit > OUTPUT_BYTES_MAX {
            return Err(Error::Malformed);
        }
        Ok(Self { argv, env, cwd, timeout_ms, background, output_limit, has_stdin })
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this status.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It runs on in the background under this process number.
    Background(u32),
}

/// The last frame of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether its time ran out first.
    pub timed_out: bool,
    /// Where its whole output is kept inside the sandbox, if it was cut; empty otherwise.
    pub full_output: Vec<u8>,
}

impl Exit {
    /// As a payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (tag, value) = match self.outcome {
            Outcome::Code(code) => (0, code.cast_unsigned()),
            Outcome::Signal(signal) => (1, signal.cast_unsigned()),
            Outcome::Background(pid) => (2, pid),
        };
        let mut w = Writer::new();
        w.u8(tag).u32(value).u8(u8::from(self.timed_out)).bytes(&self.full_output);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let tag = r.u8()?;
        let value = r.u32()?;
        let outcome = match tag {
            0 => Outcome::Code(value.cast_signed()),
            1 => Outcome::Signal(value.cast_signed()),
            2 => Outcome::Background(value),
            _ => return Err(Error::Malformed),
        };
        let timed_out = r.flag()?;
        let full_output = path(&mut r)?;
        r.finish()?;
        Ok(Self { outcome, timed_out, full_output })
    }
}

/// The end of an output whose middle was left out. Several follow each other when one frame is too small;
/// `skipped` is only in the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail<'a> {
    /// Bytes between what was streamed live and this.
    pub skipped: u64,
    /// The last bytes.
    pub bytes: &'a [u8],
}

impl<'a> Tail<'a> {
    /// As a payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u64(self.skipped).rest(self.bytes);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        Ok(Self { skipped: r.u64()?, bytes: r.rest() })
    }
}

/// How a path is walked inside the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anywhere in the sandbox's own tree; symbolic links count, magic links do not.
    Sandbox,
    /// Only below `/workspace`, and no link may lead out of it.
    Workspace,
}

/// Start writing a file: parents are made, the name appears only when it is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Absolute path.
    pub path: Vec<u8>,
    /// Permission bits, at most `0o777`.
    pub mode: u32,
    /// How the path is walked.
    pub reach: Reach,
}

impl Put {
    /// As a payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.bytes(&self.path).u32(self.mode).u8(self.reach as u8);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let path = path(&mut r)?;
        let mode = r.u32()?;
        let reach = reach(&mut r)?;
        r.finish()?;
        if mode > 0o777 {
            return Err(Error::Malformed);
        }
        Ok(Self { path, mode, reach })
    }
}

/// Read a part of a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Absolute path.
    pub path: Vec<u8>,
    /// First byte wanted.
    pub offset: u64,
    /// Bytes wanted, at most [`GET_BYTES_MAX`].
    pub limit: u32,
    /// How the path is walked.
    pub reach: Reach,
}

impl Get {
    /// As a payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.bytes(&self.path).u64(self.offset).u32(self.limit).u8(self.reach as u8);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let path = path(&mut r)?;
        let offset = r.u64()?;
        let limit = r.u32()?;
        let reach = reach(&mut r)?;
        r.finish()?;
        if limit > GET_BYTES_MAX {
            return Err(Error::TooLong);
        }
        Ok(Self { path, offset, limit, reach })
    }
}

/// List a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Absolute path of a folder.
    pub path: Vec<u8>,
    /// Levels below it; 1 is the folder alone.
    pub depth: u32,
    /// Most entries wanted, at most [`ENTRIES_MAX`].
    pub limit: u32,
    /// How the path is walked. Links found on the way are listed, never followed.
    pub reach: Reach,
}

impl List {
    /// As a payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.bytes(&self.path).u32(self.depth).u32(self.limit).u8(self.reach as u8);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let path = path(&mut r)?;
        let depth = r.u32()?;
        let limit = r.u32()?;
        let reach = reach(&mut r)?;
        r.finish()?;
        if limit > ENTRIES_MAX {
            return Err(Error::TooLong);
        }
        Ok(Self { path, depth, limit, reach })
    }
}

/// Describe one path. The last component, if a link, is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Absolute path.
    pub path: Vec<u8>,
    /// How the path is walked.
    pub reach: Reach,
}

impl Stat {
    /// As a payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.bytes(&self.path).u8(self.reach as u8);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let path = path(&mut r)?;
        let reach = reach(&mut r)?;
        r.finish()?;
        Ok(Self { path, reach })
    }
}

/// What kind of thing a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileKind {
    /// A regular file.
    File = 0,
    /// A folder.
    Directory = 1,
    /// A symbolic link.
    Symlink = 2,
    /// A device, FIFO or socket.
    Other = 3,
}

/// One name in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the folder that was listed; empty for the answer to [`Stat`].
    pub path: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Last change, microseconds since 1970.
    pub modified_us: u64,
}

impl Entry {
    /// Appends it to a payload of entries.
    pub fn encode(&self, w: &mut Writer) {
        w.bytes(&self.path).u8(self.kind as u8).u64(self.size).u32(self.mode).u64(self.modified_us);
    }

    /// The next entry of a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        let path = path(r)?;
        let kind = match r.u8()? {
            0 => FileKind::File,
            1 => FileKind::Directory,
            2 => FileKind::Symlink,
            3 => FileKind::Other,
            _ => return Err(Error::Malformed),
        };
        Ok(Self { path, kind, size: r.u64()?, mode: r.u32()?, modified_us: r.u64()? })
    }
}

/// A file request succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// `Get`: the file's whole size. `Put`: bytes written. `List`: entries sent.
    pub total: u64,
    /// `List`: whether there were more entries than the limit.
    pub truncated: bool,
}

impl Done {
    /// As a payload.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u64(self.total).u8(u8::from(self.truncated));
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let total = r.u64()?;
        let truncated = r.flag()?;
        r.finish()?;
        Ok(Self { total, truncated })
    }
}

/// A request failed inside the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The system's error number, 0 when the guest itself refused.
    pub errno: i32,
    /// A sentence, at most 1 KiB.
    pub reason: String,
}

impl Failure {
    /// As a payload; a longer reason is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let cut = self.reason.floor_char_boundary(REASON_BYTES_MAX);
        let mut w = Writer::new();
        w.u32(self.errno.cast_unsigned()).bytes(&self.reason.as_bytes()[..cut]);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let errno = r.u32()?.cast_signed();
        let reason = r.text(REASON_BYTES_MAX)?.to_owned();
        r.finish()?;
        Ok(Self { errno, reason })
    }
}

pub(super) fn path(r: &mut Reader<'_>) -> Result<Vec<u8>, Error> {
    no_nul(r.bytes(PATH_BYTES_MAX)?)
}

fn reach(r: &mut Reader<'_>) -> Result<Reach, Error> {
    Ok(if r.flag()? { Reach::Workspace } else { Reach::Sandbox })
}

/// Ends a payload with a program's arguments and environment.
pub(super) fn command(mut w: Writer, argv: &[Vec<u8>], env: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    for list in [argv, env] {
        w.u32(u32::try_from(list.len()).map_err(|_| Error::TooLong)?);
        for item in list {
            w.bytes(item);
        }
    }
    if w.len() > PAYLOAD_BYTES_MAX || argv.len() + env.len() > STRINGS_MAX {
        return Err(Error::TooLong);
    }
    Ok(w.into_bytes())
}

pub(super) fn strings(r: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Error> {
    let count = usize::try_from(r.u32()?).map_err(|_| Error::TooLong)?;
    if count > STRINGS_MAX {
        return Err(Error::TooLong);
    }
    (0..count).map(|_| no_nul(r.bytes(PAYLOAD_BYTES_MAX)?)).collect()
}

fn no_nul(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    if bytes.contains(&0) { Err(Error::Malformed) } else { Ok(bytes.to_vec()) }
}
