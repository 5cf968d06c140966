//! The whole binary on Postgres: a run, a crash, two nodes on one database, the schema's steps.

use std::process::Command;

use livery_testkit::Postgres;
use livery_testkit::postgres::Error;
use serde_json::{Value, json};

use crate::support::{SHELL_AGENT, Server, base64, livery, one_command, output, request, skip, text};

/// 32 bytes of nobody's; nodes share one root key.
const ROOT_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// An agent that needs no sandbox.
const TALKER: &str = "---\nname: talker\nmodel: scripted/s\n---\nTalk.\n";
const TALK: &str = "turns:\n  - text: done\n";

fn server() -> Option<Postgres> {
    match Postgres::start() {
        Ok(server) => Some(server),
        Err(error @ Error::NotInstalled) => {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_run_on_postgres_survives_the_kill_of_its_node_and_of_its_database() {
    let Some(mut postgres) = server() else { return };
    let url = postgres.create_database("livery").unwrap();
    assert!(url.contains("host="), "a socket; this test goes over TCP, with a password");
    let url = postgres.tcp_url("livery");
    let mut node = Server::start(&["--database", &url]);
    let run = node.start_run(TALKER, Some(TALK), &json!({}));
    assert_eq!(node.ended(&run)["status"], "succeeded");
    assert!(!node.data.join("livery.db").exists(), "nothing of it is in a file");

    let body = json!({"agent": {"agent_md": TALKER, "files": {"scripts/s.yaml": base64(TALK.as_bytes())}}});
    postgres.kill().unwrap();
    let (status, problem) = node.post("/v1/runs", &body);
    assert_eq!(status, 503, "{problem}");
    postgres.start_again().unwrap();
    let (address, key) = (node.url.clone(), node.key.clone());
    let kind = [("content-type", "application/json")];
    let after = node.wait(|| {
        let (status, run) = request(&address, &key, "POST", "/v1/runs", &kind, body.to_string().as_bytes());
        (status == 202).then(|| run["id"].as_str().unwrap().to_owned())
    });
    assert_eq!(node.ended(&after)["status"], "succeeded", "it heals by itself");

    let unfinished = node.start_run(SHELL_AGENT, Some(&one_command("sleep 2; echo still here")), &json!({}));
    node.wait(|| {
        let (_, view) = request(&address, &key, "GET", &format!("/v1/runs/{unfinished}"), &[], b"");
        (view["status"] == "running").then_some(())
    });
    node.kill();
    let node = Server::again(&node.data, &["--database", &url]);
    let view = node.ended(&unfinished);
    assert!(!view["finished_at"].is_null(), "{view}");
    assert_eq!(node.ended(&run)["status"], "succeeded", "what was before is still there");
    gapless(&node.events(&unfinished));
}

#[test]
fn two_nodes_on_one_database_take_every_run_once_and_both_serve_it() {
    let Some(postgres) = server() else { return };
    let url = postgres.create_database("livery").unwrap();
    let one = Server::start(&["--database", &url]);
    // A second node has the root key of the first, and a folder of its own.
    let other = one.data.with_file_name("other");
    let script = "mkdir -m 700 $1 && chown --reference=$0 $1 && cp -a $0/root.key $0/bootstrap.json $1/";
    let copied = Command::new("sh").arg("-c").arg(script).arg(&one.data).arg(&other).status().unwrap();
    assert!(copied.success());
    let two = Server::again(&other, &["--database", &url]);
    let nodes = [&one, &two];
    let runs: Vec<String> = (0..20).map(|index| nodes[index % 2].start_run(TALKER, Some(TALK), &json!({}))).collect();
    for run in &runs {
        assert_eq!(one.ended(run)["status"], "succeeded");
        let events = one.events(run);
        let started = events.iter().filter(|event| event["type"] == "run.started").count();
        assert_eq!(started, 1, "{events:?}");
        gapless(&events);
        assert_eq!(two.events(run), events, "any node serves any run");
    }
}

#[test]
fn a_node_with_another_root_key_is_refused_and_told_why() {
    let Some(postgres) = server() else { return };
    let url = postgres.create_database("livery").unwrap();
    drop(Server::start(&["--database", &url]));
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let data = home.path().join("data");
    let refused = output(
        livery()
            .args(["up", "--listen", "127.0.0.1:0", "--database", &url, "--data"])
            .arg(&data)
            .env("LIVERY_ROOT_KEY", ROOT_KEY),
    );
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("nodes that share a database share its root key"), "{said}");
}

#[test]
fn the_schema_is_shown_applied_and_then_up_to_date() {
    let Some(postgres) = server() else { return };
    let url = postgres.create_database("livery").unwrap();
    let migrate = |more: &[&str]| {
        let output = output(livery().args(["migrate", "--json"]).args(more).env("LIVERY_DATABASE", &url));
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let pending = migrate(&["--dry-run"])["pending"].clone();
    assert_eq!(pending[0], "0001_house");
    assert_eq!(migrate(&["--dry-run"])["pending"], pending, "showing changes nothing");
    assert_eq!(migrate(&[])["applied"], pending);
    assert_eq!(migrate(&[])["applied"], json!([]));
}

#[test]
fn a_bad_address_is_bad_usage_and_its_password_is_not_repeated() {
    for url in ["postgres://ada:hunter2@db.example", "hunter2", "postgres://ada:hunter2@h/d?sslmode=hunter2"] {
        let refused = output(livery().args(["up", "--database", url]));
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(!said.contains("hunter2") && said.contains("postgres://USER:PASSWORD@HOST"), "{said}");
    }
}

#[test]
fn what_was_on_sqlite_is_read_through_the_api_on_postgres() {
    let Some(postgres) = server() else { return };
    let url = postgres.create_database("livery").unwrap();
    let mut before = Server::start(&[]);
    let run = before.start_run(TALKER, Some(TALK), &json!({"metadata": {"ticket": "42"}}));
    let ended = before.ended(&run);
    assert_eq!(ended["status"], "succeeded");
    let events = before.events(&run);
    assert_eq!(before.terminate(), Some(0));

    let file = before.data.with_file_name("everything.livery");
    let exported = output(livery().args(["export", "--data"]).arg(&before.data).arg("--out").arg(&file));
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    let import =
        || output(livery().arg("import").arg(&file).arg("--data").arg(&before.data).args(["--database", &url]));
    let imported = import();
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    let again = import();
    assert!(!again.status.success() && text(&again.stderr).contains("not empty"), "{}", text(&again.stderr));

    std::fs::remove_file(before.data.join("livery.db")).unwrap();
    let after = Server::again(&before.data, &["--database", &url]);
    let (status, view) = after.get(&format!("/v1/runs/{run}"));
    assert_eq!((status, &view["output"], &view["agent"]), (200, &ended["output"], &ended["agent"]));
    assert_eq!(after.events(&run), events);
    let more = after.start_run(TALKER, Some(TALK), &json!({}));
    assert_eq!(after.ended(&more)["status"], "succeeded");
    assert!(!after.data.join("livery.db").exists());
}

/// Sequences from 1 without a gap, and one end.
fn gapless(events: &[Value]) {
    let sequences: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
}
