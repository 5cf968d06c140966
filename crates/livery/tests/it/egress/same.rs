//! Whatever the key is, programs, model, files and log are the same to the byte: one scenario, played with several keys.

use serde_json::{Value, json};

use super::is_missing_a_program;
use super::upstream::Upstream;
use crate::support::Server;

/// The first twice, to tell what differs from run to run anyway; then one of its length and one that is longer.
const KEYS: [&str; 4] = [
    "sk_live_n0t-in-the-sandbox-4fGh7Kq2Zx9",
    "sk_live_n0t-in-the-sandbox-4fGh7Kq2Zx9",
    "pk_test_Q9wE8rT7yU6iO5pA4sD3fG2hJ1kL0z",
    "rk_prod_aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3aB4cD5eF6gH7iJ8kL9",
];
/// What a run is told to fetch, by a program and through `call_api`; the last of them has the key come back three times.
const SCENES: [(&[&str], &str, &str); 4] = [
    (&["hello.txt", "spelled/raw"], "/spelled/percent", "succeeded"),
    (&["spelled/reversed", "spelled/hex"], "/hello.txt", "succeeded"),
    (&["spelled/raw/events", "spelled/part/headers"], "/nothing-here", "succeeded"),
    (&["spelled/json/events", "spelled/html"], "/echo", "failed"),
];

/// Names of what is of one run alone: ids, times, waits.
const OWN: [&str; 9] = ["id", "at", "digest", "actor", "node", "request_id", "agent", "sandbox", "expires_at"];

/// F3 over the proxy and `call_api`.
#[test]
fn f3_no_key_makes_a_difference_to_programs_files_model_or_log() {
    if is_missing_a_program() {
        return;
    }
    let upstream = Upstream::start("");
    let played: Vec<Vec<String>> = KEYS.iter().map(|key| play(&upstream, key)).collect();
    for (number, (files, path, _)) in SCENES.iter().enumerate() {
        for (other, difference) in [(1, "nothing"), (2, "a key of the same length"), (3, "a longer key")] {
            let (one, two) = (&played[0][number], &played[other][number]);
            assert!(
                one == two,
                "{difference} makes a difference to {files:?} and {path}: {}",
                first_difference(one, two)
            );
        }
    }
    // It is the key that was left out, and not everything.
    assert!(played[3][0].matches("[REDACTED:keyed]").count() > 100, "{}", played[3][0]);
}

fn first_difference(one: &str, two: &str) -> String {
    let at = one.bytes().zip(two.bytes()).take_while(|(one, two)| one == two).count();
    let near = |text: &str| {
        String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(200)..text.len().min(at + 100)]).into_owned()
    };
    format!("\n{}\n{}", near(one), near(two))
}

/// All scenes on a server of their own, each as what it left behind.
fn play(upstream: &Upstream, key: &str) -> Vec<String> {
    upstream.rekey(key);
    let root = upstream.home.path().join("root.pem");
    let server = Server::start(&["--allow-upstream", "127.0.0.0/8", "--upstream-ca", root.to_str().unwrap()]);
    let settings = json!({"base_url": format!("https://api.localhost:{}", upstream.port)});
    let body = json!({"name": "keyed", "connector": "http", "settings": settings, "credential": {"value": key}});
    let (status, connection) = server.post("/v1/connections", &body);
    assert_eq!(status, 201, "{connection}");
    SCENES.iter().map(|(files, path, ends)| scene(&server, upstream, &connection["id"], (files, path, ends))).collect()
}

fn scene(
    server: &Server,
    upstream: &Upstream,
    connection: &Value,
    (files, path, ends): (&[&str], &str, &str),
) -> String {
    let fetch = |(number, path): (usize, &&str)| {
        format!(
            "curl -sS -D {number}.head -o {number}.body -w '%{{http_code}} %{{size_download}} %{{size_header}} %{{num_redirects}}\\n' $URL/{path}
            sed -i '/^date:/d' {number}.head; cat {number}.head; head -c 3000 {number}.body\n"
        )
    };
    let command = format!(
        "export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 URL=https://api.localhost:{}\n{}
        curl -sS -o /dev/null -w '%{{http_code}}\\n' -d \"note=$LIVERY_API_KEY\" $URL/store
        find . -path ./.livery -prune -o -type f -print | sort | xargs sha256sum",
        upstream.port,
        files.iter().enumerate().map(fetch).collect::<String>()
    );
    let script = json!({"turns": [
        {"tools": [{"name": "shell", "arguments": {"command": command}}]},
        {"tools": [{"name": "call_api", "arguments": {"connection": "api", "method": "GET", "path": path}}]},
        {"text": "done"},
    ]});
    let agent = "---\nname: keyed\nmodel: scripted/s\ntools: [shell, call_api]\nsandbox: {network: broker}\n\
        connections:\n  api: {connector: http}\n---\nWork.\n";
    let run = server.start_run(agent, Some(&script.to_string()), &json!({"connections": {"api": connection}}));
    let ended = server.ended(&run);
    assert_eq!(ended["status"], ends, "{ended}\n{}", server.log());
    let mut events = Value::Array(server.events(&run));
    forget_own(&mut events);
    let lines: Vec<String> = events.as_array().unwrap().iter().map(|event| format!("{event}\n")).collect();
    lines.concat().replace(&run, "RUN").replace(connection.as_str().unwrap(), "CONNECTION")
}

fn forget_own(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if OWN.contains(&name.as_str()) || name.ends_with("_ms") {
                    *value = Value::Null
                } else {
                    forget_own(value)
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forget_own),
        _ => {}
    }
}
