//! The hosts a run was given by name, reached without any credential: which they are, and how a request to them leaves.

use std::sync::Arc;
use std::time::Duration;

use livery_core::id::OrgId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::body::Account;
use super::gate::Asked;
use super::refusal::Refusal;
use crate::engine::Facts;
use crate::guard::{CanonicalRequest, RequestRefused, Scheme, Target};
use crate::transport::{Broker, Inbound, Outbound, Relayed, Speech, taken};
use crate::{Error, Result};

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

/// Sends what goes to one of its hosts.
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

/// A request to one of the hosts, in the form in which it leaves. No `Debug`: it holds what a program said.
pub struct Leaving {
    call: Outbound,
    is_safe: bool,
    /// For the transcript.
    pub facts: Facts,
    /// Of a body that is sent while it comes.
    pub account: Option<Account>,
    /// Its turn among those under way: to be held until its answer has ended.
    pub turn: Option<OwnedSemaphorePermit>,
}

impl Leaving {
    /// Whether sending it twice does no more than sending it never.
    pub const fn is_safe(&self) -> bool {
        self.is_safe
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

    /// Looks at a request to a host that was admitted. Nothing is sent.
    ///
    /// # Errors
    /// What is answered instead.
    pub async fn prepare(&self, asked: Asked) -> std::result::Result<Leaving, Refusal> {
        let given = asked.header_pairs()?;
        let turn = timeout(TURN_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.ok().and_then(|turn| turn.ok()).ok_or(Refusal::Busy)?;
        let Asked { target, method, body, speech, .. } = asked;
        let request = CanonicalRequest::to(target, method.as_str()).map_err(malformed)?;
        let (body, account) = body.upload().await?;
        let is_taken = taken(&given);
        let headers: Vec<_> = given.into_iter().filter(|(name, _)| is_taken(name)).collect();
        let facts = Facts::of(&request, &headers, &body, speech);
        let is_safe = request.method().is_safe() && speech == Speech::Http;
        let mut call = Outbound::post(self.tenant, request.target().clone(), body);
        call.method = method;
        call.headers = headers;
        call.timeouts.total = self.total;
        call.response_bytes_max = ANSWER_BYTES_MAX;
        call.relayed = Relayed::All;
        call.speech = speech;
        Ok(Leaving { call, is_safe, facts, account, turn: Some(turn) })
    }

    /// Sends it, up to the head of its answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(&self, leaving: Leaving) -> Result<Inbound> {
        self.broker.send(leaving.call).await
    }
}

const fn malformed(refused: RequestRefused) -> Refusal {
    match refused {
        RequestRefused::Method => Refusal::Upstream(Error::BadRequest { why: "the method is not allowed" }),
        RequestRefused::Url(_) => Refusal::Malformed("the address has no canonical form"),
        RequestRefused::TooManyParameters => Refusal::Malformed("the query has too many parameters"),
    }
}
