//! What a connection says about electronic mail: the server it goes through, who it is from, and who may get it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Malformed;
use super::origin::is_label;

/// Longest address in bytes (RFC 5321 §4.5.3.1.3, without the angle brackets).
const ADDRESS_BYTES_MAX: usize = 254;
/// Longest part before the `@` in bytes (RFC 5321 §4.5.3.1.1).
const LOCAL_BYTES_MAX: usize = 64;
/// Longest name beside an address, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Most recipients of one message, whatever a connection says.
pub(super) const RECIPIENTS_MAX: u16 = 100;
/// Most recipients of one message, unless a connection says otherwise.
pub(super) const RECIPIENTS_DEFAULT: u16 = 20;

/// One address, `local@domain`: plain words with dots before the `@`, a host name of two parts or more behind it. Quoted
/// parts, comments, names and addresses of hosts by number are refused rather than understood. The domain is in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress {
    text: String,
    /// Where the `@` is.
    at: usize,
}

impl EmailAddress {
    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }
}

impl FromStr for EmailAddress {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = Malformed("not a plain address: name@example.com, without a display name, quotes or spaces");
        let (local, domain) = text.split_once('@').ok_or(malformed)?;
        let domain = domain.to_ascii_lowercase();
        let fits = text.len() <= ADDRESS_BYTES_MAX && local.len() <= LOCAL_BYTES_MAX;
        if fits && local.split('.').all(is_atom) && is_domain(&domain) {
            Ok(Self { at: local.len(), text: format!("{local}@{domain}") })
        } else {
            Err(malformed)
        }
    }
}

/// A word of RFC 5322 §3.2.3, ASCII alone.
fn is_atom(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}

/// A host name of at least two parts, the last of which is no number.
fn is_domain(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    text.contains('.')
        && !text.contains('_')
        && text.split('.').all(is_label)
        && last.starts_with(|first: char| first.is_ascii_lowercase())
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.text
    }
}

/// Who messages are from: `ada@example.com`, or `Ada Lovelace <ada@example.com>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sender {
    /// The name people read; empty without one.
    pub name: String,
    /// The address.
    pub address: EmailAddress,
}

impl FromStr for Sender {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.split_once('<')) else {
            return Ok(Self { name: String::new(), address: text.parse()? });
        };
        let name = name.trim();
        let is_plain = !name.chars().any(|one| one.is_control() || matches!(one, '"' | '<' | '>' | '\\'));
        match is_plain && (1..=NAME_BYTES_MAX).contains(&name.len()) {
            true => Ok(Self { name: name.to_owned(), address: address.parse()? }),
            false => Err(Malformed("the sender's name is 1 to 128 bytes without quotes, brackets and line breaks")),
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { self.address.fmt(f) } else { write!(f, "{} <{}>", self.name, self.address) }
    }
}

/// Who may get messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum RecipientRule {
    /// This address; upper and lower case are the same.
    Address(EmailAddress),
    /// Every address at exactly this domain.
    Domain(String),
}

impl RecipientRule {
    /// Whether an address is meant.
    pub fn matches(&self, address: &EmailAddress) -> bool {
        match self {
            Self::Address(own) => own.as_str().eq_ignore_ascii_case(address.as_str()),
            Self::Domain(domain) => domain == address.domain(),
        }
    }
}

impl FromStr for RecipientRule {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let domain = text.strip_prefix('@').unwrap_or(text);
        if domain.contains('@') {
            return Ok(Self::Address(text.parse()?));
        }
        let domain = domain.to_ascii_lowercase();
        match is_domain(&domain) && domain.len() <= ADDRESS_BYTES_MAX {
            true => Ok(Self::Domain(domain)),
            false => Err(Malformed("a recipient is an address (ada@example.com) or a domain (example.com)")),
        }
    }
}

impl fmt::Display for RecipientRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Domain(domain) => write!(f, "@{domain}"),
        }
    }
}

impl From<RecipientRule> for String {
    fn from(rule: RecipientRule) -> Self {
        rule.to_string()
    }
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// `STARTTLS`, without which nothing is said.
    Starttls,
    /// None: only to private addresses the operator allows.
    None,
}

impl MailTls {
    /// What a port is known for.
    pub const fn of_port(port: u16) -> Self {
        match port {
            465 | 2465 => Self::Implicit,
            _ => Self::Starttls,
        }
    }

    /// As a scheme, for the log and for policies: `smtps`, or `smtp` where TLS begins later or never.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Implicit => "smtps",
            Self::Starttls | Self::None => "smtp",
        }
    }
}

/// A mail server with what a connection lets a message through it be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MailServer {
    /// A name, or an address (`[…]` for IPv6), in canonical form.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: MailTls,
    /// Who every message is from.
    pub from: Sender,
    /// Who may get messages; empty: everybody.
    pub recipients: Vec<RecipientRule>,
    /// Most recipients of one message.
    pub recipients_max: u16,
}

/// Why a message has not these recipients. The text is for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientRefusal {
    /// Nobody, or more than the connection allows.
    #[error("a message through this connection has 1 to {max} recipients")]
    Number {
        /// Most.
        max: u16,
    },
    /// Somebody who is not on the list.
    #[error("{address} is no recipient of this connection; it sends to: {}", list(.allowed))]
    NotAllowed {
        /// The first of them.
        address: EmailAddress,
        /// The list.
        allowed: Vec<RecipientRule>,
    },
}

/// At most this many in one sentence.
const LISTED_MAX: usize = 8;

fn list(rules: &[RecipientRule]) -> String {
    let mut shown: Vec<String> = rules.iter().take(LISTED_MAX).map(RecipientRule::to_string).collect();
    if rules.len() > LISTED_MAX {
        shown.push(format!("and {} more", rules.len() - LISTED_MAX));
    }
    shown.join(", ")
}

impl RecipientRefusal {
    /// Stable name of the rule that refused.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Number { .. } => "recipients_max",
            Self::NotAllowed { .. } => "recipients",
        }
    }
}

impl MailServer {
    /// Whether a message may go to all of these.
    ///
    /// # Errors
    /// [`RecipientRefusal`]: the first rule that says no.
    pub fn permits(&self, recipients: &[EmailAddress]) -> Result<(), RecipientRefusal> {
        if recipients.is_empty() || recipients.len() > usize::from(self.recipients_max) {
            return Err(RecipientRefusal::Number { max: self.recipients_max });
        }
        let is_allowed = |address: &EmailAddress| self.recipients.iter().any(|rule| rule.matches(address));
        match recipients.iter().find(|address| !self.recipients.is_empty() && !is_allowed(address)) {
            Some(address) => {
                Err(RecipientRefusal::NotAllowed { address: address.clone(), allowed: self.recipients.clone() })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
