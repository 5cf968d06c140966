//! The run's certificates as a client that trusts them sees them: right for their names, and for nothing else.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{ServerName, UnixTime};

use super::*;

const NOW_S: u64 = 1_795_000_000;

fn authority(names: &[&str]) -> Authority {
    let lifetime = Lifetime { now_s: NOW_S, left: Duration::from_secs(600) };
    Authority::new(names.iter().map(|name| (*name).to_owned()).collect(), lifetime).unwrap()
}

/// What a client that trusts the authority says about a leaf, for a name and at a moment.
fn verdict(authority: &Authority, leaf: &CertificateDer<'_>, name: &str, at_s: u64) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at_s));
    verifier.verify_server_cert(leaf, &[], &name, &[], at).map(drop)
}

fn leaf(authority: &Authority, names: &[&str]) -> CertificateDer<'static> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = params(names, "leaf", authority.lifetime).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.signed_by(&authority.leaf_key, &authority.issuer).unwrap().der().clone()
}

#[test]
fn a_leaf_is_good_for_its_name_during_its_run() {
    let authority = authority(&["api.example.com", "git.example.com"]);
    let api = leaf(&authority, &["api.example.com"]);
    assert_eq!(verdict(&authority, &api, "api.example.com", NOW_S), Ok(()));
    assert_eq!(verdict(&authority, &api, "api.example.com", NOW_S + 899), Ok(()));
    assert!(verdict(&authority, &api, "git.example.com", NOW_S).is_err());
    for moment in [NOW_S - 400, NOW_S + 901] {
        assert!(verdict(&authority, &api, "api.example.com", moment).is_err(), "at {moment}");
    }
}

/// Were the key to leave, it could still not speak for anybody else: the certificate itself says so.
#[test]
fn the_authority_cannot_sign_for_other_names_or_addresses() {
    let authority = authority(&["api.example.com"]);
    for other in ["example.com", "evil.example.org", "xapi.example.com"] {
        let forged = leaf(&authority, &[other]);
        let refused = verdict(&authority, &forged, other, NOW_S).unwrap_err();
        assert!(
            matches!(&refused, Error::InvalidCertificate(CertificateError::Other(_)))
                || format!("{refused:?}").contains("NameConstraint"),
            "{other}: {refused:?}"
        );
    }
    let forged = leaf(&authority, &["api.example.com", "127.0.0.1"]);
    assert!(verdict(&authority, &forged, "api.example.com", NOW_S).is_err());
}

#[test]
fn leaves_are_made_once_and_for_known_names_only() {
    let authority = authority(&["api.example.com"]);
    let first = authority.leaf("api.example.com").unwrap();
    assert!(Arc::ptr_eq(&first, &authority.leaf("api.example.com").unwrap()));
    assert_eq!(authority.leaf("evil.example.com").err(), Some(AuthorityFailed));
    assert!(!authority.pem().contains("PRIVATE"));
    let lifetime = authority.lifetime;
    assert!(Authority::new(Vec::new(), lifetime).is_err(), "an authority for everything");
}
