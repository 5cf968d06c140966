//! What the proxy asks for each request of a run's programs: its connections first, then the hosts its agent names.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use livery_broker::Target;
use livery_broker::engine::{How, Passing, Prepared};
use livery_broker::proxy::placeholder::{Pinned, Placeholder};
use livery_broker::proxy::{Answered, Asked, Direct, Finding, Gate, Refusal};
use livery_broker::transport::{Relayed, Timeouts};
use livery_core::connector::{Connector, OriginRef};
use livery_core::id::{ConnectionId, RunId};

use super::Door;
use super::answer::{Lent, Under, relay};
use super::database::Cancels;
use super::door::{Begun, Denied, Unanswered};
use super::limits::Pace;
use super::told::{Entry, FrontEnd, Told};
use super::watch::Watch;
use crate::Platform;

/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The way to one connection.
pub(super) struct Route {
    /// What the run calls it.
    pub(super) slot: String,
    pub(super) connection: ConnectionId,
    pub(super) connector: Connector,
    pub(super) placeholder: Placeholder,
}

impl Route {
    fn leads_to(&self, origin: &Target) -> bool {
        let host = origin.host().to_string();
        let origin = OriginRef { scheme: origin.scheme().as_str(), host: &host, port: origin.port() };
        self.connector.reach.origins.iter().any(|own| own.matches(&origin))
    }

    /// Where its placeholder may stand.
    pub(super) fn pinned(&self) -> Pinned {
        Pinned {
            placeholder: self.placeholder,
            name: self.slot.clone(),
            origins: self.connector.reach.origins.clone(),
            slot: self.connector.slot.clone(),
        }
    }
}

/// Decides for one run, and says in the log what it tried.
pub(super) struct RunGate {
    pub(super) platform: Platform,
    pub(super) run: RunId,
    pub(super) routes: Vec<Route>,
    pub(super) direct: Direct,
    /// Of what goes to the hosts that the agent names.
    pub(super) pace: Mutex<Pace>,
    pub(super) watch: Watch,
    pub(super) cancels: Cancels,
    /// How long the run may still take.
    pub(super) time: Duration,
}

impl Gate for RunGate {
    fn admits(&self, origin: &Target) -> bool {
        self.routes.iter().any(|route| route.leads_to(origin)) || self.direct.admits(origin)
    }

    fn base(&self, name: &str) -> Option<Target> {
        let route = self.routes.iter().find(|route| route.slot == name)?;
        Target::base_url(&route.connector.reach.base()?).ok()
    }

    async fn pass(&self, asked: Asked) -> Result<Answered, Refusal> {
        let door = self.door()?;
        let Some(route) = self.route(&door, &asked).await? else {
            return Box::pin(self.straight(door, asked)).await;
        };
        Box::pin(self.through(door, route, asked)).await
    }

    fn found(&self, finding: Finding) {
        let what = finding.what.as_str();
        tracing::warn!(run = %self.run, host = finding.host, what, "a run tried to get out where it may not");
        if let Ok(door) = self.door() {
            self.platform.tasks.spawn(async move { door.found(what, &finding.host).await });
        }
    }

    async fn revoked(&self, origin: Option<&Target>) {
        // With the run goes its sandbox, and every connection of its programs.
        let Some(origin) = origin else { return std::future::pending().await };
        let connections = self.routes.iter().filter(|route| route.leads_to(origin)).map(|route| route.connection);
        self.watch.changed(&connections.collect::<Vec<_>>()).await;
    }
}

impl RunGate {
    /// The door of the run's present life.
    pub(super) fn door(&self) -> Result<Arc<Door>, Refusal> {
        self.platform.running.doors.of(self.run).ok_or(Refusal::Unavailable { why: "the run is over" })
    }

    /// Tells that somebody logged in to a database as nobody it knows.
    pub(super) async fn tried(&self, user: &str) {
        let is_known = self.routes.iter().any(|route| route.slot == user);
        if let Ok(door) = self.door() {
            // What a program made up is no name for a log.
            door.found("placeholder_in_login", if is_known { user } else { "postgres" }).await;
        }
    }

    /// Which connection a request goes through: whose placeholder it holds, or else the only one that leads there.
    async fn route(&self, door: &Door, asked: &Asked) -> Result<Option<&Route>, Refusal> {
        let mut fitting = self.routes.iter().filter(|route| {
            asked.named.as_ref().is_none_or(|named| *named == route.slot) && route.leads_to(&asked.target)
        });
        let first = fitting.next();
        if fitting.next().is_none() {
            return Ok(first);
        }
        let rule = "ambiguous_connection";
        door.found(rule, &asked.target.host().to_string()).await;
        let reason =
            "several connections of this run go there: send the placeholder of the one that is meant".to_owned();
        Err(Refusal::Denied { rule, reason })
    }

    async fn through(&self, door: Arc<Door>, route: &Route, asked: Asked) -> Result<Answered, Refusal> {
        let place = door.enter()?;
        let bound = door.bound(&route.slot).await.map_err(|why| Refusal::Unavailable { why })?;
        let bound = bound.ok_or(Refusal::Unavailable { why: "the connection does not exist any more" })?;
        let watched = self.watch.of(bound.connection, bound.version);
        let told = Told::new(FrontEnd::Proxy, route.slot.clone(), bound);
        let headers = asked.header_pairs()?;
        let Asked { target, method, body, speech, .. } = asked;
        let (body, account) = body.upload().await?;
        let host = target.host().to_string();
        let passing = Passing { target, method: word(&method), headers, body, speech };
        let looked_at = Prepared::passing(door.access(&told.bound), passing);
        let admitted = match door.admit(&told, looked_at).await {
            Ok(admitted) => admitted,
            Err(Denied::No { rule, reason }) => return Err(Refusal::Denied { rule, reason }),
            // A program's request is not held: it is told to ask by `call_api`.
            Err(Denied::Held) => return Err(Refusal::Unavailable { why: "a person has to approve it" }),
            Err(Denied::Gone(error)) => {
                door.end_run(error).await;
                return Err(Refusal::Unavailable { why: "the run is over" });
            }
        };
        let entry = Arc::clone(&told.entry);
        let given_up = GivenUp::by(&door, &entry);
        let sent = tokio::select! {
            sent = door.send(&told, admitted, self.how(), watched.is_old()) => sent,
            () = door.closed() => return Err(Refusal::Unavailable { why: "the run is over" }),
        };
        given_up.disarm();
        match sent {
            Ok(Begun { inbound, version }) => {
                let credential = Some(Lent { watched, version });
                Ok(relay(Under { door, entry, account, credential, place, host }, inbound))
            }
            Err(Unanswered::Unavailable(why)) => Err(Refusal::Unavailable { why }),
            Err(Unanswered::Failed(failed)) => {
                let stopped = account.and_then(|account| account.stopped());
                Err(stopped.unwrap_or(Refusal::Upstream(failed.error)))
            }
            Err(Unanswered::Gone(error)) => {
                door.end_run(error).await;
                Err(Refusal::Unavailable { why: "the run is over" })
            }
        }
    }

    fn how(&self) -> How {
        let timeouts = Timeouts { total: self.time, ..Timeouts::default() };
        How { timeouts, answer_bytes_max: ANSWER_BYTES_MAX, relayed: Relayed::All }
    }
}

/// A request whose program hung up, or whose tunnel was cut, before there was an answer. It is abandoned, and the log says so.
pub(super) struct GivenUp {
    door: Arc<Door>,
    entry: Arc<Entry>,
    is_armed: bool,
}

impl GivenUp {
    pub(super) fn by(door: &Arc<Door>, entry: &Arc<Entry>) -> Self {
        Self { door: Arc::clone(door), entry: Arc::clone(entry), is_armed: true }
    }

    pub(super) fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if self.is_armed {
            let (door, entry) = (Arc::clone(&self.door), Arc::clone(&self.entry));
            self.door.platform().tasks.spawn(async move { door.given_up(&entry).await });
        }
    }
}

fn word(method: &Method) -> String {
    method.as_str().to_owned()
}
