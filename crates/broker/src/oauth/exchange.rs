//! One exchange with a server that gives or takes tokens: a small POST, its answer read here and shown to nobody.

use std::time::Duration;

use bytes::Bytes;
use livery_core::Timestamp;
use livery_core::connector::{ClientAuth, Endpoint};
use livery_core::id::OrgId;
use url::form_urlencoded;
use zeroize::{Zeroize as _, Zeroizing};

use super::answer::{DeviceCode, OauthError, TokenAnswer, Unreadable, read_device, read_token};
use crate::transport::Timeouts;
use crate::{Broker, Credential, Error, Outbound, Secret, Slot, Target};

/// Largest answer in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for the whole exchange.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who asks.
pub enum Client<'a> {
    /// Nobody says: the form does (a signed assertion).
    Silent,
    /// A client with or without a secret.
    Known {
        /// Its id.
        id: &'a str,
        /// Its secret; without it the client is public, and PKCE stands in.
        secret: Option<&'a Secret>,
        /// How it says so.
        auth: ClientAuth,
    },
    /// A signed assertion in `Authorization: Bearer`.
    Bearer(Secret),
}

/// What is sent.
pub enum Payload {
    /// A form; some of its values are secrets.
    Form(Vec<(&'static str, Secret)>),
    /// JSON, nothing of it secret.
    Json(String),
}

/// One exchange.
pub struct Exchange<'a> {
    /// The tenant.
    pub tenant: OrgId,
    /// The connection, as in [`Credential::owner`].
    pub owner: String,
    /// Where.
    pub endpoint: &'a Endpoint,
    /// Who.
    pub client: Client<'a>,
    /// What.
    pub payload: Payload,
    /// When.
    pub at: Timestamp,
}

/// Why there is no token. In words of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeFailed {
    /// The server could not be asked.
    #[error("the token endpoint cannot be asked: {0}")]
    Unreachable(#[from] Error),
    /// It says no.
    #[error("the authorization server says {}", .0.as_str())]
    Refused(OauthError),
    /// It answers with a status that says nothing more.
    #[error("the token endpoint answered with {0}")]
    Status(u16),
    /// It does not speak the protocol.
    #[error("the token endpoint sent {0}")]
    Malformed(&'static str),
}

impl ExchangeFailed {
    /// Whether asking again cannot help. `signed`: a signed assertion was what asked.
    ///
    /// A status without a word of the protocol may be a proxy's or a rate limit's: 401 is about the credential, and 404 is to an
    /// assertion, whose key or installation is gone. Anything else passes.
    pub const fn is_final(&self, signed: bool) -> bool {
        match self {
            Self::Refused(error) => error.is_final(),
            Self::Status(401) => true,
            Self::Status(404) => signed,
            Self::Status(_) => false,
            Self::Unreachable(_) | Self::Malformed(_) => false,
        }
    }
}

impl From<Unreadable> for ExchangeFailed {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Refused(error) => Self::Refused(error),
            Unreadable::Malformed(what) => Self::Malformed(what),
        }
    }
}

impl Broker {
    /// Asks for a token.
    ///
    /// # Errors
    /// [`ExchangeFailed`].
    pub async fn exchange_token(&self, exchange: Exchange<'_>) -> Result<TokenAnswer, ExchangeFailed> {
        let at = exchange.at;
        let mut body = self.exchange(exchange).await?;
        let token = read_token(&body, at);
        body.zeroize();
        Ok(token?)
    }

    /// Asks for a device code.
    ///
    /// # Errors
    /// [`ExchangeFailed`].
    pub async fn exchange_device(&self, exchange: Exchange<'_>) -> Result<DeviceCode, ExchangeFailed> {
        let mut body = self.exchange(exchange).await?;
        let code = read_device(&body);
        body.zeroize();
        Ok(code?)
    }

    /// Gives a token back (RFC 7009).
    ///
    /// # Errors
    /// [`ExchangeFailed`].
    pub async fn exchange_revocation(&self, exchange: Exchange<'_>) -> Result<(), ExchangeFailed> {
        self.exchange(exchange).await.map(drop)
    }

    /// The body of a good answer.
    async fn exchange(&self, exchange: Exchange<'_>) -> Result<Vec<u8>, ExchangeFailed> {
        let answer = self.send(outbound(exchange)?).await?;
        let status = answer.status.as_u16();
        let body = Vec::from(answer.collect(ANSWER_BYTES_MAX).await?);
        match status {
            200..=299 => Ok(body),
            300..=399 => Err(ExchangeFailed::Malformed("a redirect, which is not followed")),
            400..=499 => Err(match read_token(&body, Timestamp::from_micros(0)) {
                Err(Unreadable::Refused(error)) => ExchangeFailed::Refused(error),
                _ => ExchangeFailed::Status(status),
            }),
            _ => Err(ExchangeFailed::Status(status)),
        }
    }
}

fn outbound(exchange: Exchange<'_>) -> Result<Outbound, Error> {
    let Exchange { tenant, owner, endpoint, client, payload, at } = exchange;
    let target = Target::full_url(&endpoint.to_string())?;
    let mut form = Zeroizing::new(String::new());
    let mut headers = vec![("accept".to_owned(), "application/json".to_owned())];
    let typed = match &payload {
        Payload::Form(fields) => {
            fields.iter().for_each(|(name, value)| push(&mut form, name, value.expose_secret()));
            "application/x-www-form-urlencoded"
        }
        Payload::Json(json) => {
            form.push_str(json);
            "application/json"
        }
    };
    headers.push(("content-type".to_owned(), typed.to_owned()));
    let credential = |slot, secret| Some(Credential { slot, secret, owner: owner.clone(), version: 0, at });
    let credential = match client {
        Client::Silent => None,
        Client::Bearer(assertion) => credential(Slot::bearer(), assertion),
        Client::Known { id, secret: Some(secret), auth: ClientAuth::Basic } => {
            credential(Slot::Basic, basic(id, secret))
        }
        Client::Known { id, secret, .. } => {
            push(&mut form, "client_id", id.as_bytes());
            if let Some(secret) = secret {
                push(&mut form, "client_secret", secret.expose_secret());
            }
            None
        }
    };
    let body = Zeroizing::new(std::mem::take(&mut *form).into_bytes());
    let mut call = Outbound::post(tenant, target, Bytes::from_owner(body));
    call.headers = headers;
    call.credential = credential;
    call.timeouts = Timeouts { first_byte: PATIENCE, idle: PATIENCE, total: PATIENCE, ..Timeouts::default() };
    call.response_bytes_max = ANSWER_BYTES_MAX as u64;
    Ok(call)
}

/// One more field of a form.
fn push(form: &mut Zeroizing<String>, name: &str, value: &[u8]) {
    if !form.is_empty() {
        form.push('&');
    }
    form.push_str(name);
    form.push('=');
    form.extend(form_urlencoded::byte_serialize(value));
}

/// Both parts are encoded before they are joined (RFC 6749 §2.3.1).
fn basic(id: &str, secret: &Secret) -> Secret {
    let mut pair = Zeroizing::new(String::new());
    pair.extend(form_urlencoded::byte_serialize(id.as_bytes()));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(secret.expose_secret()));
    Secret::from(std::mem::take(&mut *pair))
}
