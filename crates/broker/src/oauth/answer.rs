//! What token and device endpoints answer: hostile bytes, read with limits into values that hold nothing else of them.

use livery_core::Timestamp;
use livery_core::connector::Endpoint;
use serde::Deserialize;
use serde_json::Value;

use crate::Secret;
use crate::scrub::SECRET_BYTES_MIN;

/// Longest token in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest life of a token that is believed, in seconds: ten years.
const LIFE_S_MAX: u64 = 10 * 366 * 86_400;
/// Most scopes, and the longest.
const SCOPES_MAX: usize = 128;
const SCOPE_BYTES_MAX: usize = 256;
/// Longest code a person types.
const USER_CODE_BYTES_MAX: usize = 64;
/// Longest wait between two questions for a device's token, and its longest life, in seconds.
const INTERVAL_S_MAX: u64 = 60;
const DEVICE_LIFE_S_MAX: u64 = 3600;

/// A token. Without `Debug`: it is a secret.
pub struct TokenAnswer {
    /// What is sent.
    pub access_token: Secret,
    /// What gets the next one; absent: the one before stays.
    pub refresh_token: Option<Secret>,
    /// Seconds it lives, when the server says so.
    pub expires_in_s: Option<u64>,
    /// What it is for, when the server says so: absent means as asked.
    pub scopes: Option<Vec<String>>,
}

/// Why a server gives no token, as far as it changes what is done next. The server's own words are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OauthError {
    /// The code, refresh token or assertion is not taken (any more).
    InvalidGrant,
    /// The client is not known, or its secret is wrong.
    InvalidClient,
    /// The client may not do this.
    UnauthorizedClient,
    /// The resource is not one the server gives tokens for.
    InvalidTarget,
    /// A scope is unknown or too wide.
    InvalidScope,
    /// The person said no.
    AccessDenied,
    /// The person has not decided yet.
    AuthorizationPending,
    /// Asked too often.
    SlowDown,
    /// The device code is over.
    ExpiredToken,
    /// Anything else.
    Other,
}

impl OauthError {
    /// What a server's error code means.
    pub fn of(code: &str) -> Self {
        match code {
            "invalid_grant"
            | "bad_refresh_token"
            | "invalid_refresh_token"
            | "bad_verification_code"
            | "invalid_code" => Self::InvalidGrant,
            "invalid_client" | "incorrect_client_credentials" | "bad_client_secret" | "invalid_client_id" => {
                Self::InvalidClient
            }
            "unauthorized_client" => Self::UnauthorizedClient,
            "invalid_target" => Self::InvalidTarget,
            "invalid_scope" => Self::InvalidScope,
            "access_denied" => Self::AccessDenied,
            "authorization_pending" => Self::AuthorizationPending,
            "slow_down" => Self::SlowDown,
            "expired_token" => Self::ExpiredToken,
            _ => Self::Other,
        }
    }

    /// A word of ours.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidScope => "invalid_scope",
            Self::AccessDenied => "access_denied",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::Other => "refused",
        }
    }

    /// Whether asking again cannot help: somebody has to bring another credential or agree again.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::InvalidGrant | Self::InvalidClient | Self::UnauthorizedClient | Self::AccessDenied)
    }
}

/// An answer that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The server gives an error.
    Refused(OauthError),
    /// It is not what the protocol says.
    Malformed(&'static str),
}

#[derive(Deserialize)]
struct RawToken {
    access_token: Option<String>,
    /// As GitHub names that of an installation.
    token: Option<String>,
    token_type: Option<Value>,
    expires_in: Option<Value>,
    expires_at: Option<Value>,
    refresh_token: Option<String>,
    scope: Option<Value>,
    error: Option<Value>,
}

/// Reads the body of a token endpoint's answer. `now` is for servers that say a moment instead of a number of seconds.
///
/// # Errors
/// [`Unreadable`].
pub fn read_token(body: &[u8], now: Timestamp) -> Result<TokenAnswer, Unreadable> {
    let raw: RawToken = serde_json::from_slice(body)
        .map_err(|_| Unreadable::Malformed("an answer that is no JSON object of a token"))?;
    let Some(access_token) = raw.access_token.or(raw.token) else {
        return Err(match raw.error {
            Some(code) => Unreadable::Refused(OauthError::of(code.as_str().unwrap_or_default())),
            None => Unreadable::Malformed("an answer without a token"),
        });
    };
    if !raw.token_type.as_ref().is_none_or(is_bearer) {
        return Err(Unreadable::Malformed("a token that is not sent as Bearer"));
    }
    Ok(TokenAnswer {
        access_token: token(access_token)?,
        // An empty one is none: some servers say so.
        refresh_token: raw.refresh_token.filter(|text| !text.is_empty()).map(token).transpose()?,
        expires_in_s: raw.expires_in.as_ref().and_then(seconds).or_else(|| until(raw.expires_at.as_ref(), now)),
        scopes: raw.scope.as_ref().and_then(Value::as_str).map(scopes).transpose()?,
    })
}

fn is_bearer(token_type: &Value) -> bool {
    // Slack names its tokens after whom they act for.
    token_type.as_str().is_some_and(|text| ["bearer", "bot", "user"].iter().any(|kind| text.eq_ignore_ascii_case(kind)))
}

fn token(text: String) -> Result<Secret, Unreadable> {
    let token = Secret::from(text);
    let fits = (SECRET_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
    match fits && token.expose_secret().iter().all(u8::is_ascii_graphic) {
        true => Ok(token),
        false => Err(Unreadable::Malformed("a token that cannot be sent, or is too short to be kept out of answers")),
    }
}

fn seconds(value: &Value) -> Option<u64> {
    let seconds = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    seconds.map(|seconds| seconds.min(LIFE_S_MAX))
}

fn until(moment: Option<&Value>, now: Timestamp) -> Option<u64> {
    let moment: Timestamp = moment?.as_str()?.parse().ok()?;
    Some((moment.millis_since(now) / 1000).min(LIFE_S_MAX))
}

/// A list with spaces between, or with commas as some servers write it.
fn scopes(text: &str) -> Result<Vec<String>, Unreadable> {
    let words: Vec<String> =
        text.split([' ', ',']).filter(|word| !word.is_empty()).take(SCOPES_MAX + 1).map(str::to_owned).collect();
    let plain = |word: &String| word.len() <= SCOPE_BYTES_MAX && word.bytes().all(|byte| byte.is_ascii_graphic());
    match words.len() <= SCOPES_MAX && words.iter().all(plain) {
        true => Ok(words),
        false => Err(Unreadable::Malformed("a list of scopes that cannot be read")),
    }
}

/// What a person does elsewhere while a device waits (RFC 8628). Without `Debug`: the code it asks with is a secret.
pub struct DeviceCode {
    /// What the token is asked for with.
    pub device_code: Secret,
    /// What the person types: plain text.
    pub user_code: String,
    /// Where.
    pub verification_uri: Endpoint,
    /// Seconds until it is over.
    pub expires_in_s: u64,
    /// Seconds between two questions.
    pub interval_s: u64,
}

#[derive(Deserialize)]
struct RawDevice {
    device_code: Option<String>,
    user_code: Option<String>,
    verification_uri: Option<String>,
    /// An older spelling that some servers still have.
    verification_url: Option<String>,
    expires_in: Option<Value>,
    interval: Option<Value>,
    error: Option<Value>,
}

/// Reads the body of a device endpoint's answer.
///
/// # Errors
/// [`Unreadable`].
pub fn read_device(body: &[u8]) -> Result<DeviceCode, Unreadable> {
    let raw: RawDevice = serde_json::from_slice(body)
        .map_err(|_| Unreadable::Malformed("an answer that is no JSON object of a code"))?;
    let uri = raw.verification_uri.or(raw.verification_url);
    let (Some(device_code), Some(user_code), Some(uri)) = (raw.device_code, raw.user_code, uri) else {
        return Err(match raw.error {
            Some(code) => Unreadable::Refused(OauthError::of(code.as_str().unwrap_or_default())),
            None => Unreadable::Malformed("an answer without a code"),
        });
    };
    let plain = (1..=USER_CODE_BYTES_MAX).contains(&user_code.len()) && user_code.bytes().all(|b| b.is_ascii_graphic());
    if !plain {
        return Err(Unreadable::Malformed("a code that cannot be shown"));
    }
    Ok(DeviceCode {
        device_code: token(device_code)?,
        user_code,
        verification_uri: uri.parse().map_err(|_| Unreadable::Malformed("an address that cannot be shown"))?,
        expires_in_s: raw.expires_in.as_ref().and_then(seconds).unwrap_or(DEVICE_LIFE_S_MAX).min(DEVICE_LIFE_S_MAX),
        interval_s: raw.interval.as_ref().and_then(seconds).unwrap_or(5).clamp(1, INTERVAL_S_MAX),
    })
}
