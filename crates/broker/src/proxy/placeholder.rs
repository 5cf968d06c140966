//! Placeholders: what stands in a sandbox where a program insists on a key.
//!
//! `lvp_` and 32 letters and digits that nobody can guess, meaningless by themselves. One belongs to one run and one slot of one connection.
//! [`Placeholders::judge`] lets it pass in its own header to its own host, where the header is dropped and the key takes its
//! place by route; anywhere else, and whoever's it is, the request is refused and nothing of it is sent. A run cannot tell
//! another run's placeholder from one that never was.
//!
//! Read next: `placeholder/finder.rs`.

mod finder;

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName};
use livery_core::connector::{CredentialSlot, Origin, OriginRef};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use url::form_urlencoded;

use crate::Secret;
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
    /// The one that a key gives to a place: the same today and after a restart, and without the key like any other text. The
    /// parts name the place, such as run, slot and connection.
    ///
    /// # Errors
    /// A key that is none.
    pub fn derived(key: &Secret, parts: &[&str]) -> Result<Self, KeyRefused> {
        let mut text = [0; PLACEHOLDER_CHARS];
        text[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
        let (mut place, mut round) = (PREFIX.len(), 0_u32);
        while place < PLACEHOLDER_CHARS {
            let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).map_err(|_| KeyRefused)?;
            mac.update(&round.to_be_bytes());
            for part in parts {
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part.as_bytes());
            }
            // Bytes beyond a multiple of 62 would make some letters likelier than others.
            let bytes = mac.finalize().into_bytes().into_iter().filter(|byte| *byte < 248);
            for byte in bytes.take(PLACEHOLDER_CHARS - place) {
                text[place] = ALPHABET[usize::from(byte % 62)];
                place += 1;
            }
            round += 1;
        }
        Ok(Self(text))
    }

    /// Whether it is these bytes, in a time that says nothing about how far they fit.
    #[must_use]
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.0.ct_eq(bytes).into()
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Made of ASCII alone.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Nothing can be derived from this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no placeholder can be derived from the key")]
pub struct KeyRefused;

/// The one place in which a placeholder may be sent.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// The placeholder.
    pub placeholder: Placeholder,
    /// What the run calls its connection.
    pub name: String,
    /// Its connection's origins.
    pub origins: Vec<Origin>,
    /// Where in a request it belongs: in a header bare, after a scheme (`Bearer `) or as a part of Basic; in the query as the
    /// value of its parameter.
    pub slot: CredentialSlot,
}

impl Pinned {
    fn is_in_header(&self, header: &HeaderName) -> bool {
        match &self.slot {
            CredentialSlot::Header { name, .. } => name == header.as_str(),
            // A signature is made from keys that stand in the header in its place.
            CredentialSlot::Basic | CredentialSlot::BasicToken { .. } | CredentialSlot::Sigv4 { .. } => {
                *header == http::header::AUTHORIZATION
            }
            CredentialSlot::Query { .. }
            | CredentialSlot::ClientCertificate
            | CredentialSlot::Postgres
            | CredentialSlot::Smtp => false,
        }
    }

    fn is_in_parameter(&self, parameter: &str) -> bool {
        matches!(&self.slot, CredentialSlot::Query { name } if name == parameter)
    }
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

    /// Judges target and headers, drops a header that held its own placeholder, and says whose it was. A parameter that held its
    /// own stays: whoever sends the request takes every parameter of that name out.
    ///
    /// # Errors
    /// Where a placeholder does not belong. Those of two connections in one request belong nowhere.
    pub fn judge(&self, target: &Target, headers: &mut HeaderMap) -> Result<Option<&str>, Misplaced> {
        let host = target.host().to_string();
        let origin = OriginRef { scheme: target.scheme().as_str(), host: &host, port: target.port() };
        let mut whose = self.judge_query(target, &origin)?;
        let mut replaced: Vec<HeaderName> = Vec::new();
        for (name, value) in &*headers {
            for found in Finder::all_in(value.as_bytes()) {
                let own = self.own(&found, &origin, |pinned| pinned.is_in_header(name)).ok_or(Misplaced::Header)?;
                if whose.replace(own).is_some_and(|other| other != own) {
                    return Err(Misplaced::Header);
                }
                replaced.push(name.clone());
            }
        }
        for name in replaced {
            headers.remove(name);
        }
        Ok(whose)
    }

    /// The path holds none; a parameter may hold its own.
    fn judge_query(&self, target: &Target, origin: &OriginRef<'_>) -> Result<Option<&str>, Misplaced> {
        if !Finder::all_in(target.path().as_bytes()).is_empty() {
            return Err(Misplaced::Target);
        }
        let mut whose = None;
        // No spelling of a placeholder has a `&` in it, so none stands across two parameters.
        for pair in target.query().unwrap_or_default().split('&') {
            for found in Finder::all_in(pair.as_bytes()) {
                let parameter = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
                let parameter = parameter.unwrap_or_default();
                let own = self.own(&found, origin, |pinned| pinned.is_in_parameter(&parameter));
                let own = own.filter(|_| Finder::all_in(parameter.as_bytes()).is_empty()).ok_or(Misplaced::Target)?;
                if whose.replace(own).is_some_and(|other| other != own) {
                    return Err(Misplaced::Target);
                }
            }
        }
        Ok(whose)
    }

    /// Whose placeholder it is, if it may stand there.
    fn own(
        &self,
        found: &[u8; PLACEHOLDER_CHARS],
        origin: &OriginRef<'_>,
        is_there: impl Fn(&Pinned) -> bool,
    ) -> Option<&str> {
        let is_home = |pinned: &Pinned| pinned.origins.iter().any(|own| own.matches(origin));
        // Every one is compared, in a time that says nothing about how far it fits.
        let fits =
            |pinned: &&Pinned| bool::from(pinned.placeholder.0.ct_eq(found)) && is_there(pinned) && is_home(pinned);
        self.pinned.iter().filter(fits).map(|pinned| pinned.name.as_str()).last()
    }
}

#[cfg(test)]
mod tests;
