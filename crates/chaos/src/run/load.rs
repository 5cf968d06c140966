//! The callers of a chaos run: each wants one run, repeats its request with its own `Idempotency-Key` until some node accepts
//! it, and goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::draw::Draw;
use crate::http::Client;

/// Callers at a time; more wait.
const CALLERS_MAX: usize = 200;
/// How long a caller waits for one answer: a node that stands still gives none.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a caller repeats its request.
const CALLER_MAX: Duration = Duration::from_secs(180);
/// The pause before a caller repeats its request.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));
/// One run in so many calls a shell.
const SHELL_ONE_IN: usize = 10;

/// What a caller was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The caller's number, which its run carries as metadata.
    pub number: usize,
    /// The run's id.
    pub run: String,
    /// How often it had to ask.
    pub tries: usize,
}

/// The agent of a caller.
pub const fn agent_of(number: usize) -> &'static str {
    if number % SHELL_ONE_IN == SHELL_ONE_IN - 1 { "chaos-shell" } else { "chaos-quick" }
}

/// Sends `runs` callers evenly over `length`; what each was told, or what became of it.
pub async fn send(
    clients: Vec<Client>,
    runs: usize,
    length: Duration,
    seed: u64,
    accepted: Arc<AtomicUsize>,
) -> (Vec<Accepted>, Vec<String>) {
    let clients = clients.into_iter().map(|client| Client { patience: ANSWER_MAX, ..client }).collect::<Vec<_>>();
    let (clients, turns) = (Arc::new(clients), Arc::new(Semaphore::new(CALLERS_MAX)));
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..runs {
        let due = length.mul_f64(fraction(number, runs));
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
        let (clients, turns, accepted) = (Arc::clone(&clients), Arc::clone(&turns), Arc::clone(&accepted));
        callers.spawn(async move {
            let _turn = turns.acquire().await;
            let told = call(&clients, number, seed).await;
            accepted.fetch_add(usize::from(told.is_ok()), Ordering::Relaxed);
            told.map_err(|error| format!("caller {number}: {error:#}"))
        });
    }
    let (mut told, mut refused) = (Vec::new(), Vec::new());
    while let Some(done) = callers.join_next().await {
        match done {
            Ok(Ok(run)) => told.push(run),
            Ok(Err(why)) => refused.push(why),
            Err(error) => refused.push(error.to_string()),
        }
    }
    (told, refused)
}

async fn call(clients: &[Client], number: usize, seed: u64) -> anyhow::Result<Accepted> {
    let mut draw = Draw::new(seed ^ (number as u64).wrapping_mul(0x5851_f42d));
    let key = format!("chaos-{seed}-{number}");
    let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
    let body = json!({"agent": agent_of(number), "input": {}, "metadata": {"number": number.to_string()}}).to_string();
    let begun = Instant::now();
    for tries in 1.. {
        let client = clients.get(draw.below(clients.len())).context("there is no node")?;
        match client.send("POST", "/v1/runs", &headers, body.as_bytes()).await {
            Ok((200..=299, run)) => {
                let run = run["id"].as_str().context("a run without an id")?.to_owned();
                return Ok(Accepted { number, run, tries });
            }
            // 409: the first try may still be in the making. 429: too many callers.
            Ok((status, answer)) if status < 500 && status != 409 && status != 429 => {
                anyhow::bail!("answered {status}: {answer}")
            }
            other => anyhow::ensure!(begun.elapsed() < CALLER_MAX, "after {tries} tries: {other:?}"),
        }
        tokio::time::sleep(draw.between(PAUSE.0, PAUSE.1)).await;
    }
    anyhow::bail!("a caller that never asked")
}

#[expect(clippy::cast_precision_loss, reason = "counts of callers are far below 2^52")]
fn fraction(number: usize, runs: usize) -> f64 {
    number as f64 / runs.max(1) as f64
}
