//! The authorization request (RFC 6749 §4.1, RFC 7636, RFC 8707) and what the browser brings back (RFC 9207).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use livery_core::connector::OauthServer;
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use super::OauthError;
use crate::Secret;

/// Random bytes of a state or verifier.
const WORD_BYTES: usize = 32;
/// Longest query of a callback, and longest value in it, in bytes.
const QUERY_BYTES_MAX: usize = 8 * 1024;
const VALUE_BYTES_MAX: usize = 4 * 1024;

/// 32 random bytes as 43 characters that need no escape.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn random_word() -> Result<Secret, getrandom::Error> {
    let mut bytes = Secret::new(vec![0; WORD_BYTES]);
    getrandom::fill(bytes.bytes_mut())?;
    Ok(Secret::from(URL_SAFE_NO_PAD.encode(bytes.expose_secret())))
}

/// Proof that whoever asked is whoever comes with the code (RFC 7636). S256 alone.
pub struct Pkce {
    /// Shown with the code.
    pub verifier: Secret,
    /// Shown before.
    pub challenge: String,
}

impl Pkce {
    /// A new pair.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn new() -> Result<Self, getrandom::Error> {
        random_word().map(Self::of)
    }

    /// The pair of a verifier that was kept.
    pub fn of(verifier: Secret) -> Self {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose_secret()));
        Self { verifier, challenge }
    }
}

/// Where a person is sent, and with what.
pub struct AuthorizationRequest<'a> {
    /// The server.
    pub server: &'a OauthServer,
    /// The client.
    pub client_id: &'a str,
    /// Where the browser comes back, to the letter.
    pub redirect_uri: &'a str,
    /// What it brings back.
    pub state: &'a str,
    /// [`Pkce::challenge`].
    pub challenge: &'a str,
}

impl AuthorizationRequest<'_> {
    /// The address. `None` for a server without an authorization endpoint.
    pub fn url(&self) -> Option<String> {
        let endpoint = self.server.authorization_endpoint.as_ref()?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.server.parameters {
            query.append_pair(name, value);
        }
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", self.client_id)
            .append_pair("redirect_uri", self.redirect_uri)
            .append_pair("state", self.state)
            .append_pair("code_challenge", self.challenge)
            .append_pair("code_challenge_method", "S256");
        if !self.server.scopes.is_empty() {
            query.append_pair("scope", &self.server.scopes.join(" "));
        }
        if let Some(resource) = &self.server.resource {
            query.append_pair("resource", &resource.to_string());
        }
        Some(format!("{endpoint}?{}", query.finish()))
    }
}

/// What a browser brings back. Without `Debug`: the code is a secret.
pub struct Callback {
    /// What it was sent with.
    pub state: Secret,
    /// Who answers (RFC 9207).
    pub issuer: Option<String>,
    /// The code, or why there is none.
    pub outcome: Result<Secret, OauthError>,
}

/// Why a query is no callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackRefused {
    /// Too long, or a parameter twice.
    #[error("the query is too long, or says something twice")]
    Malformed,
    /// Without it nobody knows what it answers.
    #[error("there is no state")]
    State,
    /// Neither a code nor an error.
    #[error("there is neither a code nor an error")]
    Outcome,
}

impl Callback {
    /// Reads the query of the callback's address. What it does not know it passes over.
    ///
    /// # Errors
    /// [`CallbackRefused`].
    pub fn parse(query: &str) -> Result<Self, CallbackRefused> {
        if query.len() > QUERY_BYTES_MAX {
            return Err(CallbackRefused::Malformed);
        }
        let mut found: [Option<String>; 4] = Default::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(at) = ["state", "code", "error", "iss"].iter().position(|known| *known == name) else { continue };
            if found[at].is_some() || value.len() > VALUE_BYTES_MAX {
                return Err(CallbackRefused::Malformed);
            }
            found[at] = Some(value.into_owned());
        }
        let [state, code, error, issuer] = found;
        let plain = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let state = state.filter(plain).ok_or(CallbackRefused::State)?;
        let outcome = match (code, error) {
            (Some(code), None) if plain(&code) => Ok(Secret::from(code)),
            (None, Some(error)) => Err(OauthError::of(&error)),
            _ => return Err(CallbackRefused::Outcome),
        };
        Ok(Self { state: Secret::from(state), issuer, outcome })
    }
}
