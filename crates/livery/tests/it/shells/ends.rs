//! How shells end beside their person's will, and that both logs know it.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::Shell;
use super::{WAITS, audited, said, server, standing};
use crate::support::{Server, request};

/// What a run's log says last about shells, once it says how many of them ended.
fn ends(server: &mut Server, run: &str, wanted: usize) -> Vec<Value> {
    let (url, key) = (server.url.clone(), server.key.clone());
    server.wait(|| {
        let (_, page) = request(&url, &key, "GET", &format!("/v1/runs/{run}/events?limit=1000"), &[], b"");
        let events = page["data"].as_array()?;
        let ends: Vec<Value> = said(events, "shell.closed").into_iter().cloned().collect();
        (ends.len() >= wanted).then_some(ends)
    })
}

#[test]
fn a_cut_connection_and_a_broken_frame_end_a_shell_in_both_logs() {
    let (mut server, tiers) = server();
    let run = standing(&server, tiers[0]);
    let mut shell = Shell::open(&server, &server.key, &run, "").unwrap();
    shell.types("echo fir''st\n");
    shell.until("first");
    shell.cut();
    assert_eq!(ends(&mut server, &run, 1)[0]["data"]["reason"], "disconnected");
    // A client's frames are masked; one that is not breaks the protocol.
    let mut rude = Shell::open(&server, &server.key, &run, "").unwrap();
    rude.bytes(&[0x82, 1, b'x']);
    let closed = json!({"type": "closed", "reason": "invalid_message", "exit_code": null, "signal": null});
    assert_eq!(rude.closed(), (closed, 1002));
    let reasons: Vec<Value> = ends(&mut server, &run, 2).iter().map(|event| event["data"]["reason"].clone()).collect();
    assert_eq!(reasons, ["disconnected", "invalid_message"]);
    let rows = audited(&mut server, 4);
    let closed = |reason: &str| {
        rows.iter().any(|(kind, _, data)| kind == "runs.shell.closed" && data["reason"] == reason && data["run"] == run)
    };
    assert!(closed("disconnected") && closed("invalid_message"), "{rows:#?}");
}

/// A run that goes on later has the end of its shells in its log before it lets go of its sandbox.
#[test]
fn a_run_that_waits_hangs_its_shells_up() {
    let (mut server, tiers) = server();
    let policy =
        r#"@ask("Somebody looks") permit (principal, action == Action::"use_tool", resource == Tool::"write_file");"#;
    let (status, created) = server.post("/v1/policies", &json!({"name": "looks", "text": policy}));
    assert_eq!(status, 201, "{created}");
    let script = json!({"turns": [
        {"tools": [{"name": "shell", "arguments": {"command": WAITS}}]},
        {"tools": [{"name": "write_file", "arguments": {"path": "late.txt", "content": "late"}}]},
        {"text": "done"},
    ]});
    let run = super::standing_with(&server, tiers[0], &script.to_string());
    let mut shell = Shell::open(&server, &server.key, &run, "").unwrap();
    shell.types("touch go; sleep 1000\n");
    let closed = json!({"type": "closed", "reason": "sandbox_gone", "exit_code": null, "signal": null});
    assert_eq!(shell.closed(), (closed, 1000));
    let (url, key) = (server.url.clone(), server.key.clone());
    server.wait(|| {
        let (_, row) = request(&url, &key, "GET", &format!("/v1/runs/{run}"), &[], b"");
        (row["status"] == "waiting").then_some(())
    });
    let Err((status, problem)) = Shell::open(&server, &server.key, &run, "") else {
        panic!("a shell of a run that waits")
    };
    assert_eq!((status, &problem["code"]), (409, &json!("no_sandbox")));
    let events = server.events(&run);
    let place = |kind: &str| events.iter().position(|event| event["type"] == kind).unwrap();
    assert!(
        place("shell.opened") < place("shell.closed") && place("shell.closed") < place("run.waiting"),
        "{events:#?}"
    );
    let end = said(&events, "shell.closed")[0];
    assert_eq!(
        (&end["data"]["reason"], end["data"]["typed_bytes"].as_u64() > Some(10)),
        (&json!("sandbox_gone"), true)
    );
    let rows = audited(&mut server, 2);
    assert!(
        rows.iter().any(|(kind, _, data)| kind == "runs.shell.closed" && data["reason"] == "sandbox_gone"),
        "{rows:#?}"
    );
}

#[test]
fn a_server_that_stops_says_so_to_shells() {
    let (mut server, tiers) = server();
    let run = standing(&server, tiers[0]);
    let mut shell = Shell::open(&server, &server.key, &run, "").unwrap();
    shell.types("echo fir''st\n");
    shell.until("first");
    server.signal(Signal::TERM);
    let closed = json!({"type": "closed", "reason": "server_stopping", "exit_code": null, "signal": null});
    assert_eq!(shell.closed(), (closed, 1001));
    server.exit_code();
    let mut again = Server::again(&server.data.clone(), &[]);
    assert_eq!(ends(&mut again, &run, 1)[0]["data"]["reason"], "server_stopping");
    let rows = audited(&mut again, 2);
    assert!(
        rows.iter().any(|(kind, _, data)| kind == "runs.shell.closed" && data["reason"] == "server_stopping"),
        "{rows:#?}"
    );
}
