//! Recorded replay: the log is read here and compared in `harness::replay`, on a thread of its own.

use livery_core::id::RunId;
use livery_core::{Error, EventType, Result};
use livery_harness::replay::bundle::{self, Bundle};
use livery_harness::replay::{Logged, Report, replay};
use livery_harness::{Loop, Setup};
use livery_store::RunRow;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::worker::{models_of, setup_of};
use crate::{Caller, Platform, Posted, Principal, Scope};

/// Most events of a run that is replayed in one request.
pub const REPLAY_EVENTS_MAX: u64 = bundle::EVENTS_MAX as u64;
/// Most bytes of payloads of a run that is replayed in one request.
pub const REPLAY_BYTES_MAX: usize = bundle::PAYLOAD_BYTES_MAX;
/// Events read at a time.
const EVENTS_READ: u32 = 1000;
/// Replays of a node at a time; more wait. They take memory and a core, and nobody's run may wait for them.
static SLOTS: Semaphore = Semaphore::const_new(2);

/// What a recorded replay found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplayReport {
    /// The run.
    pub run: RunId,
    /// What was found.
    #[serde(flatten)]
    pub report: Report,
}

impl Platform {
    /// Replays a finished run from its log: no network, no sandbox, no effect.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for a run that is not over; [`Error::TooLarge`] beyond
    /// [`REPLAY_BYTES_MAX`], [`Error::Invalid`] beyond [`REPLAY_EVENTS_MAX`].
    pub async fn replay_recorded(&self, caller: &Caller, run: RunId) -> Result<Posted<ReplayReport>> {
        let principal = &caller.principal;
        principal.require(Scope::RunsRead)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let report = self.replay_report(principal, run).await?;
        if caller.idempotency.is_none() {
            return Ok(Posted::Fresh(report));
        }
        self.post(caller, move |_| Box::pin(async move { Ok(report) })).await
    }

    async fn replay_report(&self, principal: &Principal, run: RunId) -> Result<ReplayReport> {
        let row = self.finished_run(principal, run).await?;
        // Closed never: it is static.
        let _slot = SLOTS.acquire().await.map_err(Error::internal)?;
        let (setup, events) = self.replayable(&row).await?;
        let rules = Loop::new(setup).map_err(|error| Error::internal(error.message))?;
        let compared = tokio::task::spawn_blocking(move || replay(&rules, &events));
        Ok(ReplayReport { run, report: compared.await.map_err(Error::internal)? })
    }

    /// A finished run in one file, to be replayed elsewhere.
    ///
    /// # Errors
    /// Those of [`Platform::replay_recorded`]; [`Error::TooLarge`] beyond [`bundle::BUNDLE_BYTES_MAX`].
    pub async fn export_run(&self, principal: &Principal, run: RunId) -> Result<String> {
        principal.require(Scope::RunsRead)?;
        let row = self.finished_run(principal, run).await?;
        // Closed never: it is static.
        let _slot = SLOTS.acquire().await.map_err(Error::internal)?;
        let (setup, events) = self.replayable(&row).await?;
        let bundle = Bundle { run, status: row.status, setup, events };
        let text = tokio::task::spawn_blocking(move || bundle.text()).await.map_err(Error::internal)?;
        if text.len() > bundle::BUNDLE_BYTES_MAX {
            return Err(Error::TooLarge { what: "the run's bundle", limit_bytes: bundle::BUNDLE_BYTES_MAX as u64 });
        }
        Ok(text)
    }

    async fn finished_run(&self, principal: &Principal, run: RunId) -> Result<RunRow> {
        let row = self.visible_run(principal, run).await?;
        if !row.status.is_terminal() {
            let detail = format!("the run is {}; it can be replayed once it is over", row.status);
            return Err(Error::Conflict { code: "conflict", detail });
        }
        Ok(row)
    }

    /// What a run's loop is built from, and its log.
    async fn replayable(&self, row: &RunRow) -> Result<(Setup, Vec<Logged>)> {
        let events = self.logged_events(row).await?;
        let agent = self.load_agent(row.org, row.agent_id).await?;
        let queued = events.iter().find(|event| event.event_type == EventType::RunQueued.as_str());
        let queued = queued.and_then(|event| serde_json::from_str(event.data.as_deref()?).ok()).unwrap_or_default();
        // A run.queued that cannot be read any more is a finding of the replay, not a fault: the run's row has the model.
        let models =
            models_of(&queued).or_else(|_| row.model.parse().map(|model| vec![model]).map_err(Error::internal))?;
        Ok((setup_of(row, &agent, models)?, events))
    }

    /// Replays an exported run, with what is in the file alone.
    ///
    /// # Errors
    /// The sentence of what in it no loop can be built from.
    pub fn replay_bundle(bundle: Bundle) -> std::result::Result<ReplayReport, String> {
        let Bundle { run, setup, events, .. } = bundle;
        let rules = Loop::new(setup).map_err(|error| error.message)?;
        Ok(ReplayReport { run, report: replay(&rules, &events) })
    }

    /// A run's whole log, spilled payloads in their place.
    pub(crate) async fn logged_events(&self, row: &RunRow) -> Result<Vec<Logged>> {
        if row.last_seq > REPLAY_EVENTS_MAX {
            let detail = format!("the run has {} events; at most {REPLAY_EVENTS_MAX} can be replayed", row.last_seq);
            return Err(Error::invalid_field("", detail));
        }
        let mut events: Vec<Logged> = Vec::new();
        let mut bytes = 0;
        loop {
            let after = events.last().map_or(0, |event| event.seq);
            let page = self.store.stored_events_after(row.org, row.id, after, EVENTS_READ).await?;
            if page.is_empty() {
                return Ok(events);
            }
            for event in page {
                let event = self.logged(row.org, event).await?;
                bytes += event.data.as_ref().map_or(0, String::len);
                if bytes > REPLAY_BYTES_MAX {
                    return Err(Error::TooLarge { what: "the run's log", limit_bytes: REPLAY_BYTES_MAX as u64 });
                }
                events.push(event);
            }
        }
    }
}
