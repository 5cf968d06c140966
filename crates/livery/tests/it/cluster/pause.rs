//! A node stands still for longer than its leases, and then goes on as if nothing had been.

use serde_json::json;

use super::{Cluster, Model, TALK, TALKER, count, marker, node_id, sandbox_gone, seen, sheller, turn, whole};
use crate::support::processes_naming;

#[test]
fn a_node_that_was_paused_writes_nothing_more_and_lets_go() {
    let Some(cluster) = Cluster::start() else { return };
    let marker = marker("paused");
    let stays = format!("sleep 300; echo {marker}");
    let script = ["turns:\n", &turn(&["sleep 2; echo late > late", &stays]), "  - text: done\n"].concat();
    let (tools, slow) = (Model::plays(&script), Model::plays("turns:\n  - text: slowly\n    delay_ms: 4000\n"));
    let one = cluster.node("one", &[]);
    tools.provide(&one, "tools");
    slow.provide(&one, "slow");
    // One run in the middle of two tools, one in the middle of a model call; there is nobody else to take them.
    let working = one.start_run(&sheller("tools"), None, &json!({}));
    seen(&one, &working, "tool.started", 2);
    let asking = one.start_run(&sheller("slow"), None, &json!({}));
    seen(&one, &asking, "model.requested", 1);
    one.signal(rustix::process::Signal::STOP);

    let two = cluster.node("two", &[]);
    for run in [&working, &asking] {
        let view = two.ended(run);
        assert_eq!(view["status"], "succeeded", "{view}\n{}", two.log());
        let recovered = seen(&two, run, "run.recovered", 1);
        assert_eq!(recovered["data"]["node"], node_id(&two), "{recovered}");
    }
    let before = [two.events(&working), two.events(&asking)];
    assert!(!processes_naming(&marker).is_empty(), "nobody has told the paused node's sandbox");

    // Now a tool that ended and a model's answer wait for it, and it believes in its leases.
    one.signal(rustix::process::Signal::CONT);
    sandbox_gone(&one, &working, &marker);
    let next = one.start_run(TALKER, Some(TALK), &json!({}));
    assert_eq!(one.ended(&next)["status"], "succeeded", "it works again");
    assert_eq!([two.events(&working), two.events(&asking)], before, "nothing was written late");
    before.iter().for_each(|events| whole(events));
    assert_eq!((count(&before[0], "tool.outcome_unknown"), count(&before[1], "model.responded")), (2, 1));
    assert!(one.log().contains("the lease is lost"), "{}", one.log());
    for model in [tools, slow] {
        let (keys, counts) = (model.keys(), model.fake.key_counts());
        assert_eq!((counts.performed, counts.refused), (keys.len() as u64, 0), "one effect to a key: {keys:?}");
        drop(model.runtime);
    }
}
