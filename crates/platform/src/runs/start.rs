//! `POST /v1/runs`: everything is checked first, then one transaction makes it true: idempotency, the inline agent, the run,
//! event 1, the queue entry, the outbox.

use std::sync::Arc;

use livery_broker::Secret;
use livery_core::agent::sandbox::MinimumTier;
use livery_core::agent::{ModelRef, Persist, SandboxSpec};
use livery_core::error::FieldError;
use livery_core::id::{AppId, FileId, OrgId, RunId, ScheduleId, TriggerId, WebhookId};
use livery_core::run::{INPUT_BYTES_MAX, Limits, Pricing, TIMEOUT_S_MAX, TURNS_MAX};
use livery_core::{Error, EventType, Result, Timestamp};
use livery_store::{FileRole, FileRow, Json, NewEvent, NewRun, Tx};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fork::Origin;
use super::request::{
    AgentSource, INPUT_FILES_MAX, InlineWebhook, METADATA_BYTES_MAX, METADATA_KEYS_MAX, RunWebhook, StartRun, start_of,
};
use super::view::RunView;
use crate::agents::LoadedAgent;
use crate::connections::Bindings;
use crate::effects::{EffectKind, Phase};
use crate::providers::OWN_PROVIDERS;
use crate::webhooks::{Outbox, sign};
use crate::{Caller, Platform, Posted, Principal, Scope, prices, traces, workspaces};

/// The endpoint named in a run, as its row keeps it: the secret sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredWebhook {
    /// A stored endpoint.
    Endpoint(WebhookId),
    /// An address for this run alone.
    Inline {
        /// Where to.
        url: String,
        /// Sealed for the run under [`WEBHOOK_SECRET_FIELD`].
        sealed_secret: String,
    },
}

/// What the secret of an inline webhook is sealed as.
pub(crate) const WEBHOOK_SECRET_FIELD: &str = "webhook_secret";

/// A request whose every part was looked at.
struct Checked {
    agent: Arc<LoadedAgent>,
    models: Vec<ModelRef>,
    own_providers: Vec<String>,
    sandbox: SandboxSpec,
    persist: Persist,
    minimum_tier: Option<MinimumTier>,
    limits: Limits,
    files: Vec<FileRow>,
    webhook: Option<StoredWebhook>,
    bindings: Bindings,
}

/// What started a run besides its caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    /// A schedule, and the slot it fired for; none when it was started out of turn.
    pub(crate) schedule: Option<(ScheduleId, Option<Timestamp>)>,
    /// A trigger, and the delivery as its sender names it.
    pub(crate) trigger: Option<(TriggerId, Option<String>)>,
    /// A run that it goes on from or repeats.
    pub(crate) origin: Option<Origin>,
}

/// Whether an accepted run goes into the queue in the same transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queueing {
    /// It does, to start when its time has come.
    Enqueue,
    /// It waits for another of its schedule.
    Hold(ScheduleId),
}

/// A run about to be accepted.
pub(crate) struct Prepared {
    platform: Platform,
    row: NewRun,
    view: RunView,
    queued: NewEvent,
    outbox: Outbox,
    agent: Arc<LoadedAgent>,
    files: Vec<FileRow>,
    /// Events of another run that stand before its own, and the files of those that were spilled.
    pub(super) inherited: Vec<(NewEvent, Option<FileRow>)>,
}

impl Prepared {
    /// Its id.
    pub(crate) fn id(&self) -> RunId {
        self.row.id
    }

    /// Makes it true: the inline agent, the run, event 1, its files, its place in the queue, the outbox.
    pub(crate) async fn insert(mut self, tx: &mut Tx, queueing: Queueing) -> livery_store::Result<RunView> {
        let (org, run, queued) = (self.row.org, self.row.id, std::slice::from_ref(&self.queued));
        self.row.agent_id = self.agent.save_inline(tx).await?;
        let mut events = vec![self.queued.clone()];
        for (event, spilled) in self.inherited {
            events.push(event);
            if let Some(file) = spilled {
                tx.insert_file(&file).await?;
            }
        }
        self.view.last_seq = events.len() as u64;
        tx.insert_run(&self.row, &events).await?;
        for file in &self.files {
            tx.attach_file(org, run, FileRole::Input, &file.name, file.id).await?;
        }
        self.platform.reached(EffectKind::RunAcceptance, Phase::During);
        match queueing {
            Queueing::Enqueue => tx.enqueue_new(org, run, self.row.start_at.unwrap_or(self.row.created_at)).await?,
            Queueing::Hold(schedule) => tx.hold_schedule_run(org, schedule, run).await?,
        }
        self.outbox.append(tx, 1, queued).await?;
        Ok(self.view)
    }
}

impl Platform {
    /// Accepts a run.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown agent, file or endpoint; [`Error::Invalid`] for an input that does not fit, an
    /// invalid inline agent, or limits and sandbox wishes that cannot be had.
    pub async fn start_run(&self, caller: &Caller, request: StartRun) -> Result<Posted<RunView>> {
        let principal = &caller.principal;
        principal.require(Scope::RunsWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let prepared = self.prepare_run(caller, &request, &Cause::default()).await?;
        self.reached(EffectKind::RunAcceptance, Phase::Before);
        let posted = self.post(caller, move |tx| Box::pin(prepared.insert(tx, Queueing::Enqueue))).await?;
        self.reached(EffectKind::RunAcceptance, Phase::Committed);
        if matches!(posted, Posted::Fresh(_)) {
            self.metrics.run_accepted();
        }
        Ok(posted)
    }

    /// Looks at every part of a request. What comes back is true once it is inserted, whatever happens in between.
    ///
    /// # Errors
    /// Those of [`Platform::start_run`] but the right to start runs.
    pub(crate) async fn prepare_run(&self, caller: &Caller, request: &StartRun, cause: &Cause) -> Result<Prepared> {
        self.check_end_user(caller).await?;
        let run = RunId::from_bits(self.mint());
        let application = self.application_of(&caller.principal).await?;
        let mut checked = self.check(&caller.principal, application, run, request).await?;
        let (tier, repeats) = (checked.sandbox.tier, cause.origin.is_some());
        checked.persist = workspaces::persist(&checked.agent, tier, request, caller.on_behalf_of, repeats)?;
        checked.bindings = self.bind_connections(caller, application, &checked.agent.agent, request, cause).await?;
        let row = self.new_run(caller, run, application, &checked, request, cause)?;
        let view = queued_view(&row, &checked)?;
        let queued = queued_event(caller, &row, &checked, cause)?;
        let outbox = Outbox::of_new_run(self.clone(), &row, checked.webhook.clone());
        let platform = self.clone();
        let (agent, files) = (checked.agent, checked.files);
        Ok(Prepared { platform, row, view, queued, outbox, agent, files, inherited: Vec::new() })
    }

    async fn check(
        &self,
        principal: &Principal,
        application: Option<AppId>,
        run: RunId,
        request: &StartRun,
    ) -> Result<Checked> {
        let agent = match &request.agent {
            AgentSource::Named(reference) => self.load_named_agent(principal, reference).await?,
            AgentSource::Inline(inline) => self.load_inline_agent(principal, inline)?,
            AgentSource::OfRun(id) => self.load_agent(principal.org, *id).await?,
        };
        check_input(&agent, &request.input)?;
        self.check_rest(principal, application, run, request, agent).await
    }

    /// Looks at every part of a request but its input, which comes later.
    ///
    /// # Errors
    /// Those of [`Platform::prepare_run`].
    pub(crate) async fn check_template(&self, caller: &Caller, agent: &str, request: &StartRun) -> Result<()> {
        self.check_end_user(caller).await?;
        let (principal, run) = (&caller.principal, RunId::from_bits(self.mint()));
        let agent = self.load_named_agent(principal, agent).await?;
        let application = self.application_of(principal).await?;
        let checked = self.check_rest(principal, application, run, request, agent).await?;
        workspaces::persist(&checked.agent, checked.sandbox.tier, request, caller.on_behalf_of, false)?;
        self.bind_connections(caller, application, &checked.agent.agent, request, &Cause::default()).await.map(drop)
    }

    async fn check_rest(
        &self,
        principal: &Principal,
        application: Option<AppId>,
        run: RunId,
        request: &StartRun,
        agent: Arc<LoadedAgent>,
    ) -> Result<Checked> {
        check_metadata(request)?;
        let models = self.check_models(principal.org, &agent, request.model.as_deref()).await?;
        let limits = check_limits(agent.agent.limits, request.limits)?;
        self.check_prices(principal.org, &models, limits).await?;
        let sandbox = agent.agent.sandbox.with_override(&request.sandbox).map_err(invalid)?;
        let (sandbox, minimum_tier) = self.settle_tier(principal.org, application, sandbox).await?;
        self.check_tier(&sandbox, minimum_tier).await?;
        let sandbox = self.pin_image(sandbox).await?;
        Ok(Checked {
            own_providers: self.own_providers(principal.org, &models).await?,
            models,
            sandbox,
            persist: Persist::None,
            minimum_tier,
            limits,
            files: self.check_files(principal, &request.files).await?,
            webhook: self.check_webhook(principal, run, request.webhook.as_ref()).await?,
            bindings: Bindings::default(),
            agent,
        })
    }

    /// The model asked for, or the agent's own list. Each provider has to exist now: a typing error is told to the caller
    /// and not to a run that fails a minute later.
    async fn check_models(&self, org: OrgId, agent: &LoadedAgent, wish: Option<&str>) -> Result<Vec<ModelRef>> {
        let (pointer, models) = match wish {
            Some(text) => {
                let model =
                    text.parse::<ModelRef>().map_err(|error| Error::invalid_field("/model", error.to_string()))?;
                ("/model", vec![model])
            }
            None => ("/agent", agent.agent.model.clone()),
        };
        for model in &models {
            if let Some(path) = model.script_path() {
                if !agent.scripts.contains_key(&path) {
                    return Err(Error::invalid_field(
                        pointer,
                        format!("the agent has no {path} for the model {model}"),
                    ));
                }
            } else if self.provider_kind(org, &model.provider).await?.is_none() {
                let detail = format!(
                    "there is no model provider named {}; create it with POST /v1/model_providers",
                    model.provider
                );
                return Err(Error::invalid_field(pointer, detail));
            }
        }
        Ok(models)
    }

    /// A limit in dollars that nobody can count is no limit: it is refused, not ignored.
    async fn check_prices(&self, org: OrgId, models: &[ModelRef], limits: Limits) -> Result<()> {
        if limits.max_cost_usd.is_none() {
            return Ok(());
        }
        for model in models.iter().filter(|model| !model.is_scripted()) {
            let kind = self.provider_kind(org, &model.provider).await?;
            if kind.is_none_or(|kind| !prices::is_priced(kind.as_str(), &model.model)) {
                let detail =
                    format!("{model} has no known price, so its cost cannot be limited; limit max_tokens instead");
                return Err(Error::invalid_field("/limits/max_cost_usd", detail));
            }
        }
        Ok(())
    }

    /// The end user a run acts for has to be one of the caller's own application.
    async fn check_end_user(&self, caller: &Caller) -> Result<()> {
        let Some(end_user) = caller.on_behalf_of else { return Ok(()) };
        let row = self.store.get_end_user(caller.principal.org, end_user).await?;
        row.filter(|row| caller.principal.sees(Some(row.application)))
            .map(drop)
            .ok_or(Error::NotFound { what: "end user" })
    }

    async fn check_files(&self, principal: &Principal, files: &[FileId]) -> Result<Vec<FileRow>> {
        if files.len() > INPUT_FILES_MAX {
            return Err(Error::invalid_field("/files", format!("at most {INPUT_FILES_MAX} files")));
        }
        let mut checked: Vec<FileRow> = Vec::with_capacity(files.len());
        for (index, id) in files.iter().enumerate() {
            let row = self.store.get_file(principal.org, *id).await?.filter(|row| principal.sees(row.application));
            let row = row.ok_or(Error::NotFound { what: "file" })?;
            if checked.iter().any(|file| file.name == row.name) {
                return Err(Error::invalid_field(
                    format!("/files/{index}"),
                    format!("two files are named {}", row.name),
                ));
            }
            checked.push(row);
        }
        Ok(checked)
    }

    async fn check_webhook(
        &self,
        principal: &Principal,
        run: RunId,
        webhook: Option<&RunWebhook>,
    ) -> Result<Option<StoredWebhook>> {
        Ok(match webhook {
            None => None,
            Some(RunWebhook::Endpoint(id)) => {
                let row =
                    self.store.get_webhook(principal.org, *id).await?.filter(|row| principal.sees(row.application));
                Some(StoredWebhook::Endpoint(row.ok_or(Error::NotFound { what: "webhook" })?.id))
            }
            Some(RunWebhook::Inline(InlineWebhook { url, secret })) => {
                self.check_webhook_url("/webhook/url", url)?;
                let secret = Secret::from(secret.clone());
                sign::key_of(&secret).map_err(|detail| Error::invalid_field("/webhook/secret", detail))?;
                let now = self.clock.now();
                let owner = run.to_string();
                let sealed_secret =
                    self.vault.seal(&self.store, principal.org, &owner, WEBHOOK_SECRET_FIELD, &secret, now).await?;
                Some(StoredWebhook::Inline { url: url.clone(), sealed_secret })
            }
        })
    }

    /// The application a run belongs to: the key's, or the organization's first.
    async fn application_of(&self, principal: &Principal) -> Result<Option<AppId>> {
        if principal.app.is_some() {
            return Ok(principal.app);
        }
        Ok(self.store.list_applications(principal.org).await?.last().map(|row| row.id))
    }

    fn new_run(
        &self,
        caller: &Caller,
        run: RunId,
        application: Option<AppId>,
        checked: &Checked,
        request: &StartRun,
        cause: &Cause,
    ) -> Result<NewRun> {
        let created_at = self.clock.now();
        let scripted = checked.models.iter().all(ModelRef::is_scripted);
        Ok(NewRun {
            id: run,
            org: caller.principal.org,
            application,
            end_user: caller.on_behalf_of,
            agent_id: checked.agent.id,
            agent_name: checked.agent.agent.name.clone(),
            agent_version: checked.agent.version,
            input: Json::of(&request.input)?,
            model: checked.models.first().map(ToString::to_string).unwrap_or_default(),
            sandbox: Json::of(&checked.sandbox)?,
            limits: checked.limits,
            metadata: Json::of(&request.metadata)?,
            connections: Json::of(&checked.bindings.ids())?,
            webhook: checked.webhook.as_ref().map(Json::of).transpose()?,
            pricing: if scripted { Pricing::Free } else { Pricing::Priced },
            created_at,
            schedule: cause.schedule.map(|(id, _)| id),
            trigger: cause.trigger.as_ref().map(|(id, _)| *id),
            start_at: start_of(request, created_at)?,
            origin: cause.origin.as_ref().map(Json::of).transpose()?,
            minimum_tier: checked.minimum_tier,
        })
    }
}

fn queued_event(caller: &Caller, row: &NewRun, checked: &Checked, cause: &Cause) -> Result<NewEvent> {
    let mut data = json!({
        "agent": {"id": row.agent_id, "name": row.agent_name, "version": row.agent_version},
        "models": checked.models,
        "sandbox": checked.sandbox,
        "limits": row.limits,
        "request_id": caller.request_id,
    });
    if !checked.own_providers.is_empty() {
        data[OWN_PROVIDERS] = json!(checked.own_providers);
    }
    if checked.persist != Persist::None {
        data["workspace"] = json!({"persist": checked.persist});
    }
    if let Some(minimum) = checked.minimum_tier {
        data["minimum_tier"] = json!(minimum);
    }
    if let Some(connections) = checked.bindings.told() {
        data["connections"] = connections;
    }
    let mut actor = caller.principal.key.to_string();
    if let Some(at) = row.start_at {
        data["start_at"] = json!(at);
    }
    if let Some((id, slot)) = cause.schedule {
        data["schedule"] = json!({"id": id, "slot": slot});
        // A run started out of turn is the doing of whoever asked for it.
        if slot.is_some() {
            actor = id.to_string();
        }
    }
    if let Some((id, delivery)) = &cause.trigger {
        data["trigger"] = json!({"id": id, "delivery": delivery});
        actor = id.to_string();
    }
    if let Some(origin) = &cause.origin {
        origin.note(&mut data);
    }
    if let Some(trace) = traces::current() {
        data["traceparent"] = trace.to_string().into();
    }
    let mut event = NewEvent::new(EventType::RunQueued, actor, row.created_at, &data)?;
    event.on_behalf_of = caller.on_behalf_of.map(|end_user| end_user.to_string());
    Ok(event)
}

fn queued_view(row: &NewRun, checked: &Checked) -> Result<RunView> {
    let origin = Origin::of(row.origin.as_ref())?;
    use livery_core::RunStatus;
    use livery_core::run::{Cost, Usage};
    Ok(RunView {
        id: row.id,
        status: RunStatus::Queued,
        agent: super::RunAgent { name: row.agent_name.clone(), version: row.agent_version },
        organization: row.org,
        application: row.application,
        end_user: row.end_user,
        input: row.input.clone(),
        output: None,
        error: None,
        sandbox: super::RunSandbox { tier: checked.sandbox.tier, minimum_tier: checked.minimum_tier },
        model: row.model.clone(),
        usage: Usage::default(),
        cost: Cost { usd: livery_core::Usd::ZERO, pricing: row.pricing },
        artifacts: Vec::new(),
        metadata: row.metadata.clone(),
        last_seq: 1,
        created_at: row.created_at,
        started_at: None,
        finished_at: None,
        schedule: row.schedule,
        trigger: row.trigger,
        start_at: row.start_at,
        forked_from: origin.forked_from,
        replay_of: origin.replay_of,
    })
}

fn check_input(agent: &LoadedAgent, input: &Value) -> Result<()> {
    let bytes = input.to_string().len();
    if bytes > INPUT_BYTES_MAX {
        return Err(Error::TooLarge { what: "the input", limit_bytes: INPUT_BYTES_MAX as u64 });
    }
    let errors = agent.agent.check_input(&agent.input, input);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid {
        code: "invalid_input",
        detail: "the input does not fit the agent's input schema".into(),
        errors,
    })
}

fn check_metadata(request: &StartRun) -> Result<()> {
    if request.metadata.len() > METADATA_KEYS_MAX {
        return Err(Error::invalid_field("/metadata", format!("at most {METADATA_KEYS_MAX} keys")));
    }
    let bytes = serde_json::to_string(&request.metadata).map_err(Error::internal)?.len();
    if bytes > METADATA_BYTES_MAX {
        return Err(Error::invalid_field("/metadata", format!("at most {METADATA_BYTES_MAX} bytes of JSON")));
    }
    Ok(())
}

fn check_limits(agent: Limits, request: Limits) -> Result<Limits> {
    let range = |pointer: &str, value: Option<u64>, max: u64| match value {
        Some(value) if value == 0 || value > max => Err(Error::invalid_field(pointer, format!("from 1 to {max}"))),
        _ => Ok(()),
    };
    range("/limits/timeout_s", request.timeout_s, TIMEOUT_S_MAX)?;
    range("/limits/max_turns", request.max_turns.map(u64::from), u64::from(TURNS_MAX))?;
    range("/limits/max_tokens", request.max_tokens, u64::MAX)?;
    Ok(agent.tightened_by(request))
}

fn invalid(errors: Vec<FieldError>) -> Error {
    Error::Invalid { code: "invalid_value", detail: "the sandbox cannot be had as asked for".into(), errors }
}
