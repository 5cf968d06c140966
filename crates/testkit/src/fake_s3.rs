//! A small S3 server for tests: one bucket in memory, every signature checked with code of its own, and as unwell as a test
//! wants it.
//!
//! Walk on: `sign` is the check of signatures, `bucket` what is stored.

mod bucket;
mod sign;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Response, StatusCode};

use crate::listener::{Listener, Received, Step};
use bucket::{Answer, Bucket};
pub use sign::SignatureRefused;

/// How the server feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// It does what it is asked.
    #[default]
    Well,
    /// 503 `SlowDown` to everything.
    SlowDown,
    /// 507 to what writes; reads go on.
    Full,
    /// It never answers.
    Hang,
    /// Answers break off in the middle of their body.
    Cut,
    /// Objects come one byte shorter than they are.
    Short,
    /// 200 with bytes that are no document to everything.
    Garbage,
    /// A list that never ends: each page is empty and names a next one.
    Endless,
    /// 200 with a document larger than any, as long as somebody reads.
    Flood,
    /// 301 to elsewhere.
    Redirect,
    /// 404 `NoSuchBucket` to everything.
    NoBucket,
}

/// Whose signatures are right.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The access key's id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The region that is signed for.
    pub region: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self { id: "AKIDFAKE".into(), secret: "fake-secret-0123456789".into(), region: "us-east-1".into() }
    }
}

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub struct FakeS3 {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    keys: Keys,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bucket: Bucket,
    mood: Mood,
    saying: Option<Bytes>,
    requests: u64,
    largest_body: usize,
    refused: Vec<SignatureRefused>,
}

impl FakeS3 {
    /// The only bucket.
    pub const BUCKET: &str = "livery-test";

    /// Binds 127.0.0.1 on a free port. Needs a Tokio runtime.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(keys: Keys) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { keys, state: Mutex::default() });
        let handler = Arc::clone(&shared);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::start(address, None, move |received| answer(Arc::clone(&handler), received)).await?;
        Ok(Self { listener, shared })
    }

    /// What `LIVERY_OBJECTS_ENDPOINT` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address)
    }

    /// From now on it feels like this.
    pub fn feel(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Answers everything with 200 and these bytes, until told `None`.
    pub fn say(&self, bytes: Option<Bytes>) {
        self.state().saying = bytes;
    }

    /// The keys of all objects, in order.
    pub fn keys(&self) -> Vec<String> {
        self.state().bucket.keys()
    }

    /// The bytes of an object.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.state().bucket.object(key)
    }

    /// Puts an object behind everybody's back.
    pub fn plant(&self, key: &str, bytes: impl Into<Bytes>) {
        self.state().bucket.put(key, bytes.into());
    }

    /// Makes every object look this much older.
    pub fn age_all(&self, by: Duration) {
        self.state().bucket.age(by);
    }

    /// Multipart uploads that were begun and neither completed nor given up.
    pub fn uploads(&self) -> usize {
        self.state().bucket.uploads()
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// The largest body of a request so far, in bytes.
    pub fn largest_body(&self) -> usize {
        self.state().largest_body
    }

    /// Requests whose signature was not right.
    pub fn refused(&self) -> Vec<SignatureRefused> {
        self.state().refused.clone()
    }

    /// Ends every connection and waits until they have ended.
    pub async fn stop(self) {
        self.listener.stop().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Steps = stream::Iter<std::vec::IntoIter<Step>>;

async fn answer(shared: Arc<Shared>, received: Received) -> Response<Steps> {
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let checked = sign::check(&shared.keys, &received, now_s);
    let (mood, answer) = {
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests += 1;
        state.largest_body = state.largest_body.max(received.body.len());
        let mood = state.mood;
        let writes = !matches!(received.method, Method::GET | Method::HEAD);
        let answer = match (checked, mood) {
            (Err(refused), _) => {
                state.refused.push(refused);
                Answer::error(403, "SignatureDoesNotMatch")
            }
            (Ok(()), _) if state.saying.is_some() => Answer::of(state.saying.clone().unwrap_or_default()),
            (Ok(()), Mood::SlowDown) => Answer::error(503, "SlowDown"),
            (Ok(()), Mood::Full) if writes && received.method != Method::DELETE => {
                Answer::error(507, "XMinioStorageFull")
            }
            (Ok(()), Mood::NoBucket) => Answer::error(404, "NoSuchBucket"),
            (Ok(()), Mood::Redirect) => Answer::error(301, "PermanentRedirect").with("location", "http://127.0.0.1:1/"),
            (Ok(()), Mood::Garbage) => Answer::of(b"\x00\xff<<<&&&not a document</".to_vec()),
            (Ok(()), Mood::Flood) => Answer::of(vec![b'<'; 8 * 1024 * 1024]),
            (Ok(()), Mood::Endless) => Answer::of(bucket::ENDLESS.as_bytes().to_vec()),
            (Ok(()), _) => state.bucket.serve(&received, FakeS3::BUCKET, now_s),
        };
        (mood, answer)
    };
    if mood == Mood::Hang {
        std::future::pending::<()>().await;
    }
    respond(answer, mood, received.method == Method::HEAD)
}

fn respond(answer: Answer, mood: Mood, is_head: bool) -> Response<Steps> {
    let Answer { status, headers, mut body } = answer;
    if mood == Mood::Short && !body.is_empty() {
        body.truncate(body.len() - 1);
    }
    let length = body.len();
    if mood == Mood::Cut {
        body.truncate(length / 2);
    }
    let mut steps = Vec::new();
    if !is_head {
        steps.push(Step::Send(body));
    }
    if mood == Mood::Cut && length > 0 {
        steps.push(Step::Pause(Duration::from_millis(20)));
        steps.push(Step::Reset);
    }
    let mut response = Response::new(stream::iter(steps));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let head = response.headers_mut();
    head.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            head.insert(name, value);
        }
    }
    response
}
