//! Connections over HTTP: what goes in never comes out, and the test call says whether an upstream that demands a key
//! takes it.

use std::path::Path;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use base64::Engine as _;
use http::{HeaderMap, StatusCode};
use livery_server::Options;
use serde_json::{Value, json};

use crate::site::{Actor, Site};

const FIRST: &str = "fk_live_0nce-and-never-seen-again";
const SECOND: &str = "fk_live_r0tated-and-never-seen-either";

/// An API that demands a key in one of three places and shows it back to whoever calls: in the body and in a header.
async fn upstream(key: &'static str) -> String {
    async fn me(
        State(key): State<&'static str>,
        RawQuery(query): RawQuery,
        headers: HeaderMap,
    ) -> (StatusCode, HeaderMap, String) {
        let header =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("ada:{key}"));
        let query = query.unwrap_or_default();
        let accepted = [
            header("x-key") == key,
            header("authorization") == format!("Basic {basic}"),
            query == format!("page=1&key={key}"),
        ];
        let status = if accepted.contains(&true) { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        let mut shown = HeaderMap::new();
        shown.insert("x-request-id", header("x-key").parse().unwrap());
        (status, shown, format!("you sent {headers:?} {query}"))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/v2/me", get(me)).with_state(key);
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/v2")
}

async fn site() -> Site {
    Site::reaching(Options::default(), &["127.0.0.0/8"], None).await
}

fn connection(base_url: &str, value: &str) -> Value {
    json!({
        "name": "crm", "connector": "http", "credential": {"value": value},
        "settings": {"base_url": base_url, "slot": {"in": "header", "name": "x-key"}, "test_path": "/me", "methods": ["GET"]},
    })
}

/// Every spelling of a secret that somebody could find.
fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let reversed: String = secret.chars().rev().collect();
    let encoded = base64::engine::general_purpose::STANDARD.encode(secret);
    [secret.to_owned(), secret[..16].to_owned(), secret[8..].to_owned(), hex, reversed, encoded[..20].to_owned()]
        .map(String::into_bytes)
        .to_vec()
}

fn assert_absent(place: &str, bytes: &[u8]) {
    for secret in [FIRST, SECOND] {
        for needle in spellings(secret) {
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_slice());
            assert!(!found, "{place} holds a secret");
        }
    }
}

fn assert_absent_below(folder: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files += assert_absent_below(&entry.path()),
            false => {
                assert_absent(&entry.path().display().to_string(), &std::fs::read(entry.path()).unwrap());
                files += 1;
            }
        }
    }
    files
}

async fn tested(actor: &Actor<'_>, path: &str) -> Value {
    let answer = actor.post(&format!("{path}/test"), &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_connection_from_its_creation_to_its_end_leaks_nothing() {
    let site = site().await;
    let actor = site.tenant("one").await;
    let base = upstream(SECOND).await;
    let mut answers = Vec::new();
    let created = actor.post("/v1/connections", &connection(&base, FIRST)).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let path = created.header("location").to_owned();
    assert_eq!((&created.json()["version"], &created.json()["status"]), (&json!(1), &json!("active")));
    answers.push(created.text());

    let refused = tested(&actor, &path).await;
    assert_eq!(refused["outcome"], "refused");
    assert_eq!(refused["reason"], "the upstream does not accept the credential (401)");
    let rotated = actor.post(&format!("{path}/rotate"), &json!({"credential": {"value": SECOND}})).await;
    assert_eq!(
        (rotated.status.as_u16(), &rotated.json()["version"], &rotated.json()["test"]),
        (200, &json!(2), &Value::Null)
    );
    let accepted = tested(&actor, &path).await;
    assert_eq!((&accepted["outcome"], &accepted["reason"]), (&json!("ok"), &Value::Null));
    answers.extend([refused.to_string(), rotated.text(), accepted.to_string()]);

    let shown = actor.get(&path).await;
    assert_eq!(shown.json()["test"]["outcome"], "ok");
    answers.extend([shown.text(), actor.get("/v1/connections").await.text()]);
    assert_eq!(actor.delete(&path).await.status, 204);
    assert_eq!(actor.delete(&path).await.status, 204, "revoking twice is revoking once");
    let test = actor.post(&format!("{path}/test"), &json!({})).await;
    assert_eq!((test.status.as_u16(), test.problem().as_str()), (409, "conflict"));
    let rotate = actor.post(&format!("{path}/rotate"), &json!({"credential": {"value": FIRST}})).await;
    assert_eq!((rotate.status.as_u16(), rotate.problem().as_str()), (409, "conflict"));
    assert_eq!(actor.get(&path).await.json()["status"], "revoked");
    answers.extend([test.text(), rotate.text(), actor.get("/v1/connections").await.text()]);

    for answer in &answers {
        assert_absent("an answer", answer.as_bytes());
    }
    assert!(assert_absent_below(site.data()) > 2, "database and its log");
}

/// The credential is put into its connection's slot and nowhere else.
#[tokio::test]
async fn each_slot_is_filled() {
    let (site, base) = (site().await, upstream(SECOND).await);
    let actor = site.operator();
    let create = async |name: &str, slot: Value, credential: Value| {
        let settings = json!({"base_url": base, "slot": slot, "test_path": "/me?page=1&key=mine"});
        let body = json!({"name": name, "connector": "http", "settings": settings, "credential": credential});
        let created = actor.post("/v1/connections", &body).await;
        assert_eq!(created.status, 201, "{}", created.text());
        tested(&actor, created.header("location")).await["outcome"].clone()
    };
    let basic = json!({"in": "basic"});
    assert_eq!(create("basic", basic.clone(), json!({"username": "ada", "password": SECOND})).await, "ok");
    assert_eq!(create("other", basic, json!({"username": "ada", "password": FIRST})).await, "refused");
    let query = json!({"in": "query", "name": "key"});
    assert_eq!(create("query", query.clone(), json!({"kind": "api_key", "value": SECOND})).await, "ok");
    assert_eq!(create("wrong", query, json!({"value": FIRST})).await, "refused");
    assert_eq!(create("header", json!({"in": "header", "name": "x-key"}), json!({"value": SECOND})).await, "ok");
}

/// A refusal says where and why, and repeats nothing of the value.
#[tokio::test]
async fn a_value_that_cannot_be_kept_safe_is_refused() {
    let site = site().await;
    let actor = site.operator();
    let base = upstream(FIRST).await;
    for (value, says) in [
        ("tooshort-secret", "shorter than 16 bytes"),
        ("fk_live_0123456789\r\nx-admin: yes", "line break"),
        ("fk_live_0123456789\0", "NUL"),
        ("fk_live_0123456789 with spaces", "visible ASCII"),
    ] {
        let refused = actor.post("/v1/connections", &connection(&base, value)).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (422, "invalid_value"));
        let error = &refused.json()["errors"][0];
        assert_eq!(error["pointer"], "/credential/value");
        assert!(error["detail"].as_str().unwrap().contains(says), "{error}");
        assert!(!refused.text().contains("0123456789") && !refused.text().contains("tooshort"), "{}", refused.text());
    }
    // A value in the wrong place is not repeated either.
    for credential in [json!(FIRST), json!({"value": [FIRST]}), json!({"value": {"a": FIRST}}), json!({"kind": FIRST})]
    {
        let mut body = connection(&base, FIRST);
        body["credential"] = credential;
        let refused = actor.post("/v1/connections", &body).await;
        assert_eq!(refused.status, 422);
        if !body["credential"]["kind"].is_string() {
            assert_absent("a refusal", refused.text().as_bytes());
        }
    }
}

#[tokio::test]
async fn where_a_credential_may_go_is_judged_when_it_is_saved() {
    let site = Site::new().await;
    let actor = site.operator();
    for base in [
        "http://127.0.0.1:9/v1",
        "https://169.254.169.254",
        "https://[::1]",
        "https://2130706433",
        "https://metadata.google.internal",
        "https://api.example.com:5432",
        "https://a@example.com",
        "ftp://example.com",
    ] {
        let refused = actor.post("/v1/connections", &connection(base, FIRST)).await;
        assert_eq!(refused.status, 422, "{base}");
        assert_eq!(refused.json()["errors"][0]["pointer"], "/settings/base_url", "{base}");
    }
    let jira = |site: Value| json!({"name": "jira", "connector": "jira", "settings": {"site": site}, "credential": {"username": "a@b.example", "password": FIRST}});
    for label in [json!("evil.example/"), json!("a.b"), json!(""), json!(1)] {
        assert_eq!(actor.post("/v1/connections", &jira(label)).await.json()["errors"][0]["pointer"], "/settings/site");
    }
    let created = actor.post("/v1/connections", &jira(json!("acme"))).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(created.json()["auth"], "basic");
    let again = actor.post("/v1/connections", &jira(json!("acme"))).await;
    assert_eq!((again.status.as_u16(), again.problem().as_str()), (409, "conflict"));
    let unknown = json!({"name": "x", "connector": "nothing", "credential": {"value": FIRST}});
    assert_eq!(actor.post("/v1/connections", &unknown).await.json()["errors"][0]["pointer"], "/connector");
}

/// The guard judges the dialled address too: nothing of the connection's own can talk it into a private network.
#[tokio::test]
async fn a_test_call_dials_nothing_the_operator_did_not_allow() {
    let (base, site) = (upstream(FIRST).await, site().await);
    let created = site.operator().post("/v1/connections", &connection(&base, FIRST)).await;
    let path = created.header("location").to_owned();
    assert_eq!(tested(&site.operator(), &path).await["outcome"], "ok");
    // The same request again, with its key: the stored answer, and no second call.
    let key = [("idempotency-key", "once")];
    let one = site.operator().post_with(&format!("{path}/test"), &json!({}), &key).await;
    let two = site.operator().post_with(&format!("{path}/test"), &json!({}), &key).await;
    assert_eq!((one.body, two.header("idempotent-replayed")), (two.body.clone(), "true"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let body = json!({"name": "gone", "connector": "http", "credential": {"value": FIRST}, "settings": {"base_url": gone, "test_path": "/me?a=b"}});
    let created = site.operator().post("/v1/connections", &body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let refused = tested(&site.operator(), created.header("location")).await;
    assert_eq!(refused["reason"], "could not connect to the upstream");
}

#[tokio::test]
async fn connectors_say_what_they_ask_for_and_where_they_go() {
    let site = Site::new().await;
    let actor = site.operator();
    let list = actor.get("/v1/connectors").await.json();
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "anthropic",
            "aws",
            "github",
            "github-git",
            "gmail",
            "google",
            "http",
            "hubspot",
            "jira",
            "linear",
            "notion",
            "openai",
            "postgres",
            "slack",
            "smtp",
            "stripe"
        ]
    );
    let stripe = actor.get("/v1/connectors/stripe").await.json();
    assert_eq!((&stripe["origins"], &stripe["test"]), (&json!(["https://api.stripe.com"]), &json!("GET /v1/balance")));
    assert_eq!(actor.get("/v1/connectors/nothing").await.problem(), "not_found");
}
