//! What is done once for all nodes: schedules and webhooks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Cluster, TALK, TALKER, WebhookSink, eventually, whole};
use crate::support::{PATIENCE, Server, base64};

/// Schedules that are due at the same moment.
const SCHEDULES: usize = 12;
/// Runs whose webhooks are watched.
const RUNS: usize = 24;
/// How long something that must not happen is waited for.
const QUIET: Duration = Duration::from_secs(2);

pub(super) fn schedule(node: &Server, name: &str) -> String {
    let files = json!({"scripts/s.yaml": base64(TALK.as_bytes())});
    let (status, agent) = node.post("/v1/agents", &json!({"agent_md": TALKER, "files": files}));
    assert!(status == 200 || status == 201, "{agent}");
    let yearly = json!({"name": name, "agent": "talker", "cron": "0 0 1 1 *", "time_zone": "UTC", "overlap": "queue"});
    let (status, schedule) = node.post("/v1/schedules", &yearly);
    assert_eq!(status, 201, "{schedule}");
    schedule["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_schedule_fires_once_for_each_time_it_is_due() {
    let Some(cluster) = Cluster::start() else { return };
    let pair = cluster.pair();
    let [one, two] = &pair.nodes;
    let schedules: Vec<String> = (0..SCHEDULES).map(|index| schedule(one, &format!("s{index}"))).collect();
    for round in 1..=2 {
        cluster.make_due();
        let expected = (round * SCHEDULES) as u64;
        eventually("every schedule fires", || (cluster.fired() >= expected).then_some(()));
        std::thread::sleep(QUIET);
        assert_eq!(cluster.fired(), expected, "and none twice");
    }
    for schedule in &schedules {
        let (_, page) = two.get(&format!("/v1/runs?schedule={schedule}"));
        let runs = page["data"].as_array().unwrap().clone();
        assert_eq!(runs.len(), 2, "{page}");
        for run in runs {
            assert_eq!(one.ended(run["id"].as_str().unwrap())["status"], "succeeded");
        }
    }
}

#[test]
fn webhooks_come_once_each_and_in_order_while_two_nodes_deliver() {
    let Some(cluster) = Cluster::start() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sink = runtime.block_on(WebhookSink::start()).unwrap();
    let pair = cluster.pair();
    let (status, endpoint) = pair.nodes[0].post("/v1/webhooks", &json!({"url": sink.url(), "events": ["run.*"]}));
    assert_eq!(status, 201, "{endpoint}");
    let secret = endpoint["secret"].as_str().unwrap();
    let runs: Vec<String> =
        (0..RUNS).map(|index| pair.nodes[index % 2].start_run(TALKER, Some(TALK), &json!({}))).collect();
    let mut expected = 0;
    for run in &runs {
        assert_eq!(pair.nodes[0].ended(run)["status"], "succeeded");
        let events = pair.nodes[1].events(run);
        whole(&events);
        expected += events.iter().filter(|event| event["type"].as_str().unwrap().starts_with("run.")).count();
    }
    assert!(runtime.block_on(sink.wait_for(expected, PATIENCE)).is_some(), "{} came", sink.deliveries().len());
    std::thread::sleep(QUIET);
    let deliveries = sink.deliveries();
    let ids: BTreeSet<&str> = deliveries.iter().map(|delivery| delivery.header("webhook-id").unwrap()).collect();
    assert_eq!((ids.len(), deliveries.len()), (expected, expected), "each once");
    let mut orders: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for delivery in &deliveries {
        delivery.verify(secret).unwrap();
        let data: Value = delivery.json()["data"].clone();
        let run = data["run"]["id"].as_str().or_else(|| data["run_id"].as_str()).unwrap_or_else(|| panic!("{data}"));
        orders.entry(run.to_owned()).or_default().push(data["seq"].as_u64().unwrap());
    }
    assert_eq!(orders.len(), RUNS);
    assert!(orders.values().all(|order| order.is_sorted()), "{orders:?}");
}
