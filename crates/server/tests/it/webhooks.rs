//! Webhooks as an owner of endpoints meets them, with receivers that fail, go away, or never answer.

use livery_testkit::WebhookSink;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::site::{Actor, PATIENCE, Site, talker};

const LOOPBACK: &[&str] = &["127.0.0.0/8"];

async fn site() -> Site {
    Site::reaching(livery_server::Options::default(), LOOPBACK, None).await
}

async fn endpoint(actor: &Actor<'_>, url: &str, event: &str) -> String {
    let created = actor.post("/v1/webhooks", &json!({"url": url, "events": [event]})).await;
    assert_eq!(created.status, 201, "{}", created.text());
    format!("/v1/webhooks/{}", created.json()["id"].as_str().unwrap())
}

/// The deliveries of an endpoint, once all `count` of them stand as told.
async fn deliveries(actor: &Actor<'_>, hook: &str, status: &str, count: usize) -> Vec<Value> {
    let begun = std::time::Instant::now();
    loop {
        let page = actor.get(&format!("{hook}/deliveries?status={status}")).await.json();
        let found = page["data"].as_array().unwrap().clone();
        if found.len() >= count {
            return found;
        }
        let all = actor.get(&format!("{hook}/deliveries")).await.text();
        assert!(begun.elapsed() < PATIENCE, "{all}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_delivery_that_failed_is_tried_again_and_can_be_repeated() {
    let (site, sink) = (site().await, WebhookSink::start_with([500]).await.unwrap());
    let actor = site.operator();
    let hook = endpoint(&actor, &sink.url(), "run.succeeded").await;
    let run = actor.finished_run().await["id"].as_str().unwrap().to_owned();
    let first = deliveries(&actor, &hook, "delivered", 1).await.remove(0);
    let log = first["attempt_log"].as_array().unwrap();
    assert_eq!(first["attempts"], 2, "{first}");
    assert_eq!((&log[0]["status"], &log[1]["status"]), (&json!(500), &json!(204)));
    assert_eq!(log[0]["error"], "the receiver answered 500");
    assert_eq!(actor.get(&hook).await.json()["circuit"]["failures"], 0, "a success forgets failures");
    let of_run = actor.get(&format!("{hook}/deliveries?run={run}")).await.json();
    assert_eq!(of_run["data"].as_array().unwrap().len(), 1);

    let target = format!("{hook}/deliveries/{}/redeliver", first["id"].as_str().unwrap());
    let again = actor.post_with(&target, &json!({}), &[("idempotency-key", "again")]).await;
    assert_eq!(again.status, 202, "{}", again.text());
    assert_eq!(actor.post_with(&target, &json!({}), &[("idempotency-key", "again")]).await.body, again.body);
    assert_eq!(again.json()["redelivery_of"], first["id"]);
    deliveries(&actor, &hook, "delivered", 2).await;
    let ids: Vec<String> =
        sink.deliveries().iter().map(|delivery| delivery.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!(ids, [first["event_id"].as_str().unwrap(); 3]);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_told_nothing_and_the_record_says_why() {
    let (site, sink) = (site().await, WebhookSink::start_with([410]).await.unwrap());
    let actor = site.operator();
    let hook = endpoint(&actor, &sink.url(), "run.succeeded").await;
    actor.finished_run().await;
    let failed = deliveries(&actor, &hook, "failed", 1).await.remove(0);
    let off = actor.get(&hook).await.json();
    assert_eq!(off["disabled_reason"], "its receiver answered 410", "{off}");

    let naming = json!({"agent": talker(&["one"]), "input": {"topic": "test"}, "webhook": off["id"]});
    assert_eq!(actor.post_with("/v1/runs", &naming, &[("prefer", "wait=30")]).await.json()["status"], "succeeded");
    let cancelled = deliveries(&actor, &hook, "cancelled", 1).await.remove(0);
    assert_eq!(cancelled["last_error"], "the webhook is disabled: its receiver answered 410");
    let target = format!("{hook}/deliveries/{}/redeliver", failed["id"].as_str().unwrap());
    assert_eq!(actor.post(&target, &json!({})).await.problem(), "conflict");

    assert_eq!(actor.patch(&hook, &json!({"enabled": true})).await.json()["disabled_at"], Value::Null);
    assert_eq!(actor.post(&target, &json!({})).await.status, 202);
    deliveries(&actor, &hook, "delivered", 1).await;
    assert_eq!(sink.deliveries().len(), 2, "what was cancelled is not sent by enabling");
    assert_eq!(actor.delete(&hook).await.status, 204);
}

#[tokio::test]
async fn a_receiver_that_never_answers_holds_up_no_other_tenant() {
    let site = site().await;
    let (slow, quick) = (WebhookSink::start_with([0; 500]).await.unwrap(), WebhookSink::start().await.unwrap());
    let (one, two) = (site.tenant("one").await, site.tenant("two").await);
    for _ in 0..4 {
        endpoint(&one, &slow.url(), "run.queued").await;
    }
    for _ in 0..30 {
        let accepted = one.post("/v1/runs", &json!({"agent": talker(&["one"]), "input": {"topic": "x"}})).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text());
    }
    slow.wait_for(16, PATIENCE).await.expect("its share is under way");
    let hook = endpoint(&two, &quick.url(), "run.queued").await;
    let accepted = two.post("/v1/runs", &json!({"agent": talker(&["one"]), "input": {"topic": "x"}})).await;
    assert_eq!(accepted.status, 202);
    deliveries(&two, &hook, "delivered", 1).await;
    assert!(slow.deliveries().len() <= 16, "one organization's share, while none of them ended");
}

#[tokio::test]
async fn a_name_of_a_private_address_is_refused_at_every_attempt() {
    let dns = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = dns.local_addr().unwrap();
    let answers = tokio::spawn(async move {
        let mut query = [0u8; 512];
        while let Ok((length, from)) = dns.recv_from(&mut query).await {
            dns.send_to(&loopback_answer(&query[..length]), from).await.unwrap();
        }
    });
    let site = Site::reaching(livery_server::Options::default(), &[], Some(resolver)).await;
    let actor = site.operator();
    let hook = endpoint(&actor, "https://inside.example.com/hook", "run.queued").await;
    for _ in 0..2 {
        let tested = actor.post(&format!("{hook}/test"), &json!({})).await.json();
        assert_eq!((&tested["delivered"], &tested["status"]), (&json!(false), &Value::Null), "{tested}");
    }
    actor.post("/v1/runs", &json!({"agent": talker(&["one"]), "input": {"topic": "x"}})).await;
    let begun = std::time::Instant::now();
    let error = loop {
        let page = actor.get(&format!("{hook}/deliveries")).await.json();
        if let Some(error) = page["data"][0]["last_error"].as_str() {
            break error.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "{page}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(error.contains("127.0.0.1") || error.contains("private") || error.contains("loopback"), "{error}");
    answers.abort();
}

/// An answer that says 127.0.0.1 to a question for IPv4, and nothing to others.
fn loopback_answer(query: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let ipv4 = query[end - 4..end - 2] == [0, 1];
    let mut answer = query[..end].to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, u8::from(ipv4), 0, 0, 0, 0]);
    if ipv4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    answer
}
