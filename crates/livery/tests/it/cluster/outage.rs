//! The database under all nodes dies and comes back.

use std::time::Duration;

use livery_testkit::Postgres;
use livery_testkit::postgres::Error;
use serde_json::json;

use super::{Cluster, TALK, TALKER, count, readiness, seen, turn, whole};
use crate::support::{SHELL_AGENT, base64, skip};

/// Longer than a lease: every node finds the leases of all run out when it is back.
const AWAY: Duration = Duration::from_secs(9);

#[test]
fn two_nodes_wait_for_their_database_and_go_on_by_themselves() {
    let mut postgres = match Postgres::start() {
        Ok(postgres) => postgres,
        Err(error @ Error::NotInstalled) => return skip(&error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let cluster = Cluster::on(&postgres);
    let pair = cluster.pair();
    let script = ["turns:\n", &turn(&["echo one >> log"]), &turn(&["sleep 6; wc -l < log"]), "  - text: done\n"];
    let script = script.concat();
    let runs: Vec<String> =
        (0..6).map(|index| pair.nodes[index % 2].start_run(SHELL_AGENT, Some(&script), &json!({}))).collect();
    for run in &runs {
        seen(&pair.nodes[0], run, "tool.started", 2);
    }
    postgres.kill().unwrap();
    let body = json!({"agent": {"agent_md": TALKER, "files": {"scripts/s.yaml": base64(TALK.as_bytes())}}});
    for node in &pair.nodes {
        let unready = readiness(node, 503);
        let finding = &unready["errors"][0];
        assert_eq!((&finding["pointer"], &finding["code"]), (&json!("database"), &json!("unavailable")), "{unready}");
        assert!(!finding["detail"].as_str().unwrap().is_empty());
        let (status, refused) = node.post("/v1/runs", &body);
        assert_eq!((status, &refused["code"]), (503, &json!("unavailable")), "{refused}");
        assert!(!refused["detail"].as_str().unwrap().is_empty() && refused["retry_after"].as_u64() > Some(0));
    }
    std::thread::sleep(AWAY);
    postgres.start_again().unwrap();
    for node in &pair.nodes {
        readiness(node, 200);
    }
    for run in &runs {
        let view = pair.nodes[1].ended(run);
        let events = pair.nodes[0].events(run);
        assert_eq!(view["status"], "succeeded", "{view}\n{events:#?}");
        whole(&events);
        assert_eq!((count(&events, "tool.finished"), count(&events, "run.recovered")), (2, 0), "{events:#?}");
    }
    let next = pair.nodes[0].start_run(TALKER, Some(TALK), &json!({}));
    assert_eq!(pair.nodes[1].ended(&next)["status"], "succeeded");
}
