//! `Idempotency-Key`: the same request again is the same answer, whatever else happened.

use axum::body::Body;
use http::Method;
use serde_json::json;

use crate::site::{Site, talker};

#[tokio::test]
async fn the_same_request_again_gets_the_stored_answer() {
    let site = Site::new().await;
    let actor = site.operator();
    let body = json!({"agent": talker(&["one"]), "metadata": {"a": 1, "b": 2}});
    let first = actor.post_with("/v1/runs", &body, &[("idempotency-key", "order-7")]).await;
    assert_eq!(first.status, 202, "{}", first.text());
    assert_eq!(first.header("idempotent-replayed"), "");

    // Spelt differently, quoted, and after the run went on: byte for byte the first answer.
    let spelt = format!("\n {} ", serde_json::to_string_pretty(&body).unwrap());
    let request = actor.request(Method::POST, "/v1/runs").header("content-type", "application/json; charset=utf-8");
    let again = actor.send(request.header("idempotency-key", "\"order-7\"").body(Body::from(spelt)).unwrap()).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("idempotent-replayed"), "true");

    let other =
        actor.post_with("/v1/runs", &json!({"agent": talker(&["two"])}), &[("idempotency-key", "order-7")]).await;
    assert_eq!((other.status.as_u16(), other.problem().as_str()), (422, "idempotency_mismatch"));
    assert_eq!(actor.get("/v1/runs").await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_belongs_to_a_route_and_to_a_caller() {
    let site = Site::new().await;
    let (one, two) = (site.tenant("one").await, site.tenant("two").await);
    let body = json!({"agent": talker(&["one"])});
    let header = [("idempotency-key", "same")];
    let mine = one.post_with("/v1/runs", &body, &header).await;
    let theirs = two.post_with("/v1/runs", &body, &header).await;
    assert_ne!(mine.json()["id"], theirs.json()["id"]);
    assert_eq!(theirs.header("idempotent-replayed"), "");
    let elsewhere = one.post_with("/v1/api_keys", &json!({"name": "k", "scopes": []}), &header).await;
    assert_eq!(elsewhere.status, 201, "{}", elsewhere.text());
}

#[tokio::test]
async fn every_post_takes_a_key() {
    let site = Site::new().await;
    let actor = site.operator();
    let run = actor.finished_run().await["id"].as_str().unwrap().to_owned();
    let posts = [
        (
            "/v1/agents",
            json!({"agent_md": "---\nname: a\ndescription: d\nmodel: scripted/talk\n---\nx\n", "files": {"scripts/talk.yaml": "dHVybnM6IFt7dGV4dDogaGl9XQ=="}}),
        ),
        ("/v1/api_keys", json!({"name": "k", "scopes": ["runs:read"]})),
        ("/v1/schedules", json!({"name": "s", "agent": "a", "cron": "@daily", "time_zone": "UTC"})),
        ("/v1/triggers", json!({"name": "t", "agent": "a", "verification": {"kind": "github"}})),
        ("/v1/webhooks", json!({"url": "https://example.com/", "events": ["run.*"]})),
        ("/v1/model_providers", json!({"name": "p", "kind": "openai", "api_key": "sk-000000000000000x"})),
        ("/v1/organizations", json!({"name": "o"})),
        ("/v1/files?name=a.json", json!({"any": "bytes"})),
        (&format!("/v1/runs/{run}/cancel"), json!({})),
    ];
    for (target, body) in posts {
        let first = actor.post_with(target, &body, &[("idempotency-key", "k1")]).await;
        assert!(first.status.is_success(), "{target}: {}", first.text());
        let again = actor.post_with(target, &body, &[("idempotency-key", "k1")]).await;
        assert_eq!((again.status, &again.body), (first.status, &first.body), "{target}");
        assert_eq!(again.header("idempotent-replayed"), "true", "{target}");
    }
}

#[tokio::test]
async fn one_of_many_at_once_takes_effect() {
    let site = Site::new().await;
    let actor = site.operator();
    let body = json!({"agent": talker(&["one"])});
    let calls = (0..16).map(|_| actor.post_with("/v1/runs", &body, &[("idempotency-key", "race")]));
    for answer in futures_util::future::join_all(calls).await {
        assert!(matches!(answer.status.as_u16(), 202 | 409), "{}", answer.text());
    }
    assert_eq!(actor.get("/v1/runs").await.json()["data"].as_array().unwrap().len(), 1);
}
