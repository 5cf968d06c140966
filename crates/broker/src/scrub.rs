//! Scrubbing: the answer without the key, in whatever spelling it comes back.

/// Everything to look for in one call's answer.
pub struct Matcher;
