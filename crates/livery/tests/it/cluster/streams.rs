//! A run on one node, followed and stopped through another.

use serde_json::json;

use super::{Cluster, Stream, count, marker, places, sandbox_gone, seen, turn, whole};
use crate::support::SHELL_AGENT;

#[test]
fn a_run_is_followed_live_and_stopped_through_a_node_that_has_it_not() {
    let Some(cluster) = Cluster::start() else { return };
    let marker = marker("followed");
    let endless = format!("while :; do sleep 1; done; echo {marker}");
    let script = ["turns:\n", &turn(&["echo one"]), &turn(&["sleep 2; echo two"]), &turn(&[&endless])].concat();
    let pair = cluster.pair();
    let run = pair.nodes[0].start_run(SHELL_AGENT, Some(&script), &json!({}));
    let (holder, other) = pair.split(&run);

    // The first part from where the run is, the rest from the other node, as a client would that lost its connection.
    let mut first = Vec::new();
    for event in Stream::open(&holder, &run, 0) {
        let enough = event.kind == "tool.finished";
        first.push(event);
        if enough {
            break;
        }
    }
    let last = places(&first).pop().unwrap();
    let mut rest = Stream::open(&other, &run, last);
    let mut second = Vec::new();
    while second.last().is_none_or(|event: &super::Streamed| event.kind != "tool.started") || second.len() < 4 {
        second.push(rest.next().expect("the run goes on"));
    }
    let (_, view) = other.get(&format!("/v1/runs/{run}"));
    assert_eq!(view["status"], "running", "it was seen while it ran");
    assert!(view["finished_at"].is_null());

    seen(&other, &run, "tool.started", 3);
    let (status, asked) = other.post(&format!("/v1/runs/{run}/cancel"), &json!({}));
    assert!(status == 200 || status == 202, "{asked}");
    second.extend(rest);
    let view = other.ended(&run);
    assert_eq!((&view["status"], &view["error"]["code"]), (&json!("cancelled"), &json!("cancelled")), "{view}");
    let events = holder.events(&run);
    whole(&events);
    assert_eq!(count(&events, "run.recovered"), 0);
    assert_eq!(second.last().unwrap().kind, "run.cancelled");
    let all: Vec<u64> = [places(&first), places(&second)].concat();
    assert_eq!(all, (1..=events.len() as u64).collect::<Vec<_>>(), "no gap between the nodes, nothing twice");
    assert_eq!(other.events(&run), events);
    sandbox_gone(&holder, &run, &marker);
}
