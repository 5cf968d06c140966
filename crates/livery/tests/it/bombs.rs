//! Hostile runs end alone and with a clear error, while a quiet neighbour goes on.

use serde_json::{Value, json};

use crate::support::{SHELL_AGENT, Server, one_command};

fn hostile(command: &str, extra: &Value) -> (Value, Server) {
    let server = Server::start(&[]);
    let quiet = server.start_run(SHELL_AGENT, Some(&one_command("sleep 2; echo quiet")), &json!({}));
    let run = server.start_run(SHELL_AGENT, Some(&one_command(command)), extra);
    let view = server.ended(&run);
    assert_eq!(server.ended(&quiet)["status"], "succeeded", "the neighbour suffered");
    (view, server)
}

fn code(view: &Value) -> &str {
    view["error"]["code"].as_str().unwrap_or_default()
}

#[test]
fn a_memory_bomb_ends_its_own_run() {
    let sandbox = json!({"sandbox": {"memory_mb": 64}});
    let (view, _server) = hostile("x=$(head -c 400000000 /dev/zero | tr '\\0' a); echo ${#x}", &sandbox);
    let message = view["error"]["message"].as_str().unwrap_or_default();
    assert_eq!((view["status"].as_str(), code(&view)), (Some("failed"), "sandbox_lost"), "{view}");
    assert!(message.contains("memory"), "{message}");
}

#[test]
fn a_full_disk_ends_its_own_run_or_its_command() {
    let sandbox = json!({"sandbox": {"disk_mb": 16}});
    let (view, server) =
        hostile("for i in 1 2 3 4 5 6 7 8; do head -c 8000000 /dev/zero > f$i || exit 9; done; sleep 20", &sandbox);
    let told = format!("{view}{:?}", server.events(view["id"].as_str().unwrap()));
    assert!(code(&view) == "sandbox_lost" || told.contains("File too large") || told.contains("No space"), "{told}");
    assert!(told.contains("disk") || told.contains("large") || told.contains("space"), "{told}");
}

#[test]
fn a_fork_bomb_is_contained() {
    let (view, server) =
        hostile("bomb() { bomb | bomb & }; bomb; sleep 3; echo survived", &json!({"limits": {"timeout_s": 30}}));
    assert_ne!(view["status"], "running", "{view}");
    assert_eq!(server.get("/v1/runs").0, 200, "the platform answers");
}

#[test]
fn an_endless_run_times_out() {
    let (view, _server) = hostile("trap '' TERM INT; while :; do :; done", &json!({"limits": {"timeout_s": 3}}));
    assert_eq!((view["status"].as_str(), code(&view)), (Some("timed_out"), "timed_out"), "{view}");
}
