//! Many connections at once, one thread each: a closed loop, so each connection has at most one request under way.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::http::{Connection, Target};

/// Stack of a load thread: 500 of them must not be what is measured.
const STACK_BYTES: usize = 256 * 1024;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this time; the first tenth is warming up and not counted.
    Elapsed(Duration),
    /// After this many calls in all.
    Calls(usize),
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Milliseconds of each call, sorted.
    pub latencies_ms: Vec<f64>,
    /// From the first call to the last answer, in seconds.
    pub elapsed_s: f64,
    /// What went wrong, each in words.
    pub failures: Vec<String>,
}

impl Seen {
    /// Calls answered per second.
    pub fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
        let calls = self.latencies_ms.len() as f64;
        calls / self.elapsed_s.max(f64::EPSILON)
    }

    /// The smallest latency that `share` of the calls did not exceed; 0 without calls.
    pub fn percentile(&self, share: f64) -> f64 {
        percentile(&self.latencies_ms, share)
    }
}

/// The smallest of the sorted values that `share` of them do not exceed; 0 without values.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of a bench are far below 2^52, and the product is not negative"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

/// Calls `call` over and over on `connections` connections.
pub fn drive<F>(target: &Target, connections: usize, until: Until, call: F) -> anyhow::Result<Seen>
where
    F: Fn(&mut Connection) -> anyhow::Result<()> + Sync,
{
    let gate = Barrier::new(connections + 1);
    let taken = AtomicUsize::new(0);
    let mut seen = Seen::default();
    let parts = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..connections {
            let worker = || {
                let mut connection = Connection::new(target.clone());
                gate.wait();
                one_connection(&mut connection, until, &taken, &call)
            };
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, worker);
            threads.push(thread.context("starting a load thread")?);
        }
        gate.wait();
        let started = Instant::now();
        let parts: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        seen.elapsed_s = started.elapsed().as_secs_f64();
        anyhow::Ok(parts)
    })?;
    for part in parts {
        let (latencies, failures) = part.map_err(|_| anyhow::anyhow!("a load thread panicked"))?;
        seen.latencies_ms.extend(latencies);
        seen.failures.extend(failures);
    }
    if let Until::Elapsed(duration) = until {
        seen.elapsed_s = (seen.elapsed_s - warm_up(duration).as_secs_f64()).max(f64::EPSILON);
    }
    seen.latencies_ms.sort_by(f64::total_cmp);
    Ok(seen)
}

fn warm_up(duration: Duration) -> Duration {
    duration / 10
}

fn one_connection<F>(
    connection: &mut Connection,
    until: Until,
    taken: &AtomicUsize,
    call: &F,
) -> (Vec<f64>, Vec<String>)
where
    F: Fn(&mut Connection) -> anyhow::Result<()>,
{
    let mut latencies = Vec::new();
    let mut failures = Vec::new();
    let started = Instant::now();
    loop {
        let counted = match until {
            Until::Elapsed(duration) if started.elapsed() >= duration => break,
            Until::Elapsed(duration) => started.elapsed() >= warm_up(duration),
            Until::Calls(calls) if taken.fetch_add(1, Ordering::Relaxed) >= calls => break,
            Until::Calls(_) => true,
        };
        let sent = Instant::now();
        match call(connection) {
            Ok(()) if counted => latencies.push(sent.elapsed().as_secs_f64() * 1000.0),
            Ok(()) => {}
            Err(error) => {
                failures.push(format!("{error:#}"));
                // A broken connection says nothing about the next one, but a server that is gone must not be hammered.
                if failures.len() >= FAILURES_PER_CONNECTION_MAX {
                    break;
                }
            }
        }
    }
    (latencies, failures)
}

/// Failures after which a connection gives up.
const FAILURES_PER_CONNECTION_MAX: usize = 5;

#[cfg(test)]
mod tests;
