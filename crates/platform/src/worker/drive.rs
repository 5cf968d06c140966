//! One run from claim to end: what happened goes into the loop, what the loop decides is committed, then performed.
//!
//! ```text
//! input ─▶ Loop::decide ─▶ commit records ─▶ apply ─▶ perform effects ─▶ input …
//! ```

mod asked;
mod left;
mod shells;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use livery_core::agent::{ModelRef, SandboxSpec};
use livery_core::run::{Cost, Pricing, Usage};
use livery_core::{Error, ErrorCode, EventType, Result, RunError, Timestamp};
use livery_harness::record::SandboxFate;
use livery_harness::{Decision, Effect, Input, Loop, Record, State};
use livery_store::{ClaimedRun, Json, Lease, Progress, RunRow};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use self::asked::Asked;
use self::left::Left;
pub(super) use self::shells::Deed;
use super::egress::{REDACTED_MAX, quarantined};
use super::hands::{Hands, Leaving};
use super::resume::{self, Log};
use super::running::Entry;
use super::snapshot::Copies;
use super::step::{ApprovalChange, Step, Written};
use super::{model, setdown, setup_of, tools, waiting};
use crate::Platform;
use crate::agents::LoadedAgent;
use crate::crash::Commit;
use crate::effects::{EffectKind, Phase};
use crate::runs::Fork;
use crate::webhooks::Outbox;

/// News of a run's own tasks that wait to be taken in.
const SIGNALS_MAX: usize = 64;
/// What a write may take out of a run's time; beyond it the store is slow, which is no fault of the run.
const WRITE_TIME: Duration = Duration::from_secs(1);

/// News from a task of the run.
pub(super) enum Signal {
    /// For the loop.
    Input(Input),
    /// For the log alone.
    Event(EventType, serde_json::Value),
    /// Several of them in one commit, with what becomes of an approval; told when they are written.
    Log(Vec<(EventType, serde_json::Value)>, Option<ApprovalChange>, Option<oneshot::Sender<()>>),
    /// Somebody else than the worker did something: for the log, and told when it is written.
    Acted(Deed),
    /// A call waits for a person; nothing of it was done.
    Held,
    /// Somebody wants a snapshot of the workspace as it is between two steps.
    Snapshot(Asked),
}

/// Why a run is let go without an end.
enum Let {
    /// Somebody else holds the lease.
    Lost,
    /// This node stops; the run goes on in its next life, or on another node.
    Released,
    /// The launcher died, and its sandbox with it: the run goes on in another one.
    Interrupted,
    /// Everything that is left waits for a person: the run holds nothing until somebody answers.
    Waiting,
}

struct Drive {
    platform: Platform,
    row: RunRow,
    lease: Lease,
    entry: Entry,
    agent: Arc<LoadedAgent>,
    rules: Loop,
    state: State,
    models: Vec<ModelRef>,
    hands: Arc<Hands>,
    copies: Arc<Copies>,
    outbox: Outbox,
    signals: mpsc::Receiver<Signal>,
    sender: mpsc::Sender<Signal>,
    tasks: JoinSet<()>,
    /// The one that copies the workspace.
    copying: Option<AbortHandle>,
    /// Effects under way that must not be torn: tools.
    tools: usize,
    /// Who waits for a snapshot.
    asked: Vec<Asked>,
    /// People's shells that the log has open.
    shells: Vec<shells::Open>,
    /// What snapshots added to its time.
    extended: Duration,
    /// Calls that wait for a person.
    held: usize,
    /// Whether the run waited until this life, and for how long it did in all, in milliseconds.
    waited: (u64, bool),
    tool_slots: Arc<Semaphore>,
    deadline: Instant,
    /// The last sequence of the run's stream, as far as this life has written it.
    head: u64,
}

/// Works on a claimed run until it ends, is lost, or the node stops.
pub(super) async fn drive(platform: Platform, claimed: ClaimedRun) {
    let (lease, row) = (claimed.lease, claimed.run.clone());
    // Entered first: from here on the heartbeat keeps the lease, however long the log takes to read.
    let entry = platform.running.enter(lease);
    platform.metrics.run_claimed(&claimed);
    let prepared = {
        // Closed never.
        let _turn = platform.setups.acquire().await;
        Box::pin(prepare(platform.clone(), claimed, entry)).await
    };
    match prepared {
        Ok((mut drive, first)) => {
            let outcome = Box::pin(drive.go(first)).await;
            drive.tasks.shutdown().await;
            drive.hang_up(outcome.as_ref().err()).await;
            if matches!(outcome, Err(Let::Released | Let::Waiting)) && platform.config.snapshots {
                drive.copies.take_last(&drive.hands, lease).await;
            }
            let leaving = match &outcome {
                Ok(()) => Leaving::Over,
                Err(Let::Lost) => Leaving::Lost,
                Err(Let::Released | Let::Interrupted | Let::Waiting) => Leaving::ForNow,
            };
            // A later life of the run on this node has taken the sandbox over: it is not this one's to end.
            if leaving == Leaving::Over || !platform.running.is_succeeded(lease) {
                drive.hands.close(lease, leaving).await;
            }
            match outcome {
                Ok(()) => {}
                Err(Let::Lost) => {
                    platform.metrics.lease_lost();
                    tracing::info!(run = %lease.run, "the lease is lost; another worker has the run");
                }
                Err(Let::Released) => setdown::release(&platform, lease).await,
                Err(Let::Interrupted) => setdown::interrupt(&platform, lease).await,
                Err(Let::Waiting) => waiting::wait(&platform, lease, &drive.outbox, drive.progress(&drive.state)).await,
            }
        }
        Err(error) => setdown::set_down(&platform, lease, &row, error).await,
    }
}

/// Builds everything a run needs from its rows and its log, and the first input.
async fn prepare(platform: Platform, claimed: ClaimedRun, entry: Entry) -> Result<(Drive, Input), RunError> {
    let internal = |error: Error| {
        RunError::retryable(ErrorCode::Internal, format!("the run could not be set up: {}", error.code()))
    };
    let ClaimedRun { lease, run: row, resumed, .. } = claimed;
    if row.recoveries > platform.config.recoveries_max {
        let message = format!("the run was interrupted {} times; its log has the whole story", row.recoveries);
        return Err(RunError::fatal(ErrorCode::Internal, message));
    }
    let agent = platform.load_agent(row.org, row.agent_id).await.map_err(internal)?;
    let mut log = Log::read(&platform, &row, resumed).await.map_err(internal)?;
    let mut spec: SandboxSpec = row.sandbox.parse().map_err(|error| internal(Error::from(error)))?;
    spec.image = log.image.take().unwrap_or(spec.image);
    let rules = Loop::new(setup_of(&row, &agent, log.models.clone()).map_err(internal)?)?;
    if row.cancel_requested_at.is_some() {
        entry.signals.cancel.cancel();
    }
    let (sender, signals) = mpsc::channel(SIGNALS_MAX);
    let now = platform.clock.now();
    let waited = log.waited_until(now);
    let left = time_left(&row, now, waited.0);
    let (sandbox, copy) = resume::fate(&platform, lease, &row, &log).await.map_err(internal)?;
    let filled = sandbox == SandboxFate::Restarted;
    let recovery = resume::recovery(&platform, &row, &log, copy.as_ref());
    let (stood, tier) = (log.had_sandbox, log.tier);
    let (persists, opened, changed) = (log.persists, log.opened, log.may_have_changed());
    let (redacted, held) = (log.redacted, log.held);
    let workspace = super::hands::Left { stood, tier, filled, copy, redacted, held, persists, opened, changed };
    let hands = Hands::new(platform.clone(), &row, Arc::clone(&agent), spec, workspace, left, sender.clone());
    let first = match log.fork {
        _ if redacted >= REDACTED_MAX => Input::Fatal { error: quarantined() },
        Some(Fork { sandbox, model, note, .. }) => Input::Forked { sandbox, model, note },
        None if log.started => Input::Recovered { sandbox, recovery },
        None => Input::Start,
    };
    let hands = Arc::new(hands);
    platform.running.standing.enter(row.id, &hands);
    entry.listen(sender.clone());
    let drive = Drive {
        asked: Vec::new(),
        shells: Vec::new(),
        extended: Duration::ZERO,
        outbox: Outbox::of_run(platform.clone(), &row).map_err(internal)?,
        tool_slots: Arc::new(Semaphore::new(platform.config.parallel_tools_max)),
        deadline: Instant::now() + left,
        head: row.last_seq,
        hands,
        copies: Arc::new(Copies::default()),
        tasks: JoinSet::new(),
        copying: None,
        tools: 0,
        held: 0,
        waited,
        models: log.models,
        state: log.state,
        platform,
        row,
        lease,
        entry,
        agent,
        rules,
        signals,
        sender,
    };
    Ok((drive, first))
}

/// What is left of the run's time: it counts from its first start, without what it waited for people.
fn time_left(row: &RunRow, now: Timestamp, waited_ms: u64) -> Duration {
    let limit_ms = row.limits.timeout_s().saturating_mul(1000);
    let used_ms = row.started_at.map_or(0, |started| now.millis_since(started)).saturating_sub(waited_ms);
    Duration::from_millis(limit_ms.saturating_sub(used_ms))
}

impl Drive {
    async fn go(&mut self, first: Input) -> Result<(), Let> {
        let mut opening = matches!(first, Input::Start | Input::Forked { .. })
            .then_some((EventType::RunStarted, json!({"node": self.platform.identity.id})));
        if let (waited_ms, true) = self.waited {
            opening = Some((EventType::RunResumed, json!({"node": self.platform.identity.id, "waited_ms": waited_ms})));
        }
        if self.state.is_finished() {
            return Err(Let::Lost);
        }
        let mut input = first;
        loop {
            let decision = self.rules.decide(&self.state, input);
            let changed = self.note_change(&decision);
            let over = self.commit(&decision, opening.take()).await?;
            if over {
                return Ok(());
            }
            decision.records.iter().for_each(|record| self.state.apply(record));
            if changed {
                self.copy_workspace();
            }
            if self.may_leave(&decision) {
                return Err(Let::Released);
            }
            for effect in decision.effects {
                self.perform(effect);
            }
            self.answer_asked().await;
            input = self.next_input().await?;
        }
    }

    /// Whether the node stops and nothing would be torn by leaving now: what is pending is safe to begin again.
    fn may_leave(&self, decision: &Decision) -> bool {
        let safe = |effect: &Effect| matches!(effect, Effect::CallModel { .. } | Effect::RetryAfter { .. });
        self.platform.stop.is_cancelled() && self.tools == 0 && decision.effects.iter().all(safe)
    }

    /// Writes a decision down, in one commit with what it means for the run's row and its webhooks. `true` at the end.
    async fn commit(
        &mut self,
        decision: &Decision,
        opening: Option<(EventType, serde_json::Value)>,
    ) -> Result<bool, Let> {
        let terminal = decision.records.iter().find_map(Record::terminal);
        if decision.records.is_empty() && opening.is_none() {
            return Ok(false);
        }
        let left = self.collect(terminal.as_ref()).await;
        let mut state = self.state.clone();
        decision.records.iter().for_each(|record| state.apply(record));
        let mut written = self.writing(&state);
        if let Some((event_type, data)) = opening {
            written.event(event_type, data.to_string()).await.map_err(|error| lost(&error.into()))?;
        }
        let left = left.told(&mut written).await.map_err(|error| lost(&error.into()))?;
        for record in &decision.records {
            written.event(record.event_type(), record.data_json()).await.map_err(|error| lost(&error.into()))?;
        }
        let over = terminal.is_some();
        self.reached(decision, &state, Commit::Ahead);
        self.write(written, terminal, left).await?;
        self.reached(decision, &state, Commit::Made);
        Ok(over)
    }

    /// A call is known in the state in which it begins and in the one in which it ends.
    fn reached(&self, decision: &Decision, after: &State, commit: Commit) {
        let may_repeat = |call: &str| [&self.state, after].iter().any(|state| self.rules.may_repeat(state, call));
        self.platform.reached_commit(&decision.records, commit, may_repeat);
    }

    async fn write(
        &mut self,
        written: Written,
        terminal: Option<livery_harness::Terminal>,
        left: Left,
    ) -> Result<(), Let> {
        let (lease, head) = (self.lease, self.head);
        let (events, spilled, progress, now) = (written.events, written.spilled, written.progress, written.now);
        let approval = written.approval;
        let end = terminal
            .map(|end| {
                Ok::<_, livery_store::Error>(livery_store::Terminal {
                    status: end.status,
                    output: end.output.as_ref().map(Json::of).transpose()?,
                    error: end.error,
                    usage: progress.usage,
                    cost: progress.cost,
                    finished_at: now,
                })
            })
            .transpose()
            .map_err(|error| lost(&error.into()))?;
        let Left { artifacts, save } = left;
        let written = head + events.len() as u64;
        let outbox = self.outbox.clone();
        let has_spilled = !spilled.is_empty();
        let platform = self.platform.clone();
        let given_up = OnceLock::new();
        let step =
            Step { platform, lease, head, events, spilled, artifacts, progress, end, approval, save, given_up, outbox };
        let (step, began) = (Arc::new(step), Instant::now());
        let result = step.commit(&self.entry.signals.lost).await;
        // What the store kept the run waiting is not the run's own time.
        self.deadline += began.elapsed().saturating_sub(WRITE_TIME);
        self.head = written;
        if let (Ok(()), Some(end)) = (&result, &step.end) {
            let took_ms = self.row.started_at.map_or(0, |started| end.finished_at.millis_since(started));
            self.platform.metrics.run_ended(end.status, Duration::from_millis(took_ms));
            self.platform.trace_run(&self.row, end).await;
        }
        result.map_err(|error| lost(&error.into()))?;
        if has_spilled {
            self.platform.reached(EffectKind::Spill, Phase::Committed);
        }
        Ok(())
    }

    /// Starts an effect; what it leads to comes back as a signal.
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::CallModel { .. } => {
                let call = model::Call::new(&self.platform, &self.row, Arc::clone(&self.agent), effect);
                let sender = self.sender.clone();
                self.tasks.spawn(async move {
                    let input = Box::pin(call.perform()).await;
                    send(&sender, Signal::Input(input)).await;
                });
            }
            Effect::RetryAfter { step, delay_ms } => {
                let (sender, platform) = (self.sender.clone(), self.platform.clone());
                self.tasks.spawn(async move {
                    platform.during(EffectKind::RetryWait, tokio::time::sleep(Duration::from_millis(delay_ms))).await;
                    platform.reached(EffectKind::RetryWait, Phase::After);
                    send(&sender, Signal::Input(Input::RetryDue { step })).await;
                });
            }
            Effect::RunTool { call_id, invocation, .. } => {
                self.tools += 1;
                let (hands, sender, slots) =
                    (Arc::clone(&self.hands), self.sender.clone(), Arc::clone(&self.tool_slots));
                self.tasks.spawn(async move {
                    // Closed never: the semaphore lives as long as the run.
                    let _slot = slots.acquire().await;
                    let input = Box::pin(tools::perform(&hands, call_id, invocation)).await;
                    send(&sender, input.map_or(Signal::Held, Signal::Input)).await;
                });
            }
            // Its record was committed before; `commit` ended the run.
            Effect::Finish(_) => {}
        }
    }

    /// What happens next: an effect's result, a cancellation, the end of the time, or the node's end.
    async fn next_input(&mut self) -> Result<Input, Let> {
        loop {
            let signals = self.entry.signals.clone();
            if self.tools == 0 && self.held > 0 && !signals.cancel.is_cancelled() && !signals.lost.is_cancelled() {
                return Err(Let::Waiting);
            }
            let signal = tokio::select! {
                biased;
                () = signals.lost.cancelled() => return Err(Let::Lost),
                () = signals.cancel.cancelled() => return Ok(Input::Cancel { reason: None }),
                () = tokio::time::sleep_until(self.deadline) => return Ok(Input::TimedOut),
                signal = self.signals.recv() => signal,
                // A tool under way is waited for; a model call is begun again by whoever goes on.
                () = self.platform.stop.cancelled(), if self.tools == 0 => return Err(Let::Released),
            };
            match signal {
                Some(Signal::Input(input)) => {
                    if matches!(input, Input::ToolDone { .. }) {
                        self.tools = self.tools.saturating_sub(1);
                    }
                    // A node that stops takes its sandboxes down under tools that outlast the drain. That is no fault of the
                    // run: it goes on after the next start, where the model is told what is not known.
                    if matches!(input, Input::Fatal { .. }) && self.platform.stop.is_cancelled() {
                        return Err(Let::Released);
                    }
                    if matches!(input, Input::Fatal { .. }) && self.hands.went_with_launcher() {
                        return Err(Let::Interrupted);
                    }
                    return Ok(input);
                }
                Some(Signal::Event(event_type, data)) => {
                    let mut written = self.writing(&self.state);
                    written.event(event_type, data.to_string()).await.map_err(|error| lost(&error.into()))?;
                    self.write(written, None, Left::default()).await?;
                    if event_type == EventType::WorkspaceOpened {
                        self.platform.reached(EffectKind::WorkspaceOpen, Phase::Committed);
                    }
                    if event_type == EventType::SandboxStarted {
                        self.platform.reached(EffectKind::SandboxFill, Phase::Committed);
                    }
                }
                Some(Signal::Acted(deed)) => self.take_in(deed).await?,
                Some(Signal::Snapshot(asked)) => {
                    self.ask(asked);
                    self.answer_asked().await;
                }
                Some(Signal::Held) => {
                    self.tools = self.tools.saturating_sub(1);
                    self.held += 1;
                }
                Some(Signal::Log(events, approval, done)) => {
                    let mut written = self.writing(&self.state);
                    written.approval = approval;
                    for (event_type, data) in events {
                        written.event(event_type, data.to_string()).await.map_err(|error| lost(&error.into()))?;
                    }
                    self.write(written, None, Left::default()).await?;
                    if let Some(done) = done {
                        // Who asked may have been given up meanwhile.
                        let _ = done.send(());
                    }
                }
                // This very struct holds a sender, so the channel cannot close.
                None => return Err(Let::Lost),
            }
        }
    }

    /// A commit about to be put together.
    fn writing(&self, state: &State) -> Written {
        Written {
            platform: self.platform.clone(),
            run: self.row.id,
            org: self.row.org,
            application: self.row.application,
            lost: self.entry.signals.lost.clone(),
            events: Vec::new(),
            spilled: Vec::new(),
            approval: None,
            progress: self.progress(state),
            now: self.platform.clock.now(),
        }
    }

    fn progress(&self, state: &State) -> Progress {
        let usage = Usage { sandbox_ms: self.hands.stood_ms(), ..state.usage() };
        let cost = state.cost();
        let free = self.models.iter().all(ModelRef::is_scripted);
        let pricing = if free || (usage.turns == 0 && cost.pricing == Pricing::Free) {
            self.row.cost.pricing
        } else {
            cost.pricing
        };
        Progress { usage, cost: Cost { usd: cost.usd, pricing } }
    }
}

/// A commit that cannot be written ends this worker's part: the lease runs out, and the run goes on from its log.
fn lost(error: &Error) -> Let {
    if *error != Error::LeaseLost {
        tracing::error!(%error, "a step of a run could not be written; the run goes on when its lease runs out");
    }
    Let::Lost
}

/// The receiver is gone only when the run is over; then the news matters to nobody.
async fn send(sender: &mpsc::Sender<Signal>, signal: Signal) {
    if sender.send(signal).await.is_err() {
        tracing::debug!("news for a run that is over");
    }
}
