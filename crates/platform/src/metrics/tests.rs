use std::time::Duration;

use livery_core::{RunStatus, Timestamp};
use livery_store::{Observer as _, WriteOutcome};

use super::Metrics;

fn text(metrics: &Metrics) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry).unwrap();
    text
}

#[test]
fn what_was_counted_is_shown() {
    let metrics = Metrics::new(Timestamp::from_micros(1_700_000_000_000_000));
    metrics.run_accepted();
    metrics.run_ended(RunStatus::Succeeded, Duration::from_millis(300));
    metrics.model_called("openai", "rate_limited", Duration::from_secs(2));
    metrics.tokens_used("openai", 7, 5);
    metrics.http_answered("GET", "/v1/runs/{id}".to_owned(), 404, Duration::from_millis(2));
    metrics.write_began();
    metrics.write_ended(WriteOutcome::Unavailable, Duration::from_millis(1));
    let stream = metrics.event_stream();
    let shown = text(&metrics);
    for line in [
        "livery_runs_accepted_total 1",
        "livery_runs_ended_total{status=\"succeeded\"} 1",
        "livery_run_duration_seconds_bucket{le=\"0.5\",status=\"succeeded\"} 1",
        "livery_model_calls_total{provider=\"openai\",outcome=\"rate_limited\"} 1",
        "livery_model_tokens_total{provider=\"openai\",type=\"input\"} 7",
        "livery_http_requests_total{method=\"GET\",route=\"/v1/runs/{id}\",status=\"4xx\"} 1",
        "livery_store_write_errors_total{reason=\"unavailable\"} 1",
        "livery_store_writes_waiting 0",
        "livery_event_streams 1",
        "process_start_time_seconds 1700000000.0",
    ] {
        assert!(shown.contains(line), "{line} is missing in\n{shown}");
    }
    drop(stream);
    assert!(text(&metrics).contains("livery_event_streams 0"));
    assert!(shown.ends_with("# EOF\n"));
}

#[test]
fn the_process_is_measured() {
    let shown = text(&Metrics::new(Timestamp::from_micros(0)));
    let value = |name: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<f64>().unwrap()
    };
    assert!(value("process_resident_memory_bytes ") > 100_000.0);
    assert!(value("process_open_fds ") >= 3.0);
    assert!(value("process_cpu_seconds_total ") >= 0.0);
}
