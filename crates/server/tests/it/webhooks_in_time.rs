//! Webhooks over days and in bulk, with a clock that stands until it is set: what counts are orders and numbers, never
//! how long a machine takes.

use livery_core::Timestamp;
use livery_platform::Clock;
use livery_server::Options;
use livery_testkit::WebhookSink;
use serde_json::{Value, json};

use crate::site::{Actor, PATIENCE, Site, talker};

/// Some moment in 2026.
const NOW: Timestamp = Timestamp::from_micros(1_780_000_000_000_000);
const HOUR_MS: i64 = 3_600_000;
const HOPELESS: &str = "nothing could be delivered for three days";

async fn site(clock: &Clock) -> Site {
    let clock = clock.clone();
    Site::changed(Options::default(), |parts| {
        parts.broker.allow_upstream = vec!["127.0.0.0/8".parse().unwrap()];
        parts.clock = clock;
    })
    .await
}

async fn endpoint(actor: &Actor<'_>, url: &str) -> String {
    let created = actor.post("/v1/webhooks", &json!({"url": url, "events": ["run.queued"]})).await;
    assert_eq!(created.status, 201, "{}", created.text());
    format!("/v1/webhooks/{}", created.json()["id"].as_str().unwrap())
}

async fn accept(actor: &Actor<'_>) {
    let accepted = actor.post("/v1/runs", &json!({"agent": talker(&["one"]), "input": {"topic": "x"}})).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
}

/// Polls until `look` sees something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn count(page: &Value) -> usize {
    page["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn an_endpoint_that_took_nothing_for_three_days_is_switched_off_and_says_why() {
    let clock = Clock::held_at(NOW);
    let (site, sink) = (site(&clock).await, WebhookSink::start_with([500; 400]).await.unwrap());
    let actor = site.operator();
    let hook = endpoint(&actor, &sink.url()).await;
    accept(&actor).await;
    // An attempt that is under way while the clock is set counts at the later hour: some hours have none, and that is fine.
    let mut hours = 0;
    let off = loop {
        let view = actor.get(&hook).await.json();
        if !view["disabled_at"].is_null() {
            break view;
        }
        assert!(hours < 400, "never: {view}");
        let tried = sink.deliveries().len();
        hours += 3;
        clock.set(NOW.plus_millis(hours * HOUR_MS));
        accept(&actor).await;
        for _ in 0..30 {
            if sink.deliveries().len() > tried {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    assert!(hours >= 72, "after {hours} hours: {off}");
    assert!(sink.deliveries().len() >= 10, "it was asked {} times", sink.deliveries().len());
    assert_eq!(off["disabled_reason"], HOPELESS, "{off}");
    until("what was waiting is closed", async || {
        let pending = actor.get(&format!("{hook}/deliveries?status=pending")).await.json();
        (count(&pending) == 0).then_some(())
    })
    .await;
    // It is told nothing more, and the record of what it would have been told says why.
    accept(&actor).await;
    let reason = format!("the webhook is disabled: {HOPELESS}");
    until("the next one is cancelled", async || {
        let cancelled = actor.get(&format!("{hook}/deliveries?status=cancelled")).await.json();
        let told =
            cancelled["data"].as_array().unwrap().iter().any(|delivery| delivery["last_error"] == reason.as_str());
        told.then_some(())
    })
    .await;
}

/// Five thousand deliveries to places where nobody listens are one tenant's; the other's goes out at its first attempt.
#[tokio::test]
async fn thousands_of_deliveries_to_nowhere_delay_no_other_tenant() {
    const ENDPOINTS: usize = 20;
    const RUNS: usize = 250;
    let clock = Clock::held_at(NOW);
    let site = site(&clock).await;
    let (dead, quick) = (WebhookSink::start_with([0; 6000]).await.unwrap(), WebhookSink::start().await.unwrap());
    let (one, two) = (site.tenant("one").await, site.tenant("two").await);
    let mut hooks = Vec::new();
    for _ in 0..ENDPOINTS {
        hooks.push(endpoint(&one, &dead.url()).await);
    }
    for _ in 0..RUNS {
        accept(&one).await;
    }
    let hook = endpoint(&two, &quick.url()).await;
    accept(&two).await;
    let delivered = until("the other tenant's", async || {
        let page = two.get(&format!("{hook}/deliveries?status=delivered")).await.json();
        page["data"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(delivered["attempts"], 1, "{delivered}");
    assert_eq!(quick.deliveries().len(), 1);
    // And all the while nothing of the first tenant's was given up or forgotten.
    let mut waiting = 0;
    for hook in &hooks {
        let mut target = format!("{hook}/deliveries?status=pending&limit=100");
        loop {
            let page = one.get(&target).await.json();
            waiting += count(&page);
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            target = format!("{hook}/deliveries?status=pending&limit=100&cursor={cursor}");
        }
    }
    assert_eq!(waiting, ENDPOINTS * RUNS, "every one of them still stands");

    // Deleted, an endpoint's deliveries are closed at once, and nothing is sent to it any more.
    for hook in &hooks {
        assert_eq!(one.delete(hook).await.status, 204);
    }
    let sent = dead.deliveries().len();
    accept(&one).await;
    accept(&two).await;
    until("the second one", async || (quick.deliveries().len() == 2).then_some(())).await;
    assert!(dead.deliveries().len() <= sent + 16, "only what was under way");
}
