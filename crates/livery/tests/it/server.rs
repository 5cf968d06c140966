//! `livery up`: first start, drain, what it leaves behind, and the walls between tenants.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use serde_json::json;

use crate::support::{SHELL_AGENT, Server, livery, one_command, output, processes_naming, request, skip, text};

#[test]
fn the_first_start_writes_a_private_bootstrap_file_and_later_ones_keep_the_key() {
    let mut server = Server::start(&[]);
    let file = server.data.join("bootstrap.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&server.data).unwrap().permissions().mode() & 0o777, 0o700);
    let key = server.key.clone();
    let log = server.log_file();
    server.wait(|| std::fs::read_to_string(&log).unwrap().contains(&key).then_some(()));
    assert_eq!(server.terminate(), Some(0));

    let again = Server::again(&server.data, &[]);
    assert_eq!(again.key, server.key);
    assert_eq!(again.get("/v1/runs").0, 200);
    let (log, ready) = (again.log_file(), format!("ready at {}", again.url));
    let mut again = again;
    again.wait(|| std::fs::read_to_string(&log).unwrap().contains(&ready).then_some(()));
    assert_eq!(again.log().matches(&server.key).count(), 1, "the key is printed once");
}

/// The key is in a file before it is in the database, and the file has its name after. Whatever a start that died in between
/// left behind, the next one ends with a key that works.
#[test]
fn the_first_key_is_never_lost() {
    let mut server = Server::start(&[]);
    let (file, waiting) = (server.data.join("bootstrap.json"), server.data.join("bootstrap.json.new"));
    assert!(!waiting.exists());
    server.kill();

    // Died after the commit: the file had no name yet.
    std::fs::rename(&file, &waiting).unwrap();
    let mut again = Server::again(&server.data, &[]);
    assert_eq!((again.key.as_str(), again.get("/v1/runs").0), (server.key.as_str(), 200));
    assert!(!waiting.exists());
    again.kill();

    // Of a start that died before it committed anything: a key that nobody knows, or half a file.
    let of_nobody =
        std::fs::read_to_string(&file).unwrap().replace(&server.key, "lvk_00000000000000000000000000000000");
    for left in [of_nobody.as_str(), "{\"url\": "] {
        std::fs::write(&waiting, left).unwrap();
        let mut again = Server::again(&server.data, &[]);
        assert_eq!((again.key.as_str(), again.get("/v1/runs").0), (server.key.as_str(), 200), "{left}");
        assert!(!waiting.exists(), "{left}");
        again.kill();
    }
}

/// Where the first key cannot be kept, none is made: the next start makes it.
#[test]
fn a_first_key_that_cannot_be_kept_is_not_made() {
    let mut server = Server::start(&[]);
    server.kill();
    let (data, waiting) = (server.data.clone(), server.data.join("bootstrap.json.new"));
    for entry in std::fs::read_dir(&data).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("livery.db") || name == "bootstrap.json" {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    std::fs::create_dir(&waiting).unwrap();
    let refused = output(livery().args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(&data));
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("bootstrap.json.new"), "{said}");
    std::fs::remove_dir(&waiting).unwrap();
    let again = Server::again(&data, &[]);
    assert_eq!(again.get("/v1/runs").0, 200);
    assert_ne!(again.key, server.key);
}

#[test]
fn the_server_does_not_stay_root() {
    let server = Server::start(&[]);
    let uid = std::fs::metadata(format!("/proc/{}", server.pid())).unwrap().uid();
    if !rustix::process::geteuid().is_root() {
        skip("only root has something to leave");
        return;
    }
    assert_ne!(uid, 0, "the API process is root");
}

#[test]
fn a_stopped_server_leaves_no_process_behind() {
    let mut server = Server::start(&[]);
    let run = server.start_run(SHELL_AGENT, Some(&one_command("sleep 600 & setsid sleep 600 & sleep 600")), &json!({}));
    server_has_tool_running(&server, &run);
    assert_eq!(server.terminate(), Some(0));
    let marker = server.data.display().to_string();
    let left = processes_naming(&marker);
    assert!(left.is_empty(), "{left:?}");
}

fn server_has_tool_running(server: &Server, run: &str) {
    let begun = std::time::Instant::now();
    while !server.events(run).iter().any(|event| event["type"] == "sandbox.started") {
        assert!(begun.elapsed() < crate::support::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn cancelling_ends_a_run_with_all_its_processes() {
    let server = Server::start(&[]);
    let run = server.start_run(SHELL_AGENT, Some(&one_command("setsid sleep 987654 & sleep 987654")), &json!({}));
    server_has_tool_running(&server, &run);
    assert_eq!(server.post(&format!("/v1/runs/{run}/cancel"), &json!({})).0, 200);
    let view = server.ended(&run);
    assert_eq!(view["status"], "cancelled");
    let begun = std::time::Instant::now();
    while !processes_naming("987654").is_empty() {
        assert!(begun.elapsed() < crate::support::PATIENCE, "{:?}", processes_naming("987654"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // Twice is once.
    assert_eq!(server.post(&format!("/v1/runs/{run}/cancel"), &json!({})).1["status"], "cancelled");
}

#[test]
fn two_organizations_are_kept_apart() {
    let server = Server::start(&[]);
    let (status, other) = server.post("/v1/organizations", &json!({"name": "other"}));
    assert_eq!(status, 201, "{other}");
    let key = other["api_key"].as_str().unwrap();
    let run = server.start_run(SHELL_AGENT, Some("turns: [{text: hello}]"), &json!({}));
    server.ended(&run);
    for path in [format!("/v1/runs/{run}"), format!("/v1/runs/{run}/events"), format!("/v1/runs/{run}/artifacts")] {
        let (status, problem) = request(&server.url, key, "GET", &path, &[], b"");
        assert_eq!((status, problem["code"].as_str()), (404, Some("not_found")), "{path}");
    }
    let (_, list) = request(&server.url, key, "GET", "/v1/runs", &[], b"");
    assert_eq!(list["data"], json!([]));
    // The second tenant's key cannot make a third.
    let headers = [("content-type", "application/json")];
    assert_eq!(request(&server.url, key, "POST", "/v1/organizations", &headers, br#"{"name":"x"}"#).0, 403);
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::start(&[]);
    let second = output(livery().args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(&server.data));
    assert_eq!(second.status.code(), Some(1), "{}", text(&second.stderr));
}
