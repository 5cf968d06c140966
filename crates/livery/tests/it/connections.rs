//! Connections from the command line: values come from standard input, a file or a variable, and stay nowhere in the open.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Server, output, text};

const FIRST: &str = "fk_live_on1y-0nce-on-standard-input";
const SECOND: &str = "fk_live_r0tated-from-a-file-of-mine";
const ALLOW: &[&str] = &["--allow-upstream", "127.0.0.0/8"];
/// Requests the upstream answers at most.
const REQUESTS_MAX: usize = 8;

/// An API that takes `key` in `x-key` and shows whatever it got.
fn upstream(key: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(REQUESTS_MAX) {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut piece = [0; 1024];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 16 * 1024 {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => head.extend_from_slice(&piece[..count]),
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let status = if head.contains(&format!("x-key: {key}\r\n")) { "200 OK" } else { "401 Unauthorized" };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{head}", head.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

/// Runs a command with this on its standard input; exit code, output, words.
fn typed(server: &Server, args: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child =
        server.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

fn assert_absent(place: &str, bytes: &[u8]) {
    for secret in [FIRST, SECOND] {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        for needle in [secret, &secret[..16], &secret[secret.len() - 16..], &hex[..32]] {
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{place} holds a secret");
        }
    }
}

fn sweep(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| {
            if entry.file_type().unwrap().is_dir() {
                return sweep(&entry.path());
            }
            // A socket is no file to read.
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            assert_absent(&entry.path().display().to_string(), &bytes);
            1
        })
        .sum()
}

#[test]
fn f1_a_value_goes_in_and_is_found_nowhere() {
    let mut server = Server::start(ALLOW);
    let base = upstream(SECOND);
    let (base_setting, slot) = (format!("base_url={base}"), r#"slot={"in": "header", "name": "x-key"}"#);
    let create = [
        "connections",
        "create",
        "crm",
        "--connector",
        "http",
        "--set",
        &base_setting,
        "--set",
        slot,
        "--set",
        "test_path=/me",
    ];
    let (code, out, words) = typed(&server, &create, &format!("{FIRST}\n"));
    assert_eq!(code, Some(0), "{words}");
    let id = out.trim().to_owned();
    assert!(id.starts_with("con_"), "{out}");

    let refused = output(&mut server.command(&["connections", "test", &id]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stdout).contains("refused: the upstream does not accept the credential (401)"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("value");
    std::fs::write(&file, format!("{SECOND}\n")).unwrap();
    let rotated = output(server.command(&["connections", "rotate", &id, "--value-file"]).arg(&file));
    assert!(text(&rotated.stdout).contains("version 2"), "{}", text(&rotated.stderr));
    let accepted = output(&mut server.command(&["connections", "test", &id, "--json"]));
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted.stdout));
    let listed = output(&mut server.command(&["connections", "list"]));
    assert!(text(&listed.stdout).contains("crm") && text(&listed.stdout).contains("ok"), "{}", text(&listed.stdout));

    let by_variable = output(
        server
            .command(&["connections", "create", "pay", "--connector", "stripe", "--value-env", "PAY_KEY"])
            .env("PAY_KEY", FIRST),
    );
    assert_eq!(by_variable.status.code(), Some(0), "{}", text(&by_variable.stderr));
    let (code, _, words) = typed(&server, &["connections", "create", "short", "--connector", "stripe"], "short\n");
    assert_eq!(code, Some(3), "{words}");
    assert!(words.contains("shorter than 16 bytes"), "{words}");

    let deleted = output(&mut server.command(&["connections", "delete", &id]));
    assert_eq!(deleted.status.code(), Some(0));
    let (status, shown) = server.get(&format!("/v1/connections/{id}"));
    assert_eq!((status, &shown["status"], &shown["version"]), (200, &json!("revoked"), &json!(2)));
    let said = [refused, rotated, accepted, listed, by_variable, deleted];
    for answer in said.iter().flat_map(|output| [&output.stdout, &output.stderr]) {
        assert_absent("what a command said", answer);
    }
    let (_, list) = server.get("/v1/connections");
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2));
    assert_absent("an answer", list.to_string().as_bytes());

    // While it runs, with its journal; and once it has stopped.
    assert!(sweep(&server.data) > 3);
    assert_absent("the log", server.log().as_bytes());
    server.terminate();
    assert!(sweep(&server.data) > 2);
    assert_absent("the log", server.log().as_bytes());
}

#[test]
fn connectors_are_shown_to_people_and_programs() {
    let server = Server::start(&[]);
    let list = output(&mut server.command(&["connectors", "list"]));
    assert!(
        text(&list.stdout).contains("stripe") && text(&list.stdout).contains("Jira Cloud"),
        "{}",
        text(&list.stdout)
    );
    let show = output(&mut server.command(&["connectors", "show", "jira"]));
    let shown = text(&show.stdout);
    assert!(shown.contains("https://{site}.atlassian.net") && shown.contains("site (required)"), "{shown}");
    let json = output(&mut server.command(&["connectors", "show", "stripe", "--json"]));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["paths"], json!(["/v1/**", "/v2/**"]));
    assert_eq!(output(&mut server.command(&["connectors", "show", "nothing"])).status.code(), Some(3));
}
