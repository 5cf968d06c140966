//! A run that goes on from the middle of another, and a run that repeats another.
//!
//! A fork's log begins with its own `run.queued`, then copies of the other run's records up to the chosen point: it stays
//! whole when the other run is deleted. The point is one at which a model was about to be asked, so nothing is in flight
//! there; its first own record is `run.forked`. What the other run used up is not charged again.

use livery_core::agent::{ModelRef, SandboxOverride, SandboxSpec, WorkspaceOverride};
use livery_core::id::RunId;
use livery_core::{Error, EventType, Result};
use livery_harness::record::{Note, Record, SandboxFate};
use livery_harness::replay::Logged;
use livery_store::{FileRole, FileRow, Json, NewEvent, RunRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::{AgentSource, StartRun};
use super::start::{Cause, Queueing};
use super::view::RunView;
use crate::worker::models_of;
use crate::{Caller, Platform, Posted, Scope};

/// Who wrote the events that a fork has from another run.
const ACTOR: &str = "fork";

/// `POST /v1/runs/{id}/fork`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkRun {
    /// After which event; rounded down to the last point at which a model was about to be asked.
    pub from_seq: u64,
    /// Another input: only before the first model call, because afterwards the conversation has begun with the first one.
    #[serde(default)]
    pub input: Option<Value>,
    /// Another model from there on.
    #[serde(default)]
    pub model: Option<String>,
    /// Another agent, or another version, from there on.
    #[serde(default)]
    pub agent: Option<AgentSource>,
}

/// Where a run comes from, as its row keeps it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Origin {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) forked_from: Option<ForkedFrom>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fork: Option<Fork>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replay_of: Option<RunId>,
}

impl Origin {
    /// The origin in a row; an empty one for a run that has none.
    pub(super) fn of(json: Option<&Json>) -> Result<Self> {
        Ok(json.map(Json::parse).transpose()?.unwrap_or_default())
    }

    /// Adds itself to the data of `run.queued`.
    pub(super) fn note(&self, data: &mut Value) {
        let members = serde_json::to_value(self).unwrap_or_default();
        if let (Some(data), Value::Object(members)) = (data.as_object_mut(), members) {
            data.extend(members);
        }
    }
}

/// The run a fork goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkedFrom {
    /// The run.
    pub run: RunId,
    /// The event after which it does.
    pub seq: u64,
}

/// How a fork begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fork {
    /// How many records it has from the other run.
    pub(crate) records: u64,
    /// What it has of the other run's sandbox.
    pub(crate) sandbox: SandboxFate,
    /// Another model.
    pub(crate) model: Option<ModelRef>,
    /// What the harness said to the model at this point.
    pub(crate) note: Option<Note>,
}

/// What a fork has from another run.
struct Inherited<'e> {
    /// The chosen point.
    seq: u64,
    records: Vec<&'e Logged>,
    note: Option<Note>,
    sandbox: SandboxFate,
}

impl Platform {
    /// Starts a run that goes on from the middle of another.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for an event that is not there, or changes that cannot be made there;
    /// [`Error::Conflict`] when payloads up to there were deleted; those of [`Platform::start_run`].
    pub async fn fork_run(&self, caller: &Caller, run: RunId, request: ForkRun) -> Result<Posted<RunView>> {
        caller.principal.require(Scope::RunsWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let row = self.visible_run(&caller.principal, run).await?;
        if request.from_seq == 0 || request.from_seq > row.last_seq {
            return Err(Error::invalid_field("/from_seq", format!("the run has events 1 to {}", row.last_seq)));
        }
        let events = self.logged_events(&row).await?;
        let inherited = inherited(&events, request.from_seq)?;
        if request.input.is_some() && !inherited.records.is_empty() {
            let detail = "another input can be given only with a from_seq before the first model.requested";
            return Err(Error::invalid_field("/input", detail));
        }
        let start = self.changed(&row, &events, &request).await?;
        let other_model = request.model.is_some() || request.agent.is_some();
        let model = if other_model { Some(self.first_model(caller, &start).await?) } else { None };
        let fork = (!inherited.records.is_empty()).then(|| Fork {
            records: inherited.records.len() as u64,
            sandbox: inherited.sandbox,
            model,
            note: inherited.note.clone(),
        });
        let origin = Origin { forked_from: Some(ForkedFrom { run, seq: inherited.seq }), fork, replay_of: None };
        let mut prepared = self.prepare_run(caller, &start, &caused_by(origin)).await?;
        prepared.inherited = self.copies(&row, &inherited.records).await?;
        self.post(caller, move |tx| Box::pin(prepared.insert(tx, Queueing::Enqueue))).await
    }

    /// Starts a run again, with today's version of its agent.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of [`Platform::start_run`].
    pub async fn replay_live(&self, caller: &Caller, run: RunId) -> Result<Posted<RunView>> {
        caller.principal.require(Scope::RunsWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let row = self.visible_run(&caller.principal, run).await?;
        let mut start = self.again(&row).await?;
        if row.agent_version.is_some() {
            start.agent = AgentSource::Named(row.agent_name.clone());
        }
        let origin = Origin { replay_of: Some(run), ..Origin::default() };
        let prepared = self.prepare_run(caller, &start, &caused_by(origin)).await?;
        self.post(caller, move |tx| Box::pin(prepared.insert(tx, Queueing::Enqueue))).await
    }

    /// The request that a run was started with, as far as its row tells; nobody is told of the end of another one.
    async fn again(&self, row: &RunRow) -> Result<StartRun> {
        let spec: SandboxSpec = row.sandbox.parse()?;
        let files = self.store.run_files(row.org, row.id, FileRole::Input).await?;
        Ok(StartRun {
            agent: AgentSource::OfRun(row.agent_id),
            input: row.input.parse()?,
            model: None,
            sandbox: SandboxOverride {
                tier: Some(spec.tier),
                or_stronger: Some(spec.or_stronger),
                image: Some(spec.image),
                cpu: Some(spec.cpu),
                memory_mb: Some(spec.memory_mb),
                disk_mb: Some(spec.disk_mb),
            },
            workspace: WorkspaceOverride::default(),
            limits: row.limits,
            connections: row.connections.parse()?,
            files: files.into_iter().map(|file| file.file.id).collect(),
            metadata: row.metadata.parse()?,
            webhook: None,
            start_at: None,
            delay_s: None,
        })
    }

    /// The same with the changes of a fork.
    async fn changed(&self, row: &RunRow, events: &[Logged], fork: &ForkRun) -> Result<StartRun> {
        let start = self.again(row).await?;
        let model = match (&fork.model, &fork.agent) {
            (Some(model), _) => Some(model.clone()),
            (None, Some(_)) => None,
            (None, None) => self.model_wish(row, events).await?,
        };
        Ok(StartRun {
            model,
            input: fork.input.clone().unwrap_or(start.input),
            agent: fork.agent.clone().unwrap_or(start.agent),
            ..start
        })
    }

    /// The model that a run was started with instead of its agent's own.
    async fn model_wish(&self, row: &RunRow, events: &[Logged]) -> Result<Option<String>> {
        let queued: Option<Value> = events.first().and_then(|event| serde_json::from_str(event.data.as_deref()?).ok());
        let models = models_of(&queued.unwrap_or_default())?;
        let own = &self.load_agent(row.org, row.agent_id).await?.agent.model;
        Ok(models.first().filter(|_| models != *own).map(ToString::to_string))
    }

    /// The first model that a request leads to.
    async fn first_model(&self, caller: &Caller, start: &StartRun) -> Result<ModelRef> {
        if let Some(model) = &start.model {
            return model.parse().map_err(|error| Error::invalid_field("/model", format!("{error}")));
        }
        let agent = match &start.agent {
            AgentSource::Named(reference) => self.load_named_agent(&caller.principal, reference).await?,
            AgentSource::Inline(inline) => self.load_inline_agent(&caller.principal, inline)?,
            AgentSource::OfRun(id) => self.load_agent(caller.principal.org, *id).await?,
        };
        agent.agent.model.first().cloned().ok_or_else(|| Error::internal("an agent without a model"))
    }

    /// Copies of another run's records: their own payloads, their own files.
    async fn copies(&self, row: &RunRow, records: &[&Logged]) -> Result<Vec<(NewEvent, Option<FileRow>)>> {
        let at = self.clock.now();
        let mut copies = Vec::with_capacity(records.len());
        for record in records {
            let event_type = record.event_type.parse().map_err(Error::internal)?;
            let (data, spilled) = self.fit(row.org, row.application, record.data.clone().unwrap_or_default()).await?;
            copies.push((NewEvent { event_type, actor: ACTOR.to_owned(), on_behalf_of: None, at, data }, spilled));
        }
        Ok(copies)
    }
}

fn caused_by(origin: Origin) -> Cause {
    Cause { origin: Some(origin), ..Cause::default() }
}

/// What a fork after `from_seq` has from a run with these events.
fn inherited(events: &[Logged], from_seq: u64) -> Result<Inherited<'_>> {
    let mut chosen = Inherited { seq: 1, records: Vec::new(), note: None, sandbox: SandboxFate::Untouched };
    let (mut records, mut sandbox) = (Vec::new(), SandboxFate::Untouched);
    // A point stands before the event that asks, so the event after `from_seq` still counts.
    for event in events.iter().take_while(|event| event.seq <= from_seq.saturating_add(1)) {
        let Ok(event_type) = event.event_type.parse::<EventType>() else { continue };
        let Some(data) = &event.data else {
            let detail = format!("the payload of event {} was deleted; the run cannot be forked there", event.seq);
            return Err(Error::Conflict { code: "conflict", detail });
        };
        if event_type == EventType::SandboxStarted {
            // Its workspace is the other run's.
            sandbox = SandboxFate::Lost;
        }
        let data: Value = serde_json::from_str(data).map_err(Error::internal)?;
        let Some(record) = Record::from_event(event_type, &data).map_err(Error::internal)? else { continue };
        if let Record::ModelRequested(asked) = &record
            && asked.attempt == 1
        {
            chosen = Inherited { seq: event.seq - 1, records: records.clone(), note: asked.note.clone(), sandbox };
        }
        records.push(event);
    }
    Ok(chosen)
}
