//! [`Reply`]: what a mail server said, read strictly and within limits.

/// Longest line in bytes, its end included (RFC 5321 §4.5.3.1.5 asks for 512).
const LINE_BYTES_MAX: usize = 2048;
/// Most lines of one reply.
const LINES_MAX: usize = 64;
/// Largest reply in bytes.
pub(super) const BYTES_MAX: usize = 16 * 1024;

/// One reply: its code and its lines, without their codes and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// From 200 to 599.
    pub code: u16,
    /// At least one.
    pub lines: Vec<Vec<u8>>,
}

/// Why something is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// A line or the whole is too long.
    #[error("a reply that is too long")]
    TooLong,
    /// It is not in the form of one.
    #[error("something that is no SMTP reply")]
    Malformed,
}

impl Bad {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::TooLong => "a reply that is too long",
            Self::Malformed => "something that is no SMTP reply",
        }
    }
}

impl Reply {
    /// The reply at the beginning of these bytes and how long it is; `None`: its end has not come yet.
    ///
    /// # Errors
    /// [`Bad`], as soon as no further byte can make it good.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Bad> {
        let (mut lines, mut code, mut at) = (Vec::new(), None, 0);
        loop {
            let rest = &bytes[at..];
            let Some(end) = memchr::memchr(b'\n', &rest[..rest.len().min(LINE_BYTES_MAX)]) else {
                return if rest.len() >= LINE_BYTES_MAX || bytes.len() > BYTES_MAX {
                    Err(Bad::TooLong)
                } else {
                    Ok(None)
                };
            };
            let line = rest[..end].strip_suffix(b"\r").ok_or(Bad::Malformed)?;
            at += end + 1;
            if lines.len() >= LINES_MAX || at > BYTES_MAX {
                return Err(Bad::TooLong);
            }
            let (this, more, text) = split(line)?;
            if *code.get_or_insert(this) != this {
                return Err(Bad::Malformed);
            }
            lines.push(text.to_vec());
            if !more {
                return Ok(Some((Self { code: this, lines }, at)));
            }
        }
    }

    /// Whether it says yes.
    pub const fn is_good(&self) -> bool {
        matches!(self.code, 200..=299)
    }

    /// The lines of an answer to `EHLO` behind the first, in upper case.
    pub(super) fn offers(&self) -> impl Iterator<Item = String> + '_ {
        self.lines.iter().skip(1).map(|line| String::from_utf8_lossy(line).to_ascii_uppercase())
    }
}

/// Code, whether another line follows, and the text.
fn split(line: &[u8]) -> Result<(u16, bool, &[u8]), Bad> {
    let (digits, rest) = line.split_at_checked(3).ok_or(Bad::Malformed)?;
    let is_code = matches!(digits[0], b'2'..=b'5') && digits.iter().all(u8::is_ascii_digit);
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')));
    match (is_code, rest.split_first()) {
        (true, None) => Ok((code, false, rest)),
        (true, Some((b' ', text))) => Ok((code, false, text)),
        (true, Some((b'-', text))) => Ok((code, true, text)),
        _ => Err(Bad::Malformed),
    }
}
