//! What a server answers, as far as it is read or changed here.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::message::{Frame, Malformed, Reader, put};
use crate::Secret;
use crate::scrub::{Framing, Matcher, Scrubber};

/// Longest part of a complaint that is kept, in bytes.
const PART_BYTES_MAX: usize = 2 * 1024;
/// Most fields of a complaint or columns of a row.
const FIELDS_MAX: usize = 64;

/// An error of the server's, in its own words, scrubbed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Complaint {
    /// `ERROR`, `FATAL`
    pub severity: String,
    /// Five letters and digits: `42501`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What could be done.
    pub hint: Option<String>,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.code, self.message)?;
        for part in [&self.detail, &self.hint].into_iter().flatten() {
            write!(f, " ({part})")?;
        }
        Ok(())
    }
}

impl Complaint {
    /// Reads the body of an `ErrorResponse`, each part scrubbed.
    pub(super) fn read(body: &[u8], scrub: &mut Scrub) -> Result<Self, Malformed> {
        let mut complaint = Self { severity: SEVERITIES[0].to_owned(), ..Self::default() };
        for (field, value) in fields(body)? {
            let mut text = || shorten(&scrubbed_text(value, scrub), PART_BYTES_MAX);
            match field {
                b'V' => complaint.severity = severity(value).to_owned(),
                b'C' => complaint.code = code(value),
                b'M' => complaint.message = text(),
                b'D' => complaint.detail = Some(text()),
                b'H' => complaint.hint = Some(text()),
                _ => {}
            }
        }
        Ok(complaint)
    }
}

/// The five-letter code of an `ErrorResponse`.
pub(super) fn code_of(body: &[u8]) -> String {
    let found = fields(body).ok().and_then(|fields| fields.into_iter().find(|(field, _)| *field == b'C'));
    found.map_or_else(|| "no code".to_owned(), |(_, value)| code(value))
}

/// How bad an error can be, as every server says it, whatever its language.
const SEVERITIES: [&str; 3] = ["ERROR", "FATAL", "PANIC"];

fn severity(value: &[u8]) -> &'static str {
    SEVERITIES.into_iter().find(|known| known.as_bytes() == value).unwrap_or(SEVERITIES[0])
}

/// A code, or that of an error of the server's own: no words come through here, for these are not searched.
fn code(value: &[u8]) -> String {
    let is_code = value.len() == 5 && value.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if is_code { value.iter().map(|byte| char::from(*byte)).collect() } else { "XX000".to_owned() }
}

fn shorten(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut kept = text[..end].to_owned();
    if end < text.len() {
        kept.push('…');
    }
    kept
}

/// The fields of an error or notice: a letter and a text each.
fn fields(body: &[u8]) -> Result<Vec<(u8, &[u8])>, Malformed> {
    let (mut rest, mut all) = (body, Vec::new());
    loop {
        let (&field, more) = rest.split_first().ok_or(Malformed("an error has no end"))?;
        if field == 0 {
            return Ok(all);
        }
        let end = memchr::memchr(0, more).ok_or(Malformed("a text has no end"))?;
        all.push((field, &more[..end]));
        if all.len() > FIELDS_MAX {
            return Err(Malformed("an error has too many fields"));
        }
        rest = &more[end + 1..];
    }
}

/// Takes a credential out of what comes, and counts.
pub(super) struct Scrub {
    matcher: Option<std::sync::Arc<Matcher>>,
    /// Markers written so far.
    pub(super) redactions: u64,
    pub(super) variants: crate::scrub::Variants,
}

impl Scrub {
    pub(super) fn new(matcher: Option<std::sync::Arc<Matcher>>) -> Self {
        Self { matcher, redactions: 0, variants: crate::scrub::Variants::default() }
    }

    /// The bytes without it; `None`: it is not in them.
    pub(super) fn clean(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let matcher = self.matcher.clone()?;
        let mut scrubber = Scrubber::new(Some(matcher), Framing::None);
        let mut out = Vec::with_capacity(bytes.len());
        // Without frames nothing is too long.
        scrubber.push(bytes, &mut out).ok()?;
        scrubber.finish(&mut out);
        if scrubber.redactions() == 0 {
            return None;
        }
        self.redactions += scrubber.redactions();
        self.variants.add(scrubber.variants());
        Some(out)
    }

    /// Whether it is anywhere in these bytes.
    fn finds(&self, bytes: &[u8]) -> bool {
        let Some(matcher) = self.matcher.clone() else { return false };
        let mut scrubber = Scrubber::new(Some(matcher), Framing::None);
        let mut out = Vec::with_capacity(bytes.len());
        let pushed = scrubber.push(bytes, &mut out);
        scrubber.finish(&mut out);
        pushed.is_err() || scrubber.redactions() > 0
    }
}

pub(super) fn scrubbed_text(bytes: &[u8], scrub: &mut Scrub) -> String {
    let clean = scrub.clean(bytes);
    String::from_utf8_lossy(clean.as_deref().unwrap_or(bytes)).into_owned()
}

/// A message of the server without the credential, in the same form. A message that is clean as a whole is not taken apart.
pub(super) fn scrubbed(frame: Frame, scrub: &mut Scrub) -> Result<Frame, Malformed> {
    if frame.body.is_empty() || !scrub.finds(&frame.body) {
        return Ok(frame);
    }
    let mut body = BytesMut::with_capacity(frame.body.len());
    match frame.tag {
        b'D' => {
            let mut reader = Reader(&frame.body);
            let columns = reader.u16()?;
            body.extend_from_slice(&columns.to_be_bytes());
            for _ in 0..columns {
                let Some(value) = reader.value()? else {
                    body.extend_from_slice(&(-1_i32).to_be_bytes());
                    continue;
                };
                let clean = scrub.clean(value);
                let value = clean.as_deref().unwrap_or(value);
                let length = i32::try_from(value.len()).map_err(|_| Malformed("a value is too long"))?;
                body.extend_from_slice(&length.to_be_bytes());
                body.extend_from_slice(value);
            }
            reader.end()?;
        }
        b'E' | b'N' => {
            for (field, value) in fields(&frame.body)? {
                let clean = scrub.clean(value);
                body.extend_from_slice(&[field]);
                body.extend_from_slice(clean.as_deref().unwrap_or(value));
                body.extend_from_slice(&[0]);
            }
            body.extend_from_slice(&[0]);
        }
        b'd' => body.extend_from_slice(&scrub.clean(&frame.body).unwrap_or_else(|| frame.body.to_vec())),
        // Names of columns, tags, parameters: nobody needs one with a credential in it.
        _ => return Err(Malformed("a message holds the credential where there should be a name")),
    }
    let clean = Frame { tag: frame.tag, body: body.freeze() };
    // What stands across two values is not there in either of them; nothing leaves that is not clean as a whole.
    if scrub.finds(&clean.body) { Err(Malformed("a row holds the credential across its values")) } else { Ok(clean) }
}

/// The same for a message by itself: what a program gets of it.
///
/// # Errors
/// A message that holds the secret where it cannot be taken out.
pub fn without(frame: Frame, secret: &Secret) -> Result<Frame, Malformed> {
    scrubbed(frame, &mut Scrub::new(Matcher::new(&[secret], "db").map(std::sync::Arc::new)))
}

/// `SELECT 3` of a `CommandComplete`.
pub fn tag_of(body: &[u8]) -> String {
    let end = memchr::memchr(0, body).unwrap_or(body.len());
    shorten(&String::from_utf8_lossy(&body[..end]), 64)
}

/// An `ErrorResponse` of ours.
pub(super) fn error(severity: &str, code: &str, message: &str) -> Frame {
    let mut out = BytesMut::new();
    let parts = [("S", severity), ("V", severity), ("C", code), ("M", message)];
    for (field, text) in parts {
        out.extend_from_slice(field.as_bytes());
        out.extend_from_slice(text.replace('\0', "").as_bytes());
        out.extend_from_slice(&[0]);
    }
    out.extend_from_slice(&[0]);
    Frame { tag: b'E', body: out.freeze() }
}

/// Any other message of ours.
pub(super) fn message(tag: u8, parts: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    put(&mut out, tag, parts);
    out.freeze()
}
