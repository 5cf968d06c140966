//! Traces: what a request, a run, a model call, a tool call and a delivery took, as spans of one trace.
//!
//! A finished span is handed to a [`SpanSink`]; without one nothing is put together. The span of a run has an id that
//! follows from the run's own, so its parts belong together although several lives on several nodes made them, and a life
//! that was killed leaves no span without a parent. Names follow the OpenTelemetry conventions for generative AI.
//!
//! Walk on: `context` is the W3C header, `spans` says what each span carries.

mod context;
mod spans;

use std::fmt;
use std::sync::Arc;

use livery_core::Timestamp;
use livery_core::id::{OrgId, RunId};

pub use self::context::{TraceContext, current, within};
pub(crate) use self::spans::{ModelCall, ToolCall};
use crate::Platform;

/// Takes finished spans. Called on the way of the work itself, so it never waits; what it has no room for it drops and
/// counts.
pub trait SpanSink: Send + Sync {
    /// One finished span.
    fn export(&self, span: Span);
    /// Spans that could not be kept or sent since the start.
    fn dropped(&self) -> u64;
}

/// Where spans go, if anywhere.
#[derive(Clone, Default)]
pub struct Traces {
    /// The sink.
    pub sink: Option<Arc<dyn SpanSink>>,
    /// Whether prompts, answers, arguments and results go along. Off unless the operator says so.
    pub content: bool,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = self.sink.is_some();
        f.debug_struct("Traces").field("on", &on).field("content", &self.content).finish()
    }
}

/// Which side of a call a span describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that came in.
    Server,
    /// A request that went out.
    Client,
    /// Work in between.
    Internal,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// Several texts.
    Texts(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A finished span.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its name, of few kinds.
    pub name: String,
    /// Which side it describes.
    pub kind: SpanKind,
    /// Its own ids.
    pub context: TraceContext,
    /// The span it is part of.
    pub parent: Option<u64>,
    /// Whether that one was made by somebody else.
    pub parent_is_remote: bool,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What it carries.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did: a word of few kinds, also `error.type`.
    pub error: Option<String>,
}

/// A run's place in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunTrace {
    /// The run's own span.
    pub(crate) context: TraceContext,
    /// The request that started it, when it was part of a trace.
    pub(crate) parent: Option<TraceContext>,
}

impl RunTrace {
    /// Of a run that was accepted with this `traceparent`, or with none.
    pub(crate) fn of(run: RunId, traceparent: Option<&str>) -> Self {
        let parent = traceparent.and_then(TraceContext::parse);
        let context = TraceContext {
            trace_id: parent.map_or_else(|| run.bits(), |parent| parent.trace_id),
            // The random end of the id; ids are random but for their first half.
            span_id: context::low_half(run.bits()).max(1),
            sampled: parent.is_none_or(|parent| parent.sampled),
        };
        Self { context, parent }
    }
}

impl Platform {
    /// The sink, when a span of this trace is wanted.
    pub(crate) fn sink_for(&self, context: TraceContext) -> Option<&Arc<dyn SpanSink>> {
        self.config.traces.sink.as_ref().filter(|_| context.sampled)
    }

    /// A new part of a trace.
    pub(crate) fn child_of(&self, parent: TraceContext) -> TraceContext {
        TraceContext { span_id: context::low_half(self.mint()).max(1), ..parent }
    }

    /// The span of a request: part of the caller's trace, or the beginning of one. `None` when nobody wants spans.
    pub fn request_trace(&self, caller: Option<TraceContext>) -> Option<TraceContext> {
        self.config.traces.sink.as_ref()?;
        let new = || TraceContext { trace_id: self.mint(), span_id: 1, sampled: true };
        Some(self.child_of(caller.unwrap_or_else(new)))
    }

    /// Hands a finished span of a request on.
    pub fn export_span(&self, span: Span) {
        if let Some(sink) = self.sink_for(span.context) {
            sink.export(span);
        }
    }

    /// The run's place in its trace, read from its first event; without that event, a trace of the run's own.
    pub(crate) async fn trace_of(&self, org: OrgId, run: RunId) -> RunTrace {
        let first = self.store.stored_events_after(org, run, 0, 1).await.unwrap_or_default().into_iter().next();
        let data = first.and_then(|event| event.data?.parse::<serde_json::Value>().ok());
        RunTrace::of(run, data.as_ref().and_then(|data| data["traceparent"].as_str()))
    }

    /// The same, when somebody wants spans.
    pub(crate) async fn wanted_trace_of(&self, org: OrgId, run: RunId) -> Option<RunTrace> {
        self.config.traces.sink.as_ref()?;
        let trace = self.trace_of(org, run).await;
        trace.context.sampled.then_some(trace)
    }
}

#[cfg(test)]
mod tests;
