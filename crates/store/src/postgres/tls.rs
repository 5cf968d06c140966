//! TLS to the database: 1.2 or newer. Verified against the system's roots and the operator's file, or, for `prefer`, merely
//! encrypted.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::options::{PostgresOptions, Tls};
use crate::error::{Error, Result};

/// Largest CA file, in bytes.
const CA_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl PostgresOptions {
    /// What encrypts, and what is believed. Reads the roots; called when the store connects.
    pub(super) fn tls(&self) -> Result<MakeRustlsConnect> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(Error::bug)?;
        let config = match self.tls_mode() {
            Tls::Verify => builder.with_root_certificates(roots(self.ca_file())?).with_no_client_auth(),
            Tls::Disable | Tls::Prefer => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
                .with_no_client_auth(),
        };
        Ok(MakeRustlsConnect::new(config))
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        roots.add_parsable_certificates(read(path)?);
    }
    if roots.is_empty() {
        return Err(Error::Unavailable {
            reason:
                "the database's certificate cannot be verified: this machine has no root certificates; name a CA file"
                    .into(),
        });
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let unusable = |why: String| Error::Unavailable { reason: format!("the CA file {}: {why}", path.display()) };
    let mut pem = Vec::new();
    let file = File::open(path).map_err(|error| unusable(error.to_string()))?;
    file.take(CA_FILE_BYTES_MAX + 1).read_to_end(&mut pem).map_err(|error| unusable(error.to_string()))?;
    if pem.len() as u64 > CA_FILE_BYTES_MAX {
        return Err(unusable(format!("it is larger than {CA_FILE_BYTES_MAX} bytes")));
    }
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(unusable("it holds no certificate in PEM form".into())),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// `prefer` believes whoever answers: it keeps onlookers out, not impostors. As in libpq.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
