//! Traces go to a collector over OTLP/HTTP, in batches, beside the work and never in its way: what there is no room for, or
//! what the collector does not take, is dropped and counted.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full, Limited};
use livery_platform::Timestamp;
use livery_platform::traces::{Span, SpanKind, SpanSink, Value};
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client;

/// Spans that wait to be sent.
const QUEUE_MAX: usize = 4096;
/// Spans of one request.
const BATCH_MAX: usize = 512;
/// How long a span waits for others to go with.
const BATCH_WAIT: Duration = Duration::from_secs(2);
/// Longest time for one request to the collector.
const SEND_MAX: Duration = Duration::from_secs(5);
/// Longest time for what is left at shutdown.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// Largest answer of a collector that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The conventions that the names of spans and attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev";
/// Where traces go below an endpoint (OTLP 1.x, §OTLP/HTTP).
const PATH: &str = "/v1/traces";

/// The queue: what the platform hands its spans to.
struct Queue {
    sender: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
}

impl SpanSink for Queue {
    fn export(&self, span: Span) {
        if self.sender.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The task that sends.
pub(crate) struct Exporting {
    task: JoinHandle<()>,
    stop: tokio_util::sync::CancellationToken,
}

/// Starts sending to the collector at `endpoint`. Header fields for it come from `OTEL_EXPORTER_OTLP_HEADERS` alone, which
/// the exporter reads itself: they may be secrets.
pub(crate) fn start(endpoint: &str) -> anyhow::Result<(Arc<dyn SpanSink>, Exporting)> {
    let target: http::Uri = format!("{}{PATH}", endpoint.trim_end_matches('/'))
        .parse()
        .with_context(|| format!("--otlp-endpoint {endpoint}: no URL such as http://127.0.0.1:4318"))?;
    if !matches!(target.scheme_str(), Some("http" | "https")) {
        anyhow::bail!("--otlp-endpoint {endpoint}: write it http://HOST:PORT or https://HOST");
    }
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Http)
        .with_endpoint(target.to_string())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(SEND_MAX)
        .with_headers(HashMap::new())
        .build()?;
    let resource = Resource::builder()
        .with_service_name("livery")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    exporter.set_resource(&resource);
    let (sender, spans) = mpsc::channel(QUEUE_MAX);
    let (dropped, stop) = (Arc::new(AtomicU64::new(0)), tokio_util::sync::CancellationToken::new());
    let task = tokio::spawn(send_all(exporter, spans, Arc::clone(&dropped), stop.clone()));
    Ok((Arc::new(Queue { sender, dropped }), Exporting { task, stop }))
}

impl Exporting {
    /// Sends what is left, within [`FLUSH_MAX`].
    pub(crate) async fn flush(self) {
        self.stop.cancel();
        if tokio::time::timeout(FLUSH_MAX, self.task).await.is_err() {
            tracing::warn!("the collector did not take the last spans in {FLUSH_MAX:?}");
        }
    }
}

async fn send_all(
    exporter: SpanExporter,
    mut spans: mpsc::Receiver<Span>,
    dropped: Arc<AtomicU64>,
    stop: tokio_util::sync::CancellationToken,
) {
    let mut failing = false;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        let stopping = stop.is_cancelled();
        gather(&mut spans, &mut batch, &stop).await;
        if batch.is_empty() && stopping {
            return;
        }
        let sent = batch.len();
        let data: Vec<SpanData> = batch.drain(..).map(data_of).collect();
        let outcome = match tokio::time::timeout(SEND_MAX, exporter.export(data)).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer in {SEND_MAX:?}")),
        };
        match outcome {
            Ok(()) => failing = false,
            Err(error) => {
                dropped.fetch_add(sent as u64, Ordering::Relaxed);
                // Once per outage: the metric counts the rest.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error, "the collector does not take spans; they are dropped until it does");
                }
            }
        }
    }
}

/// Takes what is there, up to a batch: at once when stopping, else after the first has waited a little for others.
async fn gather(spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>, stop: &tokio_util::sync::CancellationToken) {
    let first = tokio::select! {
        biased;
        span = spans.recv() => span,
        () = stop.cancelled() => None,
    };
    let Some(first) = first else { return };
    batch.push(first);
    let full = async {
        while batch.len() < BATCH_MAX {
            match spans.recv().await {
                Some(span) => batch.push(span),
                None => return,
            }
        }
    };
    tokio::select! {
        () = full => {}
        () = stop.cancelled() => {}
        () = tokio::time::sleep(BATCH_WAIT) => {}
    }
    while batch.len() < BATCH_MAX
        && let Ok(span) = spans.try_recv()
    {
        batch.push(span);
    }
}

fn data_of(span: Span) -> SpanData {
    let flags = TraceFlags::default().with_sampled(span.context.sampled);
    let (trace, own) = (TraceId::from(span.context.trace_id), SpanId::from(span.context.span_id));
    let mut attributes: Vec<KeyValue> =
        span.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value_of(value))).collect();
    let status = match span.error {
        Some(error) => {
            attributes.push(KeyValue::new("error.type", error.clone()));
            Status::error(error)
        }
        None => Status::Unset,
    };
    SpanData {
        span_context: SpanContext::new(trace, own, flags, false, TraceState::default()),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: span.parent_is_remote,
        span_kind: match span.kind {
            SpanKind::Server => opentelemetry::trace::SpanKind::Server,
            SpanKind::Client => opentelemetry::trace::SpanKind::Client,
            SpanKind::Internal => opentelemetry::trace::SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: moment(span.begun),
        end_time: moment(span.ended),
        attributes,
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status,
        instrumentation_scope: InstrumentationScope::builder("livery")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build(),
    }
}

fn value_of(value: Value) -> opentelemetry::Value {
    match value {
        Value::Text(text) => text.into(),
        Value::Int(number) => number.into(),
        Value::Bool(truth) => truth.into(),
        Value::Texts(texts) => {
            opentelemetry::Value::Array(Array::String(texts.into_iter().map(StringValue::from).collect()))
        }
    }
}

fn moment(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or(0))
}

/// The exporter's way out: the operator's collector, and nothing of a run's traffic.
#[derive(Debug)]
struct Http;

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Http {
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Sent<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let target = request.uri().clone();
            let (mut head, body) = request.into_parts();
            head.uri = target.path_and_query().map_or(PATH, |path| path.as_str()).parse()?;
            if let Some(authority) = target.authority() {
                head.headers.insert(http::header::HOST, authority.as_str().parse()?);
            }
            let answer = client::exchange(&target, Request::from_parts(head, Full::new(body))).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        })
    }
}
