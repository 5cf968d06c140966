//! TLS to the upstream: 1.2 or newer, the system's roots and the operator's, the name verified. A certificate that does not
//! hold is an error; there is no switch to look away.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ConfigError;
use super::identity::Identity;
use crate::error::{Phase, TlsFailure};
use crate::guard::Host;
use crate::{Error, Result};

/// Largest `--upstream-ca` file, in bytes.
const CA_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The client side of TLS. The system's roots are read at the first `https` call: a platform that only ever talks to a
/// model on its own host never pays for them.
pub(super) struct Tls {
    operator_roots: Vec<CertificateDer<'static>>,
    common: OnceCell<Common>,
}

/// What is offered to be spoken after the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2, or else HTTP/1.1.
    Both,
}

impl Offer {
    fn protocols(self) -> Vec<Vec<u8>> {
        let (one, two) = (b"http/1.1".to_vec(), b"h2".to_vec());
        match self {
            Self::Http1 => vec![one],
            Self::Both => vec![two, one],
        }
    }
}

/// What every handshake shares.
struct Common {
    roots: Arc<RootCertStore>,
    /// Of those that show no certificate and offer HTTP/1.1.
    config: Arc<ClientConfig>,
}

impl Tls {
    pub(super) fn new(upstream_ca: Option<&Path>) -> Result<Self, ConfigError> {
        let operator_roots = upstream_ca.map(read_roots).transpose()?.unwrap_or_default();
        Ok(Self { operator_roots, common: OnceCell::new() })
    }

    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        host: &Host,
        identity: Option<Identity>,
        offer: Offer,
        limit: Duration,
    ) -> Result<TlsStream<TcpStream>> {
        let name = server_name(host)?;
        let common = self.common.get_or_try_init(|| self.load()).await?;
        let config = match identity {
            None => {
                let mut config = Arc::clone(&common.config);
                if offer != Offer::Http1 {
                    Arc::make_mut(&mut config).alpn_protocols = offer.protocols();
                }
                config
            }
            Some(identity) => {
                let mut config = client_config(Arc::clone(&common.roots), Some(identity)).map_err(broken)?;
                config.alpn_protocols = offer.protocols();
                Arc::new(config)
            }
        };
        let connector = TlsConnector::from(config);
        timeout(limit, connector.connect(name, stream))
            .await
            .map_err(|_| Error::Timeout { phase: Phase::Tls })?
            .map_err(|error| Error::Tls { why: classify(&error) })
    }

    /// The same for what speaks no HTTP: with another protocol's name in the handshake, or none.
    pub(super) async fn handshake_as(
        &self,
        protocol: Option<&[u8]>,
        stream: TcpStream,
        host: &Host,
        limit: Duration,
    ) -> Result<TlsStream<TcpStream>> {
        let name = server_name(host)?;
        let mut config = ClientConfig::clone(&self.common.get_or_try_init(|| self.load()).await?.config);
        config.alpn_protocols = protocol.map(<[u8]>::to_vec).into_iter().collect();
        timeout(limit, TlsConnector::from(Arc::new(config)).connect(name, stream))
            .await
            .map_err(|_| Error::Timeout { phase: Phase::Tls })?
            .map_err(|error| Error::Tls { why: classify(&error) })
    }

    async fn load(&self) -> Result<Common> {
        let no_roots = Error::Tls { why: TlsFailure::NoRoots };
        let system = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await.map_err(|_| no_roots)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system.certs);
        roots.add_parsable_certificates(self.operator_roots.iter().cloned());
        if roots.is_empty() {
            return Err(no_roots);
        }
        let roots = Arc::new(roots);
        let config = client_config(Arc::clone(&roots), None).map(Arc::new).map_err(broken)?;
        Ok(Common { roots, config })
    }
}

fn broken(_: rustls::Error) -> Error {
    Error::Tls { why: TlsFailure::Handshake }
}

fn client_config(roots: Arc<RootCertStore>, identity: Option<Identity>) -> Result<ClientConfig, rustls::Error> {
    // The provider is named here: two compiled into one binary must not be a coin toss.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_auth_cert(identity.chain, identity.key)?,
    };
    config.alpn_protocols = Offer::Http1.protocols();
    // A session ticket would link the calls of two tenants for the upstream.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let unreadable = |source| ConfigError::UpstreamCaUnreadable { path: path.to_owned(), source };
    let invalid = || ConfigError::UpstreamCaInvalid { path: path.to_owned() };
    if std::fs::metadata(path).map_err(unreadable)?.len() > CA_FILE_BYTES_MAX {
        return Err(invalid());
    }
    let pem = std::fs::read(path).map_err(unreadable)?;
    let roots: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| invalid())?;
    let mut usable = RootCertStore::empty();
    for root in &roots {
        usable.add(root.clone()).map_err(|_| invalid())?;
    }
    if usable.is_empty() { Err(invalid()) } else { Ok(roots) }
}

fn server_name(host: &Host) -> Result<ServerName<'static>> {
    match host {
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Error::Tls { why: TlsFailure::WrongName }),
        Host::Ip(ip) => Ok(ServerName::IpAddress(IpAddr::into(*ip))),
    }
}

fn classify(error: &std::io::Error) -> TlsFailure {
    let certificate = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(certificate)) => certificate,
        _ => return TlsFailure::Handshake,
    };
    match certificate {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsFailure::Expired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsFailure::WrongName,
        _ => TlsFailure::Untrusted,
    }
}
