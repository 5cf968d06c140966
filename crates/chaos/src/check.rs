//! What must be true of a run that is over, whatever happened on the way: of its log, and of what its endpoint was told.

use std::collections::BTreeMap;

use livery_testkit::webhook_sink::Delivery;
use serde_json::Value;

/// What is wrong with a run's log: numbers from 1 without a gap, one start, one end and nothing behind it.
pub fn log(events: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap_or(0)).collect();
    if !numbers.iter().copied().eq(1..=numbers.len() as u64) {
        wrong.push(format!("the sequence is {numbers:?}"));
    }
    let ends = events.iter().filter(|event| is_end(kind(event))).count();
    if ends != 1 || !events.last().is_some_and(|event| is_end(kind(event))) {
        wrong.push(format!("{ends} ends in {:?}", kinds(events)));
    }
    let starts = count(events, "run.started");
    if starts > 1 || count(events, "run.queued") != 1 {
        wrong.push(format!("{starts} starts in {:?}", kinds(events)));
    }
    wrong
}

/// The numbers of the events an endpoint with `run.*` is told of.
pub fn told(events: &[Value]) -> Vec<u64> {
    let told = events.iter().filter(|event| kind(event).starts_with("run."));
    told.filter_map(|event| event["seq"].as_u64()).collect()
}

/// The numbers of the events that its endpoint was never told of.
pub fn untold(run: &str, events: &[Value], deliveries: &[Delivery]) -> Vec<u64> {
    let heard: Vec<u64> = of_run(run, deliveries).map(|(seq, _)| seq).collect();
    told(events).into_iter().filter(|seq| !heard.contains(seq)).collect()
}

/// What is wrong with how an endpoint was told: each event under one id, and first arrivals in order.
pub fn order(run: &str, deliveries: &[Delivery]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ids: BTreeMap<u64, String> = BTreeMap::new();
    let mut first_arrivals = Vec::new();
    for (seq, id) in of_run(run, deliveries) {
        match ids.get(&seq) {
            Some(known) if *known != id => wrong.push(format!("event {seq} came as {known} and as {id}")),
            Some(_) => {}
            None => {
                first_arrivals.push(seq);
                ids.insert(seq, id);
            }
        }
    }
    if !first_arrivals.is_sorted() {
        wrong.push(format!("the endpoint was told in the order {first_arrivals:?}"));
    }
    wrong
}

/// Sequence and `webhook-id` of what was delivered about a run.
fn of_run<'a>(run: &'a str, deliveries: &'a [Delivery]) -> impl Iterator<Item = (u64, String)> + 'a {
    deliveries.iter().filter_map(move |delivery| {
        let body = delivery.json();
        let id = delivery.header("webhook-id").unwrap_or_default().to_owned();
        (body["data"]["run_id"] == run).then(|| (body["data"]["seq"].as_u64().unwrap_or(0), id))
    })
}

/// How many events are of this type.
pub fn count(events: &[Value], wanted: &str) -> usize {
    events.iter().filter(|event| kind(event) == wanted).count()
}

/// The types, in order.
pub fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(kind).collect()
}

fn kind(event: &Value) -> &str {
    event["type"].as_str().unwrap_or_default()
}

fn is_end(kind: &str) -> bool {
    matches!(kind, "run.succeeded" | "run.failed" | "run.cancelled" | "run.timed_out")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::log;

    fn events(kinds: &[&str]) -> Vec<Value> {
        (1..).zip(kinds).map(|(seq, kind)| json!({"seq": seq, "type": kind})).collect()
    }

    #[test]
    fn a_log_with_a_gap_a_double_or_two_ends_is_found() {
        let good = events(&["run.queued", "run.started", "run.succeeded"]);
        assert_eq!(log(&good), Vec::<String>::new());
        let mut gap = good.clone();
        gap.remove(1);
        assert_eq!(log(&gap).len(), 1);
        let mut doubled = good.clone();
        doubled.insert(1, good[1].clone());
        assert_eq!(log(&doubled).len(), 2);
        assert_eq!(log(&events(&["run.queued", "run.succeeded", "run.failed"])).len(), 1);
        assert_eq!(log(&events(&["run.queued", "run.succeeded", "tool.started"])).len(), 1);
        assert_eq!(log(&events(&["run.queued", "run.started"])).len(), 1);
    }
}
