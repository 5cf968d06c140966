//! Certificates that do not hold are refused, and nothing is said to whoever shows them.

use std::sync::Arc;
use std::time::Duration;

use livery_broker::error::{Phase, TlsFailure};
use livery_broker::{Broker, BrokerConfig, ConfigError, Error};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::call::{config, post, text};
use crate::upstream::{Step, Upstream, answer};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for `names` with its key, in PEM.
    pub(crate) fn identity(&self, names: &[&str]) -> String {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        format!("{}{}", certificate.pem(), key.serialize_pem())
    }

    /// The same, for a server that speaks one of these alone.
    pub(crate) fn acceptor_of(&self, names: &[&str], alpn: &[&[u8]]) -> TlsAcceptor {
        let mut config = rustls::ServerConfig::clone(self.acceptor(names, |_| {}).config());
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A certificate for `names`, changed by `change`, and the server side of TLS with it.
    pub(crate) fn acceptor(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        acceptor(params.signed_by(&key, &self.issuer).unwrap(), &key)
    }
}

fn acceptor(certificate: rcgen::Certificate, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A broker that trusts `pem` beside the system's roots.
pub(crate) fn broker(pem: Option<&str>) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let upstream_ca = pem.map(|pem| {
        std::fs::write(&path, pem).unwrap();
        path.clone()
    });
    Broker::new(BrokerConfig { upstream_ca, ..config() }).unwrap()
}

async fn serve(tls: TlsAcceptor) -> (Upstream, String) {
    let upstream = Upstream::start_tls("127.0.0.1:0", vec![vec![answer("over tls")]], Some(tls)).await;
    let url = format!("https://localhost:{}/v1", upstream.address.port());
    (upstream, url)
}

#[tokio::test]
async fn a_certificate_of_the_operators_root_is_accepted() {
    let authority = Authority::new();
    let (upstream, url) = serve(authority.acceptor(&["localhost"], |_| {})).await;
    let broker = broker(Some(&authority.pem));
    for _ in 0..2 {
        assert_eq!(text(broker.send(post(&url)).await.unwrap()).await.unwrap(), "over tls");
    }
    assert_eq!(upstream.seen().connections, 1);
}

#[tokio::test]
async fn f10_certificates_that_do_not_hold_are_refused() {
    let authority = Authority::new();
    let self_signed = || {
        let key = KeyPair::generate().unwrap();
        acceptor(CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap(), &key)
    };
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(2200, 1, 1);
    let other = Authority::new();
    for (tls, why) in [
        (authority.acceptor(&["localhost"], expired), TlsFailure::Expired),
        (authority.acceptor(&["localhost"], future), TlsFailure::Expired),
        (authority.acceptor(&["evil.example"], |_| {}), TlsFailure::WrongName),
        (authority.acceptor(&["127.0.0.1"], |_| {}), TlsFailure::WrongName),
        (other.acceptor(&["localhost"], |_| {}), TlsFailure::Untrusted),
        (self_signed(), TlsFailure::Untrusted),
    ] {
        let (upstream, url) = serve(tls).await;
        let error = broker(Some(&authority.pem)).send(post(&url)).await.unwrap_err();
        assert_eq!(error, Error::Tls { why });
        assert!(error.nothing_sent() && !error.retryable());
        assert!(upstream.seen().requests.is_empty());
    }
}

#[tokio::test]
async fn without_the_operators_root_its_certificates_are_nothing() {
    let authority = Authority::new();
    let (upstream, url) = serve(authority.acceptor(&["localhost"], |_| {})).await;
    let error = broker(None).send(post(&url)).await.unwrap_err();
    assert!(matches!(error, Error::Tls { why: TlsFailure::Untrusted | TlsFailure::NoRoots }), "{error}");
    assert!(upstream.seen().requests.is_empty());
}

#[tokio::test]
async fn a_listener_that_speaks_no_tls_gets_no_request() {
    // It waits for a request head and so never answers the handshake.
    let silent = Upstream::start(vec![vec![Step::Stall]]).await;
    let mut call = post(&format!("https://localhost:{}", silent.address.port()));
    call.timeouts.tls = Duration::from_millis(100);
    assert_eq!(broker(None).send(call).await.unwrap_err(), Error::Timeout { phase: Phase::Tls });
    assert!(silent.seen().requests.is_empty());
}

#[test]
fn a_bad_root_file_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let open = || Broker::new(BrokerConfig { upstream_ca: Some(path.clone()), ..config() }).err();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    assert!(matches!(open(), Some(ConfigError::UpstreamCaUnreadable { .. })));
    for bad in ["", "not pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(open(), Some(ConfigError::UpstreamCaInvalid { .. })), "{bad:?}");
    }
}
