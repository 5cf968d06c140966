//! RS256 assertions (RFC 7515, RFC 7519): what a Google service account and a GitHub App sign to be given a token.
//!
//! The private key is a PEM text in a [`Secret`], parsed for one signature. Keys below 2048 bits are refused.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::Secret;

/// Shortest modulus in bytes.
const MODULUS_BYTES_MIN: usize = 256;

/// Why a text is no key that signs. Says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// Not a PEM text with one private key.
    #[error("the key is no RSA private key in PEM, without a passphrase")]
    Encoding,
    /// Shorter than 2048 bits.
    #[error("the RSA key is shorter than 2048 bits")]
    Short,
    /// The library made no signature.
    #[error("the key does not sign")]
    Signature,
}

/// Whether a PEM text is an RSA key that can sign.
///
/// # Errors
/// [`KeyRefused`].
pub fn check_rsa_key(pem: &[u8]) -> Result<(), KeyRefused> {
    key_pair(pem).map(drop)
}

/// The claims, signed: `header.claims.signature`.
///
/// # Errors
/// [`KeyRefused`].
pub fn assertion(pem: &[u8], key_id: Option<&str>, claims: &Value) -> Result<Secret, KeyRefused> {
    let pair = key_pair(pem)?;
    let header = match key_id {
        Some(key_id) => json!({"alg": "RS256", "typ": "JWT", "kid": key_id}),
        None => json!({"alg": "RS256", "typ": "JWT"}),
    };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let mut signature = Zeroizing::new(vec![0; pair.public_modulus_len()]);
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| KeyRefused::Signature)?;
    Ok(Secret::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&*signature))))
}

fn key_pair(pem: &[u8]) -> Result<RsaKeyPair, KeyRefused> {
    let mut keys = PrivateKeyDer::pem_slice_iter(pem);
    let (Some(Ok(key)), None) = (keys.next(), keys.next()) else { return Err(KeyRefused::Encoding) };
    let pair = match &key {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(KeyRefused::Encoding),
    };
    let pair = pair.map_err(|_| KeyRefused::Encoding)?;
    if pair.public_modulus_len() < MODULUS_BYTES_MIN { Err(KeyRefused::Short) } else { Ok(pair) }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn pem() -> String {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let body = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    #[test]
    fn an_assertion_is_signed_by_its_key() {
        let pem = pem();
        let token = assertion(pem.as_bytes(), Some("key-1"), &json!({"iss": "a"})).unwrap();
        let text = std::str::from_utf8(token.expose_secret()).unwrap();
        let (signed, signature) = text.rsplit_once('.').unwrap();
        let public = key_pair(pem.as_bytes()).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public.public_key().as_ref().to_vec());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let parts: Vec<Value> = signed
            .split('.')
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        assert_eq!(parts, [json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"}), json!({"iss": "a"})]);
    }

    #[test]
    fn what_is_no_rsa_key_is_refused() {
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &elliptic] {
            assert_eq!(check_rsa_key(text.as_bytes()), Err(KeyRefused::Encoding));
        }
        let pem = pem();
        assert_eq!(check_rsa_key(format!("{pem}{pem}").as_bytes()), Err(KeyRefused::Encoding));
    }
}
