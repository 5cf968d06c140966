//! Head and tail of a long text: the beginning says what it is, the end how it went.

use std::borrow::Cow;

/// How far a cut may move to fall on the end of a line, in bytes.
const LINE_SLACK: usize = 200;
/// Room for the sentence in the middle.
const MARKER_BYTES: usize = 64;

/// `text` in at most `bytes_max` bytes: whole when it fits, otherwise its head and its tail with a line between them that
/// says how much is missing. Never cuts a character in two; prefers to cut between lines.
pub fn shorten(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let Some(room) = bytes_max.checked_sub(MARKER_BYTES).filter(|room| *room >= MARKER_BYTES) else {
        // Too little for head, marker and tail: just the head.
        return Cow::Owned(text[..text.floor_char_boundary(bytes_max)].to_owned());
    };
    let head = head_end(text, room / 2);
    let tail = tail_start(text, text.len() - (room - room / 2));
    let missing = tail - head;
    Cow::Owned(format!("{}\n[… {missing} bytes left out …]\n{}", &text[..head], &text[tail..]))
}

/// The end of the head: before the last line break in reach, else between two characters.
fn head_end(text: &str, target: usize) -> usize {
    let end = text.floor_char_boundary(target);
    let from = text.floor_char_boundary(end.saturating_sub(LINE_SLACK));
    text[from..end].rfind('\n').map_or(end, |newline| from + newline)
}

/// The start of the tail: after the first line break in reach, else between two characters.
fn tail_start(text: &str, target: usize) -> usize {
    let start = text.ceil_char_boundary(target);
    let to = text.floor_char_boundary((start + LINE_SLACK).min(text.len()));
    text[start..to].find('\n').map_or(start, |newline| start + newline + 1)
}
