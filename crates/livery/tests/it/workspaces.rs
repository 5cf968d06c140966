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
