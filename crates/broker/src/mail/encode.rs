//! How text becomes the seven-bit lines of a mail.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest line of a body, without its end (RFC 2045 §6.7).
const LINE_CHARS_MAX: usize = 76;
/// Bytes of one encoded word of a header: 60 characters of base64.
const WORD_BYTES_MAX: usize = 45;
/// Longest text of a header that is sent as it is, in bytes.
const PLAIN_BYTES_MAX: usize = 60;

/// Text for a body, quoted-printable. Every line break becomes CRLF.
pub(super) fn quoted_printable(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in text.split('\n') {
        let (mut column, bytes) = (0, line.as_bytes());
        for (index, byte) in bytes.iter().enumerate() {
            let is_last = index + 1 == bytes.len();
            let is_plain = matches!(byte, b'!'..=b'<' | b'>'..=b'~') || (matches!(byte, b' ' | b'\t') && !is_last);
            let width = if is_plain { 1 } else { 3 };
            if column + width > LINE_CHARS_MAX - 1 {
                out.push_str("=\r\n");
                column = 0;
            }
            if is_plain {
                out.push(char::from(*byte));
            } else {
                out.push_str(&format!("={byte:02X}"));
            }
            column += width;
        }
        out.push_str("\r\n");
    }
    out
}

/// Bytes for a body, base64 in lines.
pub(super) fn base64_lines(bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut out = String::with_capacity(encoded.len() + encoded.len() / 38);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE_CHARS_MAX));
        out.push_str(line);
        out.push_str("\r\n");
        rest = more;
    }
    out
}

/// One line of text for a header: as it is where it is short and plain, in encoded words otherwise (RFC 2047).
pub(super) fn header_text(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if is_plain && text.len() <= PLAIN_BYTES_MAX && !text.contains("=?") && text.trim() == text {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, more) = rest.split_at(rest.floor_char_boundary(WORD_BYTES_MAX.min(rest.len())));
        words.push(format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
        rest = more;
    }
    words.join("\r\n ")
}

/// The name beside an address.
pub(super) fn display_name(name: &str) -> String {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    // A quoted string holds neither quotes nor backslashes: no sender has them.
    if is_plain && name.len() <= PLAIN_BYTES_MAX && !name.contains("=?") {
        format!("\"{name}\"")
    } else {
        header_text(name)
    }
}

/// A parameter of a header that may hold any character (RFC 2231).
pub(super) fn extended(text: &str) -> String {
    let mut out = String::from("utf-8''");
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
