//! A webhook receiver that remembers deliveries, checks their signatures and answers as told.
//!
//! Walk on: [`verify`] is the Standard Webhooks check.

pub mod verify;

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::stream;
use http::{Response, StatusCode};
use tokio::sync::watch;

use crate::listener::{Listener, Received, Step};
pub use verify::SignatureError;

/// The most deliveries kept; the oldest go first.
const DELIVERIES_MAX: usize = 100_000;

/// One delivery as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Milliseconds since the receiver started.
    pub at_ms: u64,
    /// Seconds since 1970 when it arrived: what its timestamp is compared with.
    pub received_s: u64,
    /// With the query.
    pub path: String,
    /// Names in lower case, values as text.
    pub headers: Vec<(String, String)>,
    /// The exact bytes.
    pub body: Vec<u8>,
    /// The status it was answered with.
    pub status: u16,
}

impl Delivery {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Checks the signature with a secret as it was shown once: `whsec_` and base64.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, secret: &str) -> Result<(), SignatureError> {
        let header = |name: &'static str| self.header(name).ok_or(SignatureError::Missing(name));
        let (id, timestamp, signature) =
            (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
        verify::verify(secret, id, timestamp, &self.body, signature, self.received_s)
    }
}

/// A running receiver. Dropped, it stops.
#[derive(Debug)]
pub struct WebhookSink {
    listener: Listener,
    shared: Arc<Shared>,
    arrivals: watch::Receiver<usize>,
}

#[derive(Debug)]
struct Shared {
    deliveries: Mutex<VecDeque<Delivery>>,
    statuses: Mutex<VecDeque<u16>>,
    /// Every so many messages that are new here is answered 503; their repetition is taken.
    fails_one_in: usize,
    seen: Mutex<HashSet<String>>,
    arrived: watch::Sender<usize>,
}

impl WebhookSink {
    /// Binds 127.0.0.1 on a free port and answers 204 to everything. Needs a Tokio runtime.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_with([]).await
    }

    /// Like [`WebhookSink::start`], but the first deliveries are answered with these statuses, in order. Status 0 leaves
    /// one without an answer until the sender gives up.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start_with(statuses: impl IntoIterator<Item = u16>) -> std::io::Result<Self> {
        Self::start_as(statuses.into_iter().collect(), usize::MAX).await
    }

    /// Like [`WebhookSink::start`], but one in so many messages is answered 503 when it comes for the first time.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start_flaky(fails_one_in: usize) -> std::io::Result<Self> {
        Self::start_as(VecDeque::new(), fails_one_in).await
    }

    async fn start_as(statuses: VecDeque<u16>, fails_one_in: usize) -> std::io::Result<Self> {
        let (arrived, arrivals) = watch::channel(0);
        let (deliveries, statuses, seen) = (Mutex::default(), Mutex::new(statuses), Mutex::default());
        let shared = Arc::new(Shared { deliveries, statuses, fails_one_in, seen, arrived });
        let handler = Arc::clone(&shared);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::start(address, None, move |received| answer(Arc::clone(&handler), received)).await?;
        Ok(Self { listener, shared, arrivals })
    }

    /// Where to deliver to.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.listener.address)
    }

    /// All deliveries in the order of their arrival.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Waits until there are at least `count` deliveries, and answers all there are; `None` when `deadline` passes first.
    pub async fn wait_for(&self, count: usize, deadline: Duration) -> Option<Vec<Delivery>> {
        let mut arrivals = self.arrivals.clone();
        let enough = arrivals.wait_for(|arrived| *arrived >= count);
        tokio::time::timeout(deadline, enough).await.ok()?.ok()?;
        Some(self.deliveries())
    }

    /// Ends every connection and waits until they have ended.
    pub async fn stop(self) {
        self.listener.stop().await;
    }
}

impl Shared {
    fn chance(&self, received: &Received) -> u16 {
        if self.fails_one_in == usize::MAX {
            return 204;
        }
        let id = received.headers.get("webhook-id").map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.insert(id.unwrap_or_default());
        if is_new && seen.len().is_multiple_of(self.fails_one_in.max(1)) { 503 } else { 204 }
    }
}

async fn answer(shared: Arc<Shared>, received: Received) -> Response<stream::Iter<std::array::IntoIter<Step, 1>>> {
    let told = shared.statuses.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let status = told.unwrap_or_else(|| shared.chance(&received));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let delivery = Delivery {
        at_ms: u64::try_from(received.at.as_millis()).unwrap_or(u64::MAX),
        received_s: now.as_secs(),
        path: received.path,
        headers: received.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: received.body.to_vec(),
        status,
    };
    {
        let mut deliveries = shared.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        if deliveries.len() >= DELIVERIES_MAX {
            deliveries.pop_front();
        }
        deliveries.push_back(delivery);
    }
    shared.arrived.send_modify(|arrived| *arrived += 1);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let mut response = Response::new(stream::iter([Step::Send(bytes::Bytes::new())]));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT);
    response
}
