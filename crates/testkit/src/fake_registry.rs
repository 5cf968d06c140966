//! A registry of images, as the OCI's distribution format has it: manifests and blobs behind a token, and the ways in which one leads
//! astray. Nothing can be pushed; what it has is put in by the test.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::listener::{Listener, Received, Step};

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub struct FakeRegistry {
    listener: Listener,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By path, such as `/v2/team/app/manifests/1`.
    pieces: HashMap<String, Bytes>,
    /// By path: where it leads instead.
    redirects: HashMap<String, String>,
    /// What has to be shown, and `Basic` text for which it is given.
    token: Option<String>,
    login: Option<String>,
    /// Where it is told to be had, when not here.
    realm: Option<String>,
    /// Path and credential of each request.
    asked: Vec<(String, String)>,
}

type Answer = Response<stream::Iter<std::vec::IntoIter<Step>>>;

impl FakeRegistry {
    /// Binds 127.0.0.1 on a free port. Needs a Tokio runtime.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> std::io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::start(address, None, move |received| {
            answer(Arc::clone(&shared), address_of(&received), received)
        })
        .await?;
        Ok(Self { listener, state })
    }

    /// Host and port, as they stand before an image's name.
    pub fn host(&self) -> String {
        self.listener.address.to_string()
    }

    /// Has a piece from now on: `kind` is `manifests` or `blobs`, `reference` a tag or a digest.
    pub fn put(&self, repository: &str, kind: &str, reference: &str, bytes: impl Into<Bytes>) {
        self.state().pieces.insert(format!("/v2/{repository}/{kind}/{reference}"), bytes.into());
    }

    /// Leads elsewhere for a piece.
    pub fn redirect(&self, repository: &str, kind: &str, reference: &str, location: &str) {
        self.state().redirects.insert(format!("/v2/{repository}/{kind}/{reference}"), location.to_owned());
    }

    /// Has something at a path of its own, such as what a redirect leads to.
    pub fn put_at(&self, path: &str, bytes: impl Into<Bytes>) {
        self.state().pieces.insert(path.to_owned(), bytes.into());
    }

    /// Shows nothing without this token, which it gives to everybody, or to whoever logs in.
    pub fn guard(&self, token: &str, login: Option<&str>) {
        let mut state = self.state();
        state.token = Some(token.to_owned());
        state.login = login.map(str::to_owned);
    }

    /// Says that tokens are to be had there.
    pub fn realm(&self, realm: &str) {
        self.state().realm = Some(realm.to_owned());
    }

    /// Path and `Authorization` of each request since this was last called.
    pub fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.state().asked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address_of(received: &Received) -> String {
    received.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned()
}

async fn answer(state: Arc<Mutex<State>>, host: String, received: Received) -> Answer {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let shown =
        received.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    state.asked.push((received.path.clone(), shown.clone()));
    if received.path.starts_with("/token?") {
        let known = state.login.as_ref().is_none_or(|login| shown == format!("Basic {login}"));
        let token = json!({"token": state.token}).to_string();
        return if known { whole(200, token.into()) } else { whole(401, Bytes::new()) };
    }
    let needs = state.token.as_ref().filter(|token| shown != format!("Bearer {token}"));
    if needs.is_some() && received.path.starts_with("/v2/") {
        let realm = state.realm.clone().unwrap_or_else(|| format!("http://{host}/token"));
        let mut refused = whole(401, Bytes::new());
        let challenge = format!("Bearer realm=\"{realm}\",service=\"fake\",scope=\"repository:x:pull\"");
        refused.headers_mut().insert(WWW_AUTHENTICATE, value(&challenge));
        return refused;
    }
    if let Some(location) = state.redirects.get(&received.path) {
        let mut answer = whole(307, Bytes::new());
        answer.headers_mut().insert(LOCATION, value(location));
        return answer;
    }
    state.pieces.get(&received.path).map_or_else(|| whole(404, Bytes::new()), |bytes| whole(200, bytes.clone()))
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

fn whole(status: u16, bytes: Bytes) -> Answer {
    let mut response = Response::new(stream::iter(vec![Step::Send(bytes)]));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}
