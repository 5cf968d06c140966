//! An isolate whose engine is broken: native code in the place of its host, which may ask the kernel for anything.
//!
//! What deno's own permissions refuse says nothing of the walls around it. So this test binary is laid out as the host: it says that it
//! is one, waits for its program as one does, and then makes every attempt itself.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use livery_guest::isolate::READY;
use livery_sandbox::{Code, CodeResult, Error, Language, Sandbox, Spec, Tool};

use crate::checks;
use crate::escape::{Bait, parse};
use crate::house::{House, Wall, isolates, sha256};
use crate::probe;

/// Runs before `main`, which would read the arguments of a host as those of tests.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = in_its_place;

extern "C" fn in_its_place() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words[..] {
        ["--version"] => println!("deno 2.0.0 (in its place)"),
        [probe::STATUS] => probe::show_status(),
        ["run", "--quiet", ..] => be_a_host(),
        _ => return,
    }
    std::process::exit(0);
}

/// As a host does: says that it has booted, reads its program, and runs it. The program is the name of an attack.
fn be_a_host() {
    let mut stdout = std::io::stdout();
    stdout.write_all(&[READY]).and_then(|()| stdout.flush()).unwrap();
    let mut request = String::new();
    std::io::stdin().read_to_string(&mut request).unwrap();
    let request: serde_json::Value = serde_json::from_str(&request).unwrap();
    let source = request["source"].as_str().unwrap();
    match source.split_once(' ').unwrap_or((source, "")) {
        ("probe", facts) => probe::run(facts),
        ("kill", _) => kill_all(),
        ("fork", _) => fork_bomb(),
        ("descriptors", _) => descriptors(),
        (other, _) => panic!("no attack is called {other}"),
    }
}

/// Signals to whoever can be reached.
fn kill_all() {
    // SAFETY: plain system calls on integers; this process may end by them.
    unsafe {
        libc::kill(1, libc::SIGKILL);
        libc::kill(1, libc::SIGSTOP);
        libc::kill(-1, libc::SIGKILL);
    }
}

/// Children that do nothing, until there can be no more.
fn fork_bomb() {
    for count in 0..10_000 {
        // SAFETY: this process has one thread; the child only waits for its end.
        match unsafe { libc::fork() } {
            0 => loop {
                std::thread::sleep(Duration::from_secs(60));
            },
            -1 => return println!("bomb held at {count}: {}", std::io::Error::last_os_error()),
            _ => {}
        }
    }
    println!("bomb open");
}

fn descriptors() {
    let mut all = Vec::new();
    while all.len() < 100_000 {
        match std::fs::File::open("/dev/null") {
            Ok(file) => all.push(file),
            Err(error) => return println!("bomb held at {}: {error}", all.len()),
        }
    }
    println!("bomb open");
}

/// This program as the operator's.
fn native() -> Tool {
    let path = std::env::current_exe().unwrap();
    Tool { sha256: sha256(&std::fs::read(&path).unwrap()), path }
}

fn open(wall: Wall) -> House {
    House::open_with(wall, |config| config.isolate_host = Some(native()))
}

async fn attack(sandbox: &Sandbox, source: &str) -> Result<CodeResult, Error> {
    let code = Code { timeout: Duration::from_secs(100), ..Code::new(Language::Js, source) };
    sandbox.run_code(code, |_, _| {}).await
}

fn said(result: &CodeResult) -> String {
    String::from_utf8_lossy(&result.stdout).into_owned() + &String::from_utf8_lossy(&result.stderr)
}

#[tokio::test]
async fn native_code_in_the_place_of_the_host_is_held_by_the_jail() {
    for wall in isolates() {
        let house = open(wall);
        let neighbour = house.sandbox("neighbour").await;
        neighbour.put("secret", b"secret", 0o644).await.unwrap();
        let bait = Bait::lay(&house);
        let sandbox = house.sandbox("hostile").await;
        let result = attack(&sandbox, &format!("probe {}", bait.facts.encode())).await.unwrap();
        let open: Vec<_> = parse(&said(&result)).into_iter().filter(|(_, got)| got.is_some()).collect();
        assert!(open.is_empty(), "{wall:?}: {open:#?}");
        checks::held(wall, &probe::checks().into_keys().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn signals_of_native_code_stay_inside() {
    for wall in isolates() {
        let house = open(wall);
        let mut bait = Bait::lay(&house);
        let (sandbox, neighbour) = (house.sandbox("hostile").await, house.sandbox("neighbour").await);
        let killed = attack(&sandbox, "kill").await;
        assert!(killed.is_ok(), "process 1 does not care: {killed:?}");
        assert!(bait.process.try_wait().unwrap().is_none());
        assert!(said(&attack(&neighbour, "descriptors").await.unwrap()).contains("bomb held"));
        checks::held(wall, &[20]);
    }
}

#[tokio::test]
async fn bombs_of_native_code_end_at_the_runs_limits() {
    for wall in isolates() {
        let house = open(wall);
        let spec = Spec { pids: 20, ..house.spec("hostile") };
        let sandbox = house.sandboxes.create(spec).await.unwrap();
        let forked = said(&attack(&sandbox, "fork").await.unwrap());
        let count: u32 = forked.split_once("bomb held at ").unwrap().1.split(':').next().unwrap().parse().unwrap();
        // The run's own twenty, and what V8's threads may have.
        assert!((10..=90).contains(&count), "{wall:?}: {forked}");
        // What it left dies with it, so that there is room again.
        let again = said(&attack(&sandbox, "fork").await.unwrap());
        assert!(again.contains("bomb held at "), "{again}");
        checks::held(wall, &[36]);
        let opened = said(&attack(&sandbox, "descriptors").await.unwrap());
        assert!(opened.contains("Too many open files"), "{wall:?}: {opened}");
        checks::held(wall, &[39]);
    }
}
