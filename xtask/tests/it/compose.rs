//! The Compose file and the image: what they name is there, and Docker's own reader agrees where it is installed.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::{path, said, text, yaml};

fn names(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(list) => list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::Object(map) => map.keys().cloned().collect(),
        _ => BTreeSet::new(),
    }
}

#[test]
fn everything_a_service_names_is_there() {
    let file = yaml("compose/compose.yaml");
    let (services, volumes, secrets) = (names(&file["services"]), names(&file["volumes"]), names(&file["secrets"]));
    let mut used = (BTreeSet::new(), BTreeSet::new());
    for (name, service) in file["services"].as_object().unwrap() {
        for other in names(&service["depends_on"]) {
            assert!(services.contains(&other), "{name} waits for {other}");
        }
        used.0.extend(names(&service["secrets"]));
        for mount in names(&service["volumes"]) {
            let source = mount.split(':').next().unwrap().to_owned();
            if let Some(file) = source.strip_prefix("./") {
                assert!(path("compose").join(file).exists(), "{name} mounts {file}");
            } else {
                used.1.insert(source);
            }
        }
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            if let Some(secret) = value.as_str().and_then(|value| value.strip_prefix("/run/secrets/")) {
                assert!(names(&service["secrets"]).contains(secret), "{name}: {variable} reads {secret}");
            }
        }
    }
    assert_eq!(used, (secrets, volumes), "what is declared is used");
}

#[test]
fn every_node_is_like_the_others_and_behind_the_proxy() {
    let file = yaml("compose/compose.yaml");
    let proxy = text("compose/Caddyfile");
    let nodes: Vec<(&String, &Value)> =
        file["services"].as_object().unwrap().iter().filter(|(_, service)| service["image"] == "livery").collect();
    assert_eq!(nodes.len(), 3);
    for (name, node) in nodes {
        assert!(proxy.contains(&format!("{name}:7400")), "{name}");
        assert!(names(&node["volumes"]).contains(&format!("{name}:/var/lib/livery")), "{name} has a folder of its own");
        assert_eq!(node["cap_drop"], serde_json::json!(["ALL"]));
        assert_eq!(node["stop_grace_period"], "90s");
        let options = names(&node["security_opt"]);
        assert!(options.contains("seccomp=../docker/seccomp.json") && options.contains("systempaths=unconfined"));
    }
}

#[test]
fn the_system_call_filter_is_one() {
    let filter: Value = serde_json::from_str(&text("docker/seccomp.json")).unwrap();
    assert_eq!(filter["defaultAction"], "SCMP_ACT_ALLOW");
    let mut names: Vec<&str> = Vec::new();
    for rule in filter["syscalls"].as_array().unwrap() {
        assert_eq!(rule["action"], "SCMP_ACT_ERRNO");
        names.extend(rule["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()));
    }
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len());
    for needed in ["clone3", "pivot_root", "mount", "unshare", "setns", "seccomp", "pidfd_send_signal"] {
        assert!(!unique.contains(needed), "sandboxes are made with {needed}");
    }
}

#[test]
fn compose_itself_agrees() {
    let compose = |arguments: &[&str]| {
        Command::new("docker").arg("compose").args(arguments).current_dir(path("compose")).output()
    };
    if !compose(&["version"]).is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: docker compose is not installed");
        return;
    }
    let output = compose(&["--file", "compose.yaml", "config", "--quiet"]).unwrap();
    assert!(output.status.success(), "{}", said(&output));
}
