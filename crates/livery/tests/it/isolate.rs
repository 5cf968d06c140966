//! Runs in the tier isolate, through the whole binary: the example's agent, the tools it has and has not, and refusals.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Server, livery, output, skip, text};

/// The deno of `cargo xtask setup` and its digest.
pub(crate) fn deno() -> Option<(PathBuf, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/deno/deno");
    if !path.exists() {
        skip("there is no deno; `cargo xtask setup` brings it");
        return None;
    }
    let sum = output(std::process::Command::new("sha256sum").arg(&path));
    let digest = text(&sum.stdout).split_whitespace().next().unwrap().to_owned();
    Some((path, digest))
}

fn tier<'a>(tiers: &'a Value, name: &str) -> &'a Value {
    tiers["data"].as_array().unwrap().iter().find(|tier| tier["tier"] == name).unwrap()
}

/// An agent whose model plays these turns.
fn agent(head: &str, turns: &str) -> Value {
    let md = format!("---\nname: a\nmodel: scripted/s\n{head}\n---\nWork.\n");
    json!({"agent_md": md, "files": {"scripts/s.yaml": crate::support::base64(turns.as_bytes())}})
}

#[test]
fn the_examples_agent_works_in_an_isolate() {
    let Some((path, digest)) = deno() else { return };
    let flags = ["--isolate-host", path.to_str().unwrap(), "--isolate-host-sha256", &digest];
    let server = Server::start(&flags);
    let folder = crate::support::repository("examples/sales-summary");
    let pushed = output(server.command(&["agents", "push"]).arg(folder));
    assert_eq!(pushed.status.code(), Some(0), "{}", text(&pushed.stderr));
    let (status, run) = server.post("/v1/runs", &json!({"agent": "sales-summary", "input": {"month": "2026-10"}}));
    assert_eq!(status, 202, "{run}");
    let id = run["id"].as_str().unwrap();
    let view = server.ended(id);
    assert_eq!((&view["status"], &view["sandbox"]["tier"]), (&json!("succeeded"), &json!("isolate")), "{view}");
    assert_eq!(view["artifacts"].as_array().unwrap().len(), 1, "{view}");
    let events = server.events(id);
    let started = events.iter().find(|event| event["type"] == "sandbox.started").unwrap();
    assert_eq!(started["data"]["tier"], "isolate");
    let means = &started["data"]["means"];
    assert!(means["landlock_abi"].is_u64() && means["memory"].is_string() && means["own_uid"].is_boolean(), "{means}");

    let (status, tiers) = server.get("/v1/sandboxes/tiers");
    assert_eq!(status, 200, "{tiers}");
    let isolate = tier(&tiers, "isolate");
    assert_eq!((&isolate["status"], &isolate["sha256"], &isolate["fix"]), (&json!("ok"), &json!(digest), &Value::Null));
    assert!(isolate["trial_ms"].is_u64() && isolate["version"].is_string(), "{isolate}");

    let doctor = output(livery().args(["doctor"]).args(flags));
    let said = text(&doctor.stdout);
    assert!(said.contains("isolate") && said.contains("deno behind"), "{said}\n{}", text(&doctor.stderr));

    // What goes wrong in a program is the model's to read; the run goes on.
    let wrong = agent(
        "sandbox: {tier: isolate}",
        "turns:
  - tools: [{name: run_code, arguments: {source: 'for (;;) {}', timeout_s: 1}}]
  - expect: {tool_result_contains: '\"kind\":\"timeout\"'}
    tools: [{name: run_code, arguments: {source: \"throw new Error('boom')\"}}]
  - expect: {tool_result_contains: 'Error: boom'}
    tools: [{name: run_code, arguments: {source: 'const a = []; for (;;) a.push(new Array(1e5).fill(1.5))'}}]
  - expect: {tool_result_contains: '\"kind\":\"memory\"'}
    tools: [{name: run_code, arguments: {source: \"await fetch('https://example.com')\"}}]
  - expect: {tool_result_contains: 'no network'}
    tools: [{name: shell, arguments: {command: id}}]
  - expect: {tool_result_contains: 'There is no tool named `shell`'}
    tools: [{name: write_file, arguments: {path: a.ts, content: 'export const n: number = 42;'}}]
  - tools: [{name: run_code, arguments: {language: ts, source: \"import { n } from './a.ts'; export default n\"}}]
  - expect: {tool_result_contains: '\"value\":42'}
    text: done
",
    );
    let (status, run) = server.post("/v1/runs", &json!({"agent": wrong}));
    assert_eq!(status, 202, "{run}");
    let view = server.ended(run["id"].as_str().unwrap());
    assert_eq!((&view["status"], &view["output"]["text"]), (&json!("succeeded"), &json!("done")), "{view}");
}

#[test]
fn an_isolate_that_is_not_there_or_has_nothing_to_do_is_refused() {
    let server = Server::start(&[]);
    let refused = |head: &str| {
        let (status, problem) = server.post("/v1/runs", &json!({"agent": agent(head, "turns: [{text: done}]")}));
        assert_eq!(status, 422, "{head}: {problem}");
        problem
    };
    let problem = refused("sandbox: {tier: isolate, or_stronger: true}");
    let said = problem["errors"][0]["detail"].as_str().unwrap_or_default();
    assert_eq!(problem["code"], "tier_unavailable");
    assert!(said.contains("no isolate host is configured") && said.contains("--isolate-host FILE"), "{problem}");
    let problem = refused("sandbox: {tier: isolate}\ntools: [shell]");
    assert!(problem.to_string().contains("name run_code instead"), "{problem}");
    let problem = refused("tools: [run_code]");
    assert!(problem.to_string().contains("needs the tier isolate"), "{problem}");
    for flags in
        [["--isolate-host", "/bin/true"].as_slice(), &["--isolate-host", "/bin/true", "--isolate-host-sha256", "abc"]]
    {
        assert_eq!(output(livery().arg("doctor").args(flags)).status.code(), Some(2), "{flags:?}");
    }
}
