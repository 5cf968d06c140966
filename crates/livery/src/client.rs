//! The command line's own client of the API: one request, one answer, or a stream of events.
//!
//! It talks to the operator's server and to nothing else; a run's traffic never passes here.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use livery_broker::ws::Opening;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::show::{harmless, one_line};

/// Longest wait for a connection and for the head of an answer. Long-polling asks for at most 55 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// Largest answer read into memory: the largest file.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;

/// A server and a key for it.
#[derive(Clone)]
pub(crate) struct Client {
    base: Uri,
    authorization: Option<String>,
}

/// An answer that is not a success, in the server's words.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.describe())]
pub(crate) struct Problem(pub(crate) ProblemBody);

/// `application/problem+json`, as far as people need it.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct ProblemBody {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) detail: String,
    #[serde(default)]
    pub(crate) errors: Vec<livery_core::FieldError>,
}

impl ProblemBody {
    fn describe(&self) -> String {
        // The server may quote others: a sandbox, a tenant.
        let mut text = format!("{} ({}, {})", harmless(&self.detail), one_line(&self.code), self.status);
        for error in &self.errors {
            text.push_str(&format!("\n  {}: {}", harmless(&error.pointer), harmless(&error.detail)));
        }
        text
    }
}

impl Client {
    /// A client of `url` (`http://…` or `https://…`).
    pub(crate) fn new(url: &str, api_key: &str) -> anyhow::Result<Self> {
        let base: Uri = url.trim_end_matches('/').parse().with_context(|| format!("{url} is no URL"))?;
        if !matches!(base.scheme_str(), Some("http" | "https")) || base.host().is_none() {
            bail!("{url} is no URL of the form http://HOST:PORT or https://HOST");
        }
        Ok(Self { base, authorization: Some(format!("Bearer {api_key}")) })
    }

    /// A client of what everybody may ask `url`.
    pub(crate) fn anonymous(url: &str) -> anyhow::Result<Self> {
        Ok(Self { authorization: None, ..Self::new(url, "")? })
    }

    /// `GET path` → JSON.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        json_of(self.send(Method::GET, path, &[], Bytes::new()).await?).await
    }

    /// `GET path` → the bytes.
    pub(crate) async fn get_bytes(&self, path: &str) -> anyhow::Result<Bytes> {
        bytes_of(self.send(Method::GET, path, &[], Bytes::new()).await?).await
    }

    /// `POST path` with JSON → JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let headers = [("content-type", "application/json")];
        json_of(self.send(Method::POST, path, &headers, Bytes::from(body.to_string())).await?).await
    }

    /// `PATCH path` with JSON → JSON.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let headers = [("content-type", "application/json")];
        json_of(self.send(Method::PATCH, path, &headers, Bytes::from(body.to_string())).await?).await
    }

    /// `POST path` with bytes → JSON.
    pub(crate) async fn post_bytes(&self, path: &str, content_type: &str, body: Bytes) -> anyhow::Result<Value> {
        json_of(self.send(Method::POST, path, &[("content-type", content_type)], body).await?).await
    }

    /// `DELETE path`.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, &[], Bytes::new()).await.map(drop)
    }

    /// Opens the event stream of a run after `after`.
    pub(crate) async fn events(&self, run: &str, after: u64) -> anyhow::Result<Incoming> {
        let last = after.to_string();
        let headers = [("accept", "text/event-stream"), ("last-event-id", last.as_str())];
        let path = format!("/v1/runs/{run}/events");
        Ok(self.send(Method::GET, &path, &headers, Bytes::new()).await?.into_body())
    }

    /// Opens the WebSocket at `path`, of this subprotocol. Both ends of what follows are bytes; see `livery_broker::ws`.
    pub(crate) async fn websocket(&self, path: &str, protocol: &str) -> anyhow::Result<TokioIo<Upgraded>> {
        let mut request =
            self.request(Method::GET, path).header("sec-websocket-protocol", protocol).body(Full::default())?;
        let mut opening = Opening::new()?;
        opening.put(request.headers_mut())?;
        let answer = self.answer(request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(problem_of(answer).await);
        }
        opening.check(answer.headers()).context("the server opened something else than was asked for")?;
        Ok(TokioIo::new(hyper::upgrade::on(answer).await?))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.answer(request.body(Full::new(body))?).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(problem_of(answer).await) }
    }

    /// A request with what every request of ours has.
    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let host = self.base.host().unwrap_or_default();
        let authority = self.base.authority().map_or(host, http::uri::Authority::as_str);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", authority)
            .header("user-agent", concat!("livery/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        request
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(request))
            .await
            .with_context(|| format!("{} did not answer in {} s", self.base, ANSWER_TIMEOUT.as_secs()))?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        exchange(&self.base, request).await.context("is the server running (`livery up`)?")
    }
}

/// One request to one of the operator's own servers, on a connection of its own.
pub(crate) async fn exchange(server: &Uri, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let secure = server.scheme_str() == Some("https");
    let port = server.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.with_context(|| format!("cannot reach {server}"))?;
    stream.set_nodelay(true)?;
    if secure { converse(tls(host, stream).await?, request).await } else { converse(stream, request).await }
}

async fn tls(host: &str, stream: TcpStream) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())?;
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

async fn converse<S>(stream: S, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer: one connection serves one request. Its error shows in the answer as well.
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}

async fn bytes_of(answer: Response<Incoming>) -> anyhow::Result<Bytes> {
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes())
}

async fn json_of(answer: Response<Incoming>) -> anyhow::Result<Value> {
    serde_json::from_slice(&bytes_of(answer).await?).context("the server's answer is no JSON; is this a Livery server?")
}

async fn problem_of(answer: Response<Incoming>) -> anyhow::Error {
    let status = answer.status();
    let body = bytes_of(answer).await.unwrap_or_default();
    match serde_json::from_slice::<ProblemBody>(&body) {
        Ok(problem) => Problem(problem).into(),
        Err(_) => anyhow::anyhow!("the server answered {status}"),
    }
}

/// Whether the server says that something else stands in the way (409).
pub(crate) fn is_conflict(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Problem>().is_some_and(|problem| problem.0.status == 409)
}

/// Whether an error is the server's refusal: of the caller or of what was asked (exit code 3), not a fault of its own.
pub(crate) fn is_refusal(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Problem>().is_some_and(|problem| (400..500).contains(&problem.0.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_nothing_to_the_terminal() {
        let problem = r#"{
            "status": 409, "code": "shell\u001b[6n_failed", "detail": "could\u001b]52;c;c3RvbGVu\u0007 not\u202e \u009b6nstart",
            "errors": [{"pointer": "/a\u001b[2J", "code": "x", "detail": "wr\u0005ong\u001b[21t"}]
        }"#;
        let problem = Problem(serde_json::from_str(problem).unwrap()).to_string();
        assert!(problem.chars().all(|c| c == '\n' || !c.is_control()), "{problem:?}");
        assert!(!problem.contains('\u{202e}'), "{problem:?}");
        // The control: the words are there.
        for word in ["could", "start", "409", "/a: wrong"] {
            assert!(problem.contains(word), "no {word} in {problem:?}");
        }
    }
}
