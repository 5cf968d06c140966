//! Placeholders: what stands in a sandbox where a program insists on a key.
//!
//! `lvp_` and 32 random letters and digits, meaningless by themselves. One belongs to one run and one slot of one connection.
//! [`Placeholders::judge`] lets it pass in its own header to its own host, where the header is dropped and the key takes its
//! place by route; anywhere else, and whoever's it is, the request is refused and nothing of it is sent. A run cannot tell
//! another run's placeholder from one that never was.
//!
//! Read next: `placeholder/finder.rs`.

mod finder;

use http::{HeaderMap, HeaderName};

use crate::guard::Target;

pub use finder::{Finder, HOLD_BYTES};

/// How every placeholder begins.
pub const PREFIX: &str = "lvp_";
/// Letters and digits after it: 190 bits.
pub const RANDOM_CHARS: usize = 32;
/// Characters of a placeholder.
pub const PLACEHOLDER_CHARS: usize = PREFIX.len() + RANDOM_CHARS;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// One placeholder. It is no secret: the sandbox has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Placeholder([u8; PLACEHOLDER_CHARS]);

impl Placeholder {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn mint() -> Result<Self, getrandom::Error> {
        let mut text = [0; PLACEHOLDER_CHARS];
        text[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
        let mut place = PREFIX.len();
        while place < PLACEHOLDER_CHARS {
            let mut random = [0; 64];
            getrandom::fill(&mut random)?;
            // Bytes beyond a multiple of 62 would make some letters likelier than others.
            for byte in random.into_iter().filter(|byte| *byte < 248).take(PLACEHOLDER_CHARS - place) {
                text[place] = ALPHABET[usize::from(byte % 62)];
                place += 1;
            }
        }
        Ok(Self(text))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Made of ASCII alone.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The one place in which a placeholder may be sent.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// The placeholder.
    pub placeholder: Placeholder,
    /// Its connection's host, in lower case.
    pub host: String,
    /// Its connection's port.
    pub port: u16,
    /// The header it belongs in: bare, after a scheme (`Bearer `), or as a part of Basic.
    pub header: HeaderName,
}

/// A placeholder where it does not belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misplaced {
    /// In a header that is not its own, or its own at another host, or unknown.
    Header,
    /// In the path or query.
    Target,
    /// In the body.
    Body,
}

impl Misplaced {
    /// Stable lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Target => "target",
            Self::Body => "body",
        }
    }
}

/// All placeholders of one run.
#[derive(Debug, Clone, Default)]
pub struct Placeholders {
    pinned: Vec<Pinned>,
}

impl Placeholders {
    /// These, and no others.
    #[must_use]
    pub fn new(pinned: Vec<Pinned>) -> Self {
        Self { pinned }
    }

    /// Judges target and headers, and drops a header that held its own placeholder.
    ///
    /// # Errors
    /// Where a placeholder does not belong.
    pub fn judge(&self, target: &Target, headers: &mut HeaderMap) -> Result<(), Misplaced> {
        if !Finder::all_in(target.path_and_query().as_bytes()).is_empty() {
            return Err(Misplaced::Target);
        }
        let mut replaced: Vec<HeaderName> = Vec::new();
        for (name, value) in &*headers {
            let found = Finder::all_in(value.as_bytes());
            if !found.iter().all(|one| self.belongs(one, target, name)) {
                return Err(Misplaced::Header);
            }
            if !found.is_empty() {
                replaced.push(name.clone());
            }
        }
        for name in replaced {
            headers.remove(name);
        }
        Ok(())
    }

    fn belongs(&self, found: &[u8; PLACEHOLDER_CHARS], target: &Target, name: &HeaderName) -> bool {
        let host = target.host().to_string();
        self.pinned.iter().any(|pinned| {
            pinned.placeholder.0 == *found
                && pinned.header == *name
                && pinned.host == host
                && pinned.port == target.port()
        })
    }
}

#[cfg(test)]
mod tests;
