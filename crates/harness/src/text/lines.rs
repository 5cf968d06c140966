//! A file as numbered lines, so that the model can name a place in it.

use std::fmt::Write as _;

use super::{RESULT_BYTES_MAX, shorten};

/// Lines shown when the call does not say how many.
pub const LINES_DEFAULT: u64 = 2_000;
/// Longest line shown, in bytes; longer ones are shortened in the middle.
pub const LINE_BYTES_MAX: usize = 2_000;
/// What is left for lines in a result: the rest says how to go on.
const PAGE_BYTES_MAX: usize = RESULT_BYTES_MAX - 256;

/// Lines `offset..offset + limit` of `text` (counted from 1) as `number<TAB>line`, as many as fit a result. When lines
/// are left, the last line says how to read on.
///
/// # Errors
/// A sentence for the model when `offset` is past the end.
pub fn numbered_lines(text: &str, offset: u64, limit: u64) -> Result<String, String> {
    if text.is_empty() {
        return Ok("(empty file)".to_owned());
    }
    let offset = offset.max(1);
    let mut out = String::new();
    let mut number = 0u64;
    let mut next = None;
    for line in text.lines() {
        number += 1;
        if number < offset || next.is_some() {
            continue;
        }
        let line = shorten(line, LINE_BYTES_MAX);
        let shown = number - offset;
        if shown >= limit || out.len() + line.len() + 24 > PAGE_BYTES_MAX {
            next = Some(number);
            continue;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{number:>6}\t{line}");
    }
    if number < offset {
        return Err(format!("the file has {number} lines; offset {offset} is past its end"));
    }
    if let Some(next) = next {
        let _ = writeln!(out, "(lines {offset} to {} of {number}; read on with offset {next})", next - 1);
    }
    Ok(out)
}
