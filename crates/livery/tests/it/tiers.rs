//! Runs in every tier of programs, through the whole binary: the demo's agent as it is, and refusals that say what to do.

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

/// The flags for machines of the host's own QEMU, with the kernel of `cargo xtask setup`; QEMU's digest.
fn machines() -> Option<(Vec<String>, String)> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/machines");
    let files = [
        ("qemu", PathBuf::from("/usr/bin/qemu-system-x86_64")),
        ("guest-kernel", tools.join("vmlinux")),
        ("guest-modules", tools.join("modules.cpio")),
    ];
    let mut flags = vec!["--microvm-tcg".to_owned(), "--disks".to_owned(), tools.join("disks").display().to_string()];
    let mut digests = Vec::new();
    for (name, path) in files {
        if !path.exists() {
            skip(&format!("the tier microvm: there is no {}; `cargo xtask setup` brings it", path.display()));
            return None;
        }
        let sum = output(std::process::Command::new("sha256sum").arg(&path));
        let digest = text(&sum.stdout).split_whitespace().next().unwrap().to_owned();
        flags.extend([format!("--{name}"), path.display().to_string(), format!("--{name}-sha256"), digest.clone()]);
        digests.push(digest);
    }
    Some((flags, digests.remove(0)))
}

/// The tiers that can be had here, each with its program's digest, and the flags for all of them.
fn had_here() -> (Vec<(&'static str, String)>, Vec<String>) {
    let (mut tiers, mut flags) = (Vec::new(), Vec::new());
    if let Some((path, digest)) = runsc() {
        flags.extend(["--runsc".to_owned(), path.display().to_string(), "--runsc-sha256".to_owned(), digest.clone()]);
        tiers.push(("gvisor", digest));
    }
    if let Some((of_machines, digest)) = machines() {
        flags.extend(of_machines);
        tiers.push(("microvm", digest));
    }
    (tiers, flags)
}

#[test]
fn the_demos_agent_does_the_same_in_every_tier() {
    let (tiers, flags) = had_here();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    // First, as it is the one that waits as long as the image's first disk takes.
    let doctor = output(livery().args(["doctor"]).args(&flags));
    let said = text(&doctor.stdout);
    let words = [("gvisor", "runsc with systrap"), ("microvm", "QEMU ")];
    for (tier, word) in words.iter().filter(|(tier, _)| tiers.iter().any(|(had, _)| had == tier)) {
        let line = said.lines().any(|line| line.contains(tier) && line.contains(word));
        assert!(line, "{tier}: {said}\n{}", text(&doctor.stderr));
    }
    let server = Server::start(&flags);
    let folder = crate::support::repository("examples/invoice-reconcile");
    let pushed = output(server.command(&["agents", "push"]).arg(folder));
    assert_eq!(pushed.status.code(), Some(0), "{}", text(&pushed.stderr));
    let mut wishes = vec![json!({}), json!({"tier": "container"})];
    wishes.extend(tiers.iter().map(|(tier, _)| json!({"tier": tier})));
    wishes.extend(tiers.iter().map(|(tier, _)| json!({"tier": tier, "or_stronger": true})));
    let mut outputs = Vec::new();
    for sandbox in wishes {
        let body = json!({"agent": "invoice-reconcile", "input": {"month": "2026-10"}, "sandbox": sandbox});
        let (status, run) = server.post("/v1/runs", &body);
        assert_eq!(status, 202, "{sandbox}: {run}");
        let id = run["id"].as_str().unwrap();
        let view = server.ended(id);
        assert_eq!((&view["status"], &view["output"]["matched"]), (&json!("succeeded"), &json!(75)), "{view}");
        let wanted = sandbox["tier"].as_str().unwrap_or("container");
        assert_eq!((tier_of_start(&server, id), &view["sandbox"]["tier"]), (json!(wanted), &json!(wanted)));
        let artifacts = view["artifacts"].as_array().unwrap();
        let kept: Vec<_> = artifacts.iter().map(|a| (a["path"].clone(), a["bytes"].clone())).collect();
        assert!(!kept.is_empty(), "{view}");
        outputs.push((view["output"].clone(), kept));
    }
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:#?}");

    let (status, found) = server.get("/v1/sandboxes/tiers");
    assert_eq!(status, 200, "{found}");
    for name in ["gvisor", "microvm"] {
        let tier = tier(&found["data"], name);
        let Some((_, digest)) = tiers.iter().find(|(had, _)| *had == name) else {
            assert_eq!(tier["status"], "unusable");
            continue;
        };
        // Where QEMU plays the processor, the tier says that it is for development.
        let expected = if tier["dev_only"] == json!(true) && name == "microvm" { "degraded" } else { "ok" };
        assert_eq!((&tier["status"], &tier["sha256"]), (&json!(expected), &json!(digest)), "{tier}");
        assert!(tier["trial_ms"].is_u64() && tier["version"].is_string(), "{tier}");
        assert_eq!(tier["fix"].is_null(), expected == "ok", "{tier}");
    }
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
