//! Fields inside a payload: little-endian integers and length-prefixed bytes, nothing self-describing.
//!
//! [`Reader`] never trusts a length: every field names the most bytes it may have. Read next: `message.rs`.

use super::Error;

/// Builds a payload.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty payload.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A `u32` length, then the bytes. Longer than `u32` cannot be: the payload's own limit is far below.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
        self
    }

    /// The bytes as they are, to the end of the payload.
    pub fn rest(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    /// How long the payload is so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The finished payload.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Takes a payload apart.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `payload`.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Error::Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    /// One byte.
    ///
    /// # Errors
    /// The payload ends early.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    /// One byte that is 0 or 1.
    ///
    /// # Errors
    /// The payload ends early, or the byte is something else.
    pub fn flag(&mut self) -> Result<bool, Error> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Malformed),
        }
    }

    /// Four bytes.
    ///
    /// # Errors
    /// The payload ends early.
    pub fn u32(&mut self) -> Result<u32, Error> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| Error::Malformed)?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// The payload ends early.
    pub fn u64(&mut self) -> Result<u64, Error> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| Error::Malformed)?))
    }

    /// A length-prefixed field of at most `max` bytes.
    ///
    /// # Errors
    /// It is longer, or the payload ends early.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], Error> {
        let length = usize::try_from(self.u32()?).map_err(|_| Error::TooLong)?;
        if length > max {
            return Err(Error::TooLong);
        }
        self.take(length)
    }

    /// A length-prefixed UTF-8 field of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Self::bytes`], or it is not UTF-8.
    pub fn text(&mut self, max: usize) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes(max)?).map_err(|_| Error::Malformed)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Whether all is read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asserts that nothing is left over.
    ///
    /// # Errors
    /// There are bytes no field accounts for.
    pub fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Malformed) }
    }
}
