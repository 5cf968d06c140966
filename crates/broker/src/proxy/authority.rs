//! The certificate authority of one run: made with the run, kept in memory, trusted inside that run's sandbox alone.
//!
//! Its certificate says itself how little it is good for: only the names the run may reach (or what is below them), no addresses,
//! and not longer than the run. One key serves all of its leaves; a leaf is made at the first connection to its name.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use livery_core::connector::HostPattern;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SerialNumber, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// How long before its run a certificate is valid, and how long after: clocks inside and outside are the same one.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// Names an authority may be for.
pub const NAMES_MAX: usize = 512;
/// Leaves that are kept; more are made anew.
const LEAVES_MAX: usize = 1024;

/// The run's certificates could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the run's certificate authority could not be made")]
pub struct AuthorityFailed;

impl From<rcgen::Error> for AuthorityFailed {
    fn from(_: rcgen::Error) -> Self {
        Self
    }
}

impl From<rustls::Error> for AuthorityFailed {
    fn from(_: rustls::Error) -> Self {
        Self
    }
}

/// When a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Now, in seconds since 1970.
    pub now_s: u64,
    /// How long the run may still take.
    pub left: Duration,
}

/// A run's authority. No `Debug`: it holds keys.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    leaf_key: KeyPair,
    names: Vec<HostPattern>,
    lifetime: Lifetime,
    pem: String,
    leaves: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Authority {
    /// An authority for exactly these names, of which there is at least one; `*.name` is every name one label below.
    pub(super) fn new(names: Vec<String>, lifetime: Lifetime) -> Result<Self, AuthorityFailed> {
        if names.is_empty() || names.len() > NAMES_MAX {
            return Err(AuthorityFailed);
        }
        let patterns = names.iter().map(|name| name.parse()).collect::<Result<_, _>>().map_err(|_| AuthorityFailed)?;
        let key = KeyPair::generate()?;
        let mut params = params(Vec::new(), "Livery run authority", lifetime)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: names.iter().map(|name| subtree(name)).collect(),
            excluded_subtrees: everywhere
                .map(|any| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(any, 0)))
                .to_vec(),
        });
        let pem = params.self_signed(&key)?.pem();
        let leaf_key = KeyPair::generate()?;
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, leaf_key, names: patterns, lifetime, pem, leaves: Mutex::default() })
    }

    /// Its certificate, for the sandbox.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// The server side of TLS for a name of its own, made once.
    pub(super) fn leaf(&self, name: &str) -> Result<Arc<ServerConfig>, AuthorityFailed> {
        if !self.names.iter().any(|known| known.matches(name)) {
            return Err(AuthorityFailed);
        }
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = leaves.get(name) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(self.make_leaf(name)?);
        if leaves.len() >= LEAVES_MAX {
            leaves.clear();
        }
        leaves.insert(name.to_owned(), Arc::clone(&made));
        Ok(made)
    }

    fn make_leaf(&self, name: &str) -> Result<ServerConfig, AuthorityFailed> {
        let mut params = params(vec![name.to_owned()], "Livery run", self.lifetime)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.leaf_key, &self.issuer)?;
        server_config(certificate.der().clone(), &self.leaf_key)
    }
}

/// What a name allows in a certificate: itself and what is below it. The leaves are narrower.
fn subtree(name: &str) -> GeneralSubtree {
    GeneralSubtree::DnsName(name.strip_prefix("*.").unwrap_or(name).to_owned())
}

fn params(names: Vec<String>, title: &str, lifetime: Lifetime) -> Result<CertificateParams, AuthorityFailed> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, title);
    let begin = date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(lifetime.now_s);
    params.not_before = begin + now.saturating_sub(MARGIN);
    params.not_after = begin + now + lifetime.left + MARGIN;
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| AuthorityFailed)?;
    // Positive, and of one length.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn server_config(certificate: CertificateDer<'static>, key: &KeyPair) -> Result<ServerConfig, AuthorityFailed> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // No session outlives its connection: the name is judged at each.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests;
