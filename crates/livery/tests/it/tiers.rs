//! Runs in the tier gVisor, through the whole binary: the demo's agent as it is, a way out, and refusals that say what to do.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Server, livery, output, skip, text};

/// The runsc of `cargo xtask setup` and its digest, where it can be used.
pub(crate) fn runsc() -> Option<(PathBuf, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/runsc/runsc");
    if !rustix::process::geteuid().is_root() {
        skip("the tier gvisor needs a launcher that is root");
        return None;
    }
    if !path.exists() {
        skip("there is no runsc; `cargo xtask setup` brings it");
        return None;
    }
    let sum = output(std::process::Command::new("sha256sum").arg(&path));
    let digest = text(&sum.stdout).split_whitespace().next().unwrap().to_owned();
    Some((path, digest))
}

fn tier<'a>(tiers: &'a Value, name: &str) -> &'a Value {
    tiers.as_array().unwrap().iter().find(|tier| tier["tier"] == name).unwrap()
}

fn tier_of_start(server: &Server, run: &str) -> Value {
    let events = server.events(run);
    events.iter().find(|event| event["type"] == "sandbox.started").unwrap()["data"]["tier"].clone()
}

#[test]
fn the_demos_agent_does_the_same_in_gvisor() {
    let Some((path, digest)) = runsc() else { return };
    let flags = ["--runsc", path.to_str().unwrap(), "--runsc-sha256", &digest];
    let server = Server::start(&flags);
    let folder = crate::support::repository("examples/invoice-reconcile");
    let pushed = output(server.command(&["agents", "push"]).arg(folder));
    assert_eq!(pushed.status.code(), Some(0), "{}", text(&pushed.stderr));
    let mut outputs = Vec::new();
    for sandbox in [json!({}), json!({"tier": "gvisor"}), json!({"tier": "gvisor", "or_stronger": true})] {
        let body = json!({"agent": "invoice-reconcile", "input": {"month": "2026-10"}, "sandbox": sandbox});
        let (status, run) = server.post("/v1/runs", &body);
        assert_eq!(status, 202, "{run}");
        let id = run["id"].as_str().unwrap();
        let view = server.ended(id);
        assert_eq!((&view["status"], &view["output"]["matched"]), (&json!("succeeded"), &json!(75)), "{view}");
        let wanted = sandbox["tier"].as_str().unwrap_or("container");
        assert_eq!((tier_of_start(&server, id), &view["sandbox"]["tier"]), (json!(wanted), &json!(wanted)));
        outputs.push((view["output"].clone(), view["artifacts"].as_array().unwrap().len()));
    }
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:#?}");

    let (status, tiers) = server.get("/v1/sandboxes/tiers");
    assert_eq!(status, 200, "{tiers}");
    let gvisor = tier(&tiers["data"], "gvisor");
    assert_eq!((&gvisor["status"], &gvisor["sha256"], &gvisor["fix"]), (&json!("ok"), &json!(digest), &Value::Null));
    assert!(gvisor["trial_ms"].is_u64() && gvisor["version"].is_string(), "{gvisor}");
    assert_eq!(tier(&tiers["data"], "microvm")["status"], "unusable");

    let doctor = output(livery().args(["doctor"]).args(flags));
    let said = text(&doctor.stdout);
    assert!(said.contains("gvisor") && said.contains("runsc with systrap"), "{said}\n{}", text(&doctor.stderr));
}

#[test]
fn a_tier_that_is_not_there_is_refused_with_what_to_do() {
    let server = Server::start(&[]);
    let md = "---\nname: a\nmodel: scripted/s\nsandbox: {tier: gvisor, or_stronger: true}\n---\nWork.\n";
    let agent = json!({"agent_md": md, "files": {"scripts/s.yaml": crate::support::base64(b"turns: [{text: done}]")}});
    let (status, problem) = server.post("/v1/runs", &json!({"agent": agent}));
    assert_eq!((status, &problem["code"]), (422, &json!("tier_unavailable")), "{problem}");
    let said = problem["errors"][0]["detail"].as_str().unwrap_or_default();
    assert!(said.contains("no runsc is configured") && said.contains("--runsc FILE"), "{problem}");
    let (_, tiers) = server.get("/v1/sandboxes/tiers");
    assert_eq!(tier(&tiers["data"], "container")["status"], "ok", "{tiers}");
    assert_eq!(tier(&tiers["data"], "gvisor")["status"], "unusable", "{tiers}");
    for flags in [["--runsc", "/bin/true"].as_slice(), &["--runsc", "/bin/true", "--runsc-sha256", "abc"]] {
        assert_eq!(output(livery().arg("doctor").args(flags)).status.code(), Some(2), "{flags:?}");
    }
}
