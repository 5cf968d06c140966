//! Messages as they are on the wire: a letter, a length, a body. Every one is read whole and within a limit before anything is
//! made of it; what a client sends is taken apart to the last byte, so that nothing hides behind what was looked at.

use bytes::{Buf, Bytes, BytesMut};

/// Largest message of a client, in bytes.
pub(super) const CLIENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest message of a server, in bytes: one row.
pub(super) const SERVER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest name of a statement or portal, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Bytes that are not the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

type Result<T> = std::result::Result<T, Malformed>;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub tag: u8,
    /// Without letter and length.
    pub body: Bytes,
}

impl Frame {
    /// As it is sent.
    pub fn write(&self, out: &mut BytesMut) {
        put(out, self.tag, &[&self.body]);
    }
}

/// Appends a message of these parts.
pub(super) fn put(out: &mut BytesMut, tag: u8, parts: &[&[u8]]) {
    let length = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.extend_from_slice(&[tag]);
    // No message is that long: those that are read have a limit, and so has what is made here.
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Bytes as they come, and the messages they make.
#[derive(Debug)]
pub struct Frames {
    /// What came and is no message yet.
    pub(super) bytes: BytesMut,
    bytes_max: usize,
}

impl Frames {
    /// Of a client.
    pub fn of_client() -> Self {
        Self { bytes: BytesMut::new(), bytes_max: CLIENT_BYTES_MAX }
    }

    /// Of a server.
    pub fn of_server() -> Self {
        Self { bytes: BytesMut::new(), bytes_max: SERVER_BYTES_MAX }
    }

    /// Takes bytes over.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if it is whole. One that is too long is known by its length, before it is there.
    ///
    /// # Errors
    /// A length that no message has.
    pub fn take(&mut self) -> Result<Option<Frame>> {
        let Some((&[tag, a, b, c, d], _)) = self.bytes.split_first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < 4 {
            return Err(Malformed("a message is shorter than its own length"));
        }
        if length > self.bytes_max {
            return Err(Malformed("a message is longer than the limit"));
        }
        if self.bytes.len() < length + 1 {
            return Ok(None);
        }
        let mut whole = self.bytes.split_to(length + 1).freeze();
        whole.advance(5);
        Ok(Some(Frame { tag, body: whole }))
    }
}

/// Takes a body apart.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("a message ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed("a message ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// A text that ends with a NUL.
    pub(super) fn text(&mut self) -> Result<&'a str> {
        let end = memchr::memchr(0, self.0).ok_or(Malformed("a text has no end"))?;
        let text = self.bytes(end + 1)?;
        std::str::from_utf8(&text[..end]).map_err(|_| Malformed("a text is not UTF-8"))
    }

    fn name(&mut self) -> Result<&'a str> {
        self.text().and_then(|name| match name.len() <= NAME_BYTES_MAX {
            true => Ok(name),
            false => Err(Malformed("a name is too long")),
        })
    }

    /// A value behind its length; `None` is NULL.
    pub(super) fn value(&mut self) -> Result<Option<&'a [u8]>> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("a value has a length below nothing"))?;
                self.bytes(length).map(Some)
            }
        }
    }

    fn formats(&mut self) -> Result<()> {
        for _ in 0..self.u16()? {
            if self.u16()? > 1 {
                return Err(Malformed("a value has a format that there is not"));
            }
        }
        Ok(())
    }

    pub(super) fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("a message has more than it should")) }
    }
}

/// What a client says once it is logged in, as far as anybody here has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromClient<'a> {
    /// Statements, to be run at once.
    Query(&'a str),
    /// A statement, to be kept under a name.
    Parse {
        /// Empty for the one without.
        name: &'a str,
        /// The statement.
        text: &'a str,
    },
    /// Values for a statement, to be kept as a portal.
    Bind {
        /// The portal.
        portal: &'a str,
        /// The statement.
        statement: &'a str,
    },
    /// What a statement or portal looks like.
    Describe {
        /// Of a statement, which has parameters too.
        statement: bool,
    },
    /// To run a portal.
    Execute {
        /// The portal.
        portal: &'a str,
    },
    /// To forget a statement or portal.
    Close {
        /// A statement and no portal.
        statement: bool,
        /// Which.
        name: &'a str,
    },
    /// To send what there is.
    Flush,
    /// The end of what belongs together.
    Sync,
    /// A piece of `COPY`, its end, or that it broke off.
    Copy,
    /// Farewell.
    Terminate,
}

impl<'a> FromClient<'a> {
    /// Reads a message to its last byte.
    ///
    /// # Errors
    /// What no client says once it is logged in: a function call, a password, and everything malformed.
    pub fn read(frame: &'a Frame) -> Result<Self> {
        let mut body = Reader(&frame.body);
        let message = match frame.tag {
            b'Q' => Self::Query(body.text()?),
            b'P' => {
                let (name, text) = (body.name()?, body.text()?);
                for _ in 0..body.u16()? {
                    body.i32()?;
                }
                Self::Parse { name, text }
            }
            b'B' => {
                let (portal, statement) = (body.name()?, body.name()?);
                body.formats()?;
                for _ in 0..body.u16()? {
                    body.value()?;
                }
                body.formats()?;
                Self::Bind { portal, statement }
            }
            b'D' | b'C' => {
                let statement = match body.u8()? {
                    b'S' => true,
                    b'P' => false,
                    _ => return Err(Malformed("neither a statement nor a portal is meant")),
                };
                let name = body.name()?;
                if frame.tag == b'D' { Self::Describe { statement } } else { Self::Close { statement, name } }
            }
            b'E' => {
                let portal = body.name()?;
                body.i32()?;
                Self::Execute { portal }
            }
            b'H' => Self::Flush,
            b'S' => Self::Sync,
            b'X' => Self::Terminate,
            b'd' => {
                body.bytes(body.0.len())?;
                Self::Copy
            }
            b'c' => Self::Copy,
            b'f' => {
                body.text()?;
                Self::Copy
            }
            b'F' => return Err(Malformed("functions are called in statements, and by no message of their own")),
            _ => return Err(Malformed("a message of this kind is not expected")),
        };
        body.end()?;
        Ok(message)
    }
}
