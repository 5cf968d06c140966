//! [`Target`]: a URL in its one canonical form. Parsed strictly: what a lenient parser would repair is refused here, so that
//! no two readers of the same text can disagree about the host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use livery_core::connector::Scheme;
use livery_core::connector::{HOST_BYTES_MAX, MailServer, MailTls, is_label, reads_as_number};

use super::{path, ports, ranges};

/// Longest URL, and longest request target, in bytes.
pub(super) const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Why a URL is not taken. The texts are for the person who typed it and repeat nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum UrlRefused {
    /// Longer than [`TARGET_BYTES_MAX`].
    #[error("the URL is too long")]
    TooLong,
    /// Control characters, spaces, backslashes or anything else that is not plain URL text.
    #[error("the URL holds a character that must be percent-encoded or does not belong in a URL")]
    Character,
    /// Neither `https://` nor `http://`.
    #[error("the URL must start with https:// (or http:// for an allowed private address)")]
    Scheme,
    /// `user:password@`.
    #[error("the URL must not hold a user name or password")]
    UserInfo,
    /// `#…`
    #[error("the URL must not have a fragment")]
    Fragment,
    /// `?…` where none belongs.
    #[error("the URL must not have a query")]
    Query,
    /// No host, or not a well-formed name in its ASCII form.
    #[error("the host is not a plain host name or IP address (write international names in their xn-- form)")]
    Host,
    /// An IP address in any spelling but the canonical one.
    #[error("the IP address is not written in its canonical form")]
    IpLiteral,
    /// A port that is not a number, or not one an HTTP service of ours uses.
    #[error("the port is not allowed")]
    Port,
    /// `..` above the root, `//`, encoded slashes or dots, `;`, broken percent-encoding.
    #[error("the path is not in a form that has one meaning only")]
    Path,
    /// A name that belongs to a cloud metadata service.
    #[error("the host is a cloud metadata service")]
    Metadata,
}

/// The host of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A lower-case ASCII name without a final dot.
    Name(String),
    /// A literal address.
    Ip(IpAddr),
}

impl Host {
    /// Whether it is this machine: `localhost`, or a literal loopback address. Of other names nothing is known before they
    /// are looked up.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Ip(ip) => ip.is_loopback(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// A destination in canonical form. `Debug` shows the origin alone, because a path or query may hold a customer's token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    scheme: Scheme,
    host: Host,
    port: u16,
    path: String,
    query: Option<String>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.origin())
    }
}

impl Target {
    /// A model provider's or connection's root, to which paths are appended: no query.
    ///
    /// # Errors
    /// [`UrlRefused`] says what to change.
    pub fn base_url(text: &str) -> Result<Self, UrlRefused> {
        let mut target = Self::parse(text)?;
        if target.query.is_some() {
            return Err(UrlRefused::Query);
        }
        if target.path.ends_with('/') {
            target.path.pop();
        }
        Ok(target)
    }

    /// A complete URL to send to as it is, such as a webhook's: a query is allowed.
    ///
    /// # Errors
    /// [`UrlRefused`] says what to change.
    pub fn full_url(text: &str) -> Result<Self, UrlRefused> {
        let mut target = Self::parse(text)?;
        if target.path.is_empty() {
            target.path.push('/');
        }
        Ok(target)
    }

    /// A database server. Which port it has is its owner's to say; the address is judged like every other.
    ///
    /// # Errors
    /// [`UrlRefused`] says what to change.
    pub fn database(host: &str, port: u16, plaintext: bool) -> Result<Self, UrlRefused> {
        let scheme = if plaintext { Scheme::Http } else { Scheme::Https };
        if port == 0 {
            return Err(UrlRefused::Port);
        }
        let target = Self { scheme, host: parse_host(host)?, port, path: String::new(), query: None };
        target.agrees_with_whatwg(&target.origin())?;
        Ok(target)
    }

    /// A mail server. Where it is spoken to without TLS it counts as plain text, which goes to allowed private addresses alone.
    ///
    /// # Errors
    /// [`UrlRefused`] says what to change.
    pub fn mail(server: &MailServer) -> Result<Self, UrlRefused> {
        ports::check_mail(server.port)?;
        let scheme = if server.tls == MailTls::None { Scheme::Http } else { Scheme::Https };
        let host = parse_host(&server.host)?;
        let target = Self { scheme, host, port: server.port, path: String::new(), query: None };
        target.agrees_with_whatwg(&target.origin())?;
        Ok(target)
    }

    /// This root with `path` appended; `path` starts with `/` and may carry a query.
    ///
    /// # Errors
    /// [`UrlRefused::Path`], [`UrlRefused::Query`], [`UrlRefused::TooLong`].
    pub fn join(&self, suffix: &str) -> Result<Self, UrlRefused> {
        if self.path.len() + suffix.len() > TARGET_BYTES_MAX {
            return Err(UrlRefused::TooLong);
        }
        let (suffix, query) = split_query(suffix);
        let path = path::canonical(suffix)?;
        if let Some(query) = query {
            path::check_query(query)?;
        }
        let base = self.path.strip_suffix('/').unwrap_or(&self.path);
        Ok(Self { path: format!("{base}{path}"), query: query.map(str::to_owned), ..self.clone() })
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, explicit or the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The canonical path.
    pub fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    /// The query as it is sent.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Replaces the query; the caller kept it well-formed.
    pub(crate) fn set_query(&mut self, query: Option<String>) {
        self.query = query;
    }

    /// `scheme://host[:port]`, safe to log and show.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority())
    }

    /// The origin and path: a base URL as it is stored and shown again.
    pub fn base_text(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// `host[:port]`, the value of `Host`.
    pub(crate) fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// `path[?query]`, the request target.
    pub(crate) fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path()),
            None => self.path().to_owned(),
        }
    }

    fn parse(text: &str) -> Result<Self, UrlRefused> {
        if text.len() > TARGET_BYTES_MAX {
            return Err(UrlRefused::TooLong);
        }
        if text.bytes().any(|b| !b.is_ascii_graphic() || b == b'\\') {
            return Err(UrlRefused::Character);
        }
        if text.contains('#') {
            return Err(UrlRefused::Fragment);
        }
        let (scheme, rest) = split_scheme(text)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (host, port) = split_authority(authority)?;
        let host = parse_host(host)?;
        let port = port.map_or_else(|| Ok(scheme.default_port()), parse_port)?;
        ports::check(scheme, port)?;
        let (path, query) = split_query(rest);
        let path = if path.is_empty() { String::new() } else { path::canonical(path)? };
        if let Some(query) = query {
            path::check_query(query)?;
        }
        let target = Self { scheme, host, port, path, query: query.map(str::to_owned) };
        target.agrees_with_whatwg(text)?;
        Ok(target)
    }

    /// The second opinion: the WHATWG parser must see the same scheme, host and port. Two parsers that disagree are how a
    /// check is fooled, so a disagreement is a refusal whatever its cause.
    fn agrees_with_whatwg(&self, text: &str) -> Result<(), UrlRefused> {
        let url = url::Url::parse(text).map_err(|_| UrlRefused::Host)?;
        let host = match url.host() {
            Some(url::Host::Domain(name)) => Host::Name(name.strip_suffix('.').unwrap_or(name).to_owned()),
            Some(url::Host::Ipv4(ip)) => Host::Ip(IpAddr::V4(ip)),
            Some(url::Host::Ipv6(ip)) => Host::Ip(IpAddr::V6(ip)),
            None => return Err(UrlRefused::Host),
        };
        let same = url.scheme() == self.scheme.as_str()
            && host == self.host
            && url.port_or_known_default() == Some(self.port)
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        if same { Ok(()) } else { Err(UrlRefused::Host) }
    }
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), UrlRefused> {
    let lower = |prefix: &str| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    for (prefix, scheme) in [("https://", Scheme::Https), ("http://", Scheme::Http)] {
        if lower(prefix) {
            return Ok((scheme, &text[prefix.len()..]));
        }
    }
    Err(UrlRefused::Scheme)
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

/// Host and port text; the host of an IPv6 literal keeps its brackets.
fn split_authority(authority: &str) -> Result<(&str, Option<&str>), UrlRefused> {
    if authority.contains('@') {
        return Err(UrlRefused::UserInfo);
    }
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or(UrlRefused::Host)?;
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(UrlRefused::Host),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, UrlRefused> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain).ok_or(UrlRefused::Port)
}

fn parse_host(text: &str) -> Result<Host, UrlRefused> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or(UrlRefused::Host)?;
        let ip: Ipv6Addr = inner.parse().map_err(|_| UrlRefused::IpLiteral)?;
        // Zone ids do not parse; other spellings of the same address print differently.
        return if ip.to_string() == inner { Ok(Host::Ip(IpAddr::V6(ip))) } else { Err(UrlRefused::IpLiteral) };
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return if ip.to_string() == text { Ok(Host::Ip(IpAddr::V4(ip))) } else { Err(UrlRefused::IpLiteral) };
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    check_name(&name)?;
    Ok(Host::Name(name))
}

fn check_name(name: &str) -> Result<(), UrlRefused> {
    if name.len() > HOST_BYTES_MAX || !name.split('.').all(is_label) {
        return Err(UrlRefused::Host);
    }
    if reads_as_number(name) {
        return Err(UrlRefused::IpLiteral);
    }
    if ranges::is_metadata_name(name) {
        return Err(UrlRefused::Metadata);
    }
    Ok(())
}
