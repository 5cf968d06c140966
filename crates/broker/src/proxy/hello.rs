//! The first message of a TLS client, read whole before anything is decided: which name does it ask for?
//!
//! A pure parser over the bytes so far. It refuses what cannot be decided about: no name, two names, a hidden name (ECH), or a
//! message that never ends.

/// Bytes a client may send before its first message is complete, record headers included.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

const RECORD_HANDSHAKE: u8 = 22;
const RECORD_BYTES_MAX: usize = 16 * 1024;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Encrypted ClientHello, and the older extension with its purpose.
const HIDDEN_NAME: [u16; 2] = [0xfe0d, 0xffce];

/// Why a client's first message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloRefused {
    /// Not the beginning of TLS.
    NotTls,
    /// Longer than [`HELLO_BYTES_MAX`].
    TooLong,
    /// No server name, or more than one.
    NoName,
    /// An encrypted name, which says another one than it shows.
    HiddenName,
}

/// The name a whole first message asks for, in lower case; `None` while more bytes are needed.
///
/// # Errors
/// [`HelloRefused`].
pub fn server_name(bytes: &[u8]) -> Result<Option<String>, HelloRefused> {
    let Some(message) = handshake(bytes)? else {
        return if bytes.len() >= HELLO_BYTES_MAX { Err(HelloRefused::TooLong) } else { Ok(None) };
    };
    name_in(&message).map(Some)
}

/// The first handshake message, put together from as many records as it takes.
fn handshake(bytes: &[u8]) -> Result<Option<Vec<u8>>, HelloRefused> {
    let mut message = Vec::new();
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_at_checked(5) {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != RECORD_HANDSHAKE || header[1] != 3 || length == 0 || length > RECORD_BYTES_MAX {
            return Err(HelloRefused::NotTls);
        }
        let (fragment, next) = after.split_at(length.min(after.len()));
        message.extend_from_slice(fragment);
        if let Some(&[kind, a, b, c]) = message.first_chunk::<4>() {
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if kind != CLIENT_HELLO {
                return Err(HelloRefused::NotTls);
            }
            if length > HELLO_BYTES_MAX {
                return Err(HelloRefused::TooLong);
            }
            if message.len() >= 4 + length {
                message.truncate(4 + length);
                return Ok(Some(message.split_off(4)));
            }
        }
        rest = next;
    }
    if bytes.first().is_some_and(|first| *first != RECORD_HANDSHAKE) {
        return Err(HelloRefused::NotTls);
    }
    Ok(None)
}

fn name_in(message: &[u8]) -> Result<String, HelloRefused> {
    let mut fields = Fields(message);
    fields.take(2 + 32)?;
    fields.sized8()?;
    fields.sized16()?;
    fields.sized8()?;
    let mut extensions = Fields(fields.sized16()?);
    if !fields.0.is_empty() {
        return Err(HelloRefused::NotTls);
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let body = extensions.sized16()?;
        if HIDDEN_NAME.contains(&kind) {
            return Err(HelloRefused::HiddenName);
        }
        if kind == SERVER_NAME && found.replace(one_name(body)?).is_some() {
            return Err(HelloRefused::NoName);
        }
    }
    found.ok_or(HelloRefused::NoName)
}

fn one_name(body: &[u8]) -> Result<String, HelloRefused> {
    let mut fields = Fields(body);
    let mut list = Fields(fields.sized16()?);
    if list.take(1)? != [HOST_NAME] {
        return Err(HelloRefused::NoName);
    }
    let name = list.sized16()?;
    if !list.0.is_empty() || !fields.0.is_empty() {
        return Err(HelloRefused::NoName);
    }
    match std::str::from_utf8(name) {
        Ok(name) if !name.is_empty() && name.is_ascii() => Ok(name.to_ascii_lowercase()),
        _ => Err(HelloRefused::NoName),
    }
}

/// Length-prefixed fields; one that is cut short is no TLS.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], HelloRefused> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(HelloRefused::NotTls)?;
        self.0 = tail;
        Ok(head)
    }

    fn u16(&mut self) -> Result<u16, HelloRefused> {
        self.take(2).map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    fn sized8(&mut self) -> Result<&'a [u8], HelloRefused> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    fn sized16(&mut self) -> Result<&'a [u8], HelloRefused> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests;
