//! What every run ends at: a model that plays a script for each model name and honours idempotency keys, and a webhook
//! receiver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use livery_llm::request::ModelRequest;
use livery_llm::script::{Script, turn_index};
use livery_llm::stream::{ModelError, ModelErrorClass, ModelResponse};
use livery_testkit::fake_model::{Chaos, Fault, Memory, Mode};
use livery_testkit::webhook_sink::Delivery;
use livery_testkit::{Config, FakeModel, WebhookSink};
use serde_json::json;

use crate::http::Client;

/// Bytes of a streamed piece: an answer comes in many, so that a crash can come between two.
const PIECE_BYTES: usize = 48;

/// What one model name did.
#[derive(Debug, Default)]
struct Played {
    script: Option<Script>,
    /// How often it was asked to think, under a new key.
    effects: u64,
    /// Refusals it still owes before it answers.
    refusals: u64,
}

type Models = Arc<Mutex<HashMap<String, Played>>>;

/// The model and the receiver.
#[derive(Debug)]
pub struct Upstream {
    /// The model server.
    pub model: FakeModel,
    sink: WebhookSink,
    models: Models,
}

impl Upstream {
    /// Listens on two free ports.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> anyhow::Result<Self> {
        Self::flaky(&[Chaos::always(Fault::Pieces { bytes: PIECE_BYTES })], usize::MAX).await
    }

    /// The same with faults of the model, and a receiver that answers 503 to one in so many first deliveries.
    ///
    /// # Errors
    /// No port is free.
    pub async fn flaky(chaos: &[Chaos], hook_fails_one_in: usize) -> anyhow::Result<Self> {
        let models = Models::default();
        let known = Arc::clone(&models);
        let mode = Mode::Function(Arc::new(move |request: &ModelRequest| answer(&known, request)));
        let config = Config { mode, chaos: chaos.to_vec(), memory: Memory::Count, ..Config::default() };
        let model = FakeModel::start(config).await.context("the fake model")?;
        let sink = WebhookSink::start_flaky(hook_fails_one_in).await.context("the webhook receiver")?;
        Ok(Self { model, sink, models })
    }

    /// Teaches a model name its script; `refusals` times it says 429 first.
    ///
    /// # Errors
    /// The script cannot be read.
    pub fn teach(&self, model: &str, script: &str, refusals: u64) -> anyhow::Result<()> {
        let script = Script::parse(model, script).map_err(|findings| anyhow::anyhow!("{findings:?}"))?;
        let played = Played { script: Some(script), effects: 0, refusals };
        self.lock().insert(model.to_owned(), played);
        Ok(())
    }

    /// How often a model name was made to think: once for each key, however often it was asked.
    pub fn effects(&self, model: &str) -> u64 {
        self.lock().get(model).map_or(0, |played| played.effects)
    }

    /// Where the deliveries of `name` go.
    pub fn hook(&self, name: &str) -> String {
        format!("{}/{name}", self.sink.url())
    }

    /// What arrived for `name`, in order.
    pub fn deliveries(&self, name: &str) -> Vec<Delivery> {
        let path = format!("/hook/{name}");
        self.sink.deliveries().into_iter().filter(|delivery| delivery.path == path).collect()
    }

    /// Makes the provider `fake` of a new organization.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn introduce(&self, client: &Client) -> anyhow::Result<()> {
        let provider = json!({"name": "fake", "kind": "openai_compatible", "base_url": self.model.openai_base_url(),
            "api_key": "sk-fake-model-key-0000000000"});
        client.post("/v1/model_providers", &[], &provider).await.map(drop)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Played>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(models: &Models, request: &ModelRequest) -> Result<(ModelResponse, Duration), ModelError> {
    let mut models = models.lock().unwrap_or_else(PoisonError::into_inner);
    let refused = |status, class, message: String| ModelError {
        class,
        message,
        retry_after_ms: None,
        status: Some(status),
        should_retry: None,
    };
    let Some(played) = models.get_mut(&request.model) else {
        return Err(refused(404, ModelErrorClass::ModelNotFound, format!("there is no {}", request.model)));
    };
    if played.refusals > 0 {
        played.refusals -= 1;
        return Err(refused(429, ModelErrorClass::RateLimited, "not yet".to_owned()));
    }
    played.effects += 1;
    let turn = turn_index(request);
    let script = played
        .script
        .as_ref()
        .ok_or_else(|| refused(404, ModelErrorClass::ModelNotFound, format!("{} was taught nothing", request.model)))?;
    let (response, delay_ms) = script.play(turn, request, &format!("call_t{turn}"))?;
    Ok((response, Duration::from_millis(delay_ms)))
}
