//! What a request means, decided once: the target that is matched is the target that is sent.

use http::header::{ALT_SVC, CONTENT_LENGTH, HOST, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Request, Uri, Version};

use livery_core::connector::is_name;

use super::refusal::Refusal;
use crate::guard::{Scheme, Target};

/// Headers that concern one connection, or would outlive it in the client.
const DROPPED_FROM_ANSWERS: &[HeaderName] = &[
    http::header::CONNECTION,
    http::header::PROXY_AUTHENTICATE,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
    ALT_SVC,
    STRICT_TRANSPORT_SECURITY,
];

/// The origin a `CONNECT` asks for.
pub(super) fn tunnel<B>(request: &Request<B>) -> Result<Target, Refusal> {
    let malformed = || Refusal::Malformed("CONNECT takes host:port and nothing else");
    let authority = request.uri().authority().ok_or_else(malformed)?;
    let headers = request.headers();
    if authority.port_u16().is_none() || headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
    {
        return Err(malformed());
    }
    let target = Target::full_url(&format!("https://{authority}/")).map_err(|_| malformed())?;
    match one_host(headers)? {
        Some(host) if !names(&host, &target) => Err(Refusal::OtherName),
        _ => Ok(target),
    }
}

/// The target of a request inside a tunnel: its path, on the tunnel's origin, if that is what it says itself.
pub(super) fn inside<B>(request: &Request<B>, origin: &Target) -> Result<Target, Refusal> {
    let uri = request.uri();
    if let Some(authority) = uri.authority()
        && (uri.scheme_str() != Some(origin.scheme().as_str()) || !names(authority.as_str(), origin))
    {
        return Err(Refusal::OtherName);
    }
    of_origin(request, origin, uri)
}

/// The target of a plain request to the proxy: an absolute URL, whose host the `Host` header repeats.
pub(super) fn absolute<B>(request: &Request<B>) -> Result<Target, Refusal> {
    let malformed = || Refusal::Malformed("this is a proxy: send CONNECT, or a request with an absolute http URL");
    let uri = request.uri();
    let authority = uri.authority().ok_or_else(malformed)?;
    // What is https is spoken inside a tunnel, where the name is proven.
    if uri.scheme_str() != Some(Scheme::Http.as_str()) {
        return Err(malformed());
    }
    let origin = Target::full_url(&format!("http://{authority}/")).map_err(|_| malformed())?;
    of_origin(request, &origin, uri)
}

/// A request to the proxy's own address, `/NAME/PATH`: the name, and the path with its query below it.
pub(super) fn below<B>(request: &Request<B>) -> Result<(&str, &str), Refusal> {
    let malformed =
        Refusal::Malformed("this is a proxy: send CONNECT, a request with an absolute http URL, or /SLOT/PATH");
    let host = one_host(request.headers())?.ok_or(Refusal::Malformed("the Host header is missing"))?;
    // A page that made its name mean this address would come with that name.
    if !matches!(host.split(':').next(), Some("127.0.0.1" | "localhost")) {
        return Err(Refusal::OtherName);
    }
    one_length(request)?;
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let rest = path.strip_prefix('/').ok_or_else(|| malformed.clone())?;
    let (name, _) = rest.split_once('/').filter(|(name, _)| is_name(name)).ok_or(malformed)?;
    Ok((name, &rest[name.len()..]))
}

fn of_origin<B>(request: &Request<B>, origin: &Target, uri: &Uri) -> Result<Target, Refusal> {
    match one_host(request.headers())? {
        Some(host) if !names(&host, origin) => return Err(Refusal::OtherName),
        // HTTP/2 says it in `:authority`, which was compared.
        None if request.version() != Version::HTTP_2 || uri.authority().is_none() => {
            return Err(Refusal::Malformed("the Host header is missing"));
        }
        _ => {}
    }
    one_length(request)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if !path.starts_with('/') {
        return Err(Refusal::Malformed("the request has no path"));
    }
    let unclear = Refusal::Malformed("the path or query is not in a form that has one meaning only");
    Target::full_url(&format!("{}{path}", origin.origin())).map_err(|_| unclear)
}

fn one_host(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut all = headers.get_all(HOST).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(Refusal::Malformed("there are two Host headers"));
    }
    let text = first.map(|value| value.to_str().map(str::to_ascii_lowercase));
    text.transpose().map_err(|_| Refusal::Malformed("the Host header is unreadable"))
}

/// Whether `host[:port]` is this origin and nothing else.
fn names(host: &str, origin: &Target) -> bool {
    let url = format!("{}://{host}/", origin.scheme().as_str());
    Target::full_url(&url).is_ok_and(|other| other.host() == origin.host() && other.port() == origin.port())
}

/// A body has one length. The library has judged most of this; what it repairs is refused here.
fn one_length<B>(request: &Request<B>) -> Result<(), Refusal> {
    let headers = request.headers();
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    let chunked = codings.iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let old = request.version() != Version::HTTP_11 && !codings.is_empty();
    if lengths + codings.len() > 1 || !chunked || old {
        return Err(Refusal::Malformed("the length of the body can be read in two ways"));
    }
    Ok(())
}

/// Removes from an answer what concerns the upstream's connection alone.
pub(super) fn trim_answer(headers: &mut HeaderMap) {
    let nominated: Vec<String> = headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    for name in DROPPED_FROM_ANSWERS {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    for name in nominated {
        headers.remove(&name);
    }
}
