//! The hosts a run was given by name, reached without any credential: what a gate without connections decides and sends.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use livery_core::id::OrgId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::gate::{Answered, Asked, AskedBody};
use super::refusal::Refusal;
use crate::guard::{Scheme, Target};
use crate::transport::{Broker, Outbound, Relayed};

/// Bytes of request bodies one run may have in memory at once.
const BODIES_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Answers of one request, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A host a run may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Its name, in lower case.
    pub host: String,
    /// Its port: 443, unless the rule names another.
    pub port: u16,
}

/// Sends what goes to one of its hosts, and refuses the rest.
pub struct Direct {
    broker: Broker,
    tenant: OrgId,
    reach: Vec<Reach>,
    total: Duration,
    bodies: Arc<Semaphore>,
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Direct {
    /// For the run of a tenant, which takes at most `total` and may reach exactly these hosts.
    pub fn new(broker: Broker, tenant: OrgId, reach: Vec<Reach>, total: Duration) -> Self {
        let bodies = Arc::new(Semaphore::new(usize::try_from(BODIES_BYTES_MAX).unwrap_or(usize::MAX)));
        Self { broker, tenant, reach, total, bodies }
    }

    /// Whether one of the hosts is this origin.
    #[must_use]
    pub fn admits(&self, origin: &Target) -> bool {
        // Plain http only where the port was named: the guard lets it go to private networks the operator allowed, alone.
        let plain = origin.scheme() == Scheme::Http && origin.port() == 443;
        let host = origin.host().to_string();
        !plain && self.reach.iter().any(|reach| reach.host == host && reach.port == origin.port())
    }

    /// Sends one request to a host that was admitted.
    ///
    /// # Errors
    /// What is answered instead.
    pub async fn pass(&self, asked: Asked) -> Result<Answered, Refusal> {
        let Asked { target, method, headers, body } = asked;
        let headers = pairs(&headers)?;
        let (body, held) = self.collect(body).await?;
        let mut call = Outbound::post(self.tenant, target, body);
        call.method = method;
        call.headers = headers;
        call.timeouts.total = self.total;
        call.response_bytes_max = ANSWER_BYTES_MAX;
        call.relayed = Relayed::All;
        let inbound = self.broker.send(call).await?;
        drop(held);
        let pieces =
            StreamBody::new(futures_util::StreamExt::map(inbound.body.into_stream(), |piece| piece.map(Frame::data)));
        Ok(Answered { status: inbound.status, headers: inbound.headers, body: pieces.boxed_unsync() })
    }

    /// The whole body, within what the run may hold.
    async fn collect(&self, mut body: AskedBody) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
        let busy = |_| Refusal::Busy;
        let mut held = Arc::clone(&self.bodies).try_acquire_many_owned(0).map_err(busy)?;
        let mut whole = BytesMut::new();
        while let Some(piece) = body.next().await? {
            let count = u32::try_from(piece.len()).map_err(|_| Refusal::TooLarge)?;
            held.merge(Arc::clone(&self.bodies).try_acquire_many_owned(count).map_err(busy)?);
            whole.extend_from_slice(&piece);
        }
        Ok((whole.freeze(), held))
    }
}

fn pairs(headers: &HeaderMap) -> Result<Vec<(String, String)>, Refusal> {
    let unreadable = Refusal::Malformed("a header is not plain text");
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = value.to_str().map_err(|_| unreadable)?;
        Ok((name.as_str().to_owned(), value.to_owned()))
    };
    headers.iter().map(pair).collect()
}
