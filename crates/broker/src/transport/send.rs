//! [`Broker`]: the walk of one call, from the guard to the head of the answer.

use std::error::Error as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use livery_core::id::OrgId;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use super::body::{Body, BodyLimits, Flow};
use super::coding::Decoding;
use super::identity::Identity;
use super::pool::{Permit, Pool, PoolKey};
use super::tls::{Offer, Tls};
use super::upload::{Leash, Outgoing, Pulse, Sent};
use super::wire::{Wire, as_one};
use super::{
    BrokerConfig, ConfigError, Credential, Inbound, Outbound, Relayed, Socket, Speech, Timeouts, Took, dial, headers,
};
use crate::error::{DenyReason, Phase};
use crate::grpc;
use crate::guard::resolve::{Resolver, check_without_lookup};
use crate::guard::{AddressGuard, Scheme, Target, UrlRefused};
use crate::scrub::{Framing, Matcher, MatcherCache, Scrubber, shown};
use crate::ws::handshake::Opening;
use crate::{Error, Result, Secret};

/// How long a pooled connection may take to be ready again before a new one is dialled.
const POOLED_READY: Duration = Duration::from_millis(50);

/// gRPC needs what an upstream does not speak.
const NOT_TWO: Error = Error::BadGateway { why: "HTTP/1.1, where gRPC takes HTTP/2" };

/// The way out. Cheap to clone; all clones share one pool.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Shared>,
}

struct Shared {
    guard: AddressGuard,
    resolver: Resolver,
    tls: Tls,
    pool: Arc<Pool>,
    matchers: MatcherCache,
    config: BrokerConfig,
}

impl Broker {
    /// Reads the operator's roots and prepares the resolver; opens no connection.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting to mend.
    pub fn new(config: BrokerConfig) -> Result<Self, ConfigError> {
        let inner = Shared {
            guard: AddressGuard::new(config.allow_upstream.clone(), config.own_addresses.clone()),
            resolver: Resolver::new(config.resolver, config.own_names.clone()),
            tls: Tls::new(config.upstream_ca.as_deref())?,
            pool: Pool::new(config.limits.clone()),
            matchers: MatcherCache::default(),
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether a URL could be dialled as far as can be told without a look-up: for refusing it when it is saved.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub fn check(&self, target: &Target) -> Result<()> {
        check_without_lookup(&self.inner.guard, &self.inner.config.own_names, target)
    }

    /// A connection to one of the target's checked addresses, for what speaks no HTTP.
    pub(crate) async fn dial(&self, target: &Target, timeouts: &Timeouts) -> Result<(TcpStream, SocketAddr)> {
        let addresses = self.inner.resolver.addresses(&self.inner.guard, target, timeouts.resolve).await?;
        dial::connect(&addresses, timeouts.connect).await
    }

    /// TLS on such a connection, without a protocol's name in the handshake.
    pub(crate) async fn secure(
        &self,
        stream: TcpStream,
        target: &Target,
        timeouts: &Timeouts,
    ) -> Result<TlsStream<TcpStream>> {
        self.inner.tls.handshake_as(None, stream, target.host(), timeouts.tls).await
    }

    /// A place among the tenant's calls under way.
    pub(crate) fn enter(&self, tenant: OrgId) -> Result<Permit> {
        self.inner.pool.enter(tenant)
    }

    /// Closes idle connections and forgets the matcher of a credential that was rotated, replaced or deleted.
    pub fn forget(&self, tenant: OrgId, owner: &str) {
        self.inner.pool.forget(tenant, owner);
        self.inner.matchers.forget(tenant, owner);
    }

    /// What leads to an upstream that is no HTTP.
    pub(super) fn way(&self) -> (&AddressGuard, &Resolver, &Tls) {
        (&self.inner.guard, &self.inner.resolver, &self.inner.tls)
    }

    /// A place among the tenant's calls.
    pub(super) fn place_of(&self, tenant: OrgId) -> Result<Permit> {
        self.inner.pool.enter(tenant)
    }

    /// Sends one call and returns when the head of the answer is there. Dropping the future abandons the call and closes
    /// its connection.
    ///
    /// # Errors
    /// Every [`Error`]; see [`Error::retryable`] and [`Error::nothing_sent`].
    pub async fn send(&self, call: Outbound) -> Result<Inbound> {
        let deadline = Instant::now() + call.timeouts.total;
        let permit = self.inner.pool.enter(call.tenant)?;
        timeout_at(deadline, Box::pin(self.inner.walk(call, permit, deadline)))
            .await
            .unwrap_or(Err(Error::Timeout { phase: Phase::Total }))
    }
}

impl Shared {
    async fn walk(&self, mut call: Outbound, permit: Permit, deadline: Instant) -> Result<Inbound> {
        let (mut head, derived) = headers::request(&mut call, &self.config.limits)?;
        let mut opening = (call.speech == Speech::WebSocket).then(Opening::new).transpose()?;
        if let Some(opening) = &mut opening {
            opening.put(head.headers_mut())?;
        }
        let outgoing = Outgoing::new(head, std::mem::take(&mut call.body));
        let matcher = call.credential.as_ref().and_then(|credential| self.matcher(call.tenant, credential, derived));
        let identity = call.credential.as_ref().and_then(Identity::of).transpose()?;
        let key = PoolKey {
            tenant: call.tenant,
            credential: call.credential.take().map(|credential| (credential.owner, credential.version)),
            scheme: call.target.scheme(),
            host: call.target.host().clone(),
            port: call.target.port(),
        };
        let Exchanged { wire, response, took, leash } = self.exchange(&key, Way::of(&call), identity, outgoing).await?;
        let (dialled, status) = (wire.peer, response.status());
        if let Some(opening) = opening.filter(|_| status == StatusCode::SWITCHING_PROTOCOLS) {
            opening.check(response.headers())?;
            let (headers, findings) = headers::project(response.headers(), call.relayed, matcher.as_deref());
            let scrubbed = matcher.is_some();
            let socket = Some(Socket::of(response, (wire, permit), matcher, deadline).await?);
            return Ok(Inbound { status, headers, body: Body::none(), scrubbed, findings, dialled, took, socket });
        }
        let (head, incoming) = response.into_parts();
        headers::check_head(head.status, &head.headers, call.response_bytes_max)?;
        let decoding = Decoding::of(&head.headers, call.response_bytes_max)?;
        // What it was asked in does not matter: whoever reads it goes by what it says of itself.
        let is_messages = matcher.is_some() && grpc::is_grpc(&head.headers);
        let messages = is_messages.then(|| grpc::Inlet::of(&head.headers));
        let (mut headers, findings) = headers::project(&head.headers, call.relayed, matcher.as_deref());
        if is_messages {
            headers.remove("grpc-encoding");
        } else if matcher.is_some() && hides_messages(&head.headers) {
            return Err(Error::BadGateway { why: "messages in a coding that cannot be searched" });
        }
        if decoding.is_active() {
            headers::forget_bytes(&mut headers);
        }
        let flow = Flow { incoming, wire, pool: Arc::clone(&self.pool), key, permit, leash };
        let limits = BodyLimits {
            idle: call.timeouts.idle,
            deadline,
            bytes_max: call.response_bytes_max,
            relayed: call.relayed,
        };
        let scrubbed = matcher.is_some();
        let body = Body::new(flow, decoding, scrubber(matcher, &head.headers), findings.len() as u64, &limits)
            .of_messages(messages);
        Ok(Inbound { status: head.status, headers, body, scrubbed, findings, dialled, took, socket: None })
    }

    /// What to look for in the answer. What was made for this request alone is in no matcher that is kept.
    fn matcher(&self, tenant: OrgId, credential: &Credential, derived: Option<Secret>) -> Option<Arc<Matcher>> {
        let mut secrets = credential.searched();
        match derived {
            None => self.matchers.get(tenant, &credential.owner, credential.version, &secrets),
            Some(derived) => {
                secrets.push(derived);
                Matcher::new(&secrets.iter().collect::<Vec<_>>(), shown(&credential.owner)).map(Arc::new)
            }
        }
    }

    /// Sends on a pooled connection if one takes the request, otherwise on a new one.
    async fn exchange(
        &self,
        key: &PoolKey,
        way: Way<'_>,
        identity: Option<Identity>,
        mut outgoing: Outgoing,
    ) -> Result<Exchanged> {
        let timeouts = way.timeouts;
        // A WebSocket has its connection to itself.
        let pooled = || (way.speech != Speech::WebSocket).then(|| self.pool.take(key)).flatten();
        while let Some(mut wire) = pooled() {
            let speaks = way.speech != Speech::Grpc || wire.share().is_some();
            // One in HTTP/1.1 that a tool left behind says nothing about what the upstream speaks if it is asked.
            if !speaks || !matches!(timeout(POOLED_READY, wire.ready()).await, Ok(Ok(()))) {
                continue;
            }
            let Some(request) = outgoing.request() else { return Err(Error::Cut) };
            let asked = Instant::now();
            match exchange_on(&mut wire, request, &outgoing.pulse, timeouts.first_byte).await {
                Ok(response) => {
                    let took = Took { first_byte: asked.elapsed(), ..Took::default() };
                    return Ok(Exchanged { wire, response, took, leash: outgoing.leash });
                }
                // The upstream had closed the idle connection. Not a byte left, or a second copy does no harm: once more, on a
                // new one. The pool still has one that is shared, and whoever refuses streams on it could be asked without end.
                Err(Refused { unsent: Some(request), .. }) => outgoing.unsent(as_one(*request)),
                Err(refused) if outgoing.is_repeatable() && refused.error == Error::Cut => {}
                Err(refused) => return Err(refused.error),
            }
            break;
        }
        let (mut wire, took) = self.open(way, identity).await?;
        match wire.share() {
            Some(shared) => self.pool.put(key.clone(), shared),
            None if way.speech == Speech::Grpc => return Err(NOT_TWO),
            None => {}
        }
        let Some(request) = outgoing.request() else { return Err(Error::Cut) };
        let asked = Instant::now();
        let response = exchange_on(&mut wire, request, &outgoing.pulse, timeouts.first_byte).await;
        let response = response.map_err(|refused| refused.error)?;
        let took = Took { first_byte: asked.elapsed(), ..took };
        Ok(Exchanged { wire, response, took, leash: outgoing.leash })
    }

    /// Resolve, check, dial one of the checked addresses, TLS if the scheme says so.
    async fn open(&self, way: Way<'_>, identity: Option<Identity>) -> Result<(Wire, Took)> {
        let Way { target, timeouts, speech, offer } = way;
        // A certificate is shown in a handshake, and there is none.
        if identity.is_some() && target.scheme() == Scheme::Http {
            return Err(Error::Denied { reason: DenyReason::PlaintextUpstream });
        }
        let (begun, limits) = (Instant::now(), &self.config.limits);
        let addresses = self.resolver.addresses(&self.guard, target, timeouts.resolve).await?;
        let resolve = begun.elapsed();
        let (stream, peer) = dial::connect(&addresses, timeouts.connect).await?;
        let wire = match target.scheme() {
            Scheme::Http => Wire::one(stream, peer, speech, limits).await?,
            Scheme::Https => {
                let stream = self.tls.handshake(stream, target.host(), identity, offer, timeouts.tls).await?;
                match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Wire::two(stream, peer, limits).await?,
                    _ => Wire::one(stream, peer, speech, limits).await?,
                }
            }
        };
        let connect = begun.elapsed().saturating_sub(resolve);
        Ok((wire, Took { resolve: Some(resolve), connect: Some(connect), ..Took::default() }))
    }
}

/// Where a request goes, how long that may take, and what is spoken then.
#[derive(Clone, Copy)]
struct Way<'a> {
    target: &'a Target,
    timeouts: &'a Timeouts,
    speech: Speech,
    offer: Offer,
}

impl<'a> Way<'a> {
    fn of(call: &'a Outbound) -> Self {
        // What models and tools ask for is one question and one answer; programs may want more.
        let offer = match call.speech {
            Speech::Http if call.relayed == Relayed::All => Offer::Both,
            Speech::Grpc => Offer::Both,
            Speech::Http | Speech::WebSocket => Offer::Http1,
        };
        Self { target: &call.target, timeouts: &call.timeouts, speech: call.speech, offer }
    }
}

/// A request that got one.
struct Exchanged {
    wire: Wire,
    response: Response<Incoming>,
    took: Took,
    leash: Leash,
}

/// A request that got no answer.
struct Refused {
    error: Error,
    /// The request itself, when not a byte of it had left.
    unsent: Option<Box<Request<Sent>>>,
}

/// Sends and waits for the head of the answer, for `first_byte` after the last piece of the body at most.
async fn exchange_on(
    wire: &mut Wire,
    request: Request<Sent>,
    pulse: &Pulse,
    first_byte: Duration,
) -> Result<Response<Incoming>, Refused> {
    let mut answered = pin!(wire.send(request));
    loop {
        match timeout_at(pulse.last() + first_byte, &mut answered).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(mut failed)) => {
                let unsent = failed.take_message().map(Box::new);
                return Err(Refused { error: classify(failed.error()), unsent });
            }
            // The body was still on its way.
            Err(_) if pulse.last() + first_byte > Instant::now() => {}
            Err(_) => return Err(Refused { error: Error::Timeout { phase: Phase::FirstByte }, unsent: None }),
        }
    }
}

fn hides_messages(headers: &http::HeaderMap) -> bool {
    headers.iter().any(|(name, value)| grpc::hides_messages(name.as_str(), value.as_bytes()))
}

fn scrubber(matcher: Option<Arc<Matcher>>, headers: &http::HeaderMap) -> Scrubber {
    let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Scrubber::new(matcher, Framing::of(content_type))
}

/// A protocol error in our words; the library's own may quote what the upstream sent.
pub(super) fn classify(error: &hyper::Error) -> Error {
    if error.is_parse_too_large() {
        return Error::TooLarge { what: "the head of the upstream's answer" };
    }
    if error.is_parse() {
        return Error::BadGateway { why: "something that is not HTTP" };
    }
    let malformed = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|io| matches!(io.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData));
    if malformed { Error::BadGateway { why: "a body with broken framing" } } else { Error::Cut }
}

impl From<UrlRefused> for Error {
    fn from(_: UrlRefused) -> Self {
        Self::BadRequest { why: "the URL or path is not in a form that can be sent" }
    }
}
