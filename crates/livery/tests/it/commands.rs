//! The commands a person types: what they print, where, and how they exit.

use serde_json::{Value, json};

use crate::support::{Server, livery, output, repository, text};

fn stdout_json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", text(&output.stdout), text(&output.stderr)))
}

#[test]
fn the_demo_shows_everything_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let demo = output(livery().arg("demo").env("TMPDIR", home.path()));
    let (out, err) = (text(&demo.stdout), text(&demo.stderr));
    assert_eq!(demo.status.code(), Some(0), "{out}\n{err}");
    assert_eq!(out.lines().filter(|line| line.trim_start().starts_with("ok")).count(), 4, "{out}");
    assert!(!out.contains("FAILED"), "{out}");
    assert!(out.contains("scripted"), "a scripted model is called one:\n{out}");
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_folder_runs_here_and_now() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let run = |example: &str, input: &str, flags: &[&str]| {
        output(
            livery()
                .arg("run")
                .arg(repository(example))
                .args(["--input", input])
                .args(flags)
                .env("TMPDIR", home.path()),
        )
    };
    let hello = run("examples/hello", r#"{"name": "Ada"}"#, &[]);
    assert_eq!(hello.status.code(), Some(0), "{}", text(&hello.stderr));
    assert!(stdout_json(&hello)["text"].is_string());

    let invoices = run("examples/invoice-reconcile", r#"{"month": "2026-10"}"#, &["--json"]);
    assert_eq!(invoices.status.code(), Some(0), "{}", text(&invoices.stderr));
    let view = stdout_json(&invoices);
    assert_eq!((view["status"].as_str(), view["output"]["matched"].as_u64()), (Some("succeeded"), Some(75)));
    assert!(view["artifacts"].to_string().contains("report.md"));

    let wrong = run("examples/invoice-reconcile", r#"{"month": "October"}"#, &[]);
    assert_eq!(wrong.status.code(), Some(3));
    assert!(text(&wrong.stderr).contains("/input/month"), "{}", text(&wrong.stderr));
    let no_json = run("examples/hello", "{", &[]);
    assert_eq!(no_json.status.code(), Some(2), "{}", text(&no_json.stderr));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "temporary directories are removed");
}

#[test]
fn exit_codes_tell_how_a_run_ended() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write("scripts/s.yaml", "turns: [{text: late, delay_ms: 60000}]");
    write("AGENT.md", "---\nname: slow\nmodel: scripted/s\nlimits: {timeout_s: 1}\n---\nWait.\n");
    assert_eq!(output(livery().arg("run").arg(folder.path())).status.code(), Some(4));
    write("scripts/s.yaml", "turns: [{tools: [{name: shell, arguments: {command: 'true'}}]}]");
    write("AGENT.md", "---\nname: broken\nmodel: scripted/s\n---\nRun out.\n");
    let ran_out = output(livery().arg("run").arg(folder.path()));
    assert_eq!(ran_out.status.code(), Some(1));
    assert!(text(&ran_out.stderr).contains("model_error"), "{}", text(&ran_out.stderr));
    write("AGENT.md", "---\nnmae: typo\n---\n");
    let invalid = output(livery().args(["agents", "validate"]).arg(folder.path()));
    assert_eq!(invalid.status.code(), Some(1));
    assert!(text(&invalid.stdout).contains("AGENT.md:2:1"), "{}", text(&invalid.stdout));
}

#[test]
fn the_examples_are_valid() {
    for example in ["hello", "support-triage", "invoice-reconcile"] {
        let checked = output(livery().args(["agents", "validate"]).arg(repository("examples").join(example)));
        assert_eq!(checked.status.code(), Some(0), "{example}: {}", text(&checked.stdout));
    }
}

#[test]
fn client_commands_talk_to_a_server() {
    let server = Server::start(&[]);
    let push = output(server.command(&["agents", "push"]).arg(repository("examples/hello")));
    assert_eq!((push.status.code(), text(&push.stdout).trim()), (Some(0), "hello@1"));
    let run = output(&mut server.command(&["run", "hello", "--input", r#"{"name":"Ada"}"#, "--json"]));
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let id = stdout_json(&run)["id"].as_str().unwrap().to_owned();

    assert!(text(&output(&mut server.command(&["runs", "list"])).stdout).contains(&id));
    assert_eq!(stdout_json(&output(&mut server.command(&["runs", "get", &id, "--json"])))["status"], "succeeded");
    let events = output(&mut server.command(&["runs", "events", &id, "--json"]));
    let lines: Vec<Value> = text(&events.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[0]["type"].as_str(), lines[0]["seq"].as_u64()), (Some("run.queued"), Some(1)));
    assert_eq!(lines.last().unwrap()["type"], "run.succeeded");
    let followed = output(&mut server.command(&["runs", "events", &id, "--follow", "--json"]));
    assert_eq!(text(&followed.stdout).lines().count(), lines.len());

    let key = output(&mut server.command(&["keys", "create", "reader", "--scope", "runs:read"]));
    let key = text(&key.stdout).trim().to_owned();
    let denied = output(server.command(&["run", "hello"]).env("LIVERY_API_KEY", &key));
    assert_eq!(denied.status.code(), Some(3), "{}", text(&denied.stderr));
    let keys = stdout_json(&output(&mut server.command(&["keys", "list", "--json"])));
    let id = keys["data"].as_array().unwrap().iter().find(|key| key["name"] == "reader").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(output(&mut server.command(&["keys", "revoke", &id])).status.code(), Some(0));
    assert_eq!(output(server.command(&["runs", "list"]).env("LIVERY_API_KEY", &key)).status.code(), Some(3));
    assert_eq!(output(&mut server.command(&["runs", "get", "run_nonsense"])).status.code(), Some(3));
}

#[test]
fn bad_usage_is_exit_code_two_and_says_what_to_do() {
    let nowhere = tempfile::tempdir().unwrap();
    for args in [vec!["nonsense"], vec!["run"], vec!["runs", "list"], vec!["run", "./not-there"]] {
        let bad = output(livery().args(&args).current_dir(nowhere.path()));
        assert_eq!(bad.status.code(), Some(2), "{args:?}: {}", text(&bad.stderr));
        assert!(!bad.stderr.is_empty());
    }
    assert_eq!(output(livery().arg("--version")).status.code(), Some(0));
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&output(livery().args(["completions", shell])).stdout).contains("livery"), "{shell}");
    }
}

#[test]
fn doctor_finds_the_default_tier_usable_here() {
    let doctor = output(livery().args(["doctor", "--json"]));
    assert_eq!(doctor.status.code(), Some(0), "{}\n{}", text(&doctor.stdout), text(&doctor.stderr));
    assert!(stdout_json(&doctor)["checks"].as_array().unwrap().len() > 3);
}

#[test]
fn own_tools_run_in_the_sandbox() {
    let server = Server::start(&[]);
    let tool = "description: Doubles a number.\ninput: {type: object, properties: {n: {type: integer}}, required: [n]}\ncommand: [./run.sh]\n";
    let script = "turns:\n  - tools: [{name: double, arguments: {n: 21}}]\n  - text: done\n    expect: {tool_result_contains: \"answer 42\"}\n";
    let base64 = crate::support::base64;
    let agent = json!({
        "agent_md": "---\nname: doubler\nmodel: scripted/s\n---\nDouble.\n",
        "files": {
            "scripts/s.yaml": base64(script.as_bytes()),
            "tools/double/tool.yaml": base64(tool.as_bytes()),
            "tools/double/run.sh": base64(b"#!/bin/sh\nn=$(tr -dc 0-9)\necho answer $((n * 2))\n"),
        },
    });
    let (status, run) = server.post("/v1/runs", &json!({"agent": agent}));
    assert_eq!(status, 202, "{run}");
    let view = server.ended(run["id"].as_str().unwrap());
    assert_eq!(view["status"], "succeeded", "{view}");
}
