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

/// A run in a file is replayed on its own; a changed byte in it is named, and so is everything that makes it no bundle.
#[test]
fn an_exported_run_is_replayed_without_a_server() {
    let mut server = Server::start(&[]);
    let run = server.start_run(SHELL_AGENT, Some(&one_command("echo the-marker")), &json!({}));
    assert_eq!(server.ended(&run)["status"], "succeeded");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, changed) = (path("run.jsonl"), path("changed.jsonl"));
    let exported = output(&mut server.command(&["runs", "export", &run, "--out", &file]));
    assert_eq!(exported.status.code(), Some(0), "{}", text(&exported.stderr));
    let whole = std::fs::read_to_string(&file).unwrap();
    assert!(!whole.contains(&server.key));
    let online = identical(&server, &run);
    let events = server.events(&run);
    assert_eq!(server.terminate(), Some(0));

    let offline = |id: &str, file: &str| output(livery().args(["runs", "replay", id, "--offline", file, "--json"]));
    let replayed = offline(&run, &file);
    assert_eq!((stdout_json(&replayed), replayed.status.code()), (online, Some(0)));
    let other = format!("{}{}", &run[..run.len() - 1], if run.ends_with('0') { 1 } else { 0 });
    assert_eq!(offline(&other, &file).status.code(), Some(2), "the file holds another run");

    let of = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
    for kind in ["tool.requested", "tool.finished"] {
        let edited: Vec<String> = whole
            .lines()
            .map(|line| match line.contains(&format!("\"type\":\"{kind}\"")) {
                true => line.replacen("the-marker", "the-market", 1),
                false => line.to_owned(),
            })
            .collect();
        std::fs::write(&changed, edited.join("\n")).unwrap();
        let replayed = offline(&run, &changed);
        let report = stdout_json(&replayed);
        let found = &report["divergence"];
        assert_eq!((&report["result"], replayed.status.code()), (&json!("diverged"), Some(1)), "{kind}: {report:#}");
        assert_eq!((&found["seq"], &found["step"]), (&of(kind)["seq"], &json!(1)), "{kind}: {report:#}");
        let data = livery_core::canonical::text(&of(kind)["data"]);
        let byte = data.find("the-marker").unwrap() + "the-marke".len();
        assert_eq!(found["byte"], byte, "{kind}: {report:#}");
    }
    for (what, text) in [
        ("cut off", whole.lines().take(3).collect::<Vec<_>>().join("\n")),
        ("more than the", format!("{whole}{}\n", whole.lines().last().unwrap())),
        ("version 2", whole.replacen("\"livery_bundle\":1", "\"livery_bundle\":2", 1)),
        ("no bundle of a run", String::new()),
        (
            "line 3",
            whole
                .lines()
                .enumerate()
                .map(|(at, line)| if at == 2 { "{}\n".to_owned() } else { format!("{line}\n") })
                .collect(),
        ),
    ] {
        std::fs::write(&changed, text).unwrap();
        let refused = output(livery().args(["runs", "replay", &run, "--offline", &changed]));
        let said = self::text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains(what), "{what}: {said}");
    }
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

#[test]
fn a_fork_goes_on_from_the_middle_and_stands_alone() {
    let script = r#"
turns:
  - tools: [{name: shell, arguments: {command: "echo first > kept; echo one"}}]
  - tools: [{name: shell, arguments: {command: "ls kept || echo none"}}]
    expect: {tool_result_contains: "one"}
  - text: done
"#;
    let other = "turns:\n  - text: never played\n  - text: another way\n";
    let agent = SHELL_AGENT.replace("model: scripted/s", "model: [scripted/s, scripted/t]");
    let mut body = json!({"agent": {"agent_md": agent, "files": {}}, "input": {"n": 1}});
    for (name, script) in [("s", script), ("t", other)] {
        body["agent"]["files"][format!("scripts/{name}.yaml")] = crate::support::base64(script.as_bytes()).into();
    }
    let server = Server::start(&[]);
    let (status, run) = server.post("/v1/runs", &body);
    assert_eq!(status, 202, "{run}");
    let run = run["id"].as_str().unwrap().to_owned();
    assert_eq!(server.ended(&run)["usage"]["turns"], 3);
    let events = server.events(&run);
    let asked = |step: u64| {
        let asked = events.iter().find(|event| event["type"] == "model.requested" && event["data"]["step"] == step);
        asked.unwrap()["seq"].as_u64().unwrap()
    };
    let fork = |from_seq: u64, changes: &[&str]| {
        let seq = from_seq.to_string();
        let args = [&["runs", "fork", run.as_str(), "--from-seq", seq.as_str(), "--json"], changes].concat();
        let forked = output(&mut server.command(&args));
        assert_eq!(forked.status.code(), Some(0), "{}", text(&forked.stderr));
        let forked = stdout_json(&forked);
        let ended = server.ended(forked["id"].as_str().unwrap());
        assert_eq!(ended["status"], "succeeded", "{ended}\n{:#?}", server.events(forked["id"].as_str().unwrap()));
        (forked, ended)
    };

    // Anywhere in the second turn: it begins where the model was about to be asked.
    let (forked, ended) = fork(asked(2) + 2, &[]);
    assert_eq!(forked["forked_from"], json!({"run": run, "seq": asked(2) - 1}));
    assert_eq!((ended["usage"]["turns"].as_u64(), ended["usage"]["tool_calls"].as_u64()), (Some(2), Some(1)));
    let id = forked["id"].as_str().unwrap();
    let own = server.events(id);
    let kinds: Vec<&str> = own.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[0], "run.queued");
    assert_eq!(kinds.iter().filter(|kind| **kind == "run.forked").count(), 1, "{kinds:?}");
    let inherited: Vec<&serde_json::Value> = own.iter().filter(|event| event["actor"] == "fork").collect();
    let model = |event: &&Value| event["type"].as_str().unwrap().starts_with("model.");
    let first = inherited.iter().map(|event| &event["digest"]).collect::<Vec<_>>();
    let theirs = events.iter().filter(|event| {
        let kind = event["type"].as_str().unwrap();
        (kind.starts_with("model.") || kind.starts_with("tool.")) && event["seq"].as_u64().unwrap() < asked(2)
    });
    assert_eq!(first, theirs.map(|event| &event["digest"]).collect::<Vec<_>>(), "copied byte for byte");
    assert!(inherited.iter().any(|event| model(&&**event)));
    let told = own.iter().find(|event| event["type"] == "run.forked").unwrap();
    assert_eq!(told["data"]["sandbox"], "lost", "the files of earlier steps are the other run's");
    assert!(own.iter().any(|event| event["data"]["result"].to_string().contains("none")), "{own:#?}");
    identical(&server, id);

    // Another model from there on, and a fork of a fork.
    let (other, ended) = fork(asked(2), &["--model", "scripted/t"]);
    assert_eq!((ended["output"]["text"].as_str(), ended["usage"]["turns"].as_u64()), (Some("another way"), Some(1)));
    identical(&server, other["id"].as_str().unwrap());
    let (status, again) = server.post(&format!("/v1/runs/{id}/fork"), &json!({"from_seq": own.len()}));
    assert_eq!(status, 202, "{again}");
    assert_eq!(server.ended(again["id"].as_str().unwrap())["status"], "succeeded");
    identical(&server, again["id"].as_str().unwrap());

    // Before the first call the input may be another; afterwards it may not.
    let (fresh, _) = fork(1, &["--input", "{\"n\": 2}"]);
    assert_eq!((&fresh["input"], &fresh["forked_from"]["seq"]), (&json!({"n": 2}), &json!(1)));
    let refuse = |body: Value, pointer: &str| {
        let (status, problem) = server.post(&format!("/v1/runs/{run}/fork"), &body);
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
    };
    refuse(json!({"from_seq": asked(2), "input": {}}), "/input");
    refuse(json!({"from_seq": 9999}), "/from_seq");
    refuse(json!({"from_seq": 0}), "/from_seq");
    refuse(json!({"from_seq": 1, "model": "nobody/x"}), "/model");

    let live = stdout_json(&output(&mut server.command(&["runs", "replay", &run, "--live", "--json"])));
    assert_eq!((&live["replay_of"], &live["input"]), (&json!(run), &json!({"n": 1})));
    assert_eq!(server.ended(live["id"].as_str().unwrap())["status"], "succeeded");
}
