//! D-Bus's wire format, as far as the Secret Service needs it: little endian, each value at a multiple of its own size.
//!
//! Source: the D-Bus specification, "Type System" and "Message Protocol". A message begins at a multiple of 8, and so does its
//! body: both can be counted from their own beginning.

use zeroize::Zeroizing;

/// Room made for a message at once, so that no secret stays behind in a buffer that grew.
const ROOM: usize = 8 * 1024;
/// Method call, without flags, version 1 of the protocol.
const CALL: [u8; 4] = [b'l', 1, 0, 1];

/// Not the wire format, or more than it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

/// Writes values one after the other.
pub(super) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(ROOM)))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn align(&mut self, size: usize) {
        let length = self.0.len().next_multiple_of(size);
        self.0.resize(length, 0);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.number(u32::from(value));
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    /// A string or the path of an object.
    pub(super) fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
        self.byte(0);
    }

    /// Types, one letter each.
    pub(super) fn signature(&mut self, value: &str) {
        self.byte(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.0.extend(value.as_bytes());
        self.byte(0);
    }

    /// A value that says its own type.
    pub(super) fn variant(&mut self, signature: &str, write: impl FnOnce(&mut Self)) {
        self.signature(signature);
        write(self);
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.number(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend(value);
    }

    /// An array whose elements begin at multiples of `size`.
    pub(super) fn array(&mut self, size: usize, write: impl FnOnce(&mut Self)) {
        self.number(0);
        let place = self.0.len() - 4;
        self.align(size);
        let begin = self.0.len();
        write(self);
        let length = u32::try_from(self.0.len() - begin).unwrap_or(u32::MAX);
        self.0[place..place + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// What a call is addressed to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// The types of the body.
    pub(super) signature: &'a str,
}

impl Call<'_> {
    /// The whole message.
    pub(super) fn message(&self, serial: u32, body: &Writer) -> Writer {
        let mut out = Writer::new();
        CALL.into_iter().for_each(|byte| out.byte(byte));
        out.number(u32::try_from(body.as_slice().len()).unwrap_or(u32::MAX));
        out.number(serial);
        let fields = [(1, "o", self.path), (2, "s", self.interface), (3, "s", self.member), (6, "s", self.destination)];
        out.array(8, |out| {
            for (code, signature, value) in fields {
                out.align(8);
                out.byte(code);
                out.variant(signature, |out| out.text(value));
            }
            if !self.signature.is_empty() {
                out.align(8);
                out.byte(8);
                out.variant("g", |out| out.signature(self.signature));
            }
        });
        out.align(8);
        out.0.extend(body.as_slice());
        out
    }
}

/// The first bytes of a message, which say how long it is.
pub(super) const PREFIX: usize = 16;

/// How many bytes follow a message's first [`PREFIX`], header and body.
pub(super) fn lengths(prefix: &[u8; PREFIX]) -> Result<(usize, usize)> {
    let mut reader = Reader::new(prefix);
    let little = reader.byte()? == b'l';
    reader.take(2)?;
    if !little || reader.byte()? != 1 {
        return Err(Malformed);
    }
    let body = reader.number()?;
    reader.number()?;
    let fields = reader.number()?;
    let header = usize::try_from(fields).map_err(|_| Malformed)?.checked_next_multiple_of(8).ok_or(Malformed)?;
    Ok((header, usize::try_from(body).map_err(|_| Malformed)?))
}

/// What kind of message it is, and what it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A reply to this call, its body of these types.
    Reply { to: u32, signature: String },
    /// A refusal of this call, by this name.
    Refusal { to: u32, name: String },
    /// Nobody asked for it.
    Other,
}

/// Reads the header of a message, all of it.
pub(super) fn kind(header: &[u8]) -> Result<Kind> {
    let mut reader = Reader::new(header);
    reader.byte()?;
    let kind = reader.byte()?;
    reader.take(PREFIX - 6)?;
    let (mut to, mut name, mut signature) = (None, None, String::new());
    let mut fields = reader.array(8)?;
    while !fields.is_empty() {
        fields.align(8)?;
        let code = fields.byte()?;
        match (code, fields.signature()?) {
            (4, "s") => name = Some(fields.text()?.to_owned()),
            (5, "u") => to = Some(fields.number()?),
            (8, "g") => fields.signature()?.clone_into(&mut signature),
            (_, "s" | "o") => drop(fields.text()?),
            (_, "u") => drop(fields.number()?),
            (_, "g") => drop(fields.signature()?),
            _ => return Err(Malformed),
        }
    }
    match (kind, to) {
        (2, Some(to)) => Ok(Kind::Reply { to, signature }),
        (3, Some(to)) => Ok(Kind::Refusal { to, name: name.ok_or(Malformed)? }),
        (2 | 3, None) => Err(Malformed),
        _ => Ok(Kind::Other),
    }
}

/// Reads values one after the other, never past the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn align(&mut self, size: usize) -> Result<()> {
        let to = self.at.checked_next_multiple_of(size).ok_or(Malformed)?;
        self.take(to - self.at).map(drop)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        self.take(1).map(|taken| taken[0])
    }

    pub(super) fn number(&mut self) -> Result<u32> {
        self.align(4)?;
        let taken = self.take(4)?.try_into().map_err(|_| Malformed)?;
        Ok(u32::from_le_bytes(taken))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        self.take(length)
    }

    /// A string or the path of an object.
    pub(super) fn text(&mut self) -> Result<&'a str> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)?;
        if self.byte()? == 0 { Ok(text) } else { Err(Malformed) }
    }

    pub(super) fn signature(&mut self) -> Result<&'a str> {
        let length = usize::from(self.byte()?);
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)?;
        if self.byte()? == 0 { Ok(text) } else { Err(Malformed) }
    }

    /// The elements of an array, which begin at multiples of `size`.
    pub(super) fn array(&mut self, size: usize) -> Result<Self> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        self.align(size)?;
        let begin = self.at;
        self.take(length)?;
        Ok(Self { bytes: &self.bytes[..self.at], at: begin })
    }

    /// An array of strings or paths, `max` of them at most.
    pub(super) fn texts(&mut self, max: usize) -> Result<Vec<&'a str>> {
        let mut elements = self.array(4)?;
        let mut texts = Vec::new();
        while !elements.is_empty() {
            if texts.len() == max {
                return Err(Malformed);
            }
            texts.push(elements.text()?);
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests;
