//! `kill -9` in the middle: unfinished runs go on where their log ends, and nothing is left over.

use serde_json::json;

use crate::support::{SHELL_AGENT, Server, processes_naming};

/// Waits on a file of the workspace, so that the test decides when the tool ends.
const SCRIPT: &str = r#"
turns:
  - tools: [{name: shell, arguments: {command: "echo first >> trace"}}]
  - tools: [{name: shell, arguments: {command: "echo second >> trace; sleep 300"}}]
  - tools: [{name: shell, arguments: {command: "cat trace"}}]
    expect: {tool_result_contains: "outcome unknown"}
  - text: done
    expect: {tool_result_contains: "first"}
"#;

#[test]
fn a_killed_platform_leaves_nothing_and_its_runs_go_on() {
    let mut server = Server::start(&[]);
    let run = server.start_run(SHELL_AGENT, Some(SCRIPT), &json!({}));
    let id = run.clone();
    let (url, key) = (server.url.clone(), server.key.clone());
    server.wait(|| {
        let (_, page) = crate::support::request(&url, &key, "GET", &format!("/v1/runs/{id}/events"), &[], b"");
        let started = page["data"].as_array()?.iter().filter(|event| event["type"] == "tool.started").count();
        (started == 2).then_some(())
    });
    let marker = server.data.display().to_string();
    server.kill();

    // The launcher sees its platform gone and takes everything down.
    let begun = std::time::Instant::now();
    while !processes_naming(&marker).is_empty() {
        assert!(begun.elapsed() < crate::support::PATIENCE, "{:?}", processes_naming(&marker));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }

    let server = Server::again(&server.data, &[]);
    let view = server.ended(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{:#?}", server.events(&run));
    let events = server.events(&run);
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!(
        (count("run.started"), count("run.recovered"), count("tool.outcome_unknown"), count("run.succeeded")),
        (1, 1, 1, 1)
    );
    let seqs: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no gap, nothing twice");
}

#[test]
fn queued_runs_survive_a_kill() {
    let mut server = Server::start(&[]);
    let runs: Vec<String> =
        (0..40).map(|_| server.start_run(SHELL_AGENT, Some("turns: [{text: hello}]"), &json!({}))).collect();
    server.kill();
    let server = Server::again(&server.data, &[]);
    for run in runs {
        assert_eq!(server.ended(&run)["status"], "succeeded");
    }
}

/// The only child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    children.collect::<Vec<_>>().concat().split_whitespace().next()?.parse().ok()
}

#[test]
fn a_launcher_that_dies_is_replaced_and_its_runs_go_on() {
    let mut server = Server::start(&[]);
    let run = server.start_run(SHELL_AGENT, Some(SCRIPT), &json!({}));
    let (url, key, path) = (server.url.clone(), server.key.clone(), format!("/v1/runs/{run}/events"));
    server.wait(|| {
        let (_, page) = crate::support::request(&url, &key, "GET", &path, &[], b"");
        let started = page["data"].as_array()?.iter().filter(|event| event["type"] == "tool.started").count();
        (started == 2).then_some(())
    });
    // The server's child is the keeper, whose child is the launcher.
    let launcher = child_of(server.pid()).and_then(child_of).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(launcher).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();

    let next = server.start_run(SHELL_AGENT, Some(&crate::support::one_command("echo here")), &json!({}));
    assert_eq!(server.ended(&next)["status"], "succeeded", "it waits for the next launcher: {}", server.log());
    let view = server.ended(&run);
    let events = server.events(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{events:#?}\n{}", server.log());
    let recovered = events.iter().find(|event| event["type"] == "run.recovered").unwrap();
    assert_eq!((&recovered["data"]["sandbox"], &recovered["data"]["number"]), (&json!("restarted"), &json!(1)));
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("run.recovered"), count("tool.outcome_unknown"), count("run.succeeded")), (1, 1, 1));
    assert_eq!(crate::support::request(&url, "", "GET", "/readyz", &[], b"").0, 200, "nothing was restarted by hand");
    assert!(server.log().contains("the launcher died (signal 9)"), "{}", server.log());
}
