//! Typed ids: a prefix from one list, `_`, and 26 base32 characters of a UUIDv7 (`run_01j…`).
//!
//! The alphabet is Crockford's, lower case, so ids sort by creation time as text. Minting needs a clock and randomness and
//! so happens in `platform`; here an id is only made from its 128 bits or parsed from text. Text that does not parse is the
//! same as an unknown id: callers answer 404.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Characters of an id after its prefix: 26 × 5 bits hold the 128 bits of a UUID, with two spare bits that must be zero.
pub const ENCODED_LEN: usize = 26;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Text that is no id of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}_ and 26 base32 characters")]
pub struct ParseIdError {
    prefix: &'static str,
}

fn encode(bits: u128, out: &mut [u8; ENCODED_LEN]) {
    let mut rest = bits;
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[usize::from((rest & 31) as u8)];
        rest >>= 5;
    }
}

fn decode(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    // The first character carries only three bits: 26 × 5 = 130.
    if bytes.len() != ENCODED_LEN || bytes[0] > b'7' {
        return None;
    }
    let mut bits = 0u128;
    for byte in bytes {
        let value = ALPHABET.iter().position(|letter| letter == byte)?;
        bits = (bits << 5) | value as u128;
    }
    Some(bits)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {
        /// Every prefix in use, in declaration order.
        pub const PREFIXES: &[&str] = &[$($prefix),*];
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(u128);

            impl $name {
                /// The text before the underscore.
                pub const PREFIX: &'static str = $prefix;

                /// An id of these bits, normally those of a UUIDv7.
                pub const fn from_bits(bits: u128) -> Self {
                    Self(bits)
                }

                /// The 128 bits behind the text.
                pub const fn bits(self) -> u128 {
                    self.0
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    let mut buffer = [0u8; ENCODED_LEN];
                    encode(self.0, &mut buffer);
                    f.write_str(concat!($prefix, "_"))?;
                    f.write_str(std::str::from_utf8(&buffer).map_err(|_| fmt::Error)?)
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }

            impl FromStr for $name {
                type Err = ParseIdError;

                fn from_str(text: &str) -> Result<Self, ParseIdError> {
                    text.strip_prefix(concat!($prefix, "_"))
                        .and_then(decode)
                        .map(Self)
                        .ok_or(ParseIdError { prefix: $prefix })
                }
            }

            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                }
            }
        )*
    };
}

ids! {
    /// One run of an agent.
    RunId = "run";
    /// One version of an agent.
    AgentId = "agt";
    /// An organization: the tenant.
    OrgId = "org";
    /// An application of an organization.
    AppId = "app";
    /// An end user of an application.
    EndUserId = "eu";
    /// A person who signs in.
    UserId = "usr";
    /// An API key (the row, not the secret).
    KeyId = "key";
    /// A connection: a credential the broker can use.
    ConnectionId = "con";
    /// A model provider.
    ProviderId = "prv";
    /// A policy.
    PolicyId = "pol";
    /// A schedule.
    ScheduleId = "sch";
    /// A trigger.
    TriggerId = "trg";
    /// A webhook endpoint.
    WebhookId = "whk";
    /// One delivery to a webhook endpoint.
    DeliveryId = "whd";
    /// One event as a webhook names it (`webhook-id`), stable over retries.
    WebhookEventId = "evt";
    /// An approval.
    ApprovalId = "apr";
    /// An impersonation.
    ImpersonationId = "imp";
    /// A memory.
    MemoryId = "mem";
    /// A node: one data directory and the process on it.
    NodeId = "nod";
    /// A workspace that outlives its runs: of one agent for one end user.
    WorkspaceId = "wsp";
    /// A snapshot of one.
    SnapshotId = "snp";
    /// A file: input or artifact.
    FileId = "fil";
    /// One HTTP request.
    RequestId = "req";
}

#[cfg(test)]
mod tests;
