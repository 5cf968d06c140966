//! `CallModel`: a scripted model plays its script here; every other is asked through the broker.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use livery_broker::error::Phase;
use livery_broker::transport::Timeouts;
use livery_broker::{Credential, Outbound, Slot, Target};
use livery_core::agent::ModelRef;
use livery_core::id::{OrgId, RunId};
use livery_core::run::Pricing;
use livery_core::{Timestamp, Usd};
use livery_harness::{Effect, Input, Request, idempotency};
use livery_llm::provider::{Decoder, EncodedRequest, Options, classify};
use livery_llm::request::ModelRequest;
use livery_llm::stream::{Delta, ModelError, ModelErrorClass, ModelResponse};
use livery_store::RunRow;
use serde_json::json;

use super::patience::pauses;
use crate::agents::LoadedAgent;
use crate::effects::{self, EffectKind};
use crate::providers::Provider;
use crate::traces::ModelCall;
use crate::{Platform, prices};

/// Largest body of an error that is read.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest answer of a model.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One model call.
pub(super) struct Call {
    platform: Platform,
    org: OrgId,
    run: RunId,
    agent: Arc<LoadedAgent>,
    step: u32,
    attempt: u32,
    model: ModelRef,
    request: Option<Request>,
    call_id_prefix: String,
    idempotency: String,
    /// The kind of provider, and where it is, once that is known: for metrics and traces.
    kind: OnceLock<&'static str>,
    server: OnceLock<(String, u16)>,
}

/// An answer and what it cost.
type Answered = (ModelResponse, Option<Usd>);

impl Call {
    /// From an [`Effect::CallModel`].
    pub(super) fn new(platform: &Platform, row: &RunRow, agent: Arc<LoadedAgent>, effect: Effect) -> Self {
        let mut call = Self {
            platform: platform.clone(),
            org: row.org,
            run: row.id,
            agent,
            step: 0,
            attempt: 0,
            model: ModelRef { provider: String::new(), model: String::new() },
            request: None,
            call_id_prefix: String::new(),
            idempotency: String::new(),
            kind: OnceLock::new(),
            server: OnceLock::new(),
        };
        if let Effect::CallModel { step, attempt, model, request, idempotency, call_id_prefix } = effect {
            call.step = step;
            call.attempt = attempt;
            call.model = model;
            call.request = Some(request);
            call.call_id_prefix = call_id_prefix;
            call.idempotency = idempotency;
        }
        call
    }

    /// Asks, and says how it went.
    pub(super) async fn perform(self) -> Input {
        let (step, attempt) = (self.step, self.attempt);
        if attempt > 1 {
            // Readers forget what the failed attempt had begun to say.
            self.platform.live.publish(self.run, "model.reset", || json!({"step": step, "attempt": attempt}));
        }
        let (begun, asked) = (self.platform.clock.now(), Instant::now());
        let answered = self.ask().await;
        self.count(&answered, asked.elapsed());
        self.trace(&answered, begun).await;
        match answered {
            Ok((response, cost)) => {
                let latency_ms = self.platform.clock.now().millis_since(begun);
                Input::ModelDone { step, attempt, response, cost, latency_ms }
            }
            Err(error) => {
                let jitter_per_mille = u16::try_from(self.platform.mint() % 1000).unwrap_or(0);
                Input::ModelFailed { step, attempt, error, jitter_per_mille }
            }
        }
    }

    async fn trace(&self, answered: &Result<Answered, ModelError>, begun: Timestamp) {
        let wanted = self.platform.wants_content();
        let call = ModelCall {
            row: (self.org, self.run),
            provider: self.kind.get().copied().unwrap_or("unknown"),
            model: &self.model.model,
            server: self.server.get().cloned(),
            request: self.request.as_ref().filter(|_| wanted).map(Request::to_model_request),
            answer: answered.as_ref().map(|(response, _)| response),
            begun,
        };
        self.platform.trace_model(call).await;
    }

    fn count(&self, answered: &Result<Answered, ModelError>, took: Duration) {
        let (metrics, kind) = (&self.platform.metrics, self.kind.get().copied().unwrap_or("unknown"));
        match answered {
            Ok((response, _)) => {
                metrics.model_called(kind, "ok", took);
                let used = &response.usage;
                metrics.tokens_used(kind, used.input_total(), used.output_total);
            }
            Err(error) => metrics.model_called(kind, error.class.as_str(), took),
        }
    }

    async fn ask(&self) -> Result<Answered, ModelError> {
        let Some(request) = &self.request else {
            return Err(failed(ModelErrorClass::InvalidRequest, "there is nothing to ask"));
        };
        let request = request.to_model_request();
        match self.model.script_path() {
            Some(path) => self.play(&path, &request).await,
            None => self.ask_provider(&request).await,
        }
    }

    async fn play(&self, path: &str, request: &ModelRequest) -> Result<Answered, ModelError> {
        let _ = self.kind.set("scripted");
        let script = self.agent.scripts.get(path);
        let script =
            script.ok_or_else(|| failed(ModelErrorClass::ModelNotFound, &format!("the agent has no {path}")))?;
        let turn = usize::try_from(self.step.saturating_sub(1)).unwrap_or(usize::MAX);
        let (response, delay_ms) = script.play(turn, request, &self.call_id_prefix)?;
        if delay_ms > 0 {
            let delay = tokio::time::sleep(Duration::from_millis(delay_ms));
            self.platform.during(EffectKind::ModelCall, delay).await;
        }
        Ok((response, Some(Usd::ZERO)))
    }

    async fn ask_provider(&self, request: &ModelRequest) -> Result<Answered, ModelError> {
        let provider = self.provider().await?;
        let encoded = provider.dialect.encode(request, &Options { stream: true, ..Options::default() });
        let mut decoder = Decoder::new(&provider.dialect, request, &self.call_id_prefix);
        let kind = provider.kind;
        let _ = self.kind.set(kind.as_str());
        let outbound = self.outbound(provider, encoded)?;
        let mut answer = self.platform.broker.send(outbound).await.map_err(|error| transport(&error))?;
        if !answer.status.is_success() {
            return Err(self.refused(answer).await);
        }
        while let Some(piece) = answer.body.next().await {
            let piece = piece.map_err(|error| transport(&error))?;
            decoder.push(&piece, &mut |delta| self.publish(&delta))?;
            self.platform.reached(EffectKind::ModelCall, effects::Phase::During);
            if decoder.is_done() {
                break;
            }
        }
        let response = decoder.finish()?;
        answer.body.finish().await;
        let (usd, pricing) = prices::cost(kind.as_str(), &self.model.model, &response.usage);
        Ok((response, (pricing == Pricing::Priced).then_some(usd)))
    }

    /// The provider. A database that is away is no fault of its key: the run waits, as its writes do, as long as it may last.
    async fn provider(&self) -> Result<Provider, ModelError> {
        let mut pauses = pauses();
        loop {
            match self.platform.provider_for(self.org, self.run, &self.model.provider).await {
                Err(error) if error.retryable => {
                    tracing::warn!(run = %self.run, error = error.message, "a model call waits for the store");
                    pauses.pause().await;
                }
                outcome => return outcome.map_err(|error| failed(ModelErrorClass::Unauthorized, &error.message)),
            }
        }
    }

    fn outbound(&self, provider: Provider, encoded: EncodedRequest) -> Result<Outbound, ModelError> {
        let wrong = |error: livery_broker::UrlRefused| failed(ModelErrorClass::Denied, &error.to_string());
        let target = Target::base_url(&provider.base_url).and_then(|base| base.join(encoded.path)).map_err(wrong)?;
        let _ = self.server.set((target.host().to_string(), target.port()));
        let key = idempotency::key(self.run, &self.idempotency, &encoded.body);
        let mut outbound = Outbound::post(self.org, target, encoded.body);
        outbound.headers = encoded.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        outbound.credential = provider.api_key.map(|secret| Credential {
            slot: if encoded.key.prefix.is_empty() { Slot::header(encoded.key.header) } else { Slot::bearer() },
            secret,
            owner: provider.owner,
            version: 1,
            at: self.platform.clock.now(),
        });
        outbound.idempotency_key = Some(key);
        outbound.timeouts = Timeouts {
            first_byte: self.platform.config.model_first_byte,
            idle: self.platform.config.model_idle,
            ..Timeouts::default()
        };
        outbound.response_bytes_max = ANSWER_BYTES_MAX;
        Ok(outbound)
    }

    async fn refused(&self, answer: livery_broker::Inbound) -> ModelError {
        let status = answer.status.as_u16();
        let headers: Vec<(String, String)> = answer
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let body = answer.collect(ERROR_BODY_BYTES_MAX).await.unwrap_or_default();
        let now: Timestamp = self.platform.clock.now();
        classify(status, &headers, &body, now)
    }

    fn publish(&self, delta: &Delta) {
        let (step, attempt) = (self.step, self.attempt);
        match delta {
            // A provider that begins again within one answer: what was shown so far does not count.
            Delta::Reset => {
                self.platform.live.publish(self.run, "model.reset", || json!({"step": step, "attempt": attempt}))
            }
            _ => self.platform.live.publish(self.run, "model.delta", || json!({"step": step, "delta": delta})),
        }
    }
}

fn failed(class: ModelErrorClass, message: &str) -> ModelError {
    ModelError { class, message: message.to_owned(), retry_after_ms: None, status: None, should_retry: None }
}

/// The broker's words carry nothing of the request, so they may be shown as they are.
fn transport(error: &livery_broker::Error) -> ModelError {
    use livery_broker::Error as E;
    let class = match error {
        E::Denied { .. } | E::BadRequest { .. } | E::Revoked => ModelErrorClass::Denied,
        E::Cut => ModelErrorClass::StreamCut,
        E::BadGateway { .. } => ModelErrorClass::BadGateway,
        E::TooLarge { .. } => ModelErrorClass::TooLarge,
        E::Busy => ModelErrorClass::Overloaded,
        E::Timeout { phase: Phase::Total }
        | E::Timeout { .. }
        | E::Unresolvable
        | E::ResolverFailed
        | E::ConnectFailed
        | E::Tls { .. } => ModelErrorClass::Timeout,
    };
    ModelError { should_retry: (!error.retryable()).then_some(false), ..failed(class, &error.to_string()) }
}
