//! Where a stream may be released: after an event, after a line, or only at its end.

/// How a body is cut into frames that a reader waits for anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Not at all.
    None,
    /// Server-sent events: a blank line ends one.
    Events,
    /// JSON lines: a line feed ends one.
    Lines,
}

impl Framing {
    /// By the answer's `Content-Type`.
    pub fn of(content_type: Option<&str>) -> Self {
        let essence =
            content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "text/event-stream" => Self::Events,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Self::Lines
            }
            _ => Self::None,
        }
    }
}

/// Finds the ends of frames in bytes that come in pieces.
pub(super) struct FrameFinder {
    framing: Framing,
    at_line_start: bool,
    /// The byte before was a CR; whether that CR ended an event. Its LF, if one follows, is then released like one.
    after_cr: Option<bool>,
}

impl FrameFinder {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, at_line_start: true, after_cr: None }
    }

    /// The length of the part of `bytes` up to and with the end of a frame, if one ends in it.
    pub(super) fn next_end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::None => None,
            Framing::Lines => memchr::memchr(b'\n', bytes).map(|at| at + 1),
            Framing::Events => self.next_event_end(bytes),
        }
    }

    fn next_event_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut from = 0;
        while let Some(text) = memchr::memchr2(b'\r', b'\n', &bytes[from..]) {
            if text > 0 {
                self.text();
            }
            let end = from + text + 1;
            if self.line_break(bytes[end - 1]) {
                return Some(end);
            }
            from = end;
        }
        if from < bytes.len() {
            self.text();
        }
        None
    }

    fn text(&mut self) {
        self.at_line_start = false;
        self.after_cr = None;
    }

    /// Whether this CR or LF ends an event.
    fn line_break(&mut self, byte: u8) -> bool {
        match (byte, self.after_cr.take()) {
            (b'\n', Some(ended_event)) => ended_event,
            _ => {
                let blank = self.at_line_start;
                self.at_line_start = true;
                self.after_cr = (byte == b'\r').then_some(blank);
                blank
            }
        }
    }
}

/// The payloads of an event's `data:` lines, each with its stream offset.
pub(super) fn payloads(event: &[u8], offset: u64) -> impl Iterator<Item = (&[u8], u64)> {
    let mut position = offset;
    event.split_inclusive(|b| matches!(b, b'\r' | b'\n')).filter_map(move |line| {
        let start = position;
        position += line.len() as u64;
        let line = line.strip_suffix(b"\n").or_else(|| line.strip_suffix(b"\r")).unwrap_or(line);
        let rest = line.strip_prefix(b"data:")?;
        let payload = rest.strip_prefix(b" ").unwrap_or(rest);
        Some((payload, start + (line.len() - payload.len()) as u64))
    })
}
