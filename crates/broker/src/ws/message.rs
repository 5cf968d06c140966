//! From bytes to whole messages, and back. Pure: no clock, no socket; where the bytes are cut makes no difference.

use bytes::{Buf as _, BytesMut};

use super::wire::{self, CONTINUATION, CONTROL_BYTES_MAX, Head};
use super::{FRAGMENTS_MAX, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Who sent the bytes: frames of a program are masked, those of an upstream are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The client's side.
    Program,
    /// The server's side.
    Upstream,
}

/// What a message is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Anything.
    Binary,
}

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message.
    Message(Kind, Vec<u8>),
    /// A ping with what is to come back.
    Ping(Vec<u8>),
    /// The answer to a ping.
    Pong(Vec<u8>),
    /// The last word, with its code and reason.
    Close(Option<u16>, String),
}

/// What breaks the protocol, or a limit of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A bit, an operation or a form of a length that means nothing without an extension.
    Reserved,
    /// A mask where none belongs, or none where one does.
    Masking,
    /// A control frame in pieces or beyond 125 bytes, or a close that says something impossible.
    Control,
    /// A continuation of nothing, or a new message before the last one ended.
    Order,
    /// Text that is not UTF-8.
    Utf8,
    /// A frame, a message or its number of frames beyond the limit.
    TooLarge,
}

impl Violation {
    /// What the sender's side is closed with.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Reserved | Self::Masking | Self::Control | Self::Order => 1002,
            Self::Utf8 => 1007,
            Self::TooLarge => 1009,
        }
    }

    /// In words, for the close.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Reserved => "a frame that means nothing here; extensions are not spoken",
            Self::Masking => "a frame with the wrong mask",
            Self::Control => "a control frame that cannot be",
            Self::Order => "frames out of order",
            Self::Utf8 => "text that is not UTF-8",
            Self::TooLarge => "a frame or message larger than the limit",
        }
    }
}

/// Reads what one side says.
#[derive(Debug)]
pub struct Inlet {
    sender: Sender,
    bytes: BytesMut,
    /// The message under way, and how many frames it has so far.
    open: Option<(Kind, Vec<u8>, usize)>,
    is_closed: bool,
    /// Bytes of one message.
    message_max: usize,
}

impl Inlet {
    /// From its first byte after the opening.
    #[must_use]
    pub fn new(sender: Sender) -> Self {
        Self::within(sender, MESSAGE_BYTES_MAX)
    }

    /// The same for messages of so many bytes, where fewer than [`MESSAGE_BYTES_MAX`] are enough.
    #[must_use]
    pub fn within(sender: Sender, message_max: usize) -> Self {
        let message_max = message_max.min(MESSAGE_BYTES_MAX);
        Self { sender, bytes: BytesMut::new(), open: None, is_closed: false, message_max }
    }

    /// More bytes. At most one frame of them is kept while [`Inlet::take`] is asked until it says `None`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What was said next; `None`: more bytes have to come. After a close nothing is said any more.
    ///
    /// # Errors
    /// [`Violation`]: nothing can be made of what follows. Of a frame that is too large only the head is waited for.
    pub fn take(&mut self) -> Result<Option<Event>, Violation> {
        while !self.is_closed {
            let Some(head) = Head::read(&self.bytes, self.sender)? else { return Ok(None) };
            self.admit(head)?;
            if self.bytes.len() < head.size + head.length {
                return Ok(None);
            }
            self.bytes.advance(head.size);
            let mut payload = self.bytes.split_to(head.length).to_vec();
            if let Some(key) = head.mask {
                wire::mask(&mut payload, key);
            }
            let event = if head.is_control() { self.control(head, payload)? } else { self.data(head, payload)? };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Whether a frame of this head may come now, before its payload is there.
    fn admit(&self, head: Head) -> Result<(), Violation> {
        if head.is_control() {
            return Ok(());
        }
        let (so_far, frames) = match (&self.open, head.opcode == CONTINUATION) {
            (None, true) | (Some(_), false) => return Err(Violation::Order),
            (Some((_, message, frames)), true) => (message.len(), *frames),
            (None, false) => (0, 0),
        };
        if so_far + head.length > self.message_max || frames >= FRAGMENTS_MAX {
            return Err(Violation::TooLarge);
        }
        Ok(())
    }

    fn data(&mut self, head: Head, payload: Vec<u8>) -> Result<Option<Event>, Violation> {
        let kind = if head.opcode == wire::TEXT { Kind::Text } else { Kind::Binary };
        let (kind, message, frames) = match self.open.take() {
            None => (kind, payload, 1),
            Some((kind, mut message, frames)) => {
                message.extend_from_slice(&payload);
                (kind, message, frames + 1)
            }
        };
        if !head.is_last {
            self.open = Some((kind, message, frames));
            return Ok(None);
        }
        if kind == Kind::Text && std::str::from_utf8(&message).is_err() {
            return Err(Violation::Utf8);
        }
        Ok(Some(Event::Message(kind, message)))
    }

    fn control(&mut self, head: Head, payload: Vec<u8>) -> Result<Option<Event>, Violation> {
        Ok(Some(match head.opcode {
            wire::PING => Event::Ping(payload),
            wire::PONG => Event::Pong(payload),
            _ => {
                self.is_closed = true;
                let (code, reason) = close(&payload)?;
                Event::Close(code, reason)
            }
        }))
    }
}

fn close(payload: &[u8]) -> Result<(Option<u16>, String), Violation> {
    let (code, reason) = match payload {
        [] => return Ok((None, String::new())),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        [_] => return Err(Violation::Control),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Control);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::Utf8)?;
    Ok((Some(code), reason.to_owned()))
}

impl Event {
    /// As frames of this sender, whose masks `key` makes anew for each.
    pub fn encode(&self, sender: Sender, mut key: impl FnMut() -> [u8; 4]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |is_last: bool, opcode: u8, payload: &[u8]| {
            let key = (sender == Sender::Program).then(&mut key);
            wire::frame(&mut out, is_last, opcode, payload, key);
        };
        match self {
            Self::Message(kind, message) => {
                let opcode = if *kind == Kind::Text { wire::TEXT } else { wire::BINARY };
                let mut frames = message.chunks(FRAME_BYTES_MAX).peekable();
                put(message.len() <= FRAME_BYTES_MAX, opcode, frames.next().unwrap_or_default());
                while let Some(frame) = frames.next() {
                    put(frames.peek().is_none(), CONTINUATION, frame);
                }
            }
            Self::Ping(payload) => put(true, wire::PING, &payload[..payload.len().min(CONTROL_BYTES_MAX)]),
            Self::Pong(payload) => put(true, wire::PONG, &payload[..payload.len().min(CONTROL_BYTES_MAX)]),
            Self::Close(code, reason) => {
                let mut payload = code.map(|code| code.to_be_bytes().to_vec()).unwrap_or_default();
                if code.is_some() {
                    let room = reason.floor_char_boundary(CONTROL_BYTES_MAX - 2);
                    payload.extend_from_slice(&reason.as_bytes()[..room]);
                }
                put(true, wire::CLOSE, &payload);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
