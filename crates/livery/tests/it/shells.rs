//! A person's shell in the sandbox of a run, through the whole binary: over the WebSocket, by the command line before a real
//! terminal, and by a client that others wrote.

mod client;
mod ends;
mod terminal;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use self::client::{Message, Shell};
use self::terminal::Seat;
use crate::support::{PATIENCE, SHELL_AGENT, Server, one_command, output, repository, skip, text};

/// Runs until somebody lays a file `go` into its workspace.
const WAITS: &str = "echo from-the-agent > note; until [ -e go ]; do sleep 0.1; done";

/// A server with every tier that has a shell and can be used here.
fn server() -> (Server, Vec<&'static str>) {
    match crate::tiers::runsc() {
        Some((path, digest)) => {
            let flags = ["--runsc", path.to_str().unwrap(), "--runsc-sha256", &digest];
            (Server::start(&flags), vec!["container", "gvisor"])
        }
        None => (Server::start(&[]), vec!["container"]),
    }
}

/// A run whose sandbox stands.
fn standing(server: &Server, tier: &str) -> String {
    standing_with(server, tier, &one_command(WAITS))
}

/// The same of a run that plays this script.
fn standing_with(server: &Server, tier: &str, script: &str) -> String {
    let run = server.start_run(SHELL_AGENT, Some(script), &json!({"sandbox": {"tier": tier}}));
    let begun = Instant::now();
    while !server.events(&run).iter().any(|event| event["type"] == "sandbox.started") {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    run
}

/// The rows of the audit log about shells: type, actor, data; once there are `wanted`.
fn audited(server: &mut Server, wanted: usize) -> Vec<(String, String, Value)> {
    let script = "import sqlite3, sys, json\n\
        database = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, timeout=10)\n\
        rows = database.execute(\"select e.type, e.actor, p.data from events e join event_payloads p \"\n\
        \"on p.stream = e.stream and p.seq = e.seq where e.type like 'runs.shell.%' order by e.seq\").fetchall()\n\
        print(json.dumps(rows))";
    let database = server.data.join("livery.db");
    server.wait(|| {
        let answer = output(Command::new("python3").args(["-c", script]).arg(&database));
        let rows: Vec<(String, String, String)> = serde_json::from_slice(&answer.stdout).ok()?;
        let rows = rows.into_iter().map(|(kind, actor, data)| (kind, actor, serde_json::from_str(&data).unwrap()));
        (rows.len() >= wanted).then(|| rows.collect())
    })
}

fn said<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

#[test]
fn a_person_sits_where_the_agent_works() {
    let (mut server, tiers) = server();
    let mut shells = 0;
    for tier in &tiers {
        let run = standing(&server, tier);
        let mut shell = Shell::open(&server, &server.key, &run, "columns=97&rows=31").unwrap();
        let ready = json!({"type": "ready", "run": run, "tier": tier, "columns": 97, "rows": 31});
        assert_eq!(shell.next(), Message::Control(ready));
        // The same files, the same user, a terminal of its own.
        shell.types("PS1=; cat note; pwd; test -t 0 && echo is-''one; stty size; echo fir''st\n");
        let seen = shell.until("first");
        for part in ["from-the-agent", "/workspace", "is-one", "31 97"] {
            assert!(seen.contains(part), "{tier}: no {part:?} in {seen}");
        }
        shell.says(&json!({"type": "resize", "columns": 120, "rows": 40}));
        shell.types("stty size; echo sec''ond\n");
        assert!(shell.until("second").contains("40 120"), "{tier}");
        // Nothing of the server's is there.
        shell.types("cat /proc/[0-9]*/environ | grep -ac lvk''_; echo thi''rd\n");
        assert!(shell.until("third").contains("\n0\r\n"), "{tier}");
        // What a terminal would obey beyond colours does not come out; the control is that colours do.
        shell.types(
            "printf '\\033]52;c;c3RvbGVu\\007\\033]0;title\\007\\033[6n\\005\\033[31mred\\033[0m\\n'; echo fou''rth\n",
        );
        let seen = shell.until("fourth");
        assert!(seen.contains("\u{1b}[31mred\u{1b}[0m"), "{tier}: {seen:?}");
        for bad in ["\u{1b}]", "\u{1b}[6n", "\u{5}", "\u{7}"] {
            assert!(!seen.contains(bad), "{tier}: {bad:?} in {seen:?}");
        }
        // Its program's end is told, with its status.
        shell.types("exit 7\n");
        assert_eq!(
            shell.closed(),
            (json!({"type": "closed", "reason": "exited", "exit_code": 7, "signal": null}), 1000)
        );
        shells += 1 + the_ends_of_shells(&server, &run, tier);
        let view = server.ended(&run);
        assert_eq!(view["status"], "succeeded", "{tier}: {view}");
        let events = server.events(&run);
        let opened = said(&events, "shell.opened");
        assert!(opened.len() == 8 && opened.iter().all(|event| event["actor"].as_str().unwrap().starts_with("key_")));
        assert!(said(&events, "shell.closed").iter().any(|event| event["data"]["exit_code"] == 7), "{events:#?}");
        assert!(!json!(events).to_string().contains("fou''rth"), "what is typed is nowhere");
        let replayed = output(&mut server.command(&["runs", "replay", &run]));
        assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed.stderr));
    }
    let rows = audited(&mut server, shells * 2);
    assert_eq!(rows.len(), shells * 2, "{rows:#?}");
    assert!(rows.iter().all(|(_, actor, data)| actor.starts_with("key_") && data["run"].is_string()), "{rows:#?}");
    let closed = rows.iter().find(|(kind, _, data)| kind == "runs.shell.closed" && data["exit_code"] == 7).unwrap();
    assert!(closed.2["typed_bytes"].as_u64() > Some(100) && closed.2["duration_ms"].is_u64(), "{closed:?}");
    let refused = output(&mut server.command(&["runs", "shell", "run_00000000000000000000000001"]));
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
}

/// Opens shells until there are too many, and ends each in another way; the last with its run. How many there were.
fn the_ends_of_shells(server: &Server, run: &str, tier: &str) -> usize {
    let (_, key) = server.post("/v1/api_keys", &json!({"name": "sits", "scopes": ["runs:shell"]}));
    let open = || Shell::open(server, key["api_key"].as_str().unwrap(), run, "");
    let mut shells: Vec<Shell> = (0..4).map(|_| open().unwrap()).collect();
    let Err((status, problem)) = open() else { panic!("{tier}: a fifth shell") };
    assert_eq!((status, &problem["code"]), (429, &json!("too_many_shells")), "{tier}");
    let closed = |reason: &str| json!({"type": "closed", "reason": reason, "exit_code": null, "signal": null});

    let mut rude = shells.remove(0);
    rude.says(&json!({"type": "resize", "columns": 0, "rows": 31}));
    assert_eq!(rude.closed(), (closed("invalid_message"), 1008), "{tier}");
    let mut loud = shells.remove(0);
    loud.types(&"x".repeat(65 * 1024));
    assert_eq!(loud.closed(), (closed("invalid_message"), 1009), "{tier}");
    // Who goes takes along what runs there, in whatever group of its own.
    let mut leaves = shells.remove(0);
    leaves.types("sleep 98765 & sleep 98765\n");
    let mut looks = open().unwrap();
    let count = |looks: &mut Shell, wanted: u32| {
        let begun = Instant::now();
        loop {
            looks
                .types("echo cou''nt-$(cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -ao 'sleep 9876[5]' | wc -l)=\n");
            let seen = looks.until("=\r\n");
            if seen.contains(&format!("count-{wanted}=")) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{tier}: {seen}");
        }
    };
    count(&mut looks, 2);
    leaves.says(&json!({"type": "close"}));
    assert_eq!(leaves.closed(), (closed("closed"), 1000), "{tier}");
    count(&mut looks, 0);
    // A key that is revoked is noticed at the next heartbeat.
    let mut stays = Shell::open(server, &server.key, run, "").unwrap();
    let (status, _) = crate::support::request(
        &server.url,
        &server.key,
        "DELETE",
        &format!("/v1/api_keys/{}", key["id"].as_str().unwrap()),
        &[],
        b"",
    );
    assert!(status < 300, "{status}");
    assert_eq!(looks.closed(), (closed("key_revoked"), 1008), "{tier}");
    let mut last = Shell::open(server, &server.key, run, "command=touch+go").unwrap();
    assert_eq!(last.closed().0["exit_code"], 0, "{tier}");
    assert_eq!(stays.closed(), (closed("run_over"), 1000), "{tier}");
    // Four at first, then three.
    7
}

#[test]
fn the_command_line_is_a_terminal() {
    let (server, tiers) = server();
    for tier in tiers {
        let run = standing(&server, tier);
        let mut seat = Seat::take(&server, &["runs", "shell", &run], (97, 31));
        let before = seat.before.clone();
        seat.types("PS1=; stty size; echo fir''st\r");
        assert!(seat.until("first").contains("31 97"), "{tier}");
        assert_ne!(seat.settings(), before, "{tier}: it is in raw mode");
        seat.resize((120, 40));
        let begun = Instant::now();
        loop {
            seat.types("stty size; echo mo''re\r");
            if seat.until("more").contains("40 120") {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{tier}: the size stays");
        }
        // Keys are the sandbox's: Ctrl-C ends what runs there, and not the command line.
        seat.types("sleep 1000\r");
        seat.types("\u{3}");
        seat.types("\recho af''ter\r");
        seat.until("after");
        seat.types("\r~.");
        seat.until("left the shell");
        assert_eq!((seat.exit_code(), seat.settings()), (0, before.clone()), "{tier}");

        // However it ends, the terminal is as it was, and what it was told to do is undone.
        let mut seat = Seat::take(&server, &["runs", "shell", &run], (80, 24));
        seat.types("printf '\\033[?1049h\\033[?25l\\033[5;9r'; echo he''re\r");
        assert!(seat.until("here\r").contains("\u{1b}[?1049h\u{1b}[?25l\u{1b}[5;9r"), "{tier}");
        seat.terminate();
        let calm = seat.until("\u{1b}[0m");
        for part in ["\u{1b}[?1049l", "\u{1b}[?25h", "\u{1b}[r", "\u{1b}[?2004l"] {
            assert!(calm.contains(part), "{tier}: no {part:?} in {calm:?}");
        }
        assert_eq!((seat.exit_code(), seat.settings()), (128 + 15, before), "{tier}");
    }
}

#[test]
fn a_program_can_sit_there_too() {
    let (server, tiers) = server();
    for tier in tiers {
        let run = standing(&server, tier);
        let feed = |args: &[&str], input: &[u8]| {
            let mut command = server.command(&["runs", "shell", &run]);
            command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // One that has ended reads no more.
            let _ = child.stdin.take().unwrap().write_all(input);
            let output = child.wait_with_output().unwrap();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        assert_eq!(feed(&[], b"cat note\nexit 3\n"), (Some(3), "from-the-agent\n".into(), String::new()), "{tier}");
        assert_eq!(feed(&["--command", "cat; exit 7"], b"a\nb"), (Some(7), "a\nb".into(), String::new()), "{tier}");
        let long = feed(&["--command", "wc -c"], &vec![b'x'; 100_000]);
        assert_eq!((long.0, long.1.trim()), (Some(0), "100000"), "{tier}");
        assert_eq!(feed(&["--command", "kill -9 $$"], b"").0, Some(137), "{tier}");
        let go = feed(&["--command", "touch go; sleep 1000"], b"");
        assert!(go.0 == Some(1) && go.2.contains("the run is over"), "{tier}: {go:?}");
        let over = feed(&[], b"");
        assert!(over.0 == Some(3) && over.2.contains("run_over"), "{tier}: {over:?}");
    }
}

/// A library that others wrote reads and is understood.
#[test]
fn an_ordinary_client_speaks_with_it() {
    let python = repository("target/tools/clients/venv/bin/python");
    let has = output(Command::new(&python).args(["-c", "import websockets"]));
    if !python.exists() || !has.status.success() {
        return skip("the Python client websockets is not installed; run `cargo xtask setup`");
    }
    let (server, tiers) = server();
    let script = "
import asyncio, sys
from websockets.asyncio.client import connect
async def main(url, key):
    headers = {'authorization': 'Bearer ' + key}
    async with connect(url, subprotocols=['livery.shell.v1'], additional_headers=headers) as socket:
        print(socket.subprotocol, await socket.recv())
        await socket.send(b'stty -echo; stty size; exit 5\\n')
        shown = b''
        async for message in socket:
            if isinstance(message, str):
                print(message)
            else:
                shown += message
        print(b'31 97' in shown, socket.close_code)
asyncio.run(main(*sys.argv[1:]))";
    for tier in tiers {
        let run = standing(&server, tier);
        let url = format!("{}/v1/runs/{run}/shell?columns=97&rows=31", server.url.replace("http://", "ws://"));
        let done = output(Command::new(&python).args(["-c", script, &url, &server.key]));
        let printed = text(&done.stdout);
        assert!(printed.starts_with("livery.shell.v1 {"), "{tier}: {printed}{}", text(&done.stderr));
        assert!(printed.contains("\"exit_code\":5") && printed.ends_with("True 1000\n"), "{tier}: {printed}");
    }
}
