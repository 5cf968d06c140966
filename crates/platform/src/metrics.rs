//! What a node counts about itself, for `GET /metrics`. Nothing here names a tenant, a run, an agent or a model: the
//! numbers are the operator's, and every label has few values.
//!
//! Whoever does the thing counts it, through the typed methods; `scrape` adds what is looked up when somebody asks.

mod process;
mod scrape;

use std::time::Duration;

use livery_core::{RunStatus, Timestamp};
use livery_store::{ClaimedRun, Observer, WriteOutcome};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Up to minutes: what a model, a tool or a run takes.
const LONG_S: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
/// Up to seconds: what an answer, a write or a start takes.
const SHORT_S: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Operations that shared a commit.
const BATCH: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 512.0];

/// Labels whose values are words of the code.
type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;
/// A route is a template of the router, so there are few of them.
type RouteLabels = [(&'static str, std::borrow::Cow<'static, str>); 3];

fn long() -> Histogram {
    Histogram::new(LONG_S)
}

fn short() -> Histogram {
    Histogram::new(SHORT_S)
}

/// The counters of one node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    runs_accepted: Counter,
    runs_ended: Counters<1>,
    run_duration: Histograms<1>,
    run_queue_wait: Histogram,
    run_recoveries: Counter,
    leases_lost: Counter,
    runs_running: Gauge,
    runs_queued: Gauge,
    model_calls: Counters<2>,
    model_duration: Histograms<1>,
    model_tokens: Counters<2>,
    tool_calls: Counters<2>,
    tool_duration: Histograms<1>,
    sandboxes_standing: Gauge,
    sandbox_start: Histogram,
    sandbox_failures: Counter,
    store_write: Histogram,
    store_batch: Histogram,
    store_waiting: Gauge,
    store_errors: Counters<1>,
    store_up: Gauge,
    objects_up: Gauge,
    delivery_attempts: Counters<1>,
    deliveries_pending: Gauge,
    delivery_overdue: Gauge,
    http_requests: Family<RouteLabels, Counter>,
    http_duration: Histograms<1>,
    event_streams: Gauge,
    spans_dropped: Counter,
}

impl Metrics {
    /// All at zero; `now` is when the process began.
    pub(crate) fn new(now: Timestamp) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            runs_accepted: Counter::default(),
            runs_ended: Family::default(),
            run_duration: Family::new_with_constructor(long),
            run_queue_wait: long(),
            run_recoveries: Counter::default(),
            leases_lost: Counter::default(),
            runs_running: Gauge::default(),
            runs_queued: Gauge::default(),
            model_calls: Family::default(),
            model_duration: Family::new_with_constructor(long),
            model_tokens: Family::default(),
            tool_calls: Family::default(),
            tool_duration: Family::new_with_constructor(long),
            sandboxes_standing: Gauge::default(),
            sandbox_start: short(),
            sandbox_failures: Counter::default(),
            store_write: short(),
            store_batch: Histogram::new(BATCH),
            store_waiting: Gauge::default(),
            store_errors: Family::default(),
            store_up: Gauge::default(),
            objects_up: Gauge::default(),
            delivery_attempts: Family::default(),
            deliveries_pending: Gauge::default(),
            delivery_overdue: Gauge::default(),
            http_requests: Family::default(),
            http_duration: Family::new_with_constructor(short),
            event_streams: Gauge::default(),
            spans_dropped: Counter::default(),
        };
        metrics.register_runs();
        metrics.register_effects();
        metrics.register_store();
        metrics.register_edge();
        metrics.registry.register_collector(Box::new(process::Process::started(now)));
        metrics
    }

    fn register_runs(&mut self) {
        let r = &mut self.registry;
        r.register("livery_runs_accepted", "Runs accepted by this node", self.runs_accepted.clone());
        r.register("livery_runs_ended", "Runs this node brought to an end, by status", self.runs_ended.clone());
        r.register(
            "livery_run_duration_seconds",
            "From a run's first start to its end, by status",
            self.run_duration.clone(),
        );
        r.register(
            "livery_run_queue_wait_seconds",
            "From when a run was accepted to its first start",
            self.run_queue_wait.clone(),
        );
        r.register("livery_run_recoveries", "Runs taken over because a lease ran out", self.run_recoveries.clone());
        r.register("livery_leases_lost", "Runs another worker took from this node", self.leases_lost.clone());
        r.register("livery_runs_running", "Runs this node works on now", self.runs_running.clone());
        r.register("livery_runs_queued", "Runs waiting in the queue, of the whole site", self.runs_queued.clone());
    }

    fn register_effects(&mut self) {
        let r = &mut self.registry;
        r.register("livery_model_calls", "Model calls by kind of provider and outcome", self.model_calls.clone());
        r.register("livery_model_call_duration_seconds", "What a model call took", self.model_duration.clone());
        r.register("livery_model_tokens", "Tokens by kind of provider, input and output", self.model_tokens.clone());
        r.register("livery_tool_calls", "Tool calls by tool and outcome", self.tool_calls.clone());
        r.register("livery_tool_duration_seconds", "What a tool call took", self.tool_duration.clone());
        r.register("livery_sandboxes_standing", "Sandboxes of this node now", self.sandboxes_standing.clone());
        r.register("livery_sandbox_start_seconds", "What starting a sandbox took", self.sandbox_start.clone());
        r.register("livery_sandbox_failures", "Sandboxes that could not be started", self.sandbox_failures.clone());
        r.register(
            "livery_webhook_attempts",
            "Attempts to deliver a webhook, by outcome",
            self.delivery_attempts.clone(),
        );
        r.register(
            "livery_webhook_deliveries_pending",
            "Deliveries not settled yet, of the whole site",
            self.deliveries_pending.clone(),
        );
        r.register(
            "livery_webhook_overdue_seconds",
            "How long the next delivery has been due; 0: none is",
            self.delivery_overdue.clone(),
        );
    }

    fn register_store(&mut self) {
        let r = &mut self.registry;
        r.register("livery_store_up", "Whether the database answered the last look", self.store_up.clone());
        r.register("livery_objects_up", "Whether the object store took the last write", self.objects_up.clone());
        r.register(
            "livery_store_write_seconds",
            "A write from its call to its commit, waiting included",
            self.store_write.clone(),
        );
        r.register("livery_store_batch_operations", "Writes that shared one commit", self.store_batch.clone());
        r.register("livery_store_writes_waiting", "Writes that wait for their commit", self.store_waiting.clone());
        r.register("livery_store_write_errors", "Writes that did not happen, by reason", self.store_errors.clone());
    }

    fn register_edge(&mut self) {
        let r = &mut self.registry;
        r.register(
            "livery_http_requests",
            "HTTP requests by method, route and class of status",
            self.http_requests.clone(),
        );
        r.register(
            "livery_http_request_duration_seconds",
            "From a request's head to the head of its answer, by method",
            self.http_duration.clone(),
        );
        r.register("livery_event_streams", "Event streams held open on this node", self.event_streams.clone());
        r.register("livery_spans_dropped", "Spans that no collector got", self.spans_dropped.clone());
        r.register("livery_build", "Which Livery this is", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    }

    pub(crate) fn run_accepted(&self) {
        self.runs_accepted.inc();
    }

    /// A run was taken by this node: for the first time, or from a worker that is gone.
    pub(crate) fn run_claimed(&self, claimed: &ClaimedRun) {
        if claimed.recovered {
            self.run_recoveries.inc();
        } else if !claimed.resumed {
            let waited_ms = claimed.run.started_at.map_or(0, |started| started.millis_since(claimed.run.created_at));
            self.run_queue_wait.observe(seconds(Duration::from_millis(waited_ms)));
        }
    }

    pub(crate) fn lease_lost(&self) {
        self.leases_lost.inc();
    }

    pub(crate) fn run_ended(&self, status: RunStatus, took: Duration) {
        let labels = [("status", status.as_str())];
        self.runs_ended.get_or_create(&labels).inc();
        self.run_duration.get_or_create(&labels).observe(seconds(took));
    }

    /// `provider` is a kind of provider (`openai`), never the name a tenant gave it; `outcome` is `ok` or a class of error.
    pub(crate) fn model_called(&self, provider: &'static str, outcome: &'static str, took: Duration) {
        self.model_calls.get_or_create(&[("provider", provider), ("outcome", outcome)]).inc();
        self.model_duration.get_or_create(&[("provider", provider)]).observe(seconds(took));
    }

    pub(crate) fn tokens_used(&self, provider: &'static str, input: u64, output: u64) {
        self.model_tokens.get_or_create(&[("provider", provider), ("type", "input")]).inc_by(input);
        self.model_tokens.get_or_create(&[("provider", provider), ("type", "output")]).inc_by(output);
    }

    /// `tool` is a built-in tool or `own`, never a name out of an agent.
    pub(crate) fn tool_called(&self, tool: &'static str, outcome: &'static str, took: Duration) {
        self.tool_calls.get_or_create(&[("tool", tool), ("outcome", outcome)]).inc();
        self.tool_duration.get_or_create(&[("tool", tool)]).observe(seconds(took));
    }

    pub(crate) fn sandbox_started(&self, took: Duration) {
        self.sandbox_start.observe(seconds(took));
        self.sandboxes_standing.inc();
    }

    pub(crate) fn sandbox_ended(&self) {
        self.sandboxes_standing.dec();
    }

    pub(crate) fn sandbox_failed(&self) {
        self.sandbox_failures.inc();
    }

    pub(crate) fn delivery_attempted(&self, outcome: &'static str) {
        self.delivery_attempts.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// One HTTP request was answered. `route` is the route's template (`/v1/runs/{id}`), never an address a caller sent.
    pub fn http_answered(&self, method: &'static str, route: String, status: u16, took: Duration) {
        const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
        let class = CLASSES.get(usize::from(status / 100)).copied().unwrap_or("other");
        let labels = [("method", method.into()), ("route", route.into()), ("status", class.into())];
        self.http_requests.get_or_create(&labels).inc();
        self.http_duration.get_or_create(&[("method", method)]).observe(seconds(took));
    }

    /// An event stream was opened; dropping the guard closes it.
    pub fn event_stream(&self) -> OpenStream {
        self.event_streams.inc();
        OpenStream(self.event_streams.clone())
    }
}

/// An event stream that is counted as open.
#[derive(Debug)]
pub struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Observer for Metrics {
    fn write_began(&self) {
        self.store_waiting.inc();
    }

    fn write_ended(&self, outcome: WriteOutcome, took: Duration) {
        self.store_waiting.dec();
        self.store_write.observe(seconds(took));
        if let Some(reason) = outcome.reason() {
            self.store_errors.get_or_create(&[("reason", reason)]).inc();
        }
    }

    fn committed(&self, operations: usize) {
        // At most a few hundred.
        self.store_batch.observe(f64::from(u32::try_from(operations).unwrap_or(u32::MAX)));
    }
}

fn seconds(took: Duration) -> f64 {
    took.as_secs_f64()
}

#[cfg(test)]
mod tests;
