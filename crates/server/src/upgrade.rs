//! Connections that become something else: the opening of a WebSocket (RFC 6455 §4.2), and what is served on it afterwards.
//!
//! A WebSocket is not held back by the rules that keep other origins from reading answers, so its opening says no to them
//! itself. No cookie opens anything here: the key is in `Authorization`, which a page of another origin cannot send.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use livery_platform::shell::ws;

use crate::problem::{Problem, Result};

/// What a connection does once its answer has switched protocols.
#[derive(Clone, Default)]
pub(crate) struct Afterwards(Arc<Mutex<Option<Work>>>);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Afterwards {
    /// Has this done.
    pub(crate) fn put(&self, work: impl Future<Output = ()> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(work));
    }

    /// What is to be done, if anything.
    pub(crate) fn take(&self) -> Option<Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A request that opens a WebSocket as it should.
pub(crate) struct Asked {
    accept: HeaderValue,
    protocol: &'static str,
    upgrade: OnUpgrade,
    afterwards: Afterwards,
}

impl Asked {
    /// Reads the opening of a WebSocket that speaks `protocol`.
    ///
    /// # Errors
    /// It opens none, or not properly; it is a page of another origin's; it does not offer the protocol.
    pub(crate) fn of(mut request: Request, protocol: &'static str) -> Result<Self> {
        let accept = ws::asked(&request).map_err(Problem::upgrade_required)?;
        let accept =
            accept.ok_or_else(|| Problem::upgrade_required("this route is a WebSocket: send Upgrade: websocket"))?;
        own_origin(request.headers())?;
        let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
        let mut offered = offered.filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(','));
        if !offered.any(|name| name.trim() == protocol) {
            return Err(Problem::invalid_header("Sec-WebSocket-Protocol", &format!("must offer {protocol}")));
        }
        let extensions = request.extensions_mut();
        match (extensions.remove::<OnUpgrade>(), extensions.remove::<Afterwards>()) {
            (Some(upgrade), Some(afterwards)) => Ok(Self { accept, protocol, upgrade, afterwards }),
            _ => Err(Problem::upgrade_required("this connection cannot become a WebSocket")),
        }
    }

    /// The answer; `work` is done with the connection afterwards.
    pub(crate) fn accept<W>(self, work: impl FnOnce(OnUpgrade) -> W) -> Response
    where
        W: Future<Output = ()> + Send + 'static,
    {
        self.afterwards.put(work(self.upgrade));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(self.protocol));
        response
    }
}

/// Refuses the opening by a page of another origin.
fn own_origin(headers: &HeaderMap) -> Result<()> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let authority = authority.as_ref().and_then(Uri::authority).map(http::uri::Authority::as_str);
    if authority.is_some() && authority == host {
        return Ok(());
    }
    Err(Problem::invalid_header("Origin", "is another origin's, whose pages open no WebSocket here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_same_origin_open_one() {
        let allowed = |origin: Option<&str>| {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("livery.example:8080"))]);
            headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_str(origin).unwrap())));
            own_origin(&headers).is_ok()
        };
        assert!(allowed(None) && allowed(Some("https://livery.example:8080")));
        for other in
            ["https://livery.example", "https://evil.example:8080", "null", "", "livery.example", "https://a@b/"]
        {
            assert!(!allowed(Some(other)), "{other}");
        }
    }
}
