//! [`Door`]: the one way out of a run, whoever brings a request.
//!
//! ```text
//! look at it, ask the policies, ask a person ─▶ egress.denied                       nothing left
//!            ─▶ egress.requested ─▶ open the secret ─▶ send ─▶ egress.redacted … ─▶ egress.finished
//! ```
//!
//! The intent of a request that may change something is committed before the secret is opened; that of a `GET` or `HEAD`
//! before its answer is used.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use livery_broker::Credential;
use livery_broker::engine::{Access, Failed, How, Prepared, Refusal};
use livery_broker::transport::Inbound;
use livery_core::id::ConnectionId;
use livery_core::{Error, ErrorCode, EventType, RunError};
use livery_harness::Input;
use livery_store::RunRow;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::limits::{Denials, Pace};
use super::told::{Entry, Outcome, Told};
use super::{Event, REDACTED_MAX};
use crate::Platform;
use crate::connections::Bound;
use crate::effects::EffectKind;
use crate::patience::MayPass as _;
use crate::worker::ask::{self, Leave};
use crate::worker::drive::Signal;
use crate::worker::patience::{CALL_WAIT_MAX, read_patiently};
use crate::worker::step::ApprovalChange;

/// Requests of one run's programs that are under way at a time.
const AT_ONCE_MAX: usize = 32;
/// Bytes of answers that one life of a run takes in.
const ANSWERS_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// The way out of one run.
pub(in crate::worker) struct Door {
    platform: Platform,
    row: RunRow,
    signals: mpsc::Sender<Signal>,
    /// How often a credential was found in an answer, over all lives of the run.
    redacted: AtomicU32,
    received: AtomicU64,
    at_once: Arc<Semaphore>,
    pace: Mutex<Pace>,
    denials: Mutex<Denials>,
    /// Calls that waited for a person in an earlier life.
    held: BTreeSet<String>,
    over: CancellationToken,
}

/// What earlier lives of a run left at its door.
#[derive(Debug, Default)]
pub(in crate::worker) struct Earlier {
    /// How often a credential was found in an answer.
    pub(in crate::worker) redacted: u32,
    /// Calls that waited for a person.
    pub(in crate::worker) held: BTreeSet<String>,
}

/// A request that may leave.
pub(in crate::worker) struct Admitted {
    /// The request.
    pub(in crate::worker) prepared: Prepared,
    /// By which rule, and whose yes.
    pub(in crate::worker) leave: Leave,
}

impl Admitted {
    /// What is done when it is sent.
    pub(in crate::worker) fn effect(&self) -> EffectKind {
        if self.leave.is_approved() {
            EffectKind::ApprovedCall
        } else if self.prepared.is_safe() {
            EffectKind::ApiRead
        } else {
            EffectKind::ApiWrite
        }
    }
}

/// Why a request does not leave.
#[derive(Debug)]
pub(in crate::worker) enum Denied {
    /// It may not. The words are for whoever asked.
    No {
        /// The rule's stable name.
        rule: &'static str,
        /// Its words.
        reason: String,
    },
    /// It waits for a person; nothing of it was done.
    Held,
    /// The run is over, or somebody else's.
    Gone(RunError),
}

/// A request that was sent and has the head of its answer.
pub(in crate::worker) struct Begun {
    /// The answer.
    pub(in crate::worker) inbound: Inbound,
    /// The version of the credential it was sent with.
    pub(in crate::worker) version: u32,
}

/// Why a request that may leave has no answer.
pub(in crate::worker) enum Unanswered {
    /// There is no credential to send it with, in words.
    Unavailable(&'static str),
    /// It failed.
    Failed(Failed),
    /// The run is over, or somebody else's.
    Gone(RunError),
}

/// Events on their way to the log.
pub(super) struct Written(oneshot::Receiver<()>);

impl Written {
    /// Resolves when they are in the log.
    pub(super) async fn done(self) -> Result<(), RunError> {
        self.0.await.map_err(|_| gone())
    }
}

fn gone() -> RunError {
    RunError::retryable(ErrorCode::Internal, "the run is not this worker's any more".to_owned())
}

/// How a run ends whose upstreams give its credentials back.
pub(in crate::worker) fn quarantined() -> RunError {
    let message = format!(
        "a credential came back in {REDACTED_MAX} places of answers and was taken out each time; \
         see the run's egress.redacted events"
    );
    RunError::fatal(ErrorCode::Quarantined, message)
}

impl Door {
    /// Of a run whose news go to `signals`.
    pub(in crate::worker) fn new(
        platform: Platform,
        row: RunRow,
        signals: mpsc::Sender<Signal>,
        earlier: Earlier,
    ) -> Arc<Self> {
        let door = Arc::new(Self {
            row,
            signals,
            redacted: AtomicU32::new(earlier.redacted),
            received: AtomicU64::new(0),
            at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            pace: Mutex::default(),
            denials: Mutex::default(),
            held: earlier.held,
            over: CancellationToken::new(),
            platform: platform.clone(),
        });
        platform.running.doors.enter(door.row.id, &door);
        door
    }

    /// Closes it for good: what is under way is broken off.
    pub(in crate::worker) fn close(&self) {
        self.over.cancel();
    }

    /// Resolves when it is closed.
    pub(super) async fn closed(&self) {
        self.over.cancelled().await;
    }

    pub(in crate::worker) const fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The run, as it was when this life began.
    pub(in crate::worker) const fn row(&self) -> &RunRow {
        &self.row
    }

    /// Whether a call waited for a person in an earlier life, and did not go on since.
    pub(in crate::worker) fn was_held(&self, call_id: &str) -> bool {
        self.held.contains(call_id)
    }

    /// The connection of a slot as it is now.
    pub(in crate::worker) async fn bound(&self, slot: &str) -> Result<Option<Bound>, &'static str> {
        let bound = || self.platform.bound_connections(&self.row);
        let bound = read_patiently(self.row.id, "the connections", CALL_WAIT_MAX, bound).await;
        let mut bound = bound.map_err(|error| why(&error))?;
        Ok(bound.remove(slot))
    }

    /// The present value of a connection, for one request. Of the two that may be away, the database is waited for, and whoever
    /// gives tokens out is not.
    pub(super) async fn credential(&self, connection: ConnectionId) -> Result<Credential, &'static str> {
        let (platform, org) = (&self.platform, self.row.org);
        let opened = async || match platform.materialise(org, connection).await {
            Err(error) if error.may_pass() => {
                platform.store.get_connection(org, connection).await?;
                Ok(Err(error))
            }
            outcome => Ok(outcome),
        };
        let opened = read_patiently(self.row.id, "a credential", CALL_WAIT_MAX, opened).await;
        opened.and_then(|opened| opened).map_err(|error: Error| why(&error))
    }

    /// What a connection lets a request do.
    pub(in crate::worker) fn access(&self, bound: &Bound) -> Access {
        let connector = &bound.connector;
        Access {
            org: self.row.org,
            connection: bound.connection.to_string(),
            name: bound.slug.clone(),
            reach: connector.reach.clone(),
            slot: connector.slot.clone(),
            headers: connector.headers.clone(),
        }
    }

    /// Whether a request may leave: every front end asks here, for every request, before there is any secret. A refusal is in
    /// the log when this answers.
    pub(in crate::worker) async fn admit(
        &self,
        told: &Told,
        looked_at: Result<Prepared, Refusal>,
    ) -> Result<Admitted, Denied> {
        let (rule, reason, more) = match looked_at {
            Err(refusal) => (refusal.rule(), refusal.to_string(), json!({})),
            Ok(prepared) => match Box::pin(self.judge(told, prepared)).await {
                Ok((prepared, leave)) => return Ok(Admitted { prepared: leave.bind(prepared), leave }),
                Err(ask::Denied::Held) => return Err(Denied::Held),
                Err(ask::Denied::Gone(error)) => return Err(Denied::Gone(error)),
                Err(ask::Denied::No { rule, reason, more }) => (rule, reason, more),
            },
        };
        self.deny(told, rule, &reason, more).await;
        Err(Denied::No { rule, reason })
    }

    /// Tells of a refusal. What a model asks for is counted in turns; a program may try for ever.
    pub(super) async fn deny(&self, told: &Told, rule: &'static str, reason: &str, more: Value) {
        if told.is_by_model() || self.is_told(rule, &told.slot) {
            self.log(vec![told.denied(rule, reason, more)]).await;
        }
    }

    /// What policies, and people where those say so, say to a request.
    async fn judge(&self, told: &Told, prepared: Prepared) -> Result<(Prepared, Leave), ask::Denied> {
        let policies = ask::policies(self).await?;
        let looked = ask::look(&policies, self, told, &prepared);
        let leave = ask::settle(self, told.call_id(), looked).await?;
        Ok((prepared, leave))
    }

    /// Something a program tried that is no request through a connection.
    pub(super) async fn found(&self, rule: &'static str, host: &str) {
        if self.is_told(rule, host) {
            let data = json!({"front_end": "proxy", "rule": rule, "host": host});
            self.log(vec![(EventType::EgressDenied, data)]).await;
        }
    }

    /// Sends a request that was admitted, up to the head of its answer, unless `cut` comes first. The events of a failure are in the
    /// log when this answers.
    pub(in crate::worker) async fn send(
        &self,
        told: &Told,
        admitted: Admitted,
        how: How,
        cut: impl Future<Output = ()> + Send,
    ) -> Result<Begun, Unanswered> {
        let effect = admitted.effect();
        let Admitted { prepared, leave } = admitted;
        let requested = told.entry.requested(&prepared.facts(), &leave.told);
        let is_noted = leave.is_noted_first();
        let mut intent = if is_noted {
            leave.note(self, vec![requested]).await.map_err(Unanswered::Gone)?;
            None
        } else {
            Some(self.write(vec![requested], None).await.map_err(Unanswered::Gone)?)
        };
        let is_safe = prepared.is_safe();
        if let Some(intent) = intent.take_if(|_| !is_safe) {
            intent.done().await.map_err(Unanswered::Gone)?;
        }
        let credential = match self.credential(told.bound.connection).await {
            Ok(credential) => credential,
            Err(why) => {
                self.log(told.entry.ended(None, &Outcome::unavailable())).await;
                return Err(Unanswered::Unavailable(why));
            }
        };
        let opened = credential.version;
        let begun = self.platform.during(effect, self.begin(told, prepared, credential, how));
        let (version, begun) = tokio::select! {
            begun = begun => begun,
            () = cut => (opened, Err(Failed { error: livery_broker::Error::Revoked, findings: Vec::new(), dialled: None })),
        };
        match begun {
            Ok(inbound) => {
                if let Some(intent) = intent {
                    intent.done().await.map_err(Unanswered::Gone)?;
                }
                Ok(Begun { inbound, version })
            }
            Err(failed) => {
                let outcome = Outcome::failed(&failed);
                self.finish(&told.entry, Some(version), outcome).await.map_err(Unanswered::Gone)?;
                Err(Unanswered::Failed(failed))
            }
        }
    }

    /// Sends; and once more with the next token, when the upstream does not take this one (401) and a second copy does no harm.
    /// Nothing of the answer before is read. With which version of the credential, and what came of it.
    async fn begin(
        &self,
        told: &Told,
        prepared: Prepared,
        credential: Credential,
        how: How,
    ) -> (u32, Result<Inbound, Failed>) {
        let (org, connection, version) = (self.row.org, told.bound.connection, credential.version);
        let again = prepared.again();
        let begun = self.platform.broker.begin(prepared, credential, how).await;
        let Some(again) = again.filter(|_| begun.as_ref().is_ok_and(|inbound| inbound.status == 401)) else {
            return (version, begun);
        };
        if !matches!(self.platform.doubt_credential(org, connection, version).await, Ok(true)) {
            return (version, begun);
        }
        match self.platform.materialise(org, connection).await {
            Ok(next) => (next.version, self.platform.broker.begin(again, next, how).await),
            // No new token: the answer is the 401.
            Err(_) => (version, begun),
        }
    }

    /// Tells how a request ended, and with which version of the credential it was sent.
    ///
    /// # Errors
    /// The run is to end: a credential came back too often.
    pub(in crate::worker) async fn finish(
        &self,
        entry: &Entry,
        version: Option<u32>,
        outcome: Outcome,
    ) -> Result<(), RunError> {
        let more = u32::try_from(outcome.findings.len()).unwrap_or(u32::MAX);
        self.log(entry.ended(version, &outcome)).await;
        let found = self.redacted.fetch_add(more, Ordering::SeqCst).saturating_add(more);
        if found >= REDACTED_MAX { Err(quarantined()) } else { Ok(()) }
    }

    /// Tells that nobody waits for a request's answer any more.
    pub(super) async fn given_up(&self, entry: &Entry) {
        self.log(entry.ended(None, &Outcome::given_up())).await;
    }

    /// Ends the run.
    pub(super) async fn end_run(&self, error: RunError) {
        // Only a run that is over hears no signals.
        let _ = self.signals.send(Signal::Input(Input::Fatal { error })).await;
    }

    /// Whether one more may come now.
    pub(super) fn is_in_pace(&self) -> bool {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).allows()
    }

    /// A place among the requests under way, if there is one and they do not come too fast.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, livery_broker::proxy::Refusal> {
        if !self.pace.lock().unwrap_or_else(PoisonError::into_inner).allows() {
            return Err(livery_broker::proxy::Refusal::TooMany);
        }
        Arc::clone(&self.at_once).try_acquire_owned().map_err(|_| livery_broker::proxy::Refusal::Busy)
    }

    /// Whether the run may take in this much more.
    pub(super) fn takes_in(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        self.received.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= ANSWERS_BYTES_MAX
    }

    fn is_told(&self, rule: &'static str, what: &str) -> bool {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner).is_told(rule, what)
    }

    /// Has events written before anything that this task sends later. They may still be on their way when it returns.
    pub(super) async fn log(&self, events: Vec<Event>) {
        // Only a run that is over hears no signals.
        let _ = self.signals.send(Signal::Log(events, None, None)).await;
    }

    /// Has events written, with what becomes of an approval in the same commit, and waits until they are.
    ///
    /// # Errors
    /// When they were not, the approval's part included: nothing may be done then.
    pub(in crate::worker) async fn log_with(
        &self,
        events: Vec<Event>,
        approval: Option<ApprovalChange>,
    ) -> Result<(), RunError> {
        self.write(events, approval).await?.done().await
    }

    /// The same, without the waiting.
    pub(super) async fn write(
        &self,
        events: Vec<Event>,
        approval: Option<ApprovalChange>,
    ) -> Result<Written, RunError> {
        let (done, written) = oneshot::channel();
        self.signals.send(Signal::Log(events, approval, Some(done))).await.map_err(|_| gone())?;
        Ok(Written(written))
    }
}

/// Why there is no credential, in words that carry nothing of it.
fn why(error: &Error) -> &'static str {
    match error {
        Error::NotFound { .. } => "the connection does not exist any more",
        Error::Conflict { .. } => "the connection is revoked or has to be authorised again",
        _ => "the connection cannot be read now",
    }
}
