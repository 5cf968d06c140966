//! [`Identity`]: a client certificate with its private key, shown in the handshakes of one connection.

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{Credential, Slot};
use crate::{Error, Result, Secret};

/// Most certificates of a chain.
const CHAIN_MAX: usize = 10;

/// Why a text is no identity. Says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefused {
    /// No certificate, or too many.
    #[error("the PEM holds no certificate, or more than {CHAIN_MAX}")]
    Certificates,
    /// No private key, several, or one with a passphrase.
    #[error("the PEM holds no private key without a passphrase, or several")]
    Key,
    /// The two do not belong together.
    #[error("the private key is not that of the first certificate, or is of a kind that TLS does not take")]
    Mismatch,
}

/// What is shown in a handshake. Without `Debug`: the key is in it.
pub(crate) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// That of a credential for the handshake; `None` for one that goes into the request.
    pub(super) fn of(credential: &Credential) -> Option<Result<Self>> {
        let malformed = |_| Error::BadRequest { why: "the client certificate cannot be used" };
        (credential.slot == Slot::ClientCertificate)
            .then(|| Self::parse(credential.secret.expose_secret()).map_err(malformed))
    }

    fn parse(pem: &[u8]) -> Result<Self, IdentityRefused> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| IdentityRefused::Certificates)?;
        if !(1..=CHAIN_MAX).contains(&chain.len()) {
            return Err(IdentityRefused::Certificates);
        }
        let mut keys = PrivateKeyDer::pem_slice_iter(pem);
        match (keys.next(), keys.next()) {
            (Some(Ok(key)), None) => Ok(Self { chain, key }),
            _ => Err(IdentityRefused::Key),
        }
    }
}

/// Whether a PEM text is a certificate chain with the private key of its first certificate.
///
/// # Errors
/// [`IdentityRefused`] says what is missing.
pub fn check_identity(pem: &Secret) -> Result<(), IdentityRefused> {
    let Identity { chain, key } = Identity::parse(pem.expose_secret())?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map(drop).map_err(|_| IdentityRefused::Mismatch)
}

/// What an answer is searched for: the private key, as its PEM spells it without the line breaks, and as bytes.
pub(super) fn searched(pem: &[u8]) -> Vec<Secret> {
    let Ok(key) = PrivateKeyDer::from_pem_slice(pem) else { return vec![Secret::new(pem.to_vec())] };
    let mut spelled = Zeroizing::new(Vec::new());
    let mut inside = false;
    for line in pem.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        match line.starts_with(b"-----") {
            true => inside = line.starts_with(b"-----BEGIN") && line.ends_with(b"PRIVATE KEY-----"),
            false if inside => spelled.extend_from_slice(line),
            false => {}
        }
    }
    vec![Secret::new(spelled.to_vec()), Secret::new(key.secret_der().to_vec())]
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pem() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn check(text: String) -> Result<(), IdentityRefused> {
        check_identity(&Secret::from(text))
    }

    #[test]
    fn a_chain_and_its_key_in_any_order() {
        let ((certificate, key), (other, other_key)) = (pem(), pem());
        assert_eq!(check(format!("{certificate}{key}")), Ok(()));
        assert_eq!(check(format!("{key}\n{certificate}{other}")), Ok(()));
        assert_eq!(check(format!("{other}{key}")), Err(IdentityRefused::Mismatch));
        assert_eq!(check(certificate.clone()), Err(IdentityRefused::Key));
        assert_eq!(check(format!("{certificate}{key}{other_key}")), Err(IdentityRefused::Key));
        assert_eq!(check(key), Err(IdentityRefused::Certificates));
        assert_eq!(check("nothing".to_owned()), Err(IdentityRefused::Certificates));
    }

    #[test]
    fn the_key_is_searched_for_as_text_and_as_bytes() {
        let (certificate, key) = pem();
        let found = searched(format!("{certificate}{key}").as_bytes());
        let line = key.lines().nth(1).unwrap();
        assert!(found[0].expose_secret().starts_with(line.as_bytes()));
        assert!(!found[0].expose_secret().contains(&b'\n') && found[1].len() > 32);
    }
}
