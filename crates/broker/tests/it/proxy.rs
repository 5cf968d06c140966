//! The proxy between a client that does as it likes and an upstream that wants a key. Attacks carry their numbers.

mod framing;
mod grpc;
mod http2;
mod names;
mod secrets;
mod sockets;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, StreamBody};
use livery_broker::proxy::placeholder::{Pinned, Placeholder, Placeholders};
use livery_broker::proxy::{Answered, Asked, Finding, Gate, Lifetime, Proxy, Refusal, Spoken};
use livery_broker::{Broker, Outbound, Relayed, Secret, Target};
use livery_core::connector::CredentialSlot;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::call::{KEY, credential, tenant};
use crate::tls::{Authority, broker};
use crate::upstream::{SOON, Step, Upstream};

/// The one host a run may reach; the resolver answers names below `localhost` with loopback.
pub(super) const HOST: &str = "api.localhost";

/// Adds the key to what goes to the one host, as a connection would.
pub(super) struct Keyed {
    broker: Broker,
    port: u16,
    pub(super) findings: Mutex<Vec<&'static str>>,
    revoked: Notify,
}

impl Gate for Keyed {
    fn admits(&self, origin: &Target) -> bool {
        origin.host().to_string() == HOST && origin.port() == self.port
    }

    fn base(&self, name: &str) -> Option<Target> {
        let base = format!("https://{HOST}:{}", self.port);
        (name == "api").then(|| Target::base_url(&base).unwrap())
    }

    async fn pass(&self, asked: Asked) -> Result<Answered, Refusal> {
        let headers = asked.header_pairs()?;
        let Asked { target, method, body, speech, .. } = asked;
        let (body, account) = body.upload().await?;
        let mut call = Outbound::post(tenant(1), target, body);
        call.method = method;
        call.headers = headers;
        call.credential = Some(credential(KEY));
        call.relayed = Relayed::All;
        call.speech = speech;
        let stopped = || account.and_then(|account| account.stopped());
        let inbound = self.broker.send(call).await.map_err(|error| stopped().unwrap_or_else(|| error.into()))?;
        let socket = inbound.socket.map(|socket| {
            Spoken::new(|program| async {
                socket.serve(program, |_| true, std::future::pending()).await;
            })
        });
        let body = StreamBody::new(inbound.body.into_frames()).boxed_unsync();
        Ok(Answered { status: inbound.status, headers: inbound.headers, body, socket })
    }

    fn found(&self, finding: Finding) {
        self.findings.lock().unwrap().push(finding.what.as_str());
    }

    fn revoked(&self, _: Option<&Target>) -> impl Future<Output = ()> + Send {
        self.revoked.notified()
    }
}

/// The placeholder of a run.
pub(super) fn placeholder(run: &str) -> Placeholder {
    Placeholder::derived(&Secret::new(vec![7; 32]), &[run, "api"]).unwrap()
}

impl Keyed {
    fn new(port: u16, root: Option<&str>) -> Self {
        Self { broker: broker(root), port, findings: Mutex::default(), revoked: Notify::new() }
    }
}

/// The proxy of a run whose placeholder this is.
fn proxy(gate: Keyed, placeholder: Placeholder) -> Proxy<Keyed> {
    let slot = CredentialSlot::Header { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() };
    let origins = vec![format!("https://{HOST}:{}", gate.port).parse().unwrap()];
    let placeholders = Placeholders::new(vec![Pinned { placeholder, name: "api".to_owned(), origins, slot }]);
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let lifetime = Lifetime { now_s, left: Duration::from_secs(600) };
    Proxy::new(gate, vec![HOST.to_owned()], placeholders, lifetime).unwrap()
}

/// An upstream with a certificate, and a run whose proxy may reach it.
pub(super) struct Scene {
    pub(super) upstream: Upstream,
    pub(super) proxy: Arc<Proxy<Keyed>>,
    pub(super) placeholder: Placeholder,
    port: u16,
    tasks: Mutex<JoinSet<()>>,
}

impl Scene {
    pub(super) async fn new(script: Vec<Vec<Step>>) -> Self {
        let authority = Authority::new();
        let tls = authority.acceptor(&[HOST], |_| {});
        Self::with(script, tls, Some(&authority.pem)).await
    }

    /// With this certificate at the upstream and this root of the operator's.
    pub(super) async fn with(script: Vec<Vec<Step>>, tls: tokio_rustls::TlsAcceptor, root: Option<&str>) -> Self {
        let upstream = Upstream::start_tls("127.0.0.1:0", script, Some(tls)).await;
        let port = upstream.address.port();
        let placeholder = placeholder("run_1");
        let proxy = Arc::new(proxy(Keyed::new(port, root), placeholder));
        Self { upstream, proxy, placeholder, port, tasks: Mutex::default() }
    }

    /// Sends what it sends to another upstream.
    fn aim(&mut self, port: u16, root: Option<&str>) {
        let (gate, placeholder) = (Keyed::new(port, root), self.placeholder);
        (self.port, self.proxy) = (port, Arc::new(proxy(gate, placeholder)));
    }

    pub(super) fn authority(&self) -> String {
        format!("{HOST}:{}", self.port)
    }

    /// A connection from inside.
    pub(super) fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let proxy = Arc::clone(&self.proxy);
        self.tasks.lock().unwrap().spawn(async move { proxy.serve(far).await });
        near
    }

    /// A tunnel to the upstream, before TLS.
    pub(super) async fn tunnel(&self) -> DuplexStream {
        let mut stream = self.connect();
        let authority = self.authority();
        send(&mut stream, format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n")).await;
        assert_eq!(head(&mut stream).await.lines().next(), Some("HTTP/1.1 200 OK"));
        stream
    }

    /// A tunnel with TLS, as an honest client opens it.
    pub(super) async fn tls(&self) -> TlsStream<DuplexStream> {
        self.tls_as(HOST, &[b"http/1.1"]).await.unwrap()
    }

    pub(super) async fn tls_as(&self, name: &str, alpn: &[&[u8]]) -> std::io::Result<TlsStream<DuplexStream>> {
        let mut roots = RootCertStore::empty();
        let pem = self.proxy.authority_pem().unwrap();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.tunnel().await).await
    }

    /// Sends these bytes in a tunnel and reads to the end.
    pub(super) async fn ask(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.tls().await;
        send(&mut stream, bytes).await;
        rest(&mut stream).await
    }

    pub(super) fn findings(&self) -> Vec<&'static str> {
        self.proxy.gate().findings.lock().unwrap().clone()
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.upstream.seen().requests
    }
}

/// What is sent may be more than the other side takes: it hangs up on what it refuses.
pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: impl AsRef<[u8]>) {
    let _ = stream.write_all(bytes.as_ref()).await;
    let _ = stream.flush().await;
}

/// A head, byte by byte, so that nothing after it is taken.
pub(super) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match tokio::time::timeout(SOON, stream.read_u8()).await.expect("the head comes") {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Everything until the other side hangs up, which it must.
pub(super) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(SOON * 3, stream.read_to_end(&mut bytes)).await.expect("the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A request as curl sends it, that ends its connection.
pub(super) fn get(scene: &Scene, path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n", scene.authority())
}
