//! Scheme, host and port: the part of a URL that decides who gets a credential.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Malformed;

/// Longest host name in bytes (RFC 1035 as text, without the final dot).
pub const HOST_BYTES_MAX: usize = 253;
/// Longest label of a host name in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// How an origin is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS.
    Https,
    /// Plain text: only where [`super::Reach::plaintext`] says so, to a private address the operator allowed.
    Http,
}

impl Scheme {
    /// `https` or `http`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }

    /// The port of a URL that names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

/// A host, or all hosts one label below a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Exactly this: a lower-case ASCII name without a final dot, or an address (`[…]` for IPv6).
    Exact(String),
    /// `*.name`: one label before the dot, never none and never two.
    OneLabelBelow(String),
}

impl HostPattern {
    /// Whether a host in canonical form (lower case, no final dot, `[…]` around IPv6) is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == host,
            Self::OneLabelBelow(name) => {
                host.strip_suffix(name.as_str()).and_then(|rest| rest.strip_suffix('.')).is_some_and(is_label)
            }
        }
    }
}

impl FromStr for HostPattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.strip_prefix("*.") {
            // With one label after it the star would stand for everybody's domain.
            Some(name) if is_name(name) && name.contains('.') => Ok(Self::OneLabelBelow(name.to_owned())),
            Some(_) => Err(Malformed("`*.` stands before a host name of at least two parts")),
            None if is_name(text) || is_address(text) => Ok(Self::Exact(text.to_owned())),
            None => Err(Malformed("the host is not a plain lower-case host name or IP address")),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::OneLabelBelow(name) => write!(f, "*.{name}"),
        }
    }
}

/// An origin a credential may go to. As text `https://HOST[:PORT]`, the scheme's own port left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Which hosts.
    pub host: HostPattern,
    /// Which port.
    pub port: u16,
}

/// The origin of one request, in canonical form: what is dialled, never what a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginRef<'a> {
    /// `https` or `http`.
    pub scheme: &'a str,
    /// Lower case, no final dot, `[…]` around IPv6.
    pub host: &'a str,
    /// Always a number.
    pub port: u16,
}

impl Origin {
    /// Whether a request to `origin` is one to this.
    pub fn matches(&self, origin: &OriginRef<'_>) -> bool {
        self.scheme.as_str() == origin.scheme && self.port == origin.port && self.host.matches(origin.host)
    }

    /// Whether it names one host alone.
    pub fn is_exact(&self) -> bool {
        matches!(self.host, HostPattern::Exact(_))
    }
}

impl FromStr for Origin {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (scheme, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (Scheme::Https, rest),
            (None, Some(rest)) => (Scheme::Http, rest),
            (None, None) => return Err(Malformed("an origin starts with https:// (or http://)")),
        };
        // The colons of an IPv6 address stand inside its brackets.
        let bracket = rest.rfind(']').unwrap_or(0);
        let (host, port) = match rest[bracket..].find(':') {
            Some(colon) => (&rest[..bracket + colon], parse_port(&rest[bracket + colon + 1..])?),
            None => (rest, scheme.default_port()),
        };
        Ok(Self { scheme, host: host.parse()?, port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port == self.scheme.default_port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl TryFrom<String> for Origin {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

fn parse_port(text: &str) -> Result<u16, Malformed> {
    let plain = !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain).ok_or(Malformed("the port is not a number from 1 to 65535"))
}

/// One part of a host name: lower case, no hyphen at either end.
pub fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

/// Whether the last part of a host name reads as a number: to some parsers that makes the whole an IPv4 address (`127.1`, `0x7f.1`).
pub fn reads_as_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x")
}

fn is_name(text: &str) -> bool {
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label) && !reads_as_number(text)
}

fn is_address(text: &str) -> bool {
    let (inner, v6) = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    // Other spellings of the same address print differently, and are refused.
    inner.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == v6 && ip.to_string() == inner)
}
