//! Node by node to a new version, while work comes in.

use std::time::Duration;

use serde_json::json;

use super::{Cluster, count, last_printed, turn, whole};
use crate::support::SHELL_AGENT;

/// Runs submitted in all, a third before, during and after each of the restarts.
const RUNS: usize = 30;

#[test]
fn runs_submitted_while_nodes_are_replaced_one_by_one_all_end_once() {
    let Some(cluster) = Cluster::start() else { return };
    let script = ["turns:\n", &turn(&["echo one >> log"]), &turn(&["sleep 0.3; wc -l < log"]), "  - text: done\n"];
    let script = script.concat();
    let pair = cluster.pair();
    let [mut one, mut two] = pair.nodes;
    let mut runs = Vec::new();
    let mut submit = |node: &crate::support::Server, count: usize| {
        for _ in 0..count {
            runs.push(node.start_run(SHELL_AGENT, Some(&script), &json!({})));
            std::thread::sleep(Duration::from_millis(40));
        }
    };
    submit(&one, RUNS / 10);
    submit(&two, RUNS / 10);
    one.ask_to_stop();
    submit(&two, RUNS / 5);
    assert_eq!(one.exit_code(), Some(0), "{}", one.log());
    let one = cluster.node("one", &[]);
    submit(&one, RUNS / 10);
    submit(&two, RUNS / 10);
    two.ask_to_stop();
    submit(&one, RUNS / 5);
    assert_eq!(two.exit_code(), Some(0), "{}", two.log());
    let two = cluster.node("two", &[]);
    submit(&one, RUNS / 10);
    submit(&two, RUNS / 10);

    assert_eq!(runs.len(), RUNS);
    for run in &runs {
        let view = one.ended(run);
        let events = two.events(run);
        assert_eq!(view["status"], "succeeded", "{view}\n{events:#?}\n{}\n{}", one.log(), two.log());
        whole(&events);
        assert_eq!((count(&events, "tool.started"), count(&events, "tool.finished")), (2, 2), "{events:#?}");
        assert_eq!(last_printed(&events), "1\n", "its file was written once, and went along");
    }
    assert_eq!(cluster.runs(), RUNS as u64, "none twice");
    assert_eq!(cluster.recovered(), 0, "every hand-over was in order");
}
