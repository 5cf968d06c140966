//! The hosts a run was given by name, reached without any credential: what a gate without connections decides and sends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http_body_util::{BodyExt, StreamBody};
use livery_core::id::OrgId;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::gate::{Answered, Asked, Spoken};
use super::refusal::Refusal;
use crate::guard::{Scheme, Target};
use crate::transport::{Broker, Outbound, Relayed};

/// Answers of one request, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Requests of one run that are under way at a time: each may hold a quarter of a MiB before anything of it is sent. What opens
/// many streams at once waits for its turn.
const AT_ONCE_MAX: usize = 100;
/// How long it waits.
const TURN_MAX: Duration = Duration::from_secs(30);

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
    turns: Arc<Semaphore>,
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Direct {
    /// For the run of a tenant, which takes at most `total` and may reach exactly these hosts.
    pub fn new(broker: Broker, tenant: OrgId, reach: Vec<Reach>, total: Duration) -> Self {
        Self { broker, tenant, reach, total, turns: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
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
        let headers = asked.header_pairs()?;
        let turn = timeout(TURN_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(Refusal::Busy)?;
        let Asked { target, method, body, speech, .. } = asked;
        let (body, account) = body.upload().await?;
        let mut call = Outbound::post(self.tenant, target, body);
        call.method = method;
        call.headers = headers;
        call.timeouts.total = self.total;
        call.response_bytes_max = ANSWER_BYTES_MAX;
        call.relayed = Relayed::All;
        call.speech = speech;
        let stopped = || account.and_then(|account| account.stopped());
        let inbound = self.broker.send(call).await.map_err(|error| stopped().unwrap_or_else(|| error.into()))?;
        let turn = Arc::new(turn);
        let held = Arc::clone(&turn);
        let socket = inbound.socket.map(|socket| {
            Spoken::new(|program| async move {
                let mut left = ANSWER_BYTES_MAX;
                let allows = move |bytes: usize| {
                    left = left.saturating_sub(bytes as u64);
                    left > 0
                };
                socket.serve(program, allows, std::future::pending()).await;
                drop(held);
            })
        });
        let frames = inbound.body.into_frames().inspect(move |_| {
            let _under_way = &turn;
        });
        let body = StreamBody::new(frames).boxed_unsync();
        Ok(Answered { status: inbound.status, headers: inbound.headers, body, socket })
    }
}
