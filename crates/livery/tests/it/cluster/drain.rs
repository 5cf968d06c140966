//! A node is asked to stop in the middle of a run: what is under way ends, the rest is handed over, and the node serves until
//! then.

use std::time::Instant;

use serde_json::json;

use super::{
    Cluster, Stream, TALK, TALKER, count, eventually, last_printed, node_id, places, readiness, seen, turn, whole,
};
use crate::support::SHELL_AGENT;

#[test]
fn a_node_that_drains_hands_its_runs_over_between_two_steps() {
    let Some(cluster) = Cluster::start() else { return };
    let script = [
        "turns:\n",
        &turn(&["echo zero > log"]),
        &turn(&["sleep 5; echo one >> log", "sleep 5; echo two >> log", "sleep 5; echo three >> log"]),
        &turn(&["sort log"]),
        "  - text: done\n",
    ];
    let pair = cluster.pair();
    let run = pair.nodes[0].start_run(SHELL_AGENT, Some(&script.concat()), &json!({}));
    let (mut holder, other) = pair.split(&run);
    seen(&other, &run, "tool.started", 4);
    let follower = Stream::open(&holder, &run, 0);

    let asked = Instant::now();
    holder.ask_to_stop();
    let unready = readiness(&holder, 503);
    let finding = &unready["errors"][0];
    assert_eq!((&finding["pointer"], &finding["code"]), (&json!("shutdown"), &json!("draining")), "{unready}");
    assert!(finding["detail"].as_str().unwrap().contains("1 run"), "{unready}");
    let (status, view) = holder.get(&format!("/v1/runs/{run}"));
    assert_eq!((status, &view["status"]), (200, &json!("running")), "it still answers");
    assert!(!holder.events(&run).is_empty());
    let listed = eventually("the node shows that it drains", || {
        let (_, page) = other.get("/v1/nodes");
        page["data"].as_array()?.iter().find(|node| node["state"] == "draining").cloned()
    });
    assert_eq!(listed["id"], node_id(&holder));
    let meanwhile = other.start_run(TALKER, Some(TALK), &json!({}));
    assert_eq!(other.ended(&meanwhile)["status"], "succeeded");
    assert_eq!(seen(&other, &meanwhile, "run.started", 1)["data"]["node"], node_id(&other));
    // Opened before, it brings everything up to the hand-over.
    let through_holder: Vec<_> = follower.collect();
    assert_eq!(holder.exit_code(), Some(0), "{}", holder.log());
    eprintln!("drained in {} ms", asked.elapsed().as_millis());

    let view = other.ended(&run);
    let events = other.events(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{events:#?}\n{}", holder.log());
    whole(&events);
    let recovered = seen(&other, &run, "run.recovered", 1);
    let data = &recovered["data"];
    assert_eq!((&data["number"], &data["sandbox"]), (&json!(0), &json!("restored")), "handed over: {data}");
    assert!(data["lacking"].is_null(), "the last copy has all of it: {data}");
    assert_eq!((count(&events, "tool.started"), count(&events, "tool.finished")), (5, 5), "{events:#?}");
    assert_eq!(count(&events, "tool.outcome_unknown"), 0);
    assert_eq!(last_printed(&events), "one\nthree\ntwo\nzero\n");

    let early = places(&through_holder);
    let finished = through_holder.iter().filter(|event| event.kind == "tool.finished").count();
    assert!(finished >= 4, "it went on while the node drained: {through_holder:?}");
    let late = places(&Stream::open(&other, &run, *early.last().unwrap()).collect::<Vec<_>>());
    assert_eq!([early, late].concat(), (1..=events.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_tool_that_outlasts_the_drain_is_ended_and_its_run_given_back() {
    let Some(cluster) = Cluster::start() else { return };
    let script =
        ["turns:\n", &turn(&["echo zero > log"]), &turn(&["sleep 300"]), &turn(&["cat log"]), "  - text: done\n"];
    let pair = cluster.pair();
    let run = pair.nodes[0].start_run(SHELL_AGENT, Some(&script.concat()), &json!({}));
    let (mut holder, other) = pair.split(&run);
    seen(&other, &run, "tool.started", 2);
    cluster.copied(&run);
    assert_eq!(holder.terminate(), Some(0), "{}", holder.log());
    let view = other.ended(&run);
    let events = other.events(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{events:#?}\n{}", holder.log());
    whole(&events);
    assert_eq!(seen(&other, &run, "run.recovered", 1)["data"]["number"], 0, "given back, not run out");
    assert_eq!((count(&events, "tool.outcome_unknown"), last_printed(&events)), (1, "zero\n".to_owned()));
}
