//! Reads a stream of server-sent events from bytes that arrive cut anywhere.
//!
//! Owns lines and events: CR, LF and CRLF, several `data:` lines, comments, a byte order mark, characters split over
//! reads, a last event without its blank line. Refused: what the data means, and an event above [`EVENT_BYTES_MAX`].
//!
//! Walk on: [`crate::provider::Decoder`] reads the events.

use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// The most bytes one event may hold, its unfinished line included.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One event. A field other than `event` and `data` is of no use to a model's answer and is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event:` field, empty when absent.
    pub name: &'a str,
    /// The `data:` lines, joined by line feeds; bytes that are not UTF-8 are replaced.
    pub data: &'a str,
}

/// An event grew above [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {EVENT_BYTES_MAX} bytes")]
pub struct EventTooLarge;

/// The state between two reads. Memory is bounded by twice [`EVENT_BYTES_MAX`] and reused from event to event.
#[derive(Debug, Default)]
pub struct Reader {
    /// The line that has not ended yet.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a CR: an LF right after it belongs to the same line end.
    after_cr: bool,
    /// The first line is over, a byte order mark can no longer come.
    started: bool,
}

impl Reader {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and hands out each event they complete.
    ///
    /// # Errors
    /// An event is too large, or `on_event` failed; the reader is spent then.
    pub fn push<E: From<EventTooLarge>>(
        &mut self,
        mut bytes: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                return self.keep(bytes).map_err(E::from);
            };
            self.after_cr = bytes[end] == b'\r';
            if self.line.is_empty() {
                self.end_line(&bytes[..end], on_event)?;
            } else {
                self.keep(&bytes[..end])?;
                let mut line = std::mem::take(&mut self.line);
                self.end_line(&line, on_event)?;
                line.clear();
                self.line = line;
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// The stream is over: a last event that lacks its blank line counts too.
    ///
    /// # Errors
    /// As [`Reader::push`].
    pub fn finish<E: From<EventTooLarge>>(
        mut self,
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.end_line(&line, on_event)?;
        }
        self.dispatch(on_event)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), EventTooLarge> {
        self.check(bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn check(&self, more: usize) -> Result<(), EventTooLarge> {
        let held = self.line.len() + self.data.len() + self.name.len();
        if held.saturating_add(more) > EVENT_BYTES_MAX { Err(EventTooLarge) } else { Ok(()) }
    }

    fn end_line<E: From<EventTooLarge>>(
        &mut self,
        mut line: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(on_event);
        }
        let (field, value) = split(line);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                self.check(value.len())?;
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.check(value.len())?;
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch<E>(&mut self, on_event: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let outcome = if std::mem::take(&mut self.has_data) {
            let (name, data) = (text(&self.name), text(&self.data));
            on_event(Event { name: &name, data: &data })
        } else {
            Ok(())
        };
        self.name.clear();
        self.data.clear();
        outcome
    }
}

/// The field's name and what stands behind its colon. Nearly every line is one of data.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    if let Some(value) = line.strip_prefix(b"data:") {
        return (&line[..4], value);
    }
    match memchr::memchr(b':', line) {
        Some(colon) => (&line[..colon], &line[colon + 1..]),
        None => (line, &[]),
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    // The common case costs one check and no copy.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
