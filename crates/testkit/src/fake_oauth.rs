//! An authorization server and an API behind it, as strict as the texts allow and as hostile as a test wants.
//!
//! Strict: PKCE with S256 on every code; codes once, for one client, address, resource and verifier; refresh tokens are rotated,
//! and one that comes twice ends its family; signed assertions say what they must. Hostile: the API gives back the token it was
//! called with, in a header and in the body, and the metadata say what a test puts into them.
//!
//! Every secret it makes begins with [`CANARY`], so that a sweep finds it wherever it went.

mod grants;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::listener::{Listener, Received, Step};
use state::State;
pub use state::{Knobs, Seen};

/// How every token, code and device code of this server begins.
pub const CANARY: &str = "canary_tok_";
/// The one client, and its secret.
pub const CLIENT_ID: &str = "livery-client";
/// See [`CLIENT_ID`].
pub const CLIENT_SECRET: &str = "canary_cls_9f8e7d6c5b4a39281706f5e4d3c2b1a0";

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub struct FakeOauth {
    listener: Listener,
    state: Arc<Mutex<State>>,
}

impl FakeOauth {
    /// Starts on a free port of 127.0.0.1, for a client whose browsers come back to `redirect_uri`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(redirect_uri: &str) -> std::io::Result<Self> {
        let state = Arc::new(Mutex::new(State::new(redirect_uri)));
        let shared = Arc::clone(&state);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::start(address, None, move |received| answer(Arc::clone(&shared), received)).await?;
        lock(&state).base = format!("http://{}", listener.address);
        Ok(Self { listener, state })
    }

    /// Its address, which is its name as an issuer.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address)
    }

    /// What it saw.
    pub fn seen(&self) -> Seen {
        lock(&self.state).seen.clone()
    }

    /// Changes how it behaves.
    pub fn set(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut lock(&self.state).knobs);
    }

    /// A person opens the address of the authorization page and agrees: where the browser is sent back to.
    ///
    /// # Errors
    /// What the page says instead.
    pub fn agree(&self, url: &str) -> Result<String, String> {
        lock(&self.state).agree(url)
    }

    /// A person types a device's code and agrees.
    pub fn approve_device(&self, user_code: &str) -> bool {
        lock(&self.state).approve_device(user_code)
    }

    /// Somebody else uses a refresh token.
    pub fn spend(&self, token: &str) {
        let mut state = lock(&self.state);
        state.refresh.remove(token);
        state.spent.insert(token.to_owned());
    }

    /// Forgets every access token, as a server does that was told to.
    pub fn spoil_access_tokens(&self) {
        lock(&self.state).spoil();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

type Answer = Response<stream::Iter<std::array::IntoIter<Step, 1>>>;

async fn answer(state: Arc<Mutex<State>>, received: Received) -> Answer {
    let delay = lock(&state).knobs.token_delay;
    let path = received.path.split('?').next().unwrap_or_default().to_owned();
    if path == "/token" && !delay.is_zero() {
        tokio::time::sleep(delay.min(Duration::from_secs(10))).await;
    }
    let mut state = lock(&state);
    let (status, body) = match (received.method.as_str(), path.as_str()) {
        ("GET", "/.well-known/oauth-authorization-server") => (200, state.metadata()),
        ("POST", "/token") => state.token(&received),
        ("POST", "/device") => state.device(&received),
        ("POST", "/revoke") => state.revoke(&received),
        ("POST", path) if path.starts_with("/app/installations/") => state.installation(&received, path),
        (_, path) if path.starts_with("/api/") => return api(&mut state, &received),
        _ => (404, json!({"error": "not_found"})),
    };
    plain(status, &body, None)
}

/// Lets a good token in, and gives it back.
fn api(state: &mut State, received: &Received) -> Answer {
    let token = received.headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = token.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
    let known = state.calls(&token);
    match known {
        true => plain(200, &json!({"you_sent": token}), Some(&token)),
        false => plain(401, &json!({"error": "invalid_token"}), None),
    }
}

fn plain(status: u16, body: &Value, echoed: Option<&str>) -> Answer {
    let mut response = Response::new(stream::iter([Step::Send(Bytes::from(body.to_string()))]));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    headers.insert("cache-control", http::HeaderValue::from_static("no-store"));
    if let Some(value) = echoed.and_then(|token| token.parse().ok()) {
        headers.insert("x-request-id", value);
    }
    response
}
