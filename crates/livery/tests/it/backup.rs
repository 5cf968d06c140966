//! `livery backup` beside a server at work, `livery restore` elsewhere: what was acknowledged before is there, and what was
//! under way goes on.

use serde_json::json;

use crate::support::{SHELL_AGENT, Server, livery, output, text};

/// Works while the backup is taken, and has something to end with afterwards.
const LONG: &str = r#"
turns:
  - tools: [{name: shell, arguments: {command: "sleep 4"}}]
  - tools: [{name: shell, arguments: {command: "sleep 4"}}]
  - tools: [{name: shell, arguments: {command: "sleep 4"}}]
  - text: done
"#;

#[test]
fn a_backup_under_load_is_restored_and_its_runs_go_on() {
    let mut server = Server::start(&[]);
    let (status, file) = crate::support::request(
        &server.url,
        &server.key,
        "POST",
        "/v1/files?name=a.txt",
        &[("content-type", "text/plain")],
        b"hello",
    );
    assert_eq!(status, 201, "{file}");
    let done: Vec<String> =
        (0..20).map(|_| server.start_run(SHELL_AGENT, Some("turns: [{text: hello}]"), &json!({}))).collect();
    for run in &done {
        server.ended(run);
    }
    let long = server.start_run(SHELL_AGENT, Some(LONG), &json!({}));
    let (url, key, path) = (server.url.clone(), server.key.clone(), format!("/v1/runs/{long}/events"));
    server.wait(|| {
        let (_, page) = crate::support::request(&url, &key, "GET", &path, &[], b"");
        page["data"].as_array()?.iter().any(|event| event["type"] == "tool.started").then_some(())
    });

    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (out, into) = (home.path().join("backup"), home.path().join("restored"));
    let took = output(
        livery().args(["backup", "--include-root-key", "--json", "--data"]).arg(&server.data).arg("--out").arg(&out),
    );
    assert!(took.status.success(), "{}", text(&took.stderr));
    let manifest: serde_json::Value = serde_json::from_slice(&took.stdout).unwrap();
    assert!(manifest["runs"].as_u64() >= Some(21) && manifest["files"].as_u64() >= Some(1), "{manifest}");
    assert!(text(&took.stderr).contains("every secret"), "{}", text(&took.stderr));
    assert_eq!(server.ended(&long)["status"], "succeeded", "the server went on");
    let first = std::fs::read(server.data.join("bootstrap.json")).unwrap();
    server.kill();

    let back = output(livery().arg("restore").arg(&out).arg("--data").arg(&into));
    assert!(back.status.success(), "{}", text(&back.stderr));
    // The key of the first start is known to its operator, not to the backup.
    std::fs::write(into.join("bootstrap.json"), first).unwrap();
    let restored = Server::again(&into, &[]);
    for run in &done {
        assert_eq!(restored.ended(run)["status"], "succeeded");
    }
    let view = restored.ended(&long);
    assert_eq!(view["status"], "succeeded", "{view}");
    let events = restored.events(&long);
    assert!(events.iter().any(|event| event["type"] == "run.recovered"), "it went on from where the backup was");
    let seqs: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no gap, nothing twice");
    assert_eq!(restored.get(&format!("/v1/files/{}/content", file["id"].as_str().unwrap())).0, 200);

    let again = output(livery().arg("restore").arg(&out).arg("--data").arg(&into));
    assert_eq!(again.status.code(), Some(1), "a directory in use is not written over");
    let whole = std::fs::read(&out).unwrap();
    std::fs::write(&out, &whole[..whole.len() / 2]).unwrap();
    let cut = output(livery().arg("restore").arg(&out).arg("--data").arg(home.path().join("other")));
    assert_eq!(cut.status.code(), Some(1));
    assert!(text(&cut.stderr).contains("damaged"), "{}", text(&cut.stderr));
    assert!(!home.path().join("other").exists());
}
