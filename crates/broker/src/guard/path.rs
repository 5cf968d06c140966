//! The canonical path and the strict query. One function decides, and its output is what is sent, so that what a rule
//! matched and what the upstream receives cannot differ.

use super::target::UrlRefused;

/// The canonical form of an absolute path without its query.
///
/// Percent-encoded unreserved characters are decoded, other escapes keep upper-case hex, dot segments are resolved.
/// Refused: anything with two readings (encoded `/ \ .`, NUL and control bytes, doubly encoded ones, broken or overlong
/// UTF-8, `;` parameters, empty segments, `..` above the root).
pub(super) fn canonical(path: &str) -> Result<String, UrlRefused> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(UrlRefused::Path);
    };
    let mut segments: Vec<String> = Vec::new();
    let count = rest.split('/').count();
    for (index, raw) in rest.split('/').enumerate() {
        let last = index + 1 == count;
        match raw {
            // An empty last segment is a trailing slash; any other is `//`.
            "" if last => segments.push(String::new()),
            "" => return Err(UrlRefused::Path),
            "." if last => segments.push(String::new()),
            "." => {}
            ".." => {
                segments.pop().ok_or(UrlRefused::Path)?;
                if last {
                    segments.push(String::new());
                }
            }
            raw => segments.push(segment(raw)?),
        }
    }
    Ok(format!("/{}", segments.join("/")))
}

fn segment(raw: &str) -> Result<String, UrlRefused> {
    let mut out = String::with_capacity(raw.len());
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !is_plain(byte) {
                return Err(UrlRefused::Path);
            }
            out.push(char::from(byte));
            decoded.push(byte);
            continue;
        }
        let value = escape(&mut bytes).ok_or(UrlRefused::Path)?;
        if value < 0x20 || value == 0x7f || matches!(value, b'/' | b'\\' | b'.' | b';') {
            return Err(UrlRefused::Path);
        }
        decoded.push(value);
        if is_unreserved(value) {
            out.push(char::from(value));
        } else {
            out.push_str(&format!("%{value:02X}"));
        }
    }
    // Overlong and broken UTF-8 fail here; an escape inside the decoded text would be a second layer (`%252e`).
    let text = std::str::from_utf8(&decoded).map_err(|_| UrlRefused::Path)?;
    if text.split('%').skip(1).any(|tail| escape(&mut tail.bytes()).is_some()) {
        return Err(UrlRefused::Path);
    }
    Ok(out)
}

/// A query that is sent byte for byte: RFC 3986 characters and whole escapes only.
pub(super) fn check_query(query: &str) -> Result<(), UrlRefused> {
    let mut bytes = query.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => escape(&mut bytes).is_some_and(|value| value >= 0x20 && value != 0x7f),
            b'/' | b'?' | b';' => true,
            other => is_plain(other),
        };
        if !fine {
            return Err(UrlRefused::Query);
        }
    }
    Ok(())
}

fn escape(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let (high, low) = (digit()?, digit()?);
    Some(high << 4 | low)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Characters a path segment may hold as they are. `;` is left out on purpose: servers disagree about what it ends.
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}
