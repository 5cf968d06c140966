//! The tool `terminal`, through the whole binary: programs that last between calls, and what is said once they do not.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, output, processes_naming, skip, text};

const AGENT: &str = "---\nname: a\nmodel: scripted/s\ntools: [shell, terminal]\n---\nWork.\n";

/// A script of calls, each with what the result of the one before must contain.
fn script(calls: &[(&str, Value, &str)], last: &str) -> String {
    let expect = |wanted: &str| if wanted.is_empty() { json!({}) } else { json!({"tool_result_contains": wanted}) };
    let turn = |(name, arguments, before): &(&str, Value, &str)| {
        let mut turn = json!({"tools": [{"name": name, "arguments": arguments}]});
        if !before.is_empty() {
            turn["expect"] = expect(before);
        }
        turn
    };
    let mut turns: Vec<Value> = calls.iter().map(turn).collect();
    turns.push(json!({"text": "done", "expect": expect(last)}));
    // JSON is YAML.
    json!({"turns": turns}).to_string()
}

fn a_session() -> String {
    let write = |input: &str, until: &str| json!({"action": "write", "terminal": 1001, "input": input, "until": until, "wait_s": 60});
    let coloured = "x=40; cd /tmp; printf '\\033]52;c;c3RvbGVu\\007\\033[31mred\\033[0m\\n'; echo rea''dy\n";
    script(
        &[
            ("terminal", json!({"action": "open", "command": "PS1= exec sh -i", "rows": 31, "columns": 97}), ""),
            ("terminal", write(coloured, "ready"), r#""running":true,"terminal":1001"#),
            ("terminal", write("stty size; echo $((x + 2))-$PWD\n", "42-/tmp"), "\nred\n"),
            ("shell", json!({"command": "sleep 1000", "background": true}), "31 97"),
            ("terminal", json!({"action": "list"}), "background_pid"),
            ("terminal", json!({"action": "kill", "pid": 99_999}), "PS1= exec sh -i"),
            // What says that it has started has the keyboard.
            (
                "terminal",
                write("sh -c 'echo star\"\"ted; exec sleep 1000'\n", "started"),
                "no background command 99999 runs",
            ),
            ("terminal", json!({"action": "write", "terminal": 1001, "keys": ["ctrl-c"], "input": ""}), ""),
            // Its shell is back first.
            ("terminal", write("jobs; echo ba''ck\n", "back"), ""),
            ("terminal", write("exit 7\n", "never shown"), ""),
            // From the beginning once more, though its program has ended.
            ("terminal", json!({"action": "read", "terminal": 1001, "offset": 0}), r#""exit_code":7,"found":false"#),
            ("terminal", json!({"action": "close", "terminal": 1001}), "\nred\n"),
            ("terminal", json!({"action": "read", "terminal": 1001}), "is closed"),
        ],
        "terminal_gone: there is no terminal 1001: it was closed, or never opened (none is open)",
    )
}

#[test]
fn a_program_lasts_between_calls_in_every_tier_with_a_shell() {
    let runsc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/runsc/runsc");
    let mut tiers = vec!["container"];
    let mut flags = Vec::new();
    if rustix::process::geteuid().is_root() && runsc.exists() {
        let sum = output(std::process::Command::new("sha256sum").arg(&runsc));
        let digest = text(&sum.stdout).split_whitespace().next().unwrap().to_owned();
        flags = vec!["--runsc".to_owned(), runsc.display().to_string(), "--runsc-sha256".to_owned(), digest];
        tiers.push("gvisor");
    } else {
        skip("a terminal in the tier gvisor: it needs root, and the runsc that `cargo xtask setup` brings");
    }
    let server = Server::start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    for tier in tiers {
        let run = server.start_run(AGENT, Some(&a_session()), &json!({"sandbox": {"tier": tier}}));
        let view = server.ended(&run);
        let events = server.events(&run);
        assert_eq!(view["status"], "succeeded", "{tier}: {view}\n{events:#?}");
        // Nothing an operator's terminal would obey is in the log, but for what the script itself typed.
        let results = events.iter().filter(|event| event["type"] == "tool.finished");
        for result in results {
            let said = result["data"]["result"].as_str().unwrap_or_default();
            assert!(!said.contains('\u{1b}') && !said.contains('\u{7}'), "{tier}: {said:?}");
        }
    }
}

#[test]
fn an_agent_that_does_not_name_it_has_none() {
    let server = Server::start(&[]);
    let agent = "---\nname: a\nmodel: scripted/s\n---\nWork.\n";
    let calls = [("terminal", json!({"action": "open"}), "")];
    let run = server.start_run(agent, Some(&script(&calls, "There is no tool named `terminal`")), &json!({}));
    let view = server.ended(&run);
    assert_eq!(view["status"], "succeeded", "{view}");
}

#[test]
fn a_terminal_of_an_earlier_life_is_said_to_be_gone() {
    let mut server = Server::start(&[]);
    let calls = [
        ("terminal", json!({"action": "open"}), ""),
        ("shell", json!({"command": "sleep 300"}), "1001"),
        ("terminal", json!({"action": "write", "terminal": 1001, "input": "ls\n"}), "outcome unknown"),
        ("terminal", json!({"action": "open", "command": "echo here-again"}), "it went with its sandbox"),
    ];
    let run = server.start_run(AGENT, Some(&script(&calls, "here-again")), &json!({}));
    let (url, key, path) = (server.url.clone(), server.key.clone(), format!("/v1/runs/{run}/events"));
    server.wait(|| {
        let (_, page) = crate::support::request(&url, &key, "GET", &path, &[], b"");
        let started = page["data"].as_array()?.iter().filter(|event| event["type"] == "tool.started").count();
        (started == 2).then_some(())
    });
    let marker = server.data.display().to_string();
    server.kill();
    let begun = Instant::now();
    while !processes_naming(&marker).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", processes_naming(&marker));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let server = Server::again(&server.data, &[]);
    let view = server.ended(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{:#?}", server.events(&run));
}
