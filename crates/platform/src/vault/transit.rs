//! A root key that a key management service keeps closed: the transit engine of Vault and OpenBao.
//!
//! The database holds the root key as the service wrapped it (`vault:v1:…`), one for each transit key, the same for all nodes.
//! A node has it unwrapped once, when it starts, and keeps it in memory; nothing else of Livery waits for the service.
//! Source: the HTTP API of the transit engine (`datakey/wrapped`, `decrypt`, `rewrap`), which both document alike.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use livery_broker::guard::Scheme;
use livery_broker::{OperatorClient, Secret, Target};
use livery_core::{Error, Result};
use livery_store::Store;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::startup::Startup;

mod answer;

use answer::{Failure, refusal, version};

/// What an address begins with.
const PREFIX: &str = "transit:";
/// What wrapped root keys are called in the database, before the path of their transit key.
const META: &str = "vault_transit:";
/// One question and its answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often a question is asked that fails in a way that may pass.
const TRIES_MAX: u32 = 3;
/// The pause after the first try; after the second it is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest answer read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A root key.
const KEY_LEN: usize = 32;

/// Who asks the service, and how it is known: the same for all its keys.
pub struct TransitAccess {
    /// `LIVERY_KMS_TOKEN`, or what its file holds.
    pub token: Secret,
    /// `LIVERY_KMS_NAMESPACE`.
    pub namespace: Option<String>,
    /// `LIVERY_KMS_CA`: more certificates to trust, PEM.
    pub ca: Option<PathBuf>,
}

/// One key of a transit engine.
#[derive(Clone)]
pub struct Transit {
    server: Target,
    /// `/v1/transit`.
    mount: String,
    name: String,
    token: HeaderValue,
    namespace: Option<HeaderValue>,
    client: OperatorClient,
    /// [`ANSWER_MAX`].
    patience: Duration,
}

/// Why an address or its settings cannot be used; each names what to change.
#[derive(Debug, thiserror::Error)]
pub enum TransitRefused {
    /// Not the address of a transit key.
    #[error("a key in a transit engine is written transit:https://HOST/v1/transit/keys/NAME")]
    Address,
    /// Plain HTTP beyond loopback.
    #[error("a transit key is reached over https; http is for loopback")]
    Plaintext,
    /// The token is none.
    #[error("LIVERY_KMS_TOKEN holds no token: it is empty, or has characters that no token has")]
    Token,
    /// The namespace is none.
    #[error("LIVERY_KMS_NAMESPACE has characters that no namespace has")]
    Namespace,
    /// The certificates cannot be used.
    #[error("LIVERY_KMS_CA: {0}")]
    Ca(String),
}

impl Transit {
    /// Whether `text` means a transit key rather than a root key itself.
    pub fn is_meant(text: &[u8]) -> bool {
        text.starts_with(PREFIX.as_bytes())
    }

    /// Reads `transit:https://HOST/v1/MOUNT/keys/NAME`. Opens nothing.
    ///
    /// # Errors
    /// [`TransitRefused`] says what to change; it never repeats the text.
    pub fn parse(text: &str, access: &TransitAccess) -> Result<Self, TransitRefused> {
        let url = text.strip_prefix(PREFIX).ok_or(TransitRefused::Address)?;
        let server = Target::base_url(url).map_err(|_| TransitRefused::Address)?;
        let (mount, name) = server.path().rsplit_once("/keys/").ok_or(TransitRefused::Address)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
        let below = mount.strip_prefix("/v1/").ok_or(TransitRefused::Address)?;
        if !part(name) || !below.split('/').all(part) {
            return Err(TransitRefused::Address);
        }
        if server.scheme() == Scheme::Http && !server.host().is_loopback() {
            return Err(TransitRefused::Plaintext);
        }
        let token = access.token.expose_secret().trim_ascii();
        let mut token =
            HeaderValue::from_bytes(token).ok().filter(|_| !token.is_empty()).ok_or(TransitRefused::Token)?;
        token.set_sensitive(true);
        let namespace = access.namespace.as_deref().map(HeaderValue::from_str).transpose();
        let namespace = namespace.map_err(|_| TransitRefused::Namespace)?;
        let client = OperatorClient::new(server.clone(), access.ca.as_deref());
        let client = client.map_err(|error| TransitRefused::Ca(error.to_string()))?;
        let (mount, name) = (mount.to_owned(), name.to_owned());
        Ok(Self { server, mount, name, token, namespace, client, patience: ANSWER_MAX })
    }

    /// The root key, as base64: unwrapped by the service, and made first if there is none and `may_create`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] says what the service said and what to change; those of the database.
    pub(super) async fn root_key(&self, store: &Store, startup: Startup, may_create: bool) -> Result<Secret> {
        let place = format!("{META}{}", self.server.path());
        let wrapped = match startup.step(|| store.system_get_meta(&place)).await? {
            Some(wrapped) => wrapped,
            None if may_create => self.create(store, &place).await?,
            None => {
                return Err(unavailable(format!(
                    "the database was sealed under another root key than that of {}; put it into LIVERY_ROOT_KEY_OTHERS, \
                     or root.key back into the data folder, until `livery vault rewrap` is done",
                    self.server.base_text()
                )));
            }
        };
        let key = self.opened(&wrapped).await?;
        self.renew(store, place, wrapped, &key).await;
        Ok(key)
    }

    /// A new root key, wrapped. The service makes it; it is kept only once the service has opened it again. Of two nodes that
    /// start at once, the first one's stays.
    async fn create(&self, store: &Store, place: &str) -> Result<String> {
        let made = self.ask("datakey/wrapped", &json!({"bits": KEY_LEN * 8})).await?.ciphertext;
        let made = made.filter(|made| version(made).is_some()).ok_or_else(|| self.nonsense())?;
        self.opened(&made).await?;
        let name = place.to_owned();
        store.write(move |tx| Box::pin(async move { tx.system_set_meta_once(&name, &made).await })).await?;
        store.system_get_meta(place).await?.ok_or_else(|| Error::internal("a wrapped root key is gone"))
    }

    /// What the service opens `wrapped` to: a key, as base64.
    async fn opened(&self, wrapped: &str) -> Result<Secret> {
        let key = self.ask("decrypt", &json!({"ciphertext": wrapped})).await?.plaintext;
        let key = key.map(Secret::from).ok_or_else(|| self.nonsense())?;
        let is_key = STANDARD.decode(key.expose_secret()).map(Secret::new).is_ok_and(|bytes| bytes.len() == KEY_LEN);
        if is_key { Ok(key) } else { Err(self.nonsense()) }
    }

    /// Exchanges the wrapped key for one under the newest version of the transit key, if that opens to the same: the database
    /// has no other copy. Without it all goes on as before: a token may lack this right.
    async fn renew(&self, store: &Store, place: String, wrapped: String, key: &Secret) {
        let newer = match self.exchange("rewrap", &json!({"ciphertext": wrapped})).await {
            Ok(answer) => answer.ciphertext.filter(|newer| version(newer) > version(&wrapped)),
            Err(failure) => {
                let why = failure.why;
                tracing::warn!(%why, "the wrapped root key stays under the version of the transit key that it has");
                None
            }
        };
        let Some(newer) = newer else { return };
        if !self.opened(&newer).await.is_ok_and(|same| same.ct_eq(key.expose_secret())) {
            tracing::error!("what the transit engine wrapped anew is not the root key; the one before stays");
            return;
        }
        let number = version(&newer);
        let write =
            store.write(move |tx| Box::pin(async move { tx.system_exchange_meta(&place, &wrapped, &newer).await }));
        match write.await {
            Ok(true) => tracing::info!(version = number, "the root key is wrapped under the newest transit key"),
            Ok(false) => tracing::info!("another node has wrapped the root key anew"),
            Err(error) => {
                tracing::warn!(%error, "the wrapped root key could not be exchanged; the next start tries again");
            }
        }
    }

    /// Asks, a few times if what is wrong may pass.
    async fn ask(&self, what: &str, order: &Value) -> Result<Data> {
        let mut tries = 1;
        loop {
            match self.exchange(what, order).await {
                Err(failure) if failure.passing && tries < TRIES_MAX => {
                    let why = &failure.why;
                    tracing::warn!(%why, "the start waits for the transit engine");
                    tokio::time::sleep(PAUSE * tries).await;
                    tries += 1;
                }
                outcome => {
                    return outcome.map_err(|failure| {
                        unavailable(format!("the root key at {}: {}", self.server.base_text(), failure.why))
                    });
                }
            }
        }
    }

    async fn exchange(&self, what: &str, order: &Value) -> Result<Data, Failure> {
        let late = |_| {
            let waited = self.patience.as_secs();
            Failure::passing(format!("no answer within {waited} s; is it the right host, and does it run?"))
        };
        tokio::time::timeout(self.patience, self.exchange_in_time(what, order)).await.map_err(late)?
    }

    async fn exchange_in_time(&self, what: &str, order: &Value) -> Result<Data, Failure> {
        let url = format!("{}{}/{what}/{}", self.server.origin(), self.mount, self.name);
        let mut request = Request::post(url).header("content-type", "application/json");
        request = request.header("x-vault-request", "true").header("x-vault-token", self.token.clone());
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace.clone());
        }
        let body = Full::from(order.to_string()).map_err(|never| match never {}).boxed();
        let request = request.body(body).map_err(|error| Failure::lasting(error.to_string()))?;
        let away =
            |error| Failure::passing(format!("it cannot be reached ({error}); is it the right host, and does it run?"));
        let (head, body) = self.client.send(request).await.map_err(away)?.into_parts();
        let cut = |_| Failure::passing("its answer broke off or is too long".to_owned());
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(cut)?.to_bytes();
        let body = Secret::new(body.into());
        if head.status != StatusCode::OK {
            return Err(refusal(head.status, body.expose_secret(), &self.name));
        }
        let answer: Result<Answer, _> = serde_json::from_slice(body.expose_secret());
        // The parser's own words would quote what it read.
        answer.map(|answer| answer.data).map_err(|_| Failure::lasting(NONSENSE.to_owned()))
    }

    fn nonsense(&self) -> Error {
        unavailable(format!("the root key at {}: {NONSENSE}", self.server.base_text()))
    }
}

const NONSENSE: &str = "what it answered is no transit engine's answer with a 256-bit key";

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    plaintext: Option<String>,
    ciphertext: Option<String>,
}

fn unavailable(detail: String) -> Error {
    Error::Unavailable { detail, retry_after_s: 0 }
}

#[cfg(test)]
mod tests;
