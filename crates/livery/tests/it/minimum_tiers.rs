//! The weakest sandbox an organization lets its runs have, through the whole binary: set from the command line, refused at
//! the start, looked at again when the sandbox is made, and kept by a run that goes on.

use serde_json::{Value, json};

use crate::support::{SHELL_AGENT, Server, one_command, output, text};

fn set(server: &Server, noun: &str, tier: &str) -> String {
    let (_, page) = server.get(&format!("/v1/{noun}"));
    let id = page["data"][0]["id"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned();
    let done = output(&mut server.command(&[noun, "set", &id, "--minimum-tier", tier]));
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    text(&done.stderr)
}

fn policy_denied(view: &Value, said: &str) {
    assert_eq!((&view["status"], &view["error"]["code"]), (&json!("failed"), &json!("policy_denied")), "{view}");
    let message = view["error"]["message"].as_str().unwrap();
    assert!(message.contains(said), "{message}");
}

#[test]
fn a_minimum_is_set_shown_and_holds_for_what_comes() {
    let server = Server::start(&[]);
    let script = one_command("true");
    assert!(set(&server, "applications", "container").contains("need container or stronger"));
    let run = server.start_run(SHELL_AGENT, Some(&script), &json!({}));
    let view = server.ended(&run);
    let minimum = json!({"tier": "container", "demanded_by": "application"});
    assert_eq!(view["status"], "succeeded", "{view}");
    assert_eq!(view["sandbox"], json!({"tier": "container", "minimum_tier": minimum}));
    let started = server.events(&run).into_iter().find(|event| event["type"] == "sandbox.started").unwrap();
    assert_eq!((&started["data"]["tier"], &started["data"]["minimum_tier"]), (&json!("container"), &minimum));
    let (_, receipt) = server.get(&format!("/v1/runs/{run}/receipt"));
    assert_eq!(receipt["receipt"]["sandbox"]["minimum_tier"], minimum, "{receipt}");

    // One that was accepted and waits is looked at again when it wants its sandbox.
    let waiting = server.start_run(SHELL_AGENT, Some(&script), &json!({"delay_s": 8}));
    assert!(set(&server, "organizations", "microvm").contains("need microvm or stronger"));
    let listed = output(&mut server.command(&["organizations", "list"]));
    assert!(text(&listed.stdout).contains("microvm"), "{}", text(&listed.stdout));
    let body = json!({"agent": {"agent_md": SHELL_AGENT, "files": {"scripts/s.yaml": crate::support::base64(script.as_bytes())}}});
    let (status, problem) = server.post("/v1/runs", &body);
    assert_eq!((status, &problem["code"]), (422, &json!("tier_below_minimum")), "{problem}");
    policy_denied(&server.ended(&waiting), "the organization demands microvm, and this run asks for container");
    assert_eq!(server.get(&format!("/v1/runs/{run}")).1["status"], "succeeded", "what is over stays as it was");

    assert!(set(&server, "organizations", "none").contains("demands no tier"));
    let run = server.start_run(SHELL_AGENT, Some(&script), &json!({}));
    assert_eq!(server.ended(&run)["status"], "succeeded");
    let wrong = output(&mut server.command(&["organizations", "set", "org_1", "--minimum-tier", "vault"]));
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
}

/// A sandbox that stands goes on; a new one after a crash is not made with less than is demanded by then.
#[test]
fn a_run_that_goes_on_keeps_its_tier_or_ends() {
    let script = "turns:\n\
        \x20 - tools: [{name: shell, arguments: {command: \"echo one\"}}]\n\
        \x20 - tools: [{name: shell, arguments: {command: \"sleep 300\"}}]\n\
        \x20 - tools: [{name: shell, arguments: {command: \"echo three\"}}]\n\
        \x20 - text: done\n";
    let mut server = Server::start(&[]);
    let wish = json!({"sandbox": {"or_stronger": true}});
    let run = server.start_run(SHELL_AGENT, Some(script), &wish);
    let (url, key, id) = (server.url.clone(), server.key.clone(), run.clone());
    server.wait(|| {
        let (_, page) = crate::support::request(&url, &key, "GET", &format!("/v1/runs/{id}/events"), &[], b"");
        let started = page["data"].as_array()?.iter().filter(|event| event["type"] == "tool.started").count();
        (started == 2).then_some(())
    });
    set(&server, "organizations", "gvisor");
    assert_eq!(server.get(&format!("/v1/runs/{run}")).1["status"], "running", "what stands goes on");
    server.kill();
    let server = Server::again(&server.data, &[]);
    policy_denied(
        &server.ended(&run),
        "the organization demands gvisor or stronger by now, and this run began in container",
    );
    let stood = server.events(&run).iter().filter(|event| event["type"] == "sandbox.started").count();
    assert_eq!(stood, 1, "no second sandbox was made");
}
