//! One trace spans the API call, the run and its tools, as a collector sees it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;

use crate::support::{SHELL_AGENT, Server, base64, one_command, request};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A collector: what it got, decoded.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    raw: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (spans, raw) = (Arc::<Mutex<Vec<Span>>>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let (into, seen) = (Arc::clone(&spans), Arc::clone(&raw));
        // Ends with the test's process; it holds nothing.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let (mut line, mut length, mut head) = (String::new(), 0, String::new());
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                    line.clear();
                }
                assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let got = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
                let got = got.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
                into.lock().unwrap().extend(got.flat_map(|scope| scope.spans));
                seen.lock().unwrap().extend(body);
                reader
                    .get_mut()
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .unwrap();
            }
        });
        Self { url, spans, raw }
    }

    fn find(&self, name: &str) -> Span {
        let spans = self.spans.lock().unwrap();
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name} in {names:?}")).clone()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.clone()) {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(truth)) => truth.to_string(),
        other => panic!("{}: {name} is {other:?}", span.name),
    }
}

fn run_within_a_trace(server: &Server) {
    let body = json!({"agent": {"agent_md": SHELL_AGENT, "files": {
        "scripts/s.yaml": base64(one_command("echo a-word-nobody-else-says").as_bytes())}}});
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [("content-type", "application/json"), ("traceparent", traceparent.as_str())];
    let (status, run) = request(&server.url, &server.key, "POST", "/v1/runs", &headers, body.to_string().as_bytes());
    assert_eq!(status, 202, "{run}");
    assert_eq!(server.ended(run["id"].as_str().unwrap())["status"], "succeeded");
}

#[test]
fn one_trace_spans_call_run_model_and_tool() {
    let collector = Collector::start();
    let mut server = Server::start(&["--otlp-endpoint", &collector.url]);
    run_within_a_trace(&server);
    // What is left is sent before the process ends.
    assert_eq!(server.terminate(), Some(0));

    let call = collector.find("POST /v1/runs");
    let run = collector.find("invoke_agent shell-agent");
    let model = collector.find("chat s");
    let tool = collector.find("execute_tool shell");
    for span in [&call, &run, &model, &tool] {
        assert_eq!(hex(&span.trace_id), TRACE, "{}", span.name);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{}", span.name);
    }
    assert_eq!(hex(&call.parent_span_id), CALLER);
    assert_eq!(run.parent_span_id, call.span_id);
    assert_eq!((&model.parent_span_id, &tool.parent_span_id), (&run.span_id, &run.span_id));

    assert_eq!(attribute(&call, "http.response.status_code"), "202");
    assert_eq!(attribute(&run, "gen_ai.operation.name"), "invoke_agent");
    assert_eq!(attribute(&run, "gen_ai.agent.name"), "shell-agent");
    assert_eq!(attribute(&run, "livery.run.status"), "succeeded");
    assert_eq!(attribute(&model, "gen_ai.operation.name"), "chat");
    assert_eq!(attribute(&model, "gen_ai.request.model"), "s");
    assert_eq!(attribute(&model, "gen_ai.provider.name"), "scripted");
    assert_eq!(attribute(&tool, "gen_ai.tool.name"), "shell");
    let sent = String::from_utf8_lossy(&collector.raw.lock().unwrap()).into_owned();
    assert!(!sent.contains("a-word-nobody-else-says"), "content is not sent unless it is asked for");
    assert!(!sent.contains(&server.key) && !sent.contains("lvk_"), "no key is sent");
}

#[test]
fn content_is_sent_when_it_is_asked_for() {
    let collector = Collector::start();
    let mut server = Server::start(&["--otlp-endpoint", &collector.url, "--otlp-content"]);
    run_within_a_trace(&server);
    assert_eq!(server.terminate(), Some(0));
    let tool = collector.find("execute_tool shell");
    assert!(attribute(&tool, "gen_ai.tool.call.arguments").contains("a-word-nobody-else-says"));
    assert!(attribute(&tool, "gen_ai.tool.call.result").contains("a-word-nobody-else-says"));
}

#[test]
fn a_collector_that_is_away_is_in_nobodys_way() {
    // Nobody listens on a port that was just given back.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = Server::start(&["--otlp-endpoint", &format!("http://{gone}")]);
    run_within_a_trace(&server);
    let (url, key) = (server.url.clone(), server.key.clone());
    let dropped = server.wait(|| {
        let text = crate::support::get_text(&url, &key, "/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix("livery_spans_dropped_total "))?.to_owned();
        (line != "0").then_some(line)
    });
    assert!(dropped.parse::<u64>().unwrap() > 0);
    assert_eq!(server.terminate(), Some(0));
}
