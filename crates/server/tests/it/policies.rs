//! Policies and approvals over HTTP: an agent asks, a person decides, another tenant sees nothing.

use axum::Router;
use axum::routing::post;
use base64::Engine as _;
use livery_server::Options;
use serde_json::{Value, json};

use crate::site::{Actor, PATIENCE, Site};

const ASK: &str = "@ask(\"It writes\") permit (principal, action in Action::\"write\", resource);";

/// An API that takes what it is sent.
async fn upstream() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/things", post(async || "taken"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

/// Starts a run that posts once, and waits until it is in this state.
async fn run_that_posts(actor: &Actor<'_>, connection: &str) -> String {
    let turns = json!({"turns": [
        {"tools": [{"name": "call_api", "arguments": {"connection": "crm", "method": "POST", "path": "/things", "body": {"n": 1}}}]},
        {"text": "Done."},
    ]});
    let script = base64::engine::general_purpose::STANDARD.encode(turns.to_string());
    let agent_md =
        "---\nname: clerk\nmodel: scripted/a\ntools: [call_api]\nconnections:\n  crm: {connector: http}\n---\nHi.\n";
    let agent = json!({"agent_md": agent_md, "files": {"scripts/a.yaml": script}});
    let started = actor.post("/v1/runs", &json!({"agent": agent, "connections": {"crm": connection}})).await;
    assert_eq!(started.status, 202, "{}", started.text());
    started.json()["id"].as_str().unwrap().to_owned()
}

async fn until(actor: &Actor<'_>, run: &str, status: &str) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let row = actor.get(&format!("/v1/runs/{run}")).await.json();
        if row["status"] == status {
            return row;
        }
        assert!(begun.elapsed() < PATIENCE, "{row}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn connect(actor: &Actor<'_>) -> String {
    let connection = json!({
        "name": "crm", "connector": "http", "credential": {"value": "fk_live_0nce-and-never-seen-again"},
        "settings": {"base_url": upstream().await, "slot": {"in": "header", "name": "x-key"}},
    });
    let created = actor.post("/v1/connections", &connection).await;
    created.json()["id"].as_str().unwrap_or_else(|| panic!("{}", created.text())).to_owned()
}

#[tokio::test]
async fn a_policy_from_its_creation_to_its_end() {
    let site = Site::new().await;
    let (one, two) = (site.tenant("one").await, site.tenant("two").await);
    let created = one.post("/v1/policies", &json!({"name": "asks", "text": ASK})).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/policies/{id}");
    assert_eq!(created.header("location"), path);
    assert_eq!(one.get("/v1/policies").await.json()["data"][0]["text"], ASK);
    assert_eq!(two.get("/v1/policies").await.json()["data"], json!([]));
    for answer in [two.get(&path).await, two.patch(&path, &json!({"name": "mine"})).await, two.delete(&path).await] {
        assert_eq!(answer.problem(), "not_found");
    }
    let wrong = one.patch(&path, &json!({"text": "permit (principal, action, resource);\nforbid (x);"})).await;
    assert_eq!((wrong.status.as_u16(), wrong.problem().as_str()), (422, "invalid_policy"));
    let errors = wrong.json()["errors"].clone();
    assert!(errors[0]["detail"].as_str().unwrap().starts_with("1:26: say what it is about"), "{errors}");
    assert!(errors[1]["detail"].as_str().unwrap().starts_with("2:9: "), "{errors}");
    let checked = one.post("/v1/policies/validate", &json!({"text": ASK})).await.json();
    assert_eq!((&checked["valid"], &checked["statements"][0]["effect"]), (&json!(true), &json!("ask")));
    let checked = one.post("/v1/policies/validate", &json!({"text": "permit"})).await.json();
    assert_eq!((&checked["valid"], &checked["errors"][0]["line"]), (&json!(false), &json!(1)));
    assert_eq!(one.patch(&path, &json!({"name": "again"})).await.json()["version"], 2);
    assert_eq!(one.delete(&path).await.status, 204);
    assert_eq!(one.get(&path).await.problem(), "not_found");
}

#[tokio::test]
async fn a_person_decides_once_and_another_tenant_sees_nothing() {
    let site = Site::reaching(Options::default(), &["127.0.0.0/8"], None).await;
    let (one, two) = (site.tenant("one").await, site.tenant("two").await);
    let connection = connect(&one).await;
    assert_eq!(one.post("/v1/policies", &json!({"name": "asks", "text": ASK})).await.status, 201);
    let run = run_that_posts(&one, &connection).await;
    until(&one, &run, "waiting").await;
    let list = format!("/v1/approvals?status=pending&run={run}");
    let listed = one.get(&list).await.json();
    let approval = &listed["data"][0];
    assert_eq!((&approval["reason"], &approval["policy"]["version"]), (&json!("It writes"), &json!(1)));
    let path = format!("/v1/approvals/{}", approval["id"].as_str().unwrap());
    assert!(one.get(&path).await.json()["card"].as_str().unwrap().contains("/things"));
    assert_eq!(two.get(&list).await.json()["data"], json!([]));
    let yes = json!({"decision": "approve", "note": "fine"});
    for answer in [two.get(&path).await, two.post(&path, &yes).await] {
        assert_eq!(answer.problem(), "not_found");
    }
    assert_eq!(one.post(&path, &json!({"decision": "perhaps"})).await.problem(), "invalid_value");
    let decided = one.post(&path, &yes).await;
    assert_eq!((decided.status.as_u16(), &decided.json()["status"]), (200, &json!("approved")), "{}", decided.text());
    let again = one.post(&path, &json!({"decision": "deny"})).await;
    assert_eq!((again.status.as_u16(), again.problem().as_str()), (409, "approval_closed"));
    until(&one, &run, "succeeded").await;
    assert_eq!(one.get(&path).await.json()["status"], "used");
    let egress = one.get(&format!("/v1/runs/{run}/egress")).await.json();
    assert_eq!(egress["data"][0]["data"]["approval"], approval["id"]);
}

#[tokio::test]
async fn a_key_of_an_application_keeps_its_own_policies_alone() {
    let site = Site::new().await;
    let tenant = site.tenant("one").await;
    let keys = json!({"name": "app", "scopes": ["policies:read", "policies:write"]});
    let bound = tenant.post("/v1/api_keys", &keys).await.json();
    let bound = site.with_key(bound["api_key"].as_str().unwrap());
    let created = bound.post("/v1/policies", &json!({"name": "p", "text": ASK})).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let nowhere = json!({"name": "p", "text": ASK, "application": "app_00000000000000000000000001"});
    assert_eq!(bound.post("/v1/policies", &nowhere).await.problem(), "not_found");
    let reads = tenant.post("/v1/api_keys", &json!({"name": "r", "scopes": ["approvals:read"]})).await.json();
    let reads = site.with_key(reads["api_key"].as_str().unwrap());
    assert_eq!(reads.get("/v1/approvals").await.status, 200);
    let path = "/v1/approvals/apr_00000000000000000000000001";
    assert_eq!(reads.post(path, &json!({"decision": "deny"})).await.problem(), "forbidden");
}
