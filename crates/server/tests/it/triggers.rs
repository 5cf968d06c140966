//! Triggers, as their owners and their senders meet them.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use livery_platform::Clock;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::schedules::{ended, store_agent};
use crate::site::{Actor, Answer, Site, talker};

/// An agent that takes `{who: string}`.
async fn store_greeter(actor: &Actor<'_>) {
    let mut agent = talker(&["one"]);
    let agent_md = "---\nname: greeter\ndescription: d\nmodel: scripted/talk\ntools: []\ninput: {type: object, properties: {who: {type: string}}, required: [who]}\n---\nTalk.\n";
    agent["agent_md"] = json!(agent_md);
    let stored = actor.post("/v1/agents", &agent).await;
    assert_eq!(stored.status, 201, "{}", stored.text());
}

async fn create(actor: &Actor<'_>, more: Value) -> Value {
    let mut body = json!({"name": "t", "agent": "talker", "verification": {"kind": "standard_webhooks"}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let created = actor.post("/v1/triggers", &body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    created.json()
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A message signed by the words of Standard Webhooks, not by the house's own code.
fn signed(secret: &str, id: &str, age_s: i64, body: &str) -> Vec<(&'static str, String)> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let stamp = (Clock::system().now().as_seconds() - age_s).to_string();
    let signature = STANDARD.encode(mac(&key, &[id.as_bytes(), b".", stamp.as_bytes(), b".", body.as_bytes()]));
    vec![
        ("content-type", "application/json".to_owned()),
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", stamp),
        ("webhook-signature", format!("v1,{signature}")),
    ]
}

/// Posts to the trigger as somebody without a key.
async fn send(site: &Site, trigger: &Value, headers: &[(&'static str, String)], body: &str) -> Answer {
    let path = trigger["path"].as_str().unwrap();
    let mut request = site.nobody().request(Method::POST, path);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    site.nobody().send(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn deliveries(actor: &Actor<'_>, trigger: &Value) -> Vec<Value> {
    let path = format!("/v1/triggers/{}/deliveries", trigger["id"].as_str().unwrap());
    actor.get(&path).await.json()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_signed_message_starts_a_run_once() {
    let site = Site::new().await;
    let actor = site.operator();
    store_agent(&actor).await;
    let trigger = create(
        &actor,
        json!({"input": {"said": "{{body.text}}", "from": "{{headers.x-from}}", "n": "{{query.n | 7}}"}}),
    )
    .await;
    let secret = trigger["secret"].as_str().unwrap();
    let body = r#"{"text": {"a": 1}}"#;
    let mut headers = signed(secret, "msg_1", 0, body);
    headers.push(("x-from", "elsewhere".to_owned()));
    let first = send(&site, &trigger, &headers, body).await;
    assert_eq!((first.status.as_u16(), &first.json()["status"]), (202, &json!("accepted")), "{}", first.text());
    let run = ended(&actor, first.json()["run"].as_str().unwrap()).await;
    assert_eq!(run["input"], json!({"said": {"a": 1}, "from": "elsewhere", "n": 7}));
    assert_eq!((&run["trigger"], &run["status"]), (&trigger["id"], &json!("succeeded")));

    // The same again, and the same signed anew as a sender does that got no answer.
    for headers in [headers, signed(secret, "msg_1", 100, body)] {
        let again = send(&site, &trigger, &headers, body).await;
        assert_eq!((again.status.as_u16(), again.json()), (200, json!({"status": "replayed", "run": run["id"]})));
    }
    let listed = actor.get(&format!("/v1/runs?trigger={}", trigger["id"].as_str().unwrap())).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let seen = deliveries(&actor, &trigger).await;
    assert_eq!((seen.len(), &seen[0]["delivery_id"], &seen[0]["outcome"]), (1, &json!("msg_1"), &json!("started")));
    assert_eq!(seen[0]["run"], run["id"]);
}

#[tokio::test]
async fn two_at_the_same_moment_start_one_run() {
    let site = Site::new().await;
    let actor = site.operator();
    store_agent(&actor).await;
    let trigger = create(&actor, json!({})).await;
    let headers = signed(trigger["secret"].as_str().unwrap(), "msg_race", 0, "{}");
    let answers = join_all((0..12).map(|_| send(&site, &trigger, &headers, "{}"))).await;
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    let mut runs: Vec<_> = answers.iter().map(|answer| answer.json()["run"].as_str().unwrap().to_owned()).collect();
    runs.dedup();
    assert_eq!((accepted, runs.len()), (1, 1));
}

#[tokio::test]
async fn who_does_not_know_the_secret_is_told_nothing() {
    let site = Site::new().await;
    let actor = site.operator();
    store_agent(&actor).await;
    let trigger = create(&actor, json!({})).await;
    let secret = trigger["secret"].as_str().unwrap();
    let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    for headers in
        [signed(other, "m", 0, "{}"), signed(secret, "m", 0, "{ }"), signed(secret, "m", 301, "{}"), Vec::new()]
    {
        let answer = send(&site, &trigger, &headers, "{}").await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (401, "invalid_signature"),
            "{}",
            answer.text()
        );
    }
    assert!(deliveries(&actor, &trigger).await.is_empty());
    let good = signed(secret, "m", 0, "{}");
    for unknown in ["trg_00000000000000000000000001", "nonsense", "run_00000000000000000000000001"] {
        let path = json!({"path": format!("/v1/triggers/{unknown}/events")});
        assert_eq!(send(&site, &path, &good, "{}").await.problem(), "not_found");
    }
    let large = "x".repeat(1024 * 1024 + 1);
    assert_eq!(send(&site, &trigger, &signed(secret, "m", 0, &large), &large).await.problem(), "too_large");
    let get = site.nobody().get(trigger["path"].as_str().unwrap()).await;
    assert_eq!(get.problem(), "method_not_allowed");
}

#[tokio::test]
async fn a_filter_and_a_pause_ignore_and_say_so() {
    let site = Site::new().await;
    let actor = site.operator();
    store_agent(&actor).await;
    let trigger = create(
        &actor,
        json!({
            "verification": {"kind": "github"}, "secret": "It's a Secret to Everybody",
            "filter": {"headers.x-github-event": ["issues"], "body.action": ["opened"]},
        }),
    )
    .await;
    let post = async |event: &str, body: &str| {
        let signature = format!("sha256={}", hex(&mac(b"It's a Secret to Everybody", &[body.as_bytes()])));
        let headers = [
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ("x-github-event", event.to_owned()),
            ("x-github-delivery", "d-1".to_owned()),
            ("x-hub-signature-256", signature),
        ];
        send(&site, &trigger, &headers, body).await
    };
    // GitHub's other way to send: a form with the JSON in it.
    let (opened, closed) = ("payload=%7B%22action%22%3A%22opened%22%7D", "payload=%7B%22action%22%3A%22closed%22%7D");
    for (event, body) in [("push", opened), ("issues", closed)] {
        let answer = post(event, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({"status": "ignored", "run": null})));
    }
    let path = format!("/v1/triggers/{}", trigger["id"].as_str().unwrap());
    assert_eq!(actor.patch(&path, &json!({"paused": true})).await.status, 200);
    assert_eq!(post("issues", opened).await.json()["status"], "ignored");
    assert_eq!(actor.patch(&path, &json!({"paused": false})).await.json()["paused"], false);
    // What was ignored may be sent again. The delivery's own id is not signed, so another one changes nothing.
    let started = post("issues", opened).await;
    assert_eq!(started.json()["status"], "accepted", "{}", started.text());
    assert_eq!(ended(&actor, started.json()["run"].as_str().unwrap()).await["input"], json!({"action": "opened"}));
    assert_eq!(post("issues", opened).await.json()["run"], started.json()["run"]);
    let outcomes: Vec<_> = deliveries(&actor, &trigger).await.iter().map(|seen| seen["outcome"].clone()).collect();
    assert_eq!(outcomes, ["started", "ignored"]);
}

#[tokio::test]
async fn what_does_not_fit_is_for_the_owner_to_see() {
    let site = Site::new().await;
    let actor = site.operator();
    store_greeter(&actor).await;
    let trigger = create(&actor, json!({"agent": "greeter", "input": {"who": "{{body.name}}"}})).await;
    let secret = trigger["secret"].as_str().unwrap();
    let send_it = async |body: &str| send(&site, &trigger, &signed(secret, "m1", 0, body), body).await;
    let refused = send_it(r#"{"name": 7}"#).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (422, "invalid_input"));
    assert!(!refused.text().contains("who") && refused.json()["errors"] == json!([]), "{}", refused.text());
    let seen = deliveries(&actor, &trigger).await;
    assert_eq!(seen[0]["outcome"], "rejected");
    assert!(seen[0]["reason"].as_str().unwrap().contains("/who"), "{seen:?}");
    // After a repair, the same delivery may start its run.
    let repaired = send_it(r#"{"name": "Ada"}"#).await;
    assert_eq!(repaired.json()["status"], "accepted", "{}", repaired.text());
    assert_eq!(send_it("{").await.problem(), "malformed_json");
    let mut headers = signed(secret, "m2", 0, "<a/>");
    headers[0].1 = "text/xml".to_owned();
    assert_eq!(send(&site, &trigger, &headers, "<a/>").await.problem(), "unsupported_media_type");
}

#[tokio::test]
async fn an_old_secret_holds_for_a_while() {
    let site = Site::new().await;
    let actor = site.operator();
    store_agent(&actor).await;
    let trigger = create(&actor, json!({})).await;
    let old = trigger["secret"].as_str().unwrap();
    let path = format!("/v1/triggers/{}", trigger["id"].as_str().unwrap());
    let rotated = actor.post(&format!("{path}/rotate"), &json!({"overlap_hours": 1})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    let new = rotated.json()["secret"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    for (id, secret) in [("m1", old), ("m2", &new)] {
        assert_eq!(send(&site, &trigger, &signed(secret, id, 0, "{}"), "{}").await.status, 202);
    }
    let at_once = actor.post(&format!("{path}/rotate"), &json!({"overlap_hours": 0})).await.json();
    assert_eq!(at_once["previous_secret_until"], Value::Null);
    assert_eq!(send(&site, &trigger, &signed(&new, "m3", 0, "{}"), "{}").await.problem(), "invalid_signature");
    let newest = at_once["secret"].as_str().unwrap();
    assert_eq!(send(&site, &trigger, &signed(newest, "m3", 0, "{}"), "{}").await.status, 202);
    // No answer but those two ever shows a secret.
    for shown in
        [actor.get(&path).await, actor.get("/v1/triggers").await, actor.patch(&path, &json!({"name": "x"})).await]
    {
        assert!(shown.status == 200 && !shown.text().contains("whsec_"), "{}", shown.text());
    }
    assert_eq!(actor.post(&format!("{path}/rotate"), &json!({"overlap_hours": 200})).await.problem(), "invalid_value");
}

#[tokio::test]
async fn slack_is_answered_and_a_token_will_do() {
    let site = Site::new().await;
    let actor = site.operator();
    store_agent(&actor).await;
    let secret = "8f742231b10e8888abcd99yyyzzz85a5";
    let slack = create(&actor, json!({"verification": {"kind": "slack"}, "secret": secret})).await;
    let body = r#"{"type": "url_verification", "challenge": "3eZbrw1a"}"#;
    let stamp = Clock::system().now().as_seconds().to_string();
    let signature = hex(&mac(secret.as_bytes(), &[b"v0:", stamp.as_bytes(), b":", body.as_bytes()]));
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("x-slack-request-timestamp", stamp),
        ("x-slack-signature", format!("v0={signature}")),
    ];
    let answer = send(&site, &slack, &headers, body).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"challenge": "3eZbrw1a"})));
    assert_eq!(send(&site, &slack, &headers[..2], body).await.problem(), "invalid_signature");

    let bearer = create(&actor, json!({"verification": {"kind": "bearer"}})).await;
    let token = [("authorization", format!("Bearer {}", bearer["secret"].as_str().unwrap()))];
    let runs = [send(&site, &bearer, &token, "").await, send(&site, &bearer, &token, "").await];
    assert!(runs.iter().all(|answer| answer.status == 202), "{}", runs[0].text());
    assert_ne!(runs[0].json()["run"], runs[1].json()["run"], "nothing tells them apart");
}

#[tokio::test]
async fn a_trigger_that_cannot_be_is_named_by_its_field() {
    let site = Site::new().await;
    let actor = site.operator();
    store_agent(&actor).await;
    let hmac = |more: Value| {
        let mut scheme = json!({"kind": "hmac", "header": "x-sign"});
        scheme.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"verification": scheme})
    };
    for (more, pointer) in [
        (json!({"name": ""}), "/name"),
        (json!({"verification": {"kind": "stripe"}}), "/secret"),
        (json!({"secret": "short"}), "/secret"),
        (json!({"secret": "0123456789abcdef"}), "/secret"),
        (hmac(json!({"header": "a b"})), "/verification/header"),
        (hmac(json!({"signed": "nothing"})), "/verification/signed"),
        (json!({"filter": {"body.x": []}}), "/filter/body.x"),
        (json!({"filter": {"env.x": [1]}}), "/filter/env.x"),
        (json!({"input": {"a": ["{{env.HOME}}"]}}), "/input/a/0"),
        (json!({"model": "nobody/none"}), "/model"),
    ] {
        let mut body = json!({"name": "t", "agent": "talker", "verification": {"kind": "standard_webhooks"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = actor.post("/v1/triggers", &body).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "invalid_value"), "{}", answer.text());
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{}", answer.text());
    }
    let trigger = create(&actor, json!({})).await;
    let path = format!("/v1/triggers/{}", trigger["id"].as_str().unwrap());
    let other_kind = actor.patch(&path, &json!({"verification": {"kind": "github"}})).await;
    assert_eq!(other_kind.json()["errors"][0]["pointer"], "/verification/kind");
    assert_eq!(actor.delete(&path).await.status, 204);
    assert_eq!(actor.get(&path).await.problem(), "not_found");
    let headers = signed(trigger["secret"].as_str().unwrap(), "m", 0, "{}");
    assert_eq!(send(&site, &trigger, &headers, "{}").await.problem(), "not_found");
}

#[tokio::test]
async fn a_trigger_takes_so_many_messages_at_once() {
    let site = Site::new().await;
    let actor = site.operator();
    store_agent(&actor).await;
    let trigger = create(&actor, json!({})).await;
    let answers = join_all((0..300).map(|_| send(&site, &trigger, &[], "{}"))).await;
    let limited: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!limited.is_empty() && limited.len() < 300);
    assert!(limited.iter().all(|answer| !answer.header("retry-after").is_empty()));
}
