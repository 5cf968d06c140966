//! Standard Webhooks 1.0.0 signatures: `v1,` + base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use livery_broker::Secret;
use sha2::Sha256;

/// What every shown secret starts with.
pub(super) const SECRET_PREFIX: &str = "whsec_";
/// Fewest random bytes of a secret.
pub(super) const SECRET_BYTES_MIN: usize = 24;
/// Most.
pub(super) const SECRET_BYTES_MAX: usize = 64;
/// Bytes of the secrets made here.
const SECRET_BYTES: usize = 32;

/// A new signing secret as it is shown: `whsec_` and padded standard base64.
pub(crate) fn new_secret() -> Secret {
    let mut bytes = [0u8; SECRET_BYTES];
    getrandom::fill(&mut bytes).expect("the kernel gives randomness");
    Secret::new(format!("{SECRET_PREFIX}{}", STANDARD.encode(bytes)).into_bytes())
}

/// The raw key behind a shown secret, or why it is none.
pub(crate) fn key_of(shown: &Secret) -> Result<Secret, &'static str> {
    let text = std::str::from_utf8(shown.expose_secret()).map_err(|_| "a signing secret is text")?;
    let encoded = text.strip_prefix(SECRET_PREFIX).ok_or("a signing secret starts with whsec_")?;
    let bytes = STANDARD.decode(encoded).map_err(|_| "a signing secret is padded standard base64 after whsec_")?;
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
        return Err("a signing secret holds 24 to 64 bytes");
    }
    Ok(Secret::new(bytes))
}

/// The `webhook-signature` item for one attempt. `timestamp` is in Unix seconds; `body` the exact bytes sent.
pub(crate) fn signature(key: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{key_of, new_secret, signature};
    use livery_broker::Secret;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    /// The vectors of `standards.md` §2: the public library's and ours.
    #[test]
    fn signs_the_published_vectors() {
        let library = key_of(&secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).ok().unwrap();
        assert_eq!(
            signature(&library, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        let ours = key_of(&secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")).ok().unwrap();
        assert_eq!(
            signature(&ours, "msg_livery_vector_1", 1_767_225_600, br#"{"type":"run.completed"}"#),
            "v1,CZeVJOuwTlLz1cad1A6yPDaiovJW4NzAWVJjvhWW0gc="
        );
    }

    #[test]
    fn refuses_what_is_no_secret() {
        for text in [
            "",
            "whsec_",
            "whsec_AAEC",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        ] {
            assert!(key_of(&secret(text)).is_err(), "{text}");
        }
        assert!(key_of(&new_secret()).is_ok());
    }
}
