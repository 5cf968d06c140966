//! Standard Webhooks 1.0.0 signatures over `{id}.{timestamp}.{body}`: `v1,` + base64 of HMAC-SHA256, and `v1a,` + base64 of
//! Ed25519. During a rotation the old keys sign along.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use livery_broker::Secret;
use livery_broker::ed25519::SigningKey;
use livery_core::Timestamp;
use livery_core::id::{OrgId, RunId};
use livery_store::WebhookRow;
use sha2::Sha256;

use super::{KEY_FIELD, SECRET_FIELD};
use crate::Platform;
use crate::runs::WEBHOOK_SECRET_FIELD;

/// The symmetric kind: every endpoint gets it.
pub(super) const SYMMETRIC: &str = "v1";
/// The asymmetric kind: on request, beside the other.
pub(super) const ASYMMETRIC: &str = "v1a";
/// What every shown public key starts with.
pub(super) const PUBLIC_KEY_PREFIX: &str = "whpk_";

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

/// What signs one attempt.
pub(super) struct Keys {
    secrets: Vec<Secret>,
    signing_keys: Vec<SigningKey>,
}

impl Keys {
    /// The keys of an endpoint; those it had before its last rotation while they sign along.
    ///
    /// # Errors
    /// A sentence for the delivery's log when one of them cannot be opened.
    pub(super) async fn of_endpoint(platform: &Platform, row: &WebhookRow, now: Timestamp) -> Result<Self, String> {
        let overlap = row.old_until.is_some_and(|until| until > now);
        let mut keys = Self { secrets: Vec::new(), signing_keys: Vec::new() };
        let old_secret = row.old_sealed_secret.as_ref().filter(|_| overlap);
        for sealed in std::iter::once(&row.sealed_secret).chain(old_secret) {
            let shown = unsealed(platform, row, SECRET_FIELD, sealed, now).await?;
            keys.secrets.push(key_of(&shown)?);
        }
        if row.signatures.iter().any(|kind| kind == ASYMMETRIC) {
            let old_key = row.old_sealed_signing_key.as_ref().filter(|_| overlap);
            for sealed in row.sealed_signing_key.iter().chain(old_key) {
                let seed = unsealed(platform, row, KEY_FIELD, sealed, now).await?;
                keys.signing_keys.push(SigningKey::from_secret(seed).map_err(|error| error.to_string())?);
            }
        }
        Ok(keys)
    }

    /// The secret that a run brought for itself.
    ///
    /// # Errors
    /// As for [`Keys::of_endpoint`].
    pub(super) async fn of_run(
        platform: &Platform,
        org: OrgId,
        run: RunId,
        sealed: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, String> {
        let sealed = sealed.ok_or("it has no signing secret")?;
        let (vault, owner) = (&platform.vault, run.to_string());
        let shown = vault.unseal(&platform.store, org, &owner, WEBHOOK_SECRET_FIELD, sealed, now).await;
        let shown = shown.map_err(|_| CANNOT_OPEN.to_owned())?;
        Ok(Self { secrets: vec![key_of(&shown)?], signing_keys: Vec::new() })
    }

    /// The value of `webhook-signature` for one attempt. `timestamp` is in Unix seconds; `body` the exact bytes sent.
    pub(super) fn signatures(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let symmetric = self.secrets.iter().map(|key| signature(key, id, timestamp, body));
        let asymmetric = self.signing_keys.iter().map(|key| {
            let content = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
            format!("{ASYMMETRIC},{}", STANDARD.encode(key.sign(&content)))
        });
        symmetric.chain(asymmetric).collect::<Vec<_>>().join(" ")
    }
}

/// Told of a key that does not open; the reason is the operator's business.
const CANNOT_OPEN: &str = "its signing key cannot be opened";

async fn unsealed(
    platform: &Platform,
    row: &WebhookRow,
    field: &str,
    sealed: &str,
    now: Timestamp,
) -> Result<Secret, String> {
    let opened = platform.vault.unseal(&platform.store, row.org, &row.id.to_string(), field, sealed, now).await;
    opened.map_err(|_| CANNOT_OPEN.to_owned())
}

/// The symmetric item for one attempt.
fn signature(key: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("{SYMMETRIC},{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{Keys, key_of, new_secret, signature};
    use livery_broker::Secret;
    use livery_broker::ed25519::SigningKey;

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

    /// The vector of `standards.md` §2 for `v1a`; the seed is the bytes 0 to 31. Both kinds, and old keys beside new ones.
    #[test]
    fn signs_with_every_key_it_has() {
        let seed: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let keys = || Keys {
            secrets: vec![key_of(&secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")).ok().unwrap()],
            signing_keys: vec![SigningKey::from_seed(&seed).ok().unwrap()],
        };
        let sign = |keys: &Keys| keys.signatures("msg_livery_vector_1", 1_767_225_600, br#"{"type":"run.completed"}"#);
        let (v1, v1a) = (
            "v1,CZeVJOuwTlLz1cad1A6yPDaiovJW4NzAWVJjvhWW0gc=",
            "v1a,IW/0hGsFBWD3FVneXQdhEt5KJEGG5aEt9rn5JR8QOsitPh4VyzJfmUPou7Im9hLWFRp50k7aO9u7u96Is+nsCw==",
        );
        assert_eq!(sign(&keys()), format!("{v1} {v1a}"));
        let mut rotated = keys();
        rotated.secrets.insert(0, key_of(&new_secret()).ok().unwrap());
        rotated.signing_keys.insert(0, SigningKey::generate().ok().unwrap());
        let items = sign(&rotated);
        let items: Vec<&str> = items.split(' ').collect();
        assert_eq!((items.len(), items[1], items[3]), (4, v1, v1a));
        assert_ne!((items[0], items[2]), (v1, v1a));
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
