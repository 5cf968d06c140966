//! A node is killed in the middle of a run: another one goes on with the run's files.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    Cluster, Model, Stream, count, eventually, last_printed, marker, node_id, places, seen, sheller, turn, whole,
};
use crate::support::processes_naming;

/// Generous: it is a lease and a second on a machine with nothing else to do, and the test says how long it was.
const TAKEOVER_MAX: Duration = Duration::from_secs(30);

#[test]
fn a_killed_nodes_run_goes_on_elsewhere_with_its_files() {
    let Some(cluster) = Cluster::start() else { return };
    let marker = marker("killed");
    let script = [
        "turns:\n",
        &turn(&["mkdir -p deep && echo first > deep/trace && ln -s /etc/passwd link"]),
        &turn(&[&format!("sleep 300; echo {marker}")]),
        &turn(&["cat deep/trace && readlink link"]),
        "  - text: done\n",
    ];
    let model = Model::plays(&script.concat());
    let pair = cluster.pair();
    model.provide(&pair.nodes[0], "fake");
    let run = pair.nodes[0].start_run(&sheller("fake"), None, &json!({}));
    let (mut holder, other) = pair.split(&run);
    seen(&other, &run, "tool.started", 2);
    cluster.copied(&run);
    let before = other.events(&run);

    let (killed, from) = (Instant::now(), node_id(&holder));
    holder.kill();
    let recovered = seen(&other, &run, "run.recovered", 1);
    let seq = recovered["seq"].as_u64().unwrap();
    eventually("the first resumed step", || other.events(&run).into_iter().find(|event| event["seq"] == seq + 2));
    let took = killed.elapsed();
    eprintln!("taken over {} ms after the kill", took.as_millis());
    assert!(took < TAKEOVER_MAX, "{took:?}");

    let view = other.ended(&run);
    let events = other.events(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{events:#?}\n{}", other.log());
    whole(&events);
    assert_eq!(events[..before.len()], before, "what was written stays");
    assert_eq!((count(&events, "run.recovered"), count(&events, "tool.outcome_unknown")), (1, 1), "{events:#?}");
    let data = &recovered["data"];
    assert_eq!((&data["number"], &data["sandbox"]), (&json!(1), &json!("restored")), "{data}");
    assert_eq!((&data["from"], &data["node"]), (&json!(from), &json!(node_id(&other))), "{data}");
    assert!(data["snapshot_seq"].as_u64() < Some(seq) && data["pending"].as_array().unwrap().len() == 1, "{data}");

    assert_eq!(last_printed(&events), "first\n/etc/passwd\n");
    let told = model.fake.requests().last().unwrap().json().to_string();
    assert!(told.contains("outcome unknown") && told.contains("first\\\\n/etc/passwd"), "{told}");
    assert_eq!(model.keys().len(), 4, "one key to a step: {:?}", model.keys());
    assert_eq!(model.fake.key_counts().refused, 0);
    let streamed: Vec<_> = Stream::open(&other, &run, 0).collect();
    assert_eq!(places(&streamed), (1..=events.len() as u64).collect::<Vec<_>>());
    eventually("the end of the killed node's processes", || processes_naming(&marker).is_empty().then_some(()));
}
