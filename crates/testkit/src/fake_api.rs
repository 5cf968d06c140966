//! An API for tests: it remembers every request, and does what it is asked once for each `Idempotency-Key`.
//!
//! Refused: a key that comes back with another request, with 422. A request without a key is done however often it comes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::listener::{Listener, Received, Step};

/// The most requests kept; what comes later is answered with 503.
const CALLS_MAX: usize = 100_000;
/// What it answers to what it did.
const DONE: &[u8] = b"{\"done\":true}";

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiCall {
    /// In capitals.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case, values as text.
    pub headers: Vec<(String, String)>,
    /// The exact bytes.
    pub body: Vec<u8>,
    /// Whether something was done for it: it may change something, and its key was not known.
    pub is_effect: bool,
}

impl ApiCall {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A running API. Dropped, it stops.
#[derive(Debug)]
pub struct FakeApi {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// How long an answer takes, when everything is done already.
    pause: Duration,
    calls: Mutex<Vec<ApiCall>>,
    /// The request that each key came with first: method, path and body.
    keys: Mutex<HashMap<String, (String, String, Bytes)>>,
}

impl FakeApi {
    /// Binds 127.0.0.1 on a free port. What it is asked is done at once, and answered after `pause`. Needs a Tokio runtime.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(pause: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { pause, ..Shared::default() });
        let handler = Arc::clone(&shared);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::start(address, None, move |received| answer(Arc::clone(&handler), received)).await?;
        Ok(Self { listener, shared })
    }

    /// Where it is, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address)
    }

    /// Requests for this very path, in the order of their arrival.
    pub fn calls(&self, path: &str) -> Vec<ApiCall> {
        let calls = self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| call.path == path).cloned().collect()
    }
}

impl Shared {
    fn take(&self, received: Received) -> StatusCode {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= CALLS_MAX {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = pairs(&received.headers);
        let method = received.method.to_string();
        let asked = (method.clone(), received.path.clone(), received.body.clone());
        let key =
            received.headers.get("idempotency-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
        let known = key.and_then(|key| {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let known = keys.get(&key).map(|first| *first == asked);
            keys.entry(key).or_insert(asked);
            known
        });
        let is_effect = known.is_none() && !received.method.is_safe();
        calls.push(ApiCall { method, path: received.path, headers, body: received.body.to_vec(), is_effect });
        if known == Some(false) { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

async fn answer(shared: Arc<Shared>, received: Received) -> Response<stream::Iter<std::array::IntoIter<Step, 1>>> {
    let status = shared.take(received);
    tokio::time::sleep(shared.pause).await;
    let mut response = Response::new(stream::iter([Step::Send(Bytes::from_static(DONE))]));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(method: &str, key: Option<&str>, body: &str) -> Received {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            headers.insert("idempotency-key", HeaderValue::try_from(key).unwrap());
        }
        let (method, body) = (method.parse().unwrap(), Bytes::from(body.to_owned()));
        Received { method, path: "/a".to_owned(), headers, body, at: Duration::ZERO }
    }

    #[test]
    fn a_key_is_done_once_and_for_one_request() {
        let shared = Shared::default();
        let take = |method, key, body| shared.take(received(method, key, body)).as_u16();
        assert_eq!([take("POST", Some("k"), "1"), take("POST", Some("k"), "1")], [200, 200]);
        assert_eq!([take("POST", Some("k"), "2"), take("PUT", Some("k"), "1")], [422, 422]);
        assert_eq!([take("POST", None, "1"), take("POST", None, "1"), take("GET", None, "")], [200; 3]);
        let effects: Vec<bool> = shared.calls.lock().unwrap().iter().map(|call| call.is_effect).collect();
        assert_eq!(effects, [true, false, false, false, true, true, false]);
    }
}
