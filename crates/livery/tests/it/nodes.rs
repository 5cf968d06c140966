//! A node among others: it is listed, it has roles, and its runs survive their workspace.

use serde_json::json;

use crate::support::{SHELL_AGENT, Server, text};

/// The second command writes once and then waits for ever, so that the test decides when the node dies.
const SCRIPT: &str = r#"
turns:
  - tools: [{name: shell, arguments: {command: "mkdir -p deep && echo first > deep/trace && ln -s /etc/passwd link"}}]
  - tools: [{name: shell, arguments: {command: "sleep 300"}}]
  - tools: [{name: shell, arguments: {command: "cat deep/trace && readlink link"}}]
    expect: {tool_result_contains: "outcome unknown"}
  - text: done
    expect: {tool_result_contains: "first\\n/etc/passwd"}
"#;

#[test]
fn a_run_goes_on_from_the_copy_of_its_workspace() {
    let mut server = Server::start(&[]);
    server.kill();
    let objects = server.data.with_file_name("objects");
    std::fs::create_dir(&objects).unwrap();
    std::fs::set_permissions(&objects, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let flags = ["--objects", objects.to_str().unwrap()];
    let mut first = Server::again(&server.data, &flags);
    let run = first.start_run(SHELL_AGENT, Some(SCRIPT), &json!({}));
    let copies = objects.join("snapshots");
    first.wait(|| files_below(&copies).into_iter().find(|name| name.ends_with(".tgz")));
    let (url, key, path) = (first.url.clone(), first.key.clone(), format!("/v1/runs/{run}/events"));
    first.wait(|| {
        let (_, page) = crate::support::request(&url, &key, "GET", &path, &[], b"");
        let started = page["data"].as_array()?.iter().filter(|event| event["type"] == "tool.started").count();
        (started == 2).then_some(())
    });
    // The copy's row is written right after its file: whole runs later it is there.
    for _ in 0..3 {
        let next = first.start_run(SHELL_AGENT, Some("turns: [{text: hello}]"), &json!({}));
        assert_eq!(first.ended(&next)["status"], "succeeded");
    }
    first.kill();

    // As on another node: the workspace is not there.
    let workspaces = server.data.join("sandboxes/workspaces");
    let gone = std::fs::remove_dir_all(&workspaces);
    assert!(gone.is_ok(), "{}: {gone:?}", workspaces.display());
    std::fs::create_dir(&workspaces).unwrap();

    let second = Server::again(&server.data, &flags);
    let view = second.ended(&run);
    let events = second.events(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{events:#?}\n{}", second.log());
    let recovered = events.iter().find(|event| event["type"] == "run.recovered").unwrap();
    assert_eq!((&recovered["data"]["sandbox"], &recovered["data"]["number"]), (&json!("restored"), &json!(1)));
    assert!(recovered["data"]["from"].as_str().unwrap().starts_with("nod_"), "{recovered}");
    assert_eq!(recovered["data"]["pending"].as_array().unwrap().len(), 1, "{recovered}");
}

#[test]
fn a_node_is_listed_with_its_roles() {
    let server = Server::start(&["--roles", "api,maintenance", "--node", "blue"]);
    let (status, page) = server.get("/v1/nodes");
    let node = &page["data"][0];
    assert_eq!((status, &node["name"], &node["state"]), (200, &json!("blue"), &json!("up")), "{page}");
    assert_eq!(node["roles"], json!(["api", "maintenance"]));
    let run = server.start_run(SHELL_AGENT, Some("turns: [{text: hello}]"), &json!({}));
    let (_, view) = server.get(&format!("/v1/runs/{run}?wait=1"));
    assert_eq!(view["status"], "queued", "nobody here works on runs");
    let shown = text(&crate::support::output(&mut server.command(&["nodes"])).stdout);
    assert!(shown.contains("blue") && shown.contains("api,maintenance"), "{shown}");
}

fn files_below(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path().is_dir() {
            true => files_below(&entry.path()),
            false => vec![entry.file_name().to_string_lossy().into_owned()],
        })
        .collect()
}
