//! A transit engine, as Vault and OpenBao document it: keys with versions that really encrypt, a token that is demanded, the
//! documented paths and shapes of errors, and the ways in which one is unwell. Only what wraps, unwraps and rewraps a key is
//! here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{Method, Response};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::listener::{Listener, Received, Step};

/// Of a key, a nonce, a tag and what is wrapped.
const LEN: usize = 32;

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub struct FakeTransit {
    listener: Listener,
    state: Arc<Mutex<State>>,
}

/// How it is unwell.
#[derive(Debug, Clone)]
pub enum Mood {
    /// It is sealed: 503 to everything.
    Sealed,
    /// It begins an answer and never goes on.
    Silent,
    /// This status and this body to everything.
    Says(u16, String),
    /// Another place for everything.
    Redirects(String),
}

#[derive(Debug, Default)]
struct State {
    token: String,
    keys: HashMap<String, Key>,
    /// What was asked for, such as `decrypt/livery`.
    asked: Vec<String>,
    /// What decrypt gave away.
    opened: Vec<Vec<u8>>,
    mood: Option<(Mood, usize)>,
    /// Operations the token's policy does not allow.
    denied: Vec<&'static str>,
    /// Operations that answer with something else than they did.
    lies: HashMap<&'static str, Value>,
}

/// A transit key.
#[derive(Debug, Default)]
struct Key {
    /// The first one first.
    versions: Vec<[u8; LEN]>,
    /// How many of them open nothing any more.
    retired: usize,
}

type Said = (u16, Value);

impl FakeTransit {
    /// Binds 127.0.0.1 on a free port; requests have to carry `token`. It has one key, `livery`. Needs a Tokio runtime.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(token: &str) -> std::io::Result<Self> {
        let state = State { token: token.to_owned(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::start(address, None, move |received| answer(Arc::clone(&shared), received)).await?;
        let server = Self { listener, state };
        server.rotate("livery");
        Ok(server)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address)
    }

    /// What `LIVERY_ROOT_KEY` is set to for the key `name`.
    pub fn address(&self, name: &str) -> String {
        format!("transit:{}/v1/transit/keys/{name}", self.url())
    }

    /// Gives the key `name` a new version, the first one if there is none.
    pub fn rotate(&self, name: &str) {
        self.state().keys.entry(name.to_owned()).or_default().versions.push(random());
    }

    /// All versions of the key `name` but the newest open nothing any more.
    pub fn retire(&self, name: &str) {
        if let Some(key) = self.state().keys.get_mut(name) {
            key.retired = key.versions.len() - 1;
        }
    }

    /// Is unwell for the next so many requests.
    pub fn ail(&self, mood: Mood, requests: usize) {
        self.state().mood = Some((mood, requests));
    }

    /// Is well again.
    pub fn heal(&self) {
        self.state().mood = None;
    }

    /// The token's policy no longer has `operation`, such as `rewrap`.
    pub fn deny(&self, operation: &'static str) {
        self.state().denied.push(operation);
    }

    /// `operation` answers with this from now on.
    pub fn lie(&self, operation: &'static str, data: Value) {
        self.state().lies.insert(operation, data);
    }

    /// What it was asked for since this was last called, such as `decrypt/livery`.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    /// The plaintexts it has given away.
    pub fn opened(&self) -> Vec<Vec<u8>> {
        self.state().opened.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(state: Arc<Mutex<State>>, received: Received) -> Response<stream::Iter<std::vec::IntoIter<Step>>> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.asked.push(received.path.trim_start_matches("/v1/transit/").to_owned());
    match state.ailing() {
        Some(Mood::Sealed) => whole(errors(503, "Vault is sealed")),
        Some(Mood::Silent) => steps(200, vec![Step::Hang]),
        Some(Mood::Says(status, body)) => steps(status, vec![Step::Send(body.into())]),
        Some(Mood::Redirects(place)) => {
            let mut response = steps(307, Vec::new());
            if let Ok(place) = place.parse() {
                response.headers_mut().insert("location", place);
            }
            response
        }
        None => whole(state.serve(&received).unwrap_or_else(|refused| refused)),
    }
}

fn whole((status, body): Said) -> Response<stream::Iter<std::vec::IntoIter<Step>>> {
    steps(status, vec![Step::Send(body.to_string().into())])
}

fn steps(status: u16, steps: Vec<Step>) -> Response<stream::Iter<std::vec::IntoIter<Step>>> {
    let mut response = Response::new(stream::iter(steps));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response
}

impl State {
    /// The mood for one more request.
    fn ailing(&mut self) -> Option<Mood> {
        let (mood, left) = self.mood.take()?;
        if left > 1 {
            self.mood = Some((mood.clone(), left - 1));
        }
        (left > 0).then_some(mood)
    }

    fn serve(&mut self, received: &Received) -> Result<Said, Said> {
        let missing = || errors(404, "no handler for route. route entry not found.");
        let (operation, name) =
            received.path.strip_prefix("/v1/transit/").ok_or_else(missing)?.rsplit_once('/').ok_or_else(missing)?;
        let token = received.headers.get("x-vault-token").map(http::HeaderValue::as_bytes);
        if token != Some(self.token.as_bytes()) || self.denied.contains(&operation) {
            return Err(errors(403, "permission denied"));
        }
        if !matches!(received.method, Method::POST | Method::PUT) {
            return Err(errors(405, "unsupported operation"));
        }
        let order: Value =
            serde_json::from_slice(&received.body).map_err(|_| errors(400, "failed to parse JSON input"))?;
        let key = self.keys.get(name).ok_or_else(|| errors(400, "encryption key not found"))?;
        let data = match operation {
            lying if self.lies.contains_key(lying) => self.lies[lying].clone(),
            "datakey/wrapped" => json!({"ciphertext": key.encrypt(&random())}),
            "rewrap" => json!({"ciphertext": key.encrypt(&key.decrypt(&order)?)}),
            "decrypt" => {
                let plaintext = key.decrypt(&order)?;
                let data = json!({"plaintext": STANDARD.encode(plaintext)});
                self.opened.push(plaintext.to_vec());
                data
            }
            _ => return Err(missing()),
        };
        Ok((200, json!({"request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data})))
    }
}

impl Key {
    fn encrypt(&self, plaintext: &[u8; LEN]) -> String {
        let nonce = random();
        let sealed = self.versions.last().map(|newest| seal(newest, &nonce, plaintext)).unwrap_or_default();
        format!("vault:v{}:{}", self.versions.len(), STANDARD.encode(sealed))
    }

    fn decrypt(&self, order: &Value) -> Result<[u8; LEN], Said> {
        let invalid = || errors(400, "invalid ciphertext: no prefix");
        let wrapped = order["ciphertext"].as_str().and_then(|text| text.strip_prefix("vault:v")).ok_or_else(invalid)?;
        let (version, sealed) = wrapped.split_once(':').ok_or_else(invalid)?;
        let at = version.parse().ok().and_then(|version: usize| version.checked_sub(1)).ok_or_else(invalid)?;
        if at < self.retired {
            return Err(errors(400, "ciphertext or signature version is disallowed by policy (too old)"));
        }
        let key = self.versions.get(at).ok_or_else(|| errors(400, "invalid ciphertext: version is too new"))?;
        let sealed = STANDARD.decode(sealed).map_err(|_| invalid())?;
        open(key, &sealed).ok_or_else(|| errors(400, "cipher: message authentication failed"))
    }
}

/// Nonce, ciphertext and tag. One block is all that a key needs: the stream is the key's HMAC of the nonce.
fn seal(key: &[u8; LEN], nonce: &[u8; LEN], plaintext: &[u8; LEN]) -> Vec<u8> {
    let mut sealed = nonce.to_vec();
    sealed.extend(hmac(key, nonce).iter().zip(plaintext).map(|(stream, byte)| stream ^ byte));
    let tag = hmac(key, &sealed);
    sealed.extend(tag);
    sealed
}

fn open(key: &[u8; LEN], sealed: &[u8]) -> Option<[u8; LEN]> {
    let (body, tag) = sealed.split_at_checked(2 * LEN)?;
    let (nonce, ciphertext) = body.split_at(LEN);
    let plaintext: Vec<u8> = hmac(key, nonce).iter().zip(ciphertext).map(|(stream, byte)| stream ^ byte).collect();
    (hmac(key, body) == tag).then(|| plaintext.try_into().ok()).flatten()
}

fn hmac(key: &[u8; LEN], bytes: &[u8]) -> [u8; LEN] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

fn errors(status: u16, why: &str) -> Said {
    (status, json!({"errors": [why]}))
}

fn random() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).expect("a machine without random bytes runs no tests");
    bytes
}
