//! Credentials that are no text in a header: a signature of AWS, a client certificate, a token as a password.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_broker::{Error, Outbound, Slot};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::call::{KEY, broker, credential, post, text};
use crate::tls;
use crate::upstream::{Upstream, answer};

/// Whose certificates a server and its clients have.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn certificate(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A client's certificate and its key, in PEM.
    fn client(&self) -> String {
        let (certificate, key) = self.certificate("client");
        format!("{}{}", certificate.pem(), key.serialize_pem())
    }

    /// The server side of TLS, which lets only clients in that show a certificate of this authority.
    fn demanding(&self, name: &str) -> TlsAcceptor {
        let (certificate, key) = self.certificate(name);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

const LINES: &str = "AKIDEXAMPLE\nwJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\nsession/token+0123456789abcdef==";

/// Gives back every request's head, in its body and the signature in a header.
async fn mirror() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 16 * 1024];
            let read = stream.read(&mut head).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let signature = head.split("Signature=").nth(1).map_or("none", |rest| rest.split("\r\n").next().unwrap());
            let body = format!("{{\"head\": \"{}\"}}", head.replace("\r\n", " | ").replace('"', "'"));
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: {signature}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, tasks)
}

fn call(url: &str, slot: Slot, secret: &str) -> Outbound {
    let mut call = post(url);
    call.credential = Some(credential(secret));
    call.credential.as_mut().unwrap().slot = slot;
    call.credential.as_mut().unwrap().owner = "con_1/aws".to_owned();
    call
}

/// A16: signature, session token and secret are made for this request, and taken out of its answer. What the caller signed
/// never leaves.
#[tokio::test]
async fn a16_a_signature_is_put_in_and_taken_out_of_the_answer() {
    let (address, _tasks) = mirror().await;
    let slot = Slot::Sigv4 { region: "eu-central-1".to_owned(), service: "dynamodb".to_owned() };
    let url = format!("http://{address}/?a=1&X-Amz-Signature=theirs&X-Amz-Credential=theirs");
    let mut signed = call(&url, slot, LINES);
    signed.headers.extend([
        ("authorization".to_owned(), "AWS4-HMAC-SHA256 Credential=THEIRS".to_owned()),
        ("x-amz-security-token".to_owned(), "theirs".to_owned()),
        ("x-amz-date".to_owned(), "20000101T000000Z".to_owned()),
        ("x-amz-target".to_owned(), "DynamoDB_20120810.ListTables".to_owned()),
    ]);
    let inbound = broker().send(signed).await.unwrap();
    assert_eq!(inbound.headers["x-request-id"], "[REDACTED:aws]");
    let body = text(inbound).await.unwrap();
    let scope = "Credential=AKIDEXAMPLE/20150830/eu-central-1/dynamodb/aws4_request";
    let names = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-amz-target";
    for there in [scope, names, "Signature=[REDACTED:aws]", "x-amz-date: 20150830T123600Z", "POST /?a=1 HTTP/1.1"] {
        assert!(body.contains(there), "{there}: {body}");
    }
    assert!(body.contains("x-amz-security-token: [REDACTED:aws]"), "{body}");
    assert!(!body.contains("heirs") && !body.to_lowercase().contains("theirs"), "{body}");
}

#[tokio::test]
async fn a_key_of_another_shape_signs_nothing() {
    let (address, _tasks) = mirror().await;
    let slot = Slot::Sigv4 { region: "eu-central-1".to_owned(), service: "s3".to_owned() };
    let refused = broker().send(call(&format!("http://{address}/"), slot, KEY)).await.err();
    assert!(matches!(refused, Some(Error::BadRequest { .. })));
}

#[tokio::test]
async fn a_token_is_a_password_where_git_wants_one() {
    let (address, _tasks) = mirror().await;
    let slot = Slot::BasicToken { username: "x-access-token".to_owned() };
    let body =
        text(broker().send(call(&format!("http://{address}/a/b/info/refs"), slot, KEY)).await.unwrap()).await.unwrap();
    let encoded = STANDARD.encode(format!("x-access-token:{KEY}"));
    assert!(body.contains("authorization: Basic ") && body.contains("[REDACTED:aws]"), "{body}");
    assert!(!body.contains(&encoded[24..]) && !body.contains(KEY), "{body}");
}

/// R16: who a connection's certificate speaks for is never shared with another credential.
#[tokio::test]
async fn r16_a_client_certificate_is_shown_in_handshakes_of_its_own() {
    let authority = Authority::new();
    let tls = authority.demanding("localhost");
    let upstream = Upstream::start_tls("127.0.0.1:0", vec![vec![answer("let in")]], Some(tls)).await;
    let url = format!("https://localhost:{}/v1", upstream.address.port());
    let broker = tls::broker(Some(&authority.pem));
    let with = |pem: &str, owner: &str| {
        let mut call = call(&url, Slot::ClientCertificate, pem);
        call.credential.as_mut().unwrap().owner = owner.to_owned();
        call
    };
    assert!(broker.send(post(&url)).await.is_err(), "nobody without a certificate");
    let (mine, theirs) = (authority.client(), authority.client());
    for pem in [&mine, &mine] {
        assert_eq!(text(broker.send(with(pem, "con_1/one")).await.unwrap()).await.unwrap(), "let in");
    }
    assert_eq!(text(broker.send(with(&theirs, "con_2/two")).await.unwrap()).await.unwrap(), "let in");
    assert!(broker.send(with(&Authority::new().client(), "con_3/three")).await.is_err(), "of another authority");
    assert_eq!(upstream.seen().requests.len(), 3);
    let requests = upstream.seen().requests.join("");
    assert!(!requests.contains("authorization") && !requests.contains("PRIVATE KEY"), "{requests}");
    let plain = broker.send(call("http://127.0.0.1:8080/", Slot::ClientCertificate, &mine)).await.err();
    assert!(matches!(plain, Some(Error::Denied { .. })), "no handshake, no certificate");
}
