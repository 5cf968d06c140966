//! Bad input gets a clear problem and changes nothing.

use axum::body::Body;
use base64::Engine as _;
use http::Method;
use serde_json::{Value, json};

use crate::site::{Actor, Site, talker};

const NO_RUN: &str = "/v1/runs/run_00000000000000000000000001";

/// Everything a caller could have changed, as lists show it.
async fn state(actor: &Actor<'_>) -> Vec<Value> {
    let mut lists = Vec::new();
    for list in ["runs", "agents", "api_keys", "webhooks", "model_providers"] {
        let answer = actor.get(&format!("/v1/{list}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut rows = answer.json()["data"].clone();
        for row in rows.as_array_mut().unwrap() {
            row.as_object_mut().unwrap().remove("last_used_at");
        }
        lists.push(rows);
    }
    lists
}

struct Case {
    what: &'static str,
    method: Method,
    target: String,
    content_type: Option<&'static str>,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    pointer: Option<&'static str>,
}

fn case(what: &'static str, body: &Value, status: u16, code: &'static str, pointer: &'static str) -> Case {
    raw(what, body.to_string(), status, code).at(pointer)
}

fn raw(what: &'static str, body: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Case {
    let (content_type, target) = (Some("application/json"), "/v1/runs".to_owned());
    Case { what, method: Method::POST, target, content_type, body: body.into(), status, code, pointer: None }
}

fn bare(what: &'static str, method: Method, target: &str, status: u16, code: &'static str) -> Case {
    Case { method, target: target.to_owned(), content_type: None, ..raw(what, "", status, code) }
}

impl Case {
    fn at(self, pointer: &'static str) -> Self {
        Self { pointer: Some(pointer), ..self }
    }

    fn to(self, target: &str) -> Self {
        Self { target: target.to_owned(), ..self }
    }

    fn typed(self, content_type: Option<&'static str>) -> Self {
        Self { content_type, ..self }
    }
}

fn inline(agent_md: &str) -> Value {
    json!({"agent_md": agent_md})
}

fn with(key: &str, value: Value) -> Value {
    let mut body = json!({"agent": talker(&["one"])});
    body[key] = value;
    body
}

/// Bodies that are no run.
fn bodies() -> Vec<Case> {
    let strict = "---\nname: strict\ndescription: d\nmodel: scripted/talk\ninput:\n  type: object\n  properties: {month: {type: string}}\n  required: [month]\n---\nx\n";
    let script = base64::engine::general_purpose::STANDARD.encode("turns: [{text: hi}]");
    let strict = json!({"agent_md": strict, "files": {"scripts/talk.yaml": script}});
    vec![
        case("unknown field", &with("nonsense", json!(1)), 400, "unknown_field", "/nonsense"),
        case(
            "unknown nested field",
            &with("sandbox", json!({"teir": "container"})),
            400,
            "unknown_field",
            "/sandbox/teir",
        ),
        case(
            "unknown field of an inline agent",
            &json!({"agent": {"agent_md": "", "file": {}}}),
            400,
            "unknown_field",
            "/agent/file",
        ),
        case("missing field", &json!({"input": {}}), 422, "invalid_value", "/agent"),
        case("missing field of an inline agent", &json!({"agent": {}}), 422, "invalid_value", "/agent/agent_md"),
        case("wrong type", &json!({"agent": 7}), 422, "invalid_value", "/agent"),
        case(
            "wrong nested type",
            &with("limits", json!({"timeout_s": "60"})),
            422,
            "invalid_value",
            "/limits/timeout_s",
        ),
        case("negative limit", &with("limits", json!({"max_turns": -1})), 422, "invalid_value", "/limits/max_turns"),
        case("wrong item", &with("files", json!(["fil_x"])), 422, "invalid_value", "/files/0"),
        case("not an object", &json!(["agent"]), 422, "invalid_value", ""),
        raw("malformed", "{\"agent\": ", 400, "malformed_json"),
        raw("two values", "{} {}", 400, "malformed_json"),
        raw("nothing", "", 400, "malformed_json"),
        raw("duplicate key", r#"{"agent": "a", "agent": "b"}"#, 400, "malformed_json"),
        raw("too deep", [vec![b'['; 5000], vec![b']'; 5000]].concat(), 400, "malformed_json"),
        raw("not UTF-8", b"{\"agent\": \"\xff\"}".to_vec(), 400, "malformed_json"),
        raw("no type", "{}", 415, "unsupported_media_type").typed(None),
        raw("form", "agent=a", 415, "unsupported_media_type").typed(Some("application/x-www-form-urlencoded")),
        raw("oversize", vec![b' '; 4 * 1024 * 1024 + 1], 413, "too_large"),
        case("unknown agent", &json!({"agent": "nobody"}), 404, "not_found", ""),
        case("unknown version", &json!({"agent": "nobody@9"}), 404, "not_found", ""),
        case("agent name that is none", &json!({"agent": "../../etc"}), 404, "not_found", ""),
        raw("AGENT.md without front matter", json!({"agent": inline("hello")}).to_string(), 422, "invalid_agent"),
        raw(
            "AGENT.md with an unknown key",
            json!({"agent": inline("---\nname: a\ndescription: d\nmodel: scripted/x\nmodle: y\n---\nx")}).to_string(),
            422,
            "invalid_agent",
        ),
        case(
            "input against its schema",
            &json!({"agent": strict, "input": {"month": 7}}),
            422,
            "invalid_input",
            "/input/month",
        ),
        case("input without a required member", &json!({"agent": strict, "input": {}}), 422, "invalid_input", "/input"),
        raw("foreign file", with("files", json!(["fil_00000000000000000000000001"])).to_string(), 404, "not_found"),
        raw("foreign webhook", with("webhook", json!("whk_00000000000000000000000001")).to_string(), 404, "not_found"),
    ]
}

/// Requests that are wrong in other ways.
fn others() -> Vec<Case> {
    let providers = "/v1/model_providers";
    vec![
        raw("invalid agent saved", inline("hello").to_string(), 422, "invalid_agent").to("/v1/agents"),
        raw("zip that is none", "PK nothing", 422, "invalid_agent").to("/v1/agents").typed(Some("application/zip")),
        raw("agent as text", "hello", 415, "unsupported_media_type").to("/v1/agents").typed(Some("text/plain")),
        case("provider of no kind", &json!({"name": "a", "kind": "abacus"}), 422, "invalid_value", "/kind")
            .to(providers),
        case("unknown scope", &json!({"name": "k", "scopes": ["everything"]}), 422, "invalid_value", "/scopes/0")
            .to("/v1/api_keys"),
        raw("key without a name", json!({"name": "", "scopes": []}).to_string(), 422, "invalid_value")
            .to("/v1/api_keys"),
        raw("webhook to nowhere", json!({"url": "ftp://x", "events": ["run.*"]}).to_string(), 422, "invalid_value")
            .to("/v1/webhooks"),
        raw(
            "webhook to nobody",
            json!({"url": "https://example.com", "events": ["no.such"]}).to_string(),
            422,
            "invalid_value",
        )
        .to("/v1/webhooks"),
        raw("file without a name", "x", 400, "invalid_parameter").to("/v1/files"),
        raw("file that leaves its folder", "x", 422, "invalid_value").to("/v1/files?name=..%2Fx"),
        raw("unknown parameter of a POST", "{}", 400, "unknown_parameter").to("/v1/runs?dry_run=true"),
        bare("unknown run", Method::GET, NO_RUN, 404, "not_found"),
        bare("unparsable run", Method::GET, "/v1/runs/7", 404, "not_found"),
        bare("run of another kind", Method::GET, "/v1/runs/fil_00000000000000000000000001", 404, "not_found"),
        bare("run that is no text", Method::GET, "/v1/runs/%ff", 404, "not_found"),
        bare("cancel of an unknown run", Method::POST, &format!("{NO_RUN}/cancel"), 404, "not_found"),
        bare("unknown agent", Method::GET, "/v1/agents/nobody", 404, "not_found"),
        bare("unknown key", Method::DELETE, "/v1/api_keys/key_00000000000000000000000001", 404, "not_found"),
        bare("unknown webhook", Method::DELETE, "/v1/webhooks/whk_00000000000000000000000001", 404, "not_found"),
        bare("unknown provider", Method::DELETE, "/v1/model_providers/nobody", 404, "not_found"),
        bare("unknown file", Method::GET, "/v1/files/fil_00000000000000000000000001/content", 404, "not_found"),
        bare("unknown parameter", Method::GET, "/v1/runs?stauts=failed", 400, "unknown_parameter").at("?stauts"),
        bare("parameter where there are none", Method::GET, &format!("{NO_RUN}?verbose"), 400, "unknown_parameter")
            .at("?verbose"),
        bare("limit too large", Method::GET, "/v1/runs?limit=201", 400, "invalid_parameter").at("?limit"),
        bare("limit of nothing", Method::GET, "/v1/runs?limit=0", 400, "invalid_parameter").at("?limit"),
        bare("parameter twice", Method::GET, "/v1/runs?limit=1&limit=2", 400, "invalid_parameter").at("?limit"),
        bare("unknown status", Method::GET, "/v1/runs?status=done", 400, "invalid_parameter").at("?status"),
        bare("no time", Method::GET, "/v1/runs?created_after=yesterday", 400, "invalid_parameter").at("?created_after"),
        bare("cursor of nobody", Method::GET, "/v1/runs?cursor=abc", 400, "invalid_cursor"),
        bare("place that is none", Method::GET, &format!("{NO_RUN}/events?after=-1"), 400, "invalid_parameter")
            .at("?after"),
        bare("unknown route", Method::GET, "/v1/nothing", 404, "not_found"),
        bare("outside", Method::GET, "/wp-admin", 404, "not_found"),
        bare("other method", Method::PUT, "/v1/runs", 405, "method_not_allowed"),
        bare("preflight", Method::OPTIONS, "/v1/runs", 405, "method_not_allowed"),
        bare("long address", Method::GET, &format!("/v1/runs?agent={}", "a".repeat(9000)), 414, "uri_too_long"),
    ]
}

#[tokio::test]
async fn bad_input_is_explained_and_changes_nothing() {
    let site = Site::new().await;
    let actor = site.operator();
    let before = state(&actor).await;
    for case in bodies().into_iter().chain(others()) {
        let mut request = actor.request(case.method.clone(), &case.target);
        if let Some(content_type) = case.content_type {
            request = request.header("content-type", content_type);
        }
        let answer = actor.send(request.body(Body::from(case.body)).unwrap()).await;
        let code = answer.problem();
        assert_eq!(
            (answer.status.as_u16(), code.as_str()),
            (case.status, case.code),
            "{}: {}",
            case.what,
            answer.text()
        );
        if let Some(pointer) = case.pointer.filter(|_| case.status != 404) {
            assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{}: {}", case.what, answer.text());
        }
    }
    assert_eq!(state(&actor).await, before, "something was changed");
}

#[tokio::test]
async fn malformed_json_says_line_and_column() {
    let site = Site::new().await;
    let actor = site.operator();
    let request = actor.request(Method::POST, "/v1/runs").header("content-type", "application/json");
    let answer = actor.send(request.body(Body::from("{\n  \"agent\": ,\n}")).unwrap()).await;
    assert_eq!(answer.problem(), "malformed_json");
    assert!(answer.json()["detail"].as_str().unwrap().contains("line 2 column 12"), "{}", answer.text());
}

#[tokio::test]
async fn a_method_that_is_missing_names_those_there_are() {
    let site = Site::new().await;
    let answer = site.operator().delete("/v1/runs").await;
    assert_eq!(answer.problem(), "method_not_allowed");
    let mut methods: Vec<_> = answer.header("allow").split(',').collect();
    methods.sort_unstable();
    assert_eq!(methods, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn header_fields_that_cannot_be_used_are_refused() {
    let site = Site::new().await;
    let actor = site.operator();
    let body = json!({"agent": talker(&["one"])});
    let long = "k".repeat(256);
    for (name, value) in [("idempotency-key", ""), ("idempotency-key", "\"open"), ("idempotency-key", &long)] {
        let answer = actor.post_with("/v1/runs", &body, &[(name, value)]).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "invalid_header"), "{value}");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "a")];
    assert_eq!(actor.post_with("/v1/runs", &body, &twice).await.problem(), "invalid_header");
    let encoded = actor.post_with("/v1/runs", &body, &[("content-encoding", "gzip")]).await;
    assert_eq!(encoded.problem(), "unsupported_media_type");
    let unknown = actor.post_with("/v1/runs", &body, &[("livery-on-behalf-of", "somebody")]).await;
    assert_eq!(unknown.problem(), "not_found");
    assert!(actor.get("/v1/runs").await.json()["data"].as_array().unwrap().is_empty());
}
