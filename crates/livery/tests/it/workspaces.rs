//! Workspaces that outlive their runs, through the whole binary: one for each agent and end user, restored, limited, deleted.

use serde_json::{Value, json};

use crate::support::{Server, base64, output, request, text};
use crate::tiers::runsc;

/// Saves an agent whose runs run what `input.command` says, one script for each.
fn push(server: &Server, name: &str, more: &str, commands: &[(&str, &str)]) {
    let mut files = serde_json::Map::new();
    for (script, command) in commands {
        let turns =
            json!({"turns": [{"tools": [{"name": "shell", "arguments": {"command": command}}]}, {"text": "done"}]});
        files.insert(format!("scripts/{script}.yaml"), base64(turns.to_string().as_bytes()).into());
    }
    files.insert("files/given.txt".into(), base64(b"from the agent").into());
    let first = commands[0].0;
    let agent_md = format!(
        "---\nname: {name}\nmodel: scripted/{first}\ntools: [shell]\nworkspace: {{persist: end_user}}\n{more}---\nWork.\n"
    );
    let (status, saved) = server.post("/v1/agents", &json!({"agent_md": agent_md, "files": files}));
    assert!(matches!(status, 200 | 201), "{saved}");
}

fn end_user(server: &Server, external_id: &str) -> String {
    let made = output(&mut server.command(&["end-users", "create", external_id]));
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    text(&made.stdout).trim().to_owned()
}

fn start(server: &Server, agent: &str, script: &str, user: &str, more: &Value) -> (u16, Value) {
    let mut body = json!({"agent": agent, "model": format!("scripted/{script}")});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    let headers = [("content-type", "application/json"), ("livery-on-behalf-of", user)];
    let headers = if user.is_empty() { &headers[..1] } else { &headers[..] };
    request(&server.url, &server.key, "POST", "/v1/runs", headers, body.to_string().as_bytes())
}

/// Runs a script to its end; the run's id.
fn ran_with(server: &Server, agent: &str, script: &str, user: &str, more: &Value) -> String {
    let (status, run) = start(server, agent, script, user, more);
    assert_eq!(status, 202, "{run}");
    let id = run["id"].as_str().unwrap().to_owned();
    let view = server.ended(&id);
    assert_eq!(view["status"], "succeeded", "{view}\n{}", server.log());
    id
}

fn ran(server: &Server, agent: &str, script: &str, user: &str) -> String {
    ran_with(server, agent, script, user, &json!({}))
}

fn event(server: &Server, run: &str, event_type: &str) -> Value {
    let events = server.events(run);
    let found = events.iter().find(|event| event["type"] == event_type);
    found.unwrap_or_else(|| panic!("no {event_type} in {events:#?}"))["data"].clone()
}

/// What the one command of a run printed.
fn printed(server: &Server, run: &str) -> String {
    let finished = event(server, run, "tool.finished");
    let result: Value = serde_json::from_str(finished["result"].as_str().unwrap_or_default()).unwrap_or(Value::Null);
    result["stdout"].as_str().unwrap_or_else(|| panic!("{finished}")).to_owned()
}

const LOOK: &str = "cat notes.txt given.txt outputs/report.txt 2>/dev/null; true";

#[test]
fn what_a_run_leaves_is_what_the_next_one_of_its_agent_and_end_user_begins_with() {
    let server = Server::start(&[]);
    check_a_tier(&server, "container");
}

#[test]
fn the_same_in_gvisor() {
    let Some((path, digest)) = runsc() else { return };
    let server = Server::start(&["--runsc", path.to_str().unwrap(), "--runsc-sha256", &digest]);
    check_a_tier(&server, "gvisor");
}

fn check_a_tier(server: &Server, tier: &str) {
    let write = "echo one > notes.txt; echo mine > given.txt; mkdir -p outputs; echo r > outputs/report.txt";
    let commands =
        [("write", write), ("look", LOOK), ("leave", "(while :; do date > busy; done) & echo two >> notes.txt")];
    let sandbox = format!("sandbox: {{tier: {tier}}}\n");
    push(server, "keeper", &sandbox, &commands);
    push(server, "other", &sandbox, &commands);
    let (ada, bob) = (end_user(server, "ada"), end_user(server, "bob"));

    let first = ran(server, "keeper", "write", &ada);
    assert_eq!(event(server, &first, "workspace.opened")["snapshot"], Value::Null);
    let saved = event(server, &first, "workspace.saved");
    assert_eq!((&saved["current"], &saved["began_with"]), (&json!(true), &Value::Null), "{saved}");

    let second = ran(server, "keeper", "look", &ada);
    assert_eq!(printed(server, &second), "one\nmine\n", "outputs are the run's own, and given files stay changed");
    assert_eq!(event(server, &second, "workspace.opened")["snapshot"], saved["snapshot"]);
    for (agent, user) in [("keeper", &bob), ("other", &ada)] {
        let stranger = ran(server, agent, "look", user);
        assert_eq!(printed(server, &stranger), "from the agent", "{agent} {user}");
    }
    let fresh = ran_with(server, "keeper", "look", &ada, &json!({"workspace": {"persist": "none"}}));
    assert_eq!(printed(server, &fresh), "from the agent");
    assert!(!server.events(&fresh).iter().any(|event| event["type"] == "workspace.opened"));

    // Something that goes on writing is ended before the workspace is packed.
    let busy = ran(server, "keeper", "leave", &ada);
    assert_eq!(event(server, &busy, "workspace.saved")["current"], true);
    assert!(printed(server, &ran(server, "keeper", "look", &ada)).starts_with("one\ntwo\n"));
}

#[test]
fn a_run_that_does_not_succeed_leaves_the_state_as_it_was() {
    let server = Server::start(&[]);
    push(
        &server,
        "keeper",
        "",
        &[("write", "echo one > notes.txt"), ("look", LOOK), ("spoil", "echo bad > notes.txt; sleep 600")],
    );
    let ada = end_user(&server, "ada");
    ran(&server, "keeper", "write", &ada);
    let (_, run) = start(&server, "keeper", "spoil", &ada, &json!({"limits": {"timeout_s": 2}}));
    let id = run["id"].as_str().unwrap();
    assert_eq!(server.ended(id)["status"], "timed_out");
    assert!(!server.events(id).iter().any(|event| event["type"] == "workspace.saved"));
    assert_eq!(printed(&server, &ran(&server, "keeper", "look", &ada)), "one\nfrom the agent");
}

#[test]
fn a_workspace_is_snapshot_restored_and_deleted_on_the_command_line() {
    let server = Server::start(&[]);
    push(
        &server,
        "keeper",
        "",
        &[("one", "echo one > notes.txt"), ("two", "echo two > notes.txt"), ("look", "cat notes.txt")],
    );
    let ada = end_user(&server, "ada");
    ran(&server, "keeper", "one", &ada);
    let json_of = |args: &[&str]| -> Value {
        let said = output(&mut server.command(args));
        assert_eq!(said.status.code(), Some(0), "{args:?}: {}", text(&said.stderr));
        serde_json::from_slice(&said.stdout).unwrap_or(Value::Null)
    };
    let listed = json_of(&["workspaces", "list", "--agent", "keeper", "--end-user", &ada, "--json"]);
    let id = listed["data"][0]["id"].as_str().unwrap().to_owned();
    let kept = json_of(&["workspaces", "snapshot", &id, "--name", "first", "--json"]);
    let kept = kept["id"].as_str().unwrap().to_owned();
    ran(&server, "keeper", "two", &ada);
    assert_eq!(printed(&server, &ran(&server, "keeper", "look", &ada)), "two\n");
    json_of(&["workspaces", "restore", &id, &kept]);
    assert_eq!(printed(&server, &ran(&server, "keeper", "look", &ada)), "one\n");
    let shown = json_of(&["workspaces", "show", &id, "--json"]);
    let origins: Vec<&str> =
        shown["snapshots"].as_array().unwrap().iter().map(|row| row["origin"].as_str().unwrap()).collect();
    assert_eq!(origins, ["run", "replaced", "command"], "{shown}");
    assert_eq!(shown["snapshots"][2]["name"], "first", "{shown}");
    let file = shown["snapshots"][2]["file"].as_str().unwrap();
    let (_, view) = server.get(&format!("/v1/files/{file}"));
    assert_eq!(view["sha256"], shown["snapshots"][2]["sha256"], "the archive is a file like any other");

    // Another tenant's key finds nothing here, and changes nothing.
    let (status, other) = server.post("/v1/organizations", &json!({"name": "other"}));
    assert_eq!(status, 201, "{other}");
    let key = other["api_key"].as_str().unwrap_or_else(|| panic!("{other}"));
    let ask = |method: &str, path: &str, body: &str| {
        request(&server.url, key, method, path, &[("content-type", "application/json")], body.as_bytes()).0
    };
    assert_eq!(ask("GET", &format!("/v1/workspaces/{id}"), ""), 404);
    assert_eq!(ask("GET", &format!("/v1/workspaces/{id}/snapshots"), ""), 404);
    assert_eq!(ask("DELETE", &format!("/v1/workspaces/{id}"), ""), 404);
    assert_eq!(ask("DELETE", &format!("/v1/workspaces/{id}/snapshots/{kept}"), ""), 404);
    assert_eq!(ask("POST", &format!("/v1/workspaces/{id}/restore"), &json!({"snapshot": kept}).to_string()), 404);
    assert_eq!(ask("POST", &format!("/v1/workspaces/{id}/snapshots"), "{}"), 404);
    assert_eq!(ask("GET", &format!("/v1/end_users/{ada}"), ""), 404);

    let head = shown["snapshot"].as_str().unwrap();
    let refused = output(&mut server.command(&["workspaces", "rm", &id, "--snapshot", head]));
    assert!(!refused.status.success() && text(&refused.stderr).contains("begins with"), "{}", text(&refused.stderr));
    json_of(&["workspaces", "rm", &id, "--snapshot", &kept]);
    json_of(&["workspaces", "rm", &id]);
    assert_eq!(server.get(&format!("/v1/workspaces/{id}")).0, 404);
    let (_, gone) = server.get(&format!("/v1/files/{file}"));
    assert_eq!(gone["code"], "not_found");
    let anew = ran(&server, "keeper", "one", &ada);
    assert_eq!(event(&server, &anew, "workspace.opened")["snapshot"], Value::Null);
}

#[test]
fn a_workspace_needs_an_end_user_and_a_saved_agent() {
    let server = Server::start(&[]);
    push(&server, "keeper", "", &[("look", LOOK)]);
    let ada = end_user(&server, "ada");
    let (status, problem) = start(&server, "keeper", "look", "", &json!({}));
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/workspace/persist")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("Livery-On-Behalf-Of"), "{problem}");
    let md = "---\nname: keeper\nmodel: scripted/s\n---\nWork.\n";
    let agent = json!({"agent_md": md, "files": {"scripts/s.yaml": base64(b"turns: [{text: done}]")}});
    let body = json!({"agent": agent, "workspace": {"persist": "end_user"}}).to_string();
    let headers = [("content-type", "application/json"), ("livery-on-behalf-of", ada.as_str())];
    let (status, problem) = request(&server.url, &server.key, "POST", "/v1/runs", &headers, body.as_bytes());
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/workspace/persist")), "{problem}");
    let (status, problem) = start(&server, "keeper", "look", "eu_00000000000000000000000000", &json!({}));
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{problem}");
    let twin = output(&mut server.command(&["end-users", "create", "ada"]));
    assert!(!twin.status.success(), "an external id is unique");
}

#[test]
fn beyond_the_quota_a_workspace_stays_as_it_was_and_the_log_says_so() {
    let server = Server::start(&["--workspace-quota-mb", "1"]);
    let fill = "head -c 3000000 /dev/urandom > large; echo more >> notes.txt";
    push(&server, "keeper", "", &[("write", "echo one > notes.txt"), ("fill", fill), ("look", LOOK)]);
    let ada = end_user(&server, "ada");
    ran(&server, "keeper", "write", &ada);
    let full = ran(&server, "keeper", "fill", &ada);
    let unsaved = event(&server, &full, "workspace.unsaved");
    assert_eq!(unsaved["code"], "quota_exceeded", "{unsaved}");
    assert_eq!(printed(&server, &ran(&server, "keeper", "look", &ada)), "one\nfrom the agent");
}

#[test]
fn of_two_runs_at_once_nothing_is_lost() {
    let server = Server::start(&[]);
    let slow = "echo slow > slow.txt; until [ -e /workspace/given.txt ]; do sleep 0.1; done; sleep 2";
    push(&server, "keeper", "", &[("slow", slow), ("quick", "echo quick > quick.txt"), ("look", "ls")]);
    let ada = end_user(&server, "ada");
    let (_, run) = start(&server, "keeper", "slow", &ada, &json!({}));
    let first = run["id"].as_str().unwrap().to_owned();
    let mut server = server;
    let (url, key) = (server.url.clone(), server.key.clone());
    server.wait(|| {
        let (_, page) = request(&url, &key, "GET", &format!("/v1/runs/{first}/events?limit=1000"), &[], b"");
        page["data"].as_array()?.iter().find(|event| event["type"] == "workspace.opened").map(drop)
    });
    let second = ran(&server, "keeper", "quick", &ada);
    server.ended(&first);
    let kept = [event(&server, &first, "workspace.saved"), event(&server, &second, "workspace.saved")];
    assert_eq!(kept.iter().filter(|saved| saved["current"] == true).count(), 1, "{kept:#?}");
    let (_, page) = server.get(&format!("/v1/workspaces/{}/snapshots", kept[0]["workspace"].as_str().unwrap()));
    let mut origins: Vec<&str> =
        page["data"].as_array().unwrap().iter().map(|row| row["origin"].as_str().unwrap()).collect();
    origins.sort_unstable();
    assert_eq!(origins, ["aside", "run"], "{page}");
}

#[test]
fn a_run_under_way_is_snapshot_between_two_steps() {
    let mut server = Server::start(&[]);
    let turns = json!({"turns": [
        {"tools": [{"name": "shell", "arguments": {"command": "echo half > notes.txt"}}]},
        {"text": "done", "delay_ms": 15_000},
    ]});
    push(&server, "keeper", "", &[("look", "cat notes.txt")]);
    let files = json!({
        "scripts/slow.yaml": base64(turns.to_string().as_bytes()),
        "scripts/look.yaml": base64(br#"{"turns": [{"tools": [{"name": "shell", "arguments": {"command": "cat notes.txt"}}]}, {"text": "done"}]}"#),
    });
    let agent_md =
        "---\nname: keeper\nmodel: scripted/slow\ntools: [shell]\nworkspace: {persist: end_user}\n---\nWork.\n";
    let (status, saved) = server.post("/v1/agents", &json!({"agent_md": agent_md, "files": files}));
    assert!(matches!(status, 200 | 201), "{saved}");
    let ada = end_user(&server, "ada");
    let (_, run) = start(&server, "keeper", "slow", &ada, &json!({}));
    let run = run["id"].as_str().unwrap().to_owned();
    let (url, key) = (server.url.clone(), server.key.clone());
    let opened = server.wait(|| {
        let (_, page) = request(&url, &key, "GET", &format!("/v1/runs/{run}/events?limit=1000"), &[], b"");
        let events = page["data"].as_array()?;
        events.iter().find(|event| event["type"] == "tool.finished")?;
        Some(events.iter().find(|event| event["type"] == "workspace.opened")?["data"].clone())
    });
    let id = opened["workspace"].as_str().unwrap();
    let taken = output(&mut server.command(&["workspaces", "snapshot", id, "--run", &run, "--name", "half", "--json"]));
    assert_eq!(taken.status.code(), Some(0), "{}", text(&taken.stderr));
    let taken: Value = serde_json::from_slice(&taken.stdout).unwrap();
    assert_eq!((&taken["run"], &taken["origin"]), (&json!(run), &json!("command")), "{taken}");
    assert_eq!(server.post(&format!("/v1/runs/{run}/cancel"), &json!({})).0, 200);
    assert_eq!(server.ended(&run)["status"], "cancelled", "the snapshot was taken while it was under way");
    let restored = output(&mut server.command(&["workspaces", "restore", id, taken["id"].as_str().unwrap()]));
    assert_eq!(restored.status.code(), Some(0), "{}", text(&restored.stderr));
    assert_eq!(printed(&server, &ran(&server, "keeper", "look", &ada)), "half\n");
    let late = output(&mut server.command(&["workspaces", "snapshot", id, "--run", &run]));
    assert!(!late.status.success() && text(&late.stderr).contains("not under way"), "{}", text(&late.stderr));
}

/// Waits for an event of a run.
fn seen(server: &mut Server, run: &str, event_type: &str) {
    let (url, key, path) = (server.url.clone(), server.key.clone(), format!("/v1/runs/{run}/events?limit=1000"));
    server.wait(|| {
        let (_, page) = request(&url, &key, "GET", &path, &[], b"");
        page["data"].as_array()?.iter().find(|event| event["type"] == event_type).map(drop)
    });
}

#[test]
fn the_file_of_a_snapshot_may_be_an_input_and_a_folder_in_its_place_makes_way() {
    let server = Server::start(&[]);
    let block = "rm -rf workspace.tgz; mkdir -p workspace.tgz/deep; echo two > notes.txt";
    push(
        &server,
        "keeper",
        "",
        &[
            ("write", "echo one > notes.txt"),
            ("block", block),
            ("look", "cat notes.txt; tar -tzf workspace.tgz | grep notes"),
        ],
    );
    let ada = end_user(&server, "ada");
    let saved = event(&server, &ran(&server, "keeper", "write", &ada), "workspace.saved");
    let (workspace, snapshot) = (saved["workspace"].as_str().unwrap(), saved["snapshot"].as_str().unwrap());
    let (_, page) = server.get(&format!("/v1/workspaces/{workspace}/snapshots"));
    assert_eq!(page["data"][0]["id"], snapshot);
    let file = json!({"files": [page["data"][0]["file"]]});
    assert_eq!(printed(&server, &ran_with(&server, "keeper", "look", &ada, &file)), "one\n./notes.txt\n");
    // Its snapshot goes, and with it nothing that a run was given; the run that saves ends as ever.
    assert_eq!(event(&server, &ran(&server, "keeper", "block", &ada), "workspace.saved")["current"], true);
    let after = ran_with(&server, "keeper", "look", &ada, &file);
    assert_eq!(printed(&server, &after), "two\n./notes.txt\n", "in the place of the folder");
    let gone = output(&mut server.command(&["workspaces", "rm", workspace]));
    assert_eq!(gone.status.code(), Some(0), "{}", text(&gone.stderr));
}

#[test]
fn a_run_whose_node_died_during_its_tool_is_saved_all_the_same() {
    let mut server = Server::start(&[]);
    push(&server, "keeper", "", &[("wait", "echo half > notes.txt; sleep 300"), ("look", "cat notes.txt")]);
    let ada = end_user(&server, "ada");
    let (_, run) = start(&server, "keeper", "wait", &ada, &json!({}));
    let run = run["id"].as_str().unwrap().to_owned();
    seen(&mut server, &run, "sandbox.started");
    server.kill();
    let server = Server::again(&server.data.clone(), &[]);
    assert_eq!(server.ended(&run)["status"], "succeeded", "{}", server.log());
    event(&server, &run, "tool.outcome_unknown");
    assert_eq!(event(&server, &run, "workspace.saved")["current"], true);
}

/// A run that wrote once and then waits for its model, whose node dies with the workspace: the run, and a server after that.
fn after_a_loss(home: &mut Server, flags: &[&str], is_copied: impl Fn() -> bool) -> (String, String, Server) {
    home.kill();
    let mut first = Server::again(&home.data, flags);
    let turns = json!({"turns": [
        {"tools": [{"name": "shell", "arguments": {"command": "echo one > notes.txt; mkdir outputs; echo r > outputs/report"}}]},
        {"text": "done", "delay_ms": 20_000},
    ]});
    let look = json!({"turns": [{"tools": [{"name": "shell", "arguments": {"command": LOOK}}]}, {"text": "done"}]});
    let files = json!({
        "scripts/slow.yaml": base64(turns.to_string().as_bytes()),
        "scripts/look.yaml": base64(look.to_string().as_bytes()),
    });
    let agent_md =
        "---\nname: keeper\nmodel: scripted/slow\ntools: [shell]\nworkspace: {persist: end_user}\n---\nWork.\n";
    let (status, saved) = first.post("/v1/agents", &json!({"agent_md": agent_md, "files": files}));
    assert!(matches!(status, 200 | 201), "{saved}");
    let ada = end_user(&first, "ada");
    let (_, run) = start(&first, "keeper", "slow", &ada, &json!({}));
    let run = run["id"].as_str().unwrap().to_owned();
    seen(&mut first, &run, "tool.finished");
    first.wait(|| is_copied().then_some(()));
    // The row of a copy is written right after its bytes: a whole write later it is there.
    end_user(&first, "bob");
    end_user(&first, "carol");
    first.kill();
    let workspaces = home.data.join("sandboxes/workspaces");
    std::fs::remove_dir_all(&workspaces).unwrap();
    std::fs::create_dir(&workspaces).unwrap();
    let second = Server::again(&home.data, flags);
    assert_eq!(second.ended(&run)["status"], "succeeded", "{}", second.log());
    assert_eq!(second.events(&run).iter().filter(|event| event["type"] == "tool.started").count(), 1);
    (run, ada, second)
}

#[test]
fn what_was_lost_with_its_node_is_said_to_be_unsaved() {
    let mut home = Server::start(&[]);
    let (run, ada, server) = after_a_loss(&mut home, &[], || true);
    let unsaved = event(&server, &run, "workspace.unsaved");
    assert_eq!(unsaved["code"], "sandbox_lost", "{unsaved}");
    assert!(unsaved["workspace"].as_str().unwrap().starts_with("wsp_"), "{unsaved}");
    assert_eq!(printed(&server, &ran(&server, "keeper", "look", &ada)), "");
}

#[test]
fn a_run_that_asks_no_tool_after_the_loss_of_its_node_is_saved_from_its_copy() {
    let mut home = Server::start(&[]);
    let objects = home.data.with_file_name("objects");
    std::fs::create_dir(&objects).unwrap();
    std::fs::set_permissions(&objects, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let copies = objects.join("snapshots");
    let find = move || {
        let found = std::process::Command::new("find").arg(&copies).args(["-name", "*.tgz"]).output().unwrap();
        !found.stdout.is_empty()
    };
    let (run, ada, server) = after_a_loss(&mut home, &["--objects", objects.to_str().unwrap()], find);
    assert_eq!(event(&server, &run, "workspace.saved")["current"], true);
    assert_eq!(event(&server, &run, "artifact.created")["path"], "report");
    assert_eq!(printed(&server, &ran(&server, "keeper", "look", &ada)), "one\n");
    // With copies after each step, an archive of one use is never another's.
    let noise = "head -c 6000000 /dev/urandom > noise; sha256sum noise > sum";
    let turn = |command: &str| json!({"tools": [{"name": "shell", "arguments": {"command": command}}]});
    let turns = json!({"turns": [turn(noise), turn(noise), turn(noise), {"text": "done"}]});
    let check = json!({"turns": [turn("sha256sum -c sum"), {"text": "done"}]});
    let files = json!({
        "scripts/noise.yaml": base64(turns.to_string().as_bytes()),
        "scripts/check.yaml": base64(check.to_string().as_bytes()),
    });
    let agent_md =
        "---\nname: keeper\nmodel: scripted/noise\ntools: [shell]\nworkspace: {persist: end_user}\n---\nWork.\n";
    assert!(matches!(server.post("/v1/agents", &json!({"agent_md": agent_md, "files": files})).0, 200 | 201));
    for _ in 0..3 {
        assert_eq!(event(&server, &ran(&server, "keeper", "noise", &ada), "workspace.saved")["current"], true);
        assert_eq!(printed(&server, &ran(&server, "keeper", "check", &ada)), "noise: OK\n");
    }
}
