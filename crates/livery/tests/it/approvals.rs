//! A policy asks, a person decides on the command line, the run ends; the server is killed while it waits.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Server, base64, output, request, text};

const ALLOW: &[&str] = &["--allow-upstream", "127.0.0.0/8"];
const KEY: &str = "fk_live_for-the-api-that-moves-money";
/// Requests the upstream answers at most.
const REQUESTS_MAX: usize = 8;
const POLICY: &str = "permit (principal, action in Action::\"read\", resource);
permit (principal, action == Action::\"POST\", resource) when { resource.body.amount < 100 };
@ask(\"Large amounts are looked at\")
permit (principal, action == Action::\"POST\", resource) when { resource.body.amount >= 100 };
";

/// An API that takes everything, and the requests it got.
fn upstream() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let all = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().take(REQUESTS_MAX) {
            let mut stream = stream.unwrap();
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            // Bodies of this test end with a brace.
            while !request.ends_with(b"}") && request.len() < 16 * 1024 {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => request.extend_from_slice(&piece[..count]),
                }
            }
            all.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
    (format!("http://{address}"), seen)
}

fn connect(server: &Server, base: &str) -> String {
    let (base, slot) = (format!("base_url={base}"), r#"slot={"in": "header", "name": "x-key"}"#);
    let create = ["connections", "create", "bank", "--connector", "http", "--set", &base, "--set", slot];
    let mut child =
        server.command(&create).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(KEY.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    text(&ended.stdout).trim().to_owned()
}

/// Starts a run that posts these amounts, one turn each.
fn start(server: &Server, connection: &str, amounts: &[u32]) -> String {
    let call = |amount: &u32| {
        json!({"tools": [{"name": "call_api", "arguments": {
            "connection": "bank", "method": "POST", "path": "/charges", "body": {"amount": amount},
        }}]})
    };
    let mut turns: Vec<Value> = amounts.iter().map(call).collect();
    turns.push(json!({"text": "Done."}));
    let script = base64(json!({ "turns": turns }).to_string().as_bytes());
    let agent_md = "---\nname: cashier\nmodel: scripted/a\ntools: [call_api]\nconnections:\n  bank: {connector: http}\n---\nCharge.\n";
    let agent = json!({"agent_md": agent_md, "files": {"scripts/a.yaml": script}});
    let (status, run) = server.post("/v1/runs", &json!({"agent": agent, "connections": {"bank": connection}}));
    assert_eq!(status, 202, "{run}");
    run["id"].as_str().unwrap().to_owned()
}

fn wait_for(server: &mut Server, run: &str, status: &str) {
    let (url, key) = (server.url.clone(), server.key.clone());
    server.wait(|| {
        let (_, row) = request(&url, &key, "GET", &format!("/v1/runs/{run}"), &[], b"");
        (row["status"] == status).then_some(())
    });
}

/// The one approval that waits.
fn waiting(server: &Server) -> String {
    let listed = output(&mut server.command(&["approvals", "list", "--json"]));
    let page: Value = serde_json::from_str(&text(&listed.stdout)).unwrap();
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1), "{page}");
    page["data"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_person_approves_on_the_command_line_and_a_restart_loses_nothing() {
    let (base, seen) = upstream();
    let mut server = Server::start(ALLOW);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.cedar");
    std::fs::write(&file, POLICY).unwrap();
    let file = file.to_str().unwrap();
    let valid = output(&mut server.command(&["policies", "validate", file]));
    assert!(valid.status.success() && text(&valid.stdout).contains("ask"), "{}", text(&valid.stderr));
    let created = output(&mut server.command(&["policies", "create", "amounts", file]));
    assert!(text(&created.stdout).starts_with("pol_"), "{}", text(&created.stderr));
    let connection = connect(&server, &base);

    let run = start(&server, &connection, &[99, 100, 250]);
    wait_for(&mut server, &run, "waiting");
    assert_eq!(seen.lock().unwrap().len(), 1, "a small amount goes by itself");
    let first = waiting(&server);
    let shown = text(&output(&mut server.command(&["approvals", "show", &first])).stdout);
    assert!(
        shown.contains("Large amounts are looked at") && shown.contains("/charges and everything below it"),
        "{shown}"
    );
    assert!(shown.contains(r#""{\"amount\":100}""#), "{shown}");

    server.kill();
    let mut server = Server::again(&server.data.clone(), ALLOW);
    assert_eq!(waiting(&server), first, "it still waits");
    let approved = output(&mut server.command(&["approvals", "approve", &first, "--note", "called them"]));
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    let twice = output(&mut server.command(&["approvals", "deny", &first]));
    assert!(!twice.status.success() && text(&twice.stderr).contains("approval"), "{}", text(&twice.stderr));

    server.wait(|| (seen.lock().unwrap().len() == 2).then_some(()));
    let (url, key) = (server.url.clone(), server.key.clone());
    let second = server.wait(|| {
        let (_, page) = request(&url, &key, "GET", "/v1/approvals?status=pending", &[], b"");
        page["data"][0]["id"].as_str().map(str::to_owned)
    });
    let denied = output(&mut server.command(&["approvals", "deny", &second, "--note", "too much"]));
    assert!(denied.status.success(), "{}", text(&denied.stderr));
    wait_for(&mut server, &run, "succeeded");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[1].ends_with("{\"amount\":100}") && seen[1].contains(&format!("x-key: {KEY}\r\n")), "{seen:?}");
    let results: Vec<Value> =
        server.events(&run).into_iter().filter(|event| event["type"] == "tool.finished").collect();
    assert!(results[2]["data"]["result"].as_str().unwrap().contains("said no: too much"), "{results:?}");
    let (_, approval) = server.get(&format!("/v1/approvals/{first}"));
    assert_eq!((&approval["status"], &approval["note"]), (&json!("used"), &json!("called them")));
}
