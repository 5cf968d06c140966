//! What each span carries: the OpenTelemetry conventions for generative AI, and `livery.…` where they have no word.

use livery_core::run::RunError;
use livery_core::{RunStatus, Timestamp};
use livery_llm::request::ModelRequest;
use livery_llm::stream::{ModelError, ModelResponse};
use livery_store::{RunRow, Terminal};

use super::{Span, SpanKind, Value};
use crate::Platform;

/// Longest content attribute, when content is wanted at all.
const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// A model call that was made.
pub(crate) struct ModelCall<'a> {
    pub(crate) row: (livery_core::id::OrgId, livery_core::id::RunId),
    /// The kind of provider.
    pub(crate) provider: &'static str,
    pub(crate) model: &'a str,
    /// Host and port it was asked at.
    pub(crate) server: Option<(String, u16)>,
    pub(crate) request: Option<ModelRequest>,
    pub(crate) answer: Result<&'a ModelResponse, &'a ModelError>,
    pub(crate) begun: Timestamp,
}

/// A tool call that was made.
pub(crate) struct ToolCall<'a> {
    pub(crate) row: (livery_core::id::OrgId, livery_core::id::RunId),
    pub(crate) name: &'a str,
    pub(crate) call_id: &'a str,
    /// Whether the tool worked.
    pub(crate) outcome: &'static str,
    /// Arguments and result, when content is wanted.
    pub(crate) content: Option<(String, String)>,
    pub(crate) begun: Timestamp,
}

impl Platform {
    /// Whether prompts, answers, arguments and results are wanted in spans.
    pub(crate) fn wants_content(&self) -> bool {
        self.config.traces.sink.is_some() && self.config.traces.content
    }

    /// The span of a run that ended.
    pub(crate) async fn trace_run(&self, row: &RunRow, end: &Terminal) {
        let Some(trace) = self.wanted_trace_of(row.org, row.id).await else { return };
        let begun = row.started_at.unwrap_or(row.created_at);
        let mut attributes = vec![
            ("gen_ai.operation.name", "invoke_agent".into()),
            ("gen_ai.provider.name", row.model.split('/').next().unwrap_or_default().into()),
            ("gen_ai.agent.id", row.agent_id.to_string().into()),
            ("gen_ai.agent.name", row.agent_name.as_str().into()),
            ("gen_ai.conversation.id", row.id.to_string().into()),
            ("gen_ai.usage.input_tokens", end.usage.input_tokens.into()),
            ("gen_ai.usage.output_tokens", end.usage.output_tokens.into()),
            ("livery.run.id", row.id.to_string().into()),
            ("livery.run.status", end.status.as_str().into()),
            ("livery.organization.id", row.org.to_string().into()),
            ("livery.run.queue_wait_ms", begun.millis_since(row.created_at).into()),
        ];
        attributes.extend(row.agent_version.map(|version| ("gen_ai.agent.version", version.to_string().into())));
        let code = |error: &RunError| error.code.as_str().to_owned();
        let error =
            (end.status != RunStatus::Succeeded).then(|| end.error.as_ref().map_or_else(|| "_OTHER".into(), code));
        self.export_span(Span {
            name: format!("invoke_agent {}", row.agent_name),
            kind: SpanKind::Internal,
            context: trace.context,
            parent: trace.parent.map(|parent| parent.span_id),
            parent_is_remote: false,
            begun,
            ended: end.finished_at,
            attributes,
            error,
        });
    }

    /// The span of a model call.
    pub(crate) async fn trace_model(&self, call: ModelCall<'_>) {
        let Some(trace) = self.wanted_trace_of(call.row.0, call.row.1).await else { return };
        let mut attributes: Vec<(&'static str, Value)> = vec![
            ("gen_ai.operation.name", "chat".into()),
            ("gen_ai.provider.name", provider_name(call.provider).into()),
            ("gen_ai.request.model", call.model.into()),
            ("gen_ai.request.stream", Value::Bool(true)),
            ("livery.run.id", call.row.1.to_string().into()),
        ];
        if let Some((host, port)) = call.server {
            attributes.push(("server.address", host.into()));
            attributes.push(("server.port", Value::Int(port.into())));
        }
        let error = match call.answer {
            Ok(answer) => {
                attributes.extend(of_answer(answer));
                if self.wants_content() {
                    attributes.push(("gen_ai.output.messages", content(&[&answer.message])));
                }
                None
            }
            Err(error) => Some(error.class.as_str().to_owned()),
        };
        if let Some(request) = call.request.filter(|_| self.wants_content()) {
            attributes.push(("gen_ai.input.messages", content(&request.messages)));
        }
        self.export_span(Span {
            name: format!("chat {}", call.model),
            kind: SpanKind::Client,
            context: self.child_of(trace.context),
            parent: Some(trace.context.span_id),
            parent_is_remote: false,
            begun: call.begun,
            ended: self.clock.now(),
            attributes,
            error,
        });
    }

    /// The span of a tool call.
    pub(crate) async fn trace_tool(&self, call: ToolCall<'_>) {
        let Some(trace) = self.wanted_trace_of(call.row.0, call.row.1).await else { return };
        let mut attributes: Vec<(&'static str, Value)> = vec![
            ("gen_ai.operation.name", "execute_tool".into()),
            ("gen_ai.tool.name", call.name.into()),
            ("gen_ai.tool.call.id", call.call_id.into()),
            ("gen_ai.tool.type", "function".into()),
            ("livery.run.id", call.row.1.to_string().into()),
        ];
        if let Some((arguments, result)) = call.content {
            attributes.push(("gen_ai.tool.call.arguments", shortened(arguments).into()));
            attributes.push(("gen_ai.tool.call.result", shortened(result).into()));
        }
        self.export_span(Span {
            name: format!("execute_tool {}", call.name),
            kind: SpanKind::Internal,
            context: self.child_of(trace.context),
            parent: Some(trace.context.span_id),
            parent_is_remote: false,
            begun: call.begun,
            ended: self.clock.now(),
            attributes,
            error: (call.outcome != "ok").then(|| format!("tool_{}", call.outcome)),
        });
    }
}

fn of_answer(answer: &ModelResponse) -> Vec<(&'static str, Value)> {
    let used = &answer.usage;
    let reason = serde_json::to_value(answer.stop_reason).ok().and_then(|reason| Some(reason.as_str()?.to_owned()));
    let mut attributes: Vec<(&'static str, Value)> = vec![
        ("gen_ai.response.model", answer.model.as_str().into()),
        ("gen_ai.response.finish_reasons", Value::Texts(reason.into_iter().collect())),
        // What was cached is part of the input, as the conventions have it.
        ("gen_ai.usage.input_tokens", used.input_total().into()),
        ("gen_ai.usage.output_tokens", used.output_total.into()),
        ("gen_ai.usage.cache_read.input_tokens", used.input_cache_read.into()),
        ("gen_ai.usage.cache_creation.input_tokens", used.input_cache_write.into()),
    ];
    attributes.extend(answer.response_id.as_deref().map(|id| ("gen_ai.response.id", id.into())));
    attributes
}

/// The conventions' names of providers.
fn provider_name(kind: &str) -> &str {
    match kind {
        "google" => "gcp.gemini",
        "mistral" => "mistral_ai",
        other => other,
    }
}

fn content(value: &impl serde::Serialize) -> Value {
    shortened(serde_json::to_string(value).unwrap_or_default()).into()
}

/// Cut to [`CONTENT_BYTES_MAX`], at a character.
fn shortened(mut text: String) -> String {
    if text.len() > CONTENT_BYTES_MAX {
        let end = (0..=CONTENT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
