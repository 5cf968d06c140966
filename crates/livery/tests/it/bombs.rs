//! Hostile runs end alone and with a clear error, while a quiet neighbour goes on.

use serde_json::{Value, json};

use crate::support::{SHELL_AGENT, Server, one_command};

/// Runs `command` beside a quiet neighbour, who must not notice; how it ended.
fn hostile(command: &str, extra: &Value) -> (Value, Server) {
    let server = Server::start(&[]);
    let quiet = server.start_run(SHELL_AGENT, Some(&one_command("sleep 2; echo quiet")), &json!({}));
    let run = server.start_run(SHELL_AGENT, Some(&one_command(command)), extra);
    let view = server.ended(&run);
    assert_eq!(server.ended(&quiet)["status"], "succeeded", "the neighbour suffered");
    (view, server)
}

/// Status, code and message of a run that ended.
fn end(view: &Value) -> (&str, &str, &str) {
    let error = &view["error"];
    [&view["status"], &error["code"], &error["message"]].map(|value| value.as_str().unwrap_or_default()).into()
}

/// What the model was told of its one tool call.
fn told(server: &Server, view: &Value) -> Value {
    let events = server.events(view["id"].as_str().unwrap());
    let finished = events.iter().find(|event| event["type"] == "tool.finished");
    finished.unwrap_or_else(|| panic!("{events:#?}"))["data"]["result"].clone()
}

/// Each process is small enough for a limit of its own; together they are not.
#[test]
fn a_memory_bomb_ends_its_own_run() {
    let command = "for i in 1 2 3 4; do (head -c 40000000 /dev/zero | tail -c 40000000 | sleep 600) & done; wait";
    let (view, _server) = hostile(command, &json!({"sandbox": {"memory_mb": 64}}));
    let (status, code, message) = end(&view);
    assert_eq!((status, code), ("failed", "sandbox_lost"), "{view}");
    assert!(message.contains("needed more memory than its limit of 64 MiB"), "{message}");
}

#[test]
fn a_full_disk_ends_its_own_run() {
    let command = "for i in 1 2 3 4 5 6 7 8; do head -c 8000000 /dev/zero > f$i; done; sleep 600";
    let (view, _server) = hostile(command, &json!({"sandbox": {"disk_mb": 16}}));
    let (status, code, message) = end(&view);
    assert_eq!((status, code), ("failed", "sandbox_lost"), "{view}");
    assert!(message.contains("/workspace grew beyond its limit of 16 MiB"), "{message}");
}

#[test]
fn one_file_cannot_pass_the_disk_limit_and_its_command_is_told() {
    let command = "head -c 20000000 /dev/zero > f; stat -c %s f";
    let (view, server) = hostile(command, &json!({"sandbox": {"disk_mb": 16}}));
    assert_eq!(end(&view).0, "succeeded", "{view}");
    let told = told(&server, &view).to_string();
    assert!(told.contains("16777216"), "{told}");
}

/// It stops at its number of processes; the shell says that no more can be made, and the run goes on.
#[test]
fn a_fork_bomb_is_contained_and_its_run_goes_on() {
    let limits = json!({"limits": {"timeout_s": 300}});
    let (view, server) = hostile("bomb() { bomb | bomb & }; bomb; for i in $(seq 600); do sleep 600 & done", &limits);
    assert_eq!(end(&view).0, "succeeded", "{view}");
    let told = told(&server, &view).to_string();
    assert!(told.contains("annot fork"), "{told}");
    assert_eq!(server.get("/v1/runs").0, 200, "the platform answers");
}

#[test]
fn an_endless_run_times_out() {
    let (view, _server) = hostile("trap '' TERM INT; while :; do :; done", &json!({"limits": {"timeout_s": 3}}));
    assert_eq!((end(&view).0, end(&view).1), ("timed_out", "timed_out"), "{view}");
}
