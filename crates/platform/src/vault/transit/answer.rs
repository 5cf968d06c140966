//! What a transit engine's answers mean: its refusals in the operator's words, and the version in what it wrapped.

use http::StatusCode;
use serde::Deserialize;

/// Longest part of the service's own words that is shown.
const WORDS_MAX: usize = 200;
/// Longest wrapped key that is kept.
const WRAPPED_BYTES_MAX: usize = 4096;

/// Why there is no answer.
pub(super) struct Failure {
    /// For the operator.
    pub(super) why: String,
    /// Whether asking again may help.
    pub(super) passing: bool,
}

impl Failure {
    pub(super) fn passing(why: String) -> Self {
        Self { why, passing: true }
    }

    pub(super) fn lasting(why: String) -> Self {
        Self { why, passing: false }
    }
}

/// What a refusal means and what mends it. `name`: the transit key's.
pub(super) fn refusal(status: StatusCode, body: &[u8], name: &str) -> Failure {
    let said = words(body);
    match status.as_u16() {
        403 => Failure::lasting(format!(
            "403, the token is not accepted or may not use the key ({said}); give LIVERY_KMS_TOKEN or \
             LIVERY_KMS_TOKEN_FILE a valid token whose policy has `update` on datakey/wrapped/{name} and decrypt/{name}"
        )),
        404 => Failure::lasting(format!(
            "404, there is no such transit engine or key ({said}); check mount and name in LIVERY_ROOT_KEY, and \
             LIVERY_KMS_NAMESPACE"
        )),
        400 if said.contains("key not found") => Failure::lasting(format!(
            "it has no key {name} ({said}); make it there (type aes256-gcm96, not derived), or mend the name in LIVERY_ROOT_KEY"
        )),
        400 => Failure::lasting(format!(
            "400, it cannot open the wrapped root key ({said}); is LIVERY_ROOT_KEY the key that wrapped it, with the version \
             it was wrapped under?"
        )),
        503 => Failure::passing(format!("503, it is sealed or cannot serve now ({said}); unseal it")),
        code @ (412 | 429 | 472 | 473 | 500..=599) => Failure::passing(format!("{code} ({said})")),
        300..=399 => Failure::lasting("it redirects elsewhere; name the active server in LIVERY_ROOT_KEY".to_owned()),
        code => Failure::lasting(format!("{code} ({said})")),
    }
}

/// `errors` of an answer, shortened, with nothing in it that a terminal obeys.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return "it gives no reason".to_owned() };
    let words = errors.join("; ");
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect()
}

/// The version in `vault:v3:…`; `None`: it is nothing a transit engine wrapped.
pub(super) fn version(wrapped: &str) -> Option<u32> {
    let (number, sealed) = wrapped.strip_prefix("vault:v")?.split_once(':')?;
    let fits = wrapped.len() <= WRAPPED_BYTES_MAX && !sealed.is_empty() && sealed.bytes().all(|b| b.is_ascii_graphic());
    number.parse().ok().filter(|_| fits)
}
