//! The root key exchanged the way `docs/vault.md` says, on a server that is used before, during and after.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{SHELL_AGENT, Server, livery, output, text};

mod keyring;
mod transit;

#[test]
fn the_root_key_is_exchanged_between_two_starts() {
    let mut first = Server::start(&[]);
    let connection = json!({"name": "pay", "connector": "stripe", "credential": {"value": "sk_test_0123456789abcdef"}});
    let (status, created) = first.post("/v1/connections", &connection);
    assert_eq!(status, 201, "{created}");
    first.terminate();
    let (key, old) = (first.data.join("root.key"), first.data.join("root.key.old"));
    let before = std::fs::read(&key).unwrap();

    let made = output(livery().args(["vault", "new-root-key", "--data"]).arg(&first.data));
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(std::fs::read(&old).unwrap(), before);
    assert_ne!(std::fs::read(&key).unwrap(), before);
    let again = output(livery().args(["vault", "new-root-key", "--data"]).arg(&first.data));
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stderr));
    assert!(text(&again.stderr).contains("a rotation is under way"), "{}", text(&again.stderr));

    let mut second = Server::again(&first.data, &[]);
    assert!(std::fs::symlink_metadata(&key).unwrap().is_file());
    let told = output(&mut second.command(&["vault", "status"]));
    assert!(text(&told.stderr).contains("livery vault rewrap"), "{}", text(&told.stderr));
    let wrapped = output(&mut second.command(&["vault", "rewrap", "--json"]));
    let view: Value = serde_json::from_slice(&wrapped.stdout).unwrap();
    assert_eq!((&view["keys_pending"], &view["root_key"]), (&json!(0), &view["node_root_key"]), "{view}");
    let told = output(&mut second.command(&["vault", "status"]));
    assert!(text(&told.stderr).contains("it can be taken away"), "{}", text(&told.stderr));
    let organization = created["organization"].as_str().unwrap();
    let sealed = output(&mut second.command(&["vault", "new-data-key", organization]));
    assert!(sealed.status.success(), "{}", text(&sealed.stderr));
    second.terminate();

    std::fs::remove_file(&old).unwrap();
    let third = Server::again(&second.data, &[]);
    let (status, rotated) = third.post(
        &format!("/v1/connections/{}/rotate", created["id"].as_str().unwrap()),
        &json!({"credential": {"value": "sk_test_fedcba9876543210"}}),
    );
    assert_eq!((status, &rotated["version"]), (200, &json!(2)), "{rotated}");
    let run = third.start_run(SHELL_AGENT, Some("turns: [{text: hello}]"), &json!({}));
    assert_eq!(third.ended(&run)["status"], "succeeded");
}

/// Seals a value: the connection's id.
fn seal(server: &Server, name: &str) -> String {
    let connection = json!({"name": name, "connector": "stripe", "credential": {"value": "sk_test_0123456789abcdef"}});
    let (status, created) = server.post("/v1/connections", &connection);
    assert_eq!(status, 201, "{created}");
    created["id"].as_str().unwrap().to_owned()
}

/// Everything of an organization opens, and a new value is sealed.
fn works(server: &Server, connection: &str) {
    let value = json!({"credential": {"value": "sk_test_fedcba9876543210"}});
    let (status, rotated) = server.post(&format!("/v1/connections/{connection}/rotate"), &value);
    assert_eq!(status, 200, "{rotated}");
    let run = server.start_run(SHELL_AGENT, Some("turns: [{text: hello}]"), &json!({}));
    assert_eq!(server.ended(&run)["status"], "succeeded");
}

/// Has everything wrapped under the key the server wraps with, and is told that the one before can go.
fn rewrap(server: &Server) {
    let wrapped = output(&mut server.command(&["vault", "rewrap", "--json"]));
    let view: Value = serde_json::from_slice(&wrapped.stdout).unwrap();
    assert_eq!((&view["keys_pending"], &view["root_key"]), (&json!(0), &view["node_root_key"]), "{view}");
    let told = output(&mut server.command(&["vault", "status"]));
    assert!(text(&told.stderr).contains("it can be taken away"), "{}", text(&told.stderr));
}

fn up(data: &Path, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = livery();
    command.args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(data).envs(environment.iter().copied());
    let ended = output(&mut command);
    (ended.status.code(), text(&ended.stderr))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
