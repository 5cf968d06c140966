//! Replays of real runs, in real sandboxes, over real crashes.

use serde_json::{Value, json};

use crate::support::{SHELL_AGENT, Server, livery, one_command, output, request, text};

fn stdout_json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", text(&output.stdout), text(&output.stderr)))
}

/// The report of a replay and the command's exit code.
fn replay(server: &Server, run: &str) -> (Value, Option<i32>) {
    let replayed = output(&mut server.command(&["runs", "replay", run, "--json"]));
    (stdout_json(&replayed), replayed.status.code())
}

#[track_caller]
fn identical(server: &Server, run: &str) -> Value {
    let (report, code) = replay(server, run);
    assert_eq!((report["result"].as_str(), code), (Some("identical"), Some(0)), "{report:#}");
    assert_eq!(report["unchecked"], json!([]));
    report
}

#[test]
fn runs_replay_identically_however_they_ended() {
    let server = Server::start(&[]);
    let failing =
        "turns:\n  - tools: [{name: finish, arguments: {count: x}}]\n  - tools: [{name: finish, arguments: {}}]\n";
    let counting = "---\nname: c\nmodel: scripted/s\noutput: {type: object, properties: {count: {type: integer}}, required: [count]}\n---\nx\n";
    let slow = "turns: [{text: late, delay_ms: 60000}]";
    let short = "---\nname: slow\nmodel: scripted/s\nlimits: {timeout_s: 1}\n---\nWait.\n";
    // More than an event may hold, once it is written as JSON: the payload is spilled into a file.
    let quotes = "\"".repeat(150_000);
    let write = format!(
        "turns:\n  - tools: [{{name: write_file, arguments: {{path: big, content: '{quotes}'}}}}]\n  - text: done\n"
    );
    for (agent, script, status) in [
        (SHELL_AGENT, one_command("seq 1 20000; ls -la").as_str(), "succeeded"),
        (SHELL_AGENT, one_command("exit 3").as_str(), "succeeded"),
        (SHELL_AGENT, write.as_str(), "succeeded"),
        (counting, failing, "failed"),
        (short, slow, "timed_out"),
    ] {
        let run = server.start_run(agent, Some(script), &json!({"input": {"n": [0.1, 1e300, 123456789012345678u64]}}));
        assert_eq!(server.ended(&run)["status"], status, "{:#?}", server.events(&run));
        identical(&server, &run);
    }
    let run = server.start_run(SHELL_AGENT, Some(slow), &json!({}));
    server.post(&format!("/v1/runs/{run}/cancel"), &json!({}));
    assert_eq!(server.ended(&run)["status"], "cancelled");
    identical(&server, &run);
    let still = server.start_run(SHELL_AGENT, Some(slow), &json!({}));
    let refused = output(&mut server.command(&["runs", "replay", &still]));
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
}

/// Waits until a run has begun its `nth` tool.
fn tool_started(server: &mut Server, run: &str, nth: usize) {
    let (url, key, path) = (server.url.clone(), server.key.clone(), format!("/v1/runs/{run}/events"));
    server.wait(|| {
        let (_, page) = request(&url, &key, "GET", &path, &[], b"");
        let started = page["data"].as_array()?.iter().filter(|event| event["type"] == "tool.started").count();
        (started == nth).then_some(())
    });
}

/// Changes bytes of the database where they lie, as somebody with access to the disk would.
fn alter(server: &Server, old: &str, new: &str) {
    assert_eq!(old.len(), new.len());
    let path = server.data.join("livery.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - old.len()).filter(|at| bytes[*at..].starts_with(old.as_bytes())).collect();
    assert_eq!(places.len(), 1, "{old} stands in {places:?}");
    bytes[places[0]..places[0] + new.len()].copy_from_slice(new.as_bytes());
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_run_that_a_crash_interrupted_replays_and_a_changed_byte_is_named() {
    let script = r#"
turns:
  - tools: [{name: shell, arguments: {command: "echo the-marker"}}]
  - tools: [{name: shell, arguments: {command: "sleep 300"}}]
  - text: done
    expect: {tool_result_contains: "outcome unknown"}
"#;
    let mut server = Server::start(&[]);
    let run = server.start_run(SHELL_AGENT, Some(script), &json!({}));
    tool_started(&mut server, &run, 2);
    server.kill();
    let mut server = Server::again(&server.data, &[]);
    assert_eq!(server.ended(&run)["status"], "succeeded", "{:#?}", server.events(&run));
    let report = identical(&server, &run);
    assert_eq!(report["steps"], 3, "{report}");

    let events = server.events(&run);
    let asked = events.iter().find(|event| event["type"] == "tool.requested").unwrap();
    assert_eq!(server.terminate(), Some(0));
    alter(
        &server,
        r#"{"arguments":{"command":"echo the-marker"},"call_id""#,
        r#"{"arguments":{"command":"echo the-market"},"call_id""#,
    );
    let server = Server::again(&server.data, &[]);
    let (report, code) = replay(&server, &run);
    let found = &report["divergence"];
    assert_eq!((report["result"].as_str(), code), (Some("diverged"), Some(1)), "{report:#}");
    assert_eq!((&found["seq"], &found["step"]), (&asked["seq"], &json!(1)), "{report:#}");
    assert_eq!(found["pointer"], "/arguments/command");
    assert_eq!(found["byte"], r#"{"arguments":{"command":"echo the-marke"#.len(), "{report:#}");
}

/// A command's exit code and everything it said.
fn said(command: &mut std::process::Command) -> (Option<i32>, String) {
    let output = output(command);
    (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

#[test]
fn a_receipt_is_checked_without_a_server() {
    let mut server = Server::start(&[]);
    let run = server.start_run(SHELL_AGENT, Some(&one_command("echo hello")), &json!({"input": {"n": 1.5}}));
    assert_eq!(server.ended(&run)["status"], "succeeded");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (receipt, events) = (path("receipt.json"), path("events.jsonl"));
    assert_eq!(said(&mut server.command(&["receipt", "get", &run, "--out", &receipt])).0, Some(0));
    let exported = output(&mut server.command(&["runs", "events", &run, "--json"]));
    std::fs::write(&events, &exported.stdout).unwrap();
    let (code, told) = said(&mut server.command(&["receipt", "verify", &receipt, "--events", &events]));
    assert_eq!(code, Some(0), "{told}");
    let keys = stdout_json(&output(&mut server.command(&["receipt", "keys", "--json"])));
    let key = keys["data"][0]["public_key"].as_str().unwrap().to_owned();

    // Another key signs from now on; the old one stays listed, and the old receipt holds.
    let (status, rotated) = server.post("/v1/receipt_keys", &json!({}));
    assert_eq!(status, 201, "{rotated}");
    let other = rotated["public_key"].as_str().unwrap();
    assert_eq!(said(&mut server.command(&["receipt", "verify", &receipt])).0, Some(0));
    let newer = text(&output(&mut server.command(&["receipt", "get", &run])).stdout);
    assert!(newer.contains(rotated["id"].as_str().unwrap()), "{newer}");

    // The server is gone; the key, the receipt and the events are enough.
    server.terminate();
    let verify = |receipt: &str, key: &str, events: &str| {
        said(livery().args(["receipt", "verify", receipt, "--key", key, "--events", events]))
    };
    let (code, told) = verify(&receipt, &key, &events);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("are those of the receipt"), "{told}");
    let (code, told) = verify(&receipt, other, &events);
    assert_eq!(code, Some(1), "a key that did not sign it: {told}");
    assert_eq!(verify(&receipt, "AAAA", &events).0, Some(2), "no key at all");

    let whole = std::fs::read_to_string(&receipt).unwrap();
    let forged = path("forged.json");
    for (old, new) in
        [("\"succeeded\"", "\"cancelled\""), ("\"turns\":2", "\"turns\":3"), ("\"value\":\"", "\"value\":\"A")]
    {
        assert!(whole.contains(old), "{whole}");
        std::fs::write(&forged, whole.replace(old, new)).unwrap();
        let (code, told) = verify(&forged, &key, &events);
        assert_eq!(code, Some(1), "{new}: {told}");
    }
    let lines: Vec<String> = text(&exported.stdout).lines().map(str::to_owned).collect();
    let changed = path("changed.jsonl");
    let at = lines.iter().position(|line| line.contains("tool.finished")).unwrap();
    let seq = at + 1;
    for (what, edited) in [
        ("digest", [&lines[..at], &[lines[at].replace("hello", "hallo")], &lines[at + 1..]].concat()),
        ("missing", [&lines[..at], &lines[at + 1..]].concat()),
        ("second time", [&lines[..at], &[lines[at - 1].clone()], &lines[at..]].concat()),
        ("another place", [&lines[..at], &[lines[at + 1].clone(), lines[at].clone()], &lines[at + 2..]].concat()),
    ] {
        std::fs::write(&changed, edited.join("\n")).unwrap();
        let (code, told) = verify(&receipt, &key, &changed);
        assert_eq!(code, Some(1), "{what}: {told}");
        assert!(told.contains(&format!("event {seq}:")) && told.contains(what), "{what}: {told}");
    }
}
