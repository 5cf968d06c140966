//! Schedules and delayed runs, as their callers meet them.

use livery_core::Timestamp;
use livery_platform::Clock;
use serde_json::{Value, json};

use crate::site::{Actor, Site, talker};

/// A stored agent named `talker`.
pub async fn store_agent(actor: &Actor<'_>) {
    let stored = actor.post("/v1/agents", &talker(&["one"])).await;
    assert_eq!(stored.status, 201, "{}", stored.text());
}

fn nightly() -> Value {
    json!({"name": "nightly", "agent": "talker", "cron": "30 2 * * *", "time_zone": "Europe/Vienna"})
}

/// Asks for a run until it ended.
pub async fn ended(actor: &Actor<'_>, run: &str) -> Value {
    let run = actor.get(&format!("/v1/runs/{run}?wait=30")).await.json();
    assert!(!run["finished_at"].is_null(), "{run}");
    run
}

#[tokio::test]
async fn a_schedule_from_creation_to_deletion() {
    let site = Site::new().await;
    let actor = site.operator();
    store_agent(&actor).await;
    let created = actor.post("/v1/schedules", &nightly()).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let schedule = created.json();
    let path = format!("/v1/schedules/{}", schedule["id"].as_str().unwrap());
    assert_eq!(created.header("location"), path);
    assert_eq!(
        (&schedule["overlap"], &schedule["catch_up"], &schedule["paused"]),
        (&json!("skip"), &json!("none"), &json!(false))
    );
    assert_eq!(actor.get(&path).await.json(), schedule);
    assert_eq!(actor.get("/v1/schedules").await.json()["data"], json!([schedule]));

    let started = actor.post(&format!("{path}/run"), &json!({})).await;
    assert_eq!(started.status, 202, "{}", started.text());
    assert_eq!(started.json()["schedule"], schedule["id"]);
    let run = ended(&actor, started.json()["id"].as_str().unwrap()).await;
    assert_eq!(run["status"], "succeeded");
    let of_schedule = format!("/v1/runs?schedule={}", schedule["id"].as_str().unwrap());
    assert_eq!(actor.get(&of_schedule).await.json()["data"][0]["id"], run["id"]);

    let paused = actor.patch(&path, &json!({"paused": true, "model": null, "time_zone": "UTC"})).await;
    assert_eq!(paused.status, 200, "{}", paused.text());
    assert_eq!((&paused.json()["paused"], &paused.json()["next_fire_at"]), (&json!(true), &Value::Null));
    assert_eq!(paused.json()["last_run"], run["id"]);
    assert_eq!(actor.delete(&path).await.status, 204);
    assert_eq!(actor.get(&path).await.problem(), "not_found");
    assert_eq!(actor.get(run["id"].as_str().map(|id| format!("/v1/runs/{id}")).unwrap().as_str()).await.status, 200);
}

#[tokio::test]
async fn what_does_not_fit_is_named() {
    let site = Site::new().await;
    let actor = site.operator();
    store_agent(&actor).await;
    for (field, value, words) in [
        ("cron", json!("61 * * * *"), "minute"),
        ("cron", json!("0 0 30 2 *"), "never"),
        ("cron", json!("* * * *"), "five fields"),
        ("time_zone", json!("Mars/Olympus"), "IANA"),
        ("name", json!(""), "1 to 200"),
        ("jitter_s", json!(90_000), "at most"),
        ("overlap", json!("both"), "skip"),
        ("model", json!("nobody/none"), "provider"),
    ] {
        let mut body = nightly();
        body[field] = value;
        let answer = actor.post("/v1/schedules", &body).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "invalid_value"), "{}", answer.text());
        assert_eq!(answer.json()["errors"][0]["pointer"], format!("/{field}"), "{}", answer.text());
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    let mut body = nightly();
    body["agent"] = json!("nobody");
    assert_eq!(actor.post("/v1/schedules", &body).await.problem(), "not_found");
    body["agent"] = json!({"agent_md": "x"});
    assert_eq!(actor.post("/v1/schedules", &body).await.problem(), "invalid_value");
    body["agent"] = json!("talker");
    body["colour"] = json!("red");
    assert_eq!(actor.post("/v1/schedules", &body).await.problem(), "unknown_field");
}

#[tokio::test]
async fn another_tenants_schedule_does_not_exist() {
    let site = Site::new().await;
    let (one, two) = (site.tenant("one").await, site.tenant("two").await);
    store_agent(&one).await;
    let schedule = one.post("/v1/schedules", &nightly()).await.json();
    let path = format!("/v1/schedules/{}", schedule["id"].as_str().unwrap());
    let run = two.post(&format!("{path}/run"), &json!({})).await;
    let patch = two.patch(&path, &json!({"paused": true})).await;
    for answer in [two.get(&path).await, two.delete(&path).await, run, patch] {
        assert_eq!(answer.problem(), "not_found");
    }
    assert_eq!(two.get("/v1/schedules").await.json()["data"], json!([]));
    assert_eq!(one.get(&path).await.json()["paused"], false);
}

#[tokio::test]
async fn a_preview_shows_both_clocks() {
    let site = Site::new().await;
    let query = "cron=30%202%20*%20*%20*&time_zone=Europe/Vienna&count=2&after=2026-03-28T12:00:00Z";
    let preview = site.operator().get(&format!("/v1/schedules/preview?{query}")).await;
    assert_eq!(
        preview.json()["data"],
        json!([
            {"at": "2026-03-29T01:00:00.000000Z", "local": "2026-03-29T03:00:00+02:00"},
            {"at": "2026-03-30T00:30:00.000000Z", "local": "2026-03-30T02:30:00+02:00"},
        ])
    );
    for query in ["", "cron=@daily", "cron=@daily&time_zone=UTC&count=0", "cron=@daily&time_zone=UTC&after=noon"] {
        let answer = site.operator().get(&format!("/v1/schedules/preview?{query}")).await;
        assert_eq!(answer.problem(), "invalid_parameter", "{query}");
    }
}

#[tokio::test]
async fn a_delayed_run_starts_at_its_time() {
    let site = Site::new().await;
    let actor = site.operator();
    let started = actor.post("/v1/runs", &json!({"agent": talker(&["one"]), "delay_s": 2})).await;
    assert_eq!(started.status, 202, "{}", started.text());
    assert_eq!(started.json()["status"], "queued");
    let run = ended(&actor, started.json()["id"].as_str().unwrap()).await;
    let time = |field: &str| run[field].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(time("started_at") >= time("start_at"), "{run}");
    assert_eq!(run["start_at"], started.json()["start_at"]);
}

#[tokio::test]
async fn a_run_that_waits_for_its_time_can_be_cancelled() {
    let site = Site::new().await;
    let actor = site.operator();
    let tomorrow = Clock::system().now().plus_millis(86_400_000);
    let body = json!({"agent": talker(&["one"]), "start_at": tomorrow});
    let run = actor.post("/v1/runs", &body).await.json();
    assert_eq!((&run["status"], &run["start_at"]), (&json!("queued"), &json!(tomorrow)));
    let cancelled = actor.post(&format!("/v1/runs/{}/cancel", run["id"].as_str().unwrap()), &json!({})).await.json();
    assert_eq!((&cancelled["status"], &cancelled["started_at"]), (&json!("cancelled"), &Value::Null));

    for (extra, pointer) in [
        (json!({"delay_s": 1, "start_at": tomorrow}), "/delay_s"),
        (json!({"delay_s": 40_000_000}), "/delay_s"),
        (json!({"start_at": "2999-01-01T00:00:00Z"}), "/start_at"),
        (json!({"start_at": "tomorrow"}), "/start_at"),
    ] {
        let mut body = json!({"agent": talker(&["one"])});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = actor.post("/v1/runs", &body).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{}", answer.text());
    }
    // A moment that has passed is now.
    let past = json!({"agent": talker(&["one"]), "start_at": "2020-01-01T00:00:00Z"});
    let past = actor.post("/v1/runs", &past).await.json();
    assert_eq!(ended(&actor, past["id"].as_str().unwrap()).await["status"], "succeeded");
}
