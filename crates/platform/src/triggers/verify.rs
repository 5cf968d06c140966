//! Whether a message comes from whoever knows the secret, by the rules of its sender.
//!
//! Every comparison takes the same time wherever the difference is. What is compared is always a fixed-size digest or the
//! whole header, never parsed first.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use livery_broker::Secret;
use livery_core::Timestamp;
use livery_core::inbound::Path;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::webhooks::sign;

/// How far a sender's clock may be off, and how old a message may be.
pub const TOLERANCE_S: i64 = 300;
/// Signatures of one message that are tried: senders list several while they rotate.
const SIGNATURES_MAX: usize = 16;

/// Names of header fields are lower case here.
pub(super) type Headers = BTreeMap<String, String>;

/// How a sender proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verification {
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    StandardWebhooks {},
    /// GitHub: `X-Hub-Signature-256`.
    Github {},
    /// Stripe: `Stripe-Signature` with `t=` and `v1=`.
    Stripe {},
    /// Slack: `X-Slack-Signature` and `X-Slack-Request-Timestamp`.
    Slack {},
    /// Anybody else's HMAC-SHA256.
    Hmac(HmacScheme),
    /// For senders that cannot sign: `Authorization: Bearer` and the secret.
    Bearer {
        /// The header field with the sender's id of a message. Without one, every message starts a run.
        #[serde(default)]
        id_header: Option<String>,
    },
}

/// A sender's own way to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmacScheme {
    /// The header field with the signature.
    pub header: String,
    /// How it is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// What stands before it, such as `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// The header field with the Unix time in seconds. Messages older than five minutes are refused.
    #[serde(default)]
    pub timestamp_header: Option<String>,
    /// What is signed: a text with `{body}`, and with `{timestamp}` where there is one.
    #[serde(default = "body_alone")]
    pub signed: String,
    /// Where in the body its sender's id of a message stands, such as `body.id`. Without one, the same signed content is
    /// the same message.
    #[serde(default)]
    pub id_path: Option<String>,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal digits.
    #[default]
    Hex,
    /// Standard base64.
    Base64,
}

fn body_alone() -> String {
    "{body}".to_owned()
}

/// How a message whose signature is right can be told from others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Verified {
    /// The header field with an id that the signature covers, or whose sender may be believed.
    pub(super) id: Option<String>,
    /// Where the body, which is signed, has the sender's id.
    pub(super) id_path: Option<String>,
    /// The signed time, where it tells one message from another with the same body.
    pub(super) stamp: Option<String>,
    /// An id for people alone: nothing vouches for it.
    pub(super) claimed: Option<String>,
}

/// Why a message is not believed. For its sender; says nothing of the secret.
pub(super) type Refused = &'static str;

const MISSING: Refused = "a header field of the signature is missing or cannot be read";
const STALE: Refused = "the timestamp is more than five minutes off";
const WRONG: Refused = "the signature does not fit";

impl Verification {
    /// What a configuration lacks, with the field.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let name = |pointer, name: &str| {
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let good = (1..=64).contains(&name.len()) && name.bytes().all(token);
            if good { Ok(()) } else { Err((pointer, "the name of a header field, at most 64 characters".to_owned())) }
        };
        match self {
            Self::Hmac(scheme) => {
                name("/header", &scheme.header)?;
                scheme.timestamp_header.as_ref().map_or(Ok(()), |field| name("/timestamp_header", field))?;
                let parts = scheme.signed.matches("{body}").count();
                let stamped = scheme.signed.contains("{timestamp}");
                if parts != 1 || scheme.signed.len() > 256 || stamped != scheme.timestamp_header.is_some() {
                    let detail = "a text with {body} once, and with {timestamp} exactly when `timestamp_header` is set";
                    return Err(("/signed", detail.to_owned()));
                }
                if let Some(path) = &scheme.id_path
                    && !path.parse::<Path>().is_ok_and(|_| path.starts_with("body."))
                {
                    return Err(("/id_path", "a place in the signed body, such as body.id".to_owned()));
                }
                if scheme.prefix.len() > 64 {
                    return Err(("/prefix", "at most 64 bytes".to_owned()));
                }
                Ok(())
            }
            Self::Bearer { id_header: Some(field) } => name("/id_header", field),
            _ => Ok(()),
        }
    }

    /// Whether the secret is the sender's to make: then it has to be given.
    pub(super) fn brings_secret(&self) -> bool {
        matches!(self, Self::Stripe {} | Self::Slack {})
    }

    /// The header fields that carry the proof: no input for an agent.
    pub(super) fn proof_headers(&self) -> Vec<&str> {
        match self {
            Self::StandardWebhooks {} => vec!["webhook-signature"],
            Self::Github {} => vec!["x-hub-signature-256", "x-hub-signature"],
            Self::Stripe {} => vec!["stripe-signature"],
            Self::Slack {} => vec!["x-slack-signature"],
            Self::Hmac(scheme) => vec![&scheme.header],
            Self::Bearer { .. } => vec!["authorization"],
        }
    }

    /// Whether one of the secrets made the message's signature.
    pub(super) fn verify(
        &self,
        secrets: &[Secret],
        headers: &Headers,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Verified, Refused> {
        match self {
            Self::StandardWebhooks {} => {
                let (id, stamp) = (field(headers, "webhook-id")?, field(headers, "webhook-timestamp")?);
                in_time(stamp, now)?;
                if id.is_empty() || id.contains('.') {
                    return Err(MISSING);
                }
                let items = field(headers, "webhook-signature")?.split(' ').filter_map(|item| item.strip_prefix("v1,"));
                any_of(items.map(|item| STANDARD.decode(item).ok()), secrets, |secret| {
                    let key = sign::key_of(secret).ok()?;
                    Some(mac(&key, &[id.as_bytes(), b".", stamp.as_bytes(), b".", body]))
                })?;
                Ok(Verified { id: Some(id.to_owned()), ..Verified::default() })
            }
            Self::Github {} => {
                let item = field(headers, "x-hub-signature-256")?.strip_prefix("sha256=").ok_or(MISSING)?;
                any_of([hex(item)], secrets, |secret| Some(mac(secret, &[body])))?;
                // The signature does not cover the delivery's id, so it is not believed: the body itself is what is known.
                Ok(Verified { claimed: headers.get("x-github-delivery").cloned(), ..Verified::default() })
            }
            Self::Stripe {} => {
                let parts =
                    field(headers, "stripe-signature")?.split(',').filter_map(|part| part.trim().split_once('='));
                let parts: Vec<(&str, &str)> = parts.take(SIGNATURES_MAX + 1).collect();
                let stamp = parts.iter().find(|(name, _)| *name == "t").map(|(_, value)| *value).ok_or(MISSING)?;
                in_time(stamp, now)?;
                let items = parts.iter().filter(|(name, _)| *name == "v1").map(|(_, value)| hex(value));
                any_of(items, secrets, |secret| Some(mac(secret, &[stamp.as_bytes(), b".", body])))?;
                Ok(Verified { id_path: Some("body.id".to_owned()), ..Verified::default() })
            }
            Self::Slack {} => {
                let stamp = field(headers, "x-slack-request-timestamp")?;
                in_time(stamp, now)?;
                let item = field(headers, "x-slack-signature")?.strip_prefix("v0=").ok_or(MISSING)?;
                any_of([hex(item)], secrets, |secret| Some(mac(secret, &[b"v0:", stamp.as_bytes(), b":", body])))?;
                Ok(Verified { id_path: Some("body.event_id".to_owned()), ..Verified::default() })
            }
            Self::Hmac(scheme) => scheme.verify(secrets, headers, body, now),
            Self::Bearer { id_header } => {
                let token = field(headers, "authorization")?;
                let (kind, token) = token.split_once(' ').ok_or(MISSING)?;
                let known = secrets.iter().fold(false, |known, secret| known | secret.ct_eq(token.trim().as_bytes()));
                if !kind.eq_ignore_ascii_case("bearer") || !known {
                    return Err(WRONG);
                }
                let id = id_header.as_ref().map(|name| field(headers, &name.to_ascii_lowercase())).transpose()?;
                Ok(Verified { id: id.map(str::to_owned), ..Verified::default() })
            }
        }
    }
}

impl HmacScheme {
    fn verify(&self, secrets: &[Secret], headers: &Headers, body: &[u8], now: Timestamp) -> Result<Verified, Refused> {
        let stamp = match &self.timestamp_header {
            Some(name) => {
                let stamp = field(headers, &name.to_ascii_lowercase())?;
                in_time(stamp, now)?;
                stamp
            }
            None => "",
        };
        let item = field(headers, &self.header.to_ascii_lowercase())?.strip_prefix(&self.prefix).ok_or(MISSING)?;
        let given = match self.encoding {
            Encoding::Hex => hex(item),
            Encoding::Base64 => STANDARD.decode(item).ok(),
        };
        let (before, after) = self.signed.split_once("{body}").ok_or(MISSING)?;
        let fill = |text: &str| text.replace("{timestamp}", stamp);
        let (before, after) = (fill(before), fill(after));
        any_of([given], secrets, |secret| Some(mac(secret, &[before.as_bytes(), body, after.as_bytes()])))?;
        let stamp = self.timestamp_header.as_ref().map(|_| stamp.to_owned());
        Ok(Verified { id_path: self.id_path.clone(), stamp, ..Verified::default() })
    }
}

fn field<'h>(headers: &'h Headers, name: &str) -> Result<&'h str, Refused> {
    headers.get(name).map(String::as_str).ok_or(MISSING)
}

/// Unix seconds within the tolerance, both ways.
fn in_time(stamp: &str, now: Timestamp) -> Result<(), Refused> {
    let digits = (1..=12).contains(&stamp.len()) && stamp.bytes().all(|byte| byte.is_ascii_digit());
    let at: i64 = digits.then(|| stamp.parse().ok()).flatten().ok_or(MISSING)?;
    if (now.as_seconds() - at).abs() > TOLERANCE_S { Err(STALE) } else { Ok(()) }
}

/// Whether one of the given signatures is one of the secrets'. Looks at all of them, whatever fits.
fn any_of(
    given: impl IntoIterator<Item = Option<Vec<u8>>>,
    secrets: &[Secret],
    expected: impl Fn(&Secret) -> Option<Secret>,
) -> Result<(), Refused> {
    let expected: Vec<Secret> = secrets.iter().filter_map(expected).collect();
    let mut fits = false;
    for given in given.into_iter().take(SIGNATURES_MAX).flatten() {
        for expected in &expected {
            fits |= expected.ct_eq(&given);
        }
    }
    if fits { Ok(()) } else { Err(WRONG) }
}

fn mac(key: &Secret, parts: &[&[u8]]) -> Secret {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    Secret::new(mac.finalize().into_bytes().to_vec())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests;
