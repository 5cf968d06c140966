//! Every fenced `sh` block of the documents is run against the real binary, or listed here with the reason why it is not.
//!
//! The blocks of one document run in order in one shell, in a folder of their own with `examples` in it, beside a server
//! that was started the way the README says. A call that the server refuses fails the document.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Beginnings of blocks that are not run, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo run --release -- demo", "the demo has a test of its own, on this test's binary"),
    ("cargo xtask test", "it is what runs this test"),
    ("cargo xtask bench", "takes minutes; its parts have their own tests"),
    ("cargo install ", "this test's binary stands in for the installed one"),
    ("livery up", "the test starts the server itself, on a free port"),
    ("livery run examples/sales-summary", "needs the isolate host; the example has a test of its own"),
    ("ANTHROPIC_API_KEY=", "needs a key and the network"),
];

/// Blocks that are there to show a refusal, with the exit code they must have.
const REFUSED: &[(&str, i32)] = &[("livery run examples/support-triage --input '{\"ticket\": \"\"", 3)];

/// Longest wait for the server's first words.
const START_MAX: Duration = Duration::from_secs(60);

/// One fenced block.
#[derive(Debug)]
struct Block {
    document: String,
    line: usize,
    text: String,
}

#[test]
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn every_command_of_the_documents_works() {
    let blocks: Vec<Block> = documents().into_iter().flat_map(|path| blocks_of(&path)).collect();
    for (start, _) in NOT_RUN {
        assert!(
            blocks.iter().any(|block| block.text.starts_with(start)),
            "no block begins with {start:?}: drop the entry"
        );
    }
    for (start, _) in REFUSED {
        assert!(
            blocks.iter().any(|block| block.text.starts_with(start)),
            "no block begins with {start:?}: drop the entry"
        );
    }
    if !host_gives_sandboxes() {
        println!("SKIPPED: this host gives no sandboxes: see `livery doctor`");
        return;
    }
    let documents: BTreeSet<&str> = blocks.iter().map(|block| block.document.as_str()).collect();
    for document in documents {
        let runnable: Vec<&Block> = blocks
            .iter()
            .filter(|block| {
                block.document == document && !NOT_RUN.iter().any(|(start, _)| block.text.starts_with(start))
            })
            .collect();
        if !runnable.is_empty() {
            run(document, &runnable);
        }
    }
}

/// Runs the blocks of one document and shows everything that was said when one fails.
fn run(document: &str, blocks: &[&Block]) {
    let place = Place::open();
    let _server = Server::start(&place);
    let output = place.sh(&script(blocks));
    assert!(
        output.status.success(),
        "{document}: {}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// The blocks as one script that stops at the first failure and says which block it is at.
fn script(blocks: &[&Block]) -> String {
    // A refused request is an error here, where a reader would see the answer.
    let mut script = "set -eu\ncurl() { command curl --fail-with-body --max-time 60 \"$@\"; }\n".to_owned();
    for block in blocks {
        script.push_str(&format!("echo '# {} line {}' >&2\n", block.document, block.line));
        match REFUSED.iter().find(|(start, _)| block.text.starts_with(start)) {
            None => script.push_str(&block.text),
            Some((_, code)) => {
                script.push_str(&format!("code=0; ( {} ) || code=$?; [ $code -eq {code} ]\n", block.text.trim_end()));
            }
        }
    }
    script
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Documents relative to the repository: at its root, in `docs`, and beside the examples.
fn documents() -> Vec<String> {
    let root = repository();
    let mut found = Vec::new();
    let examples =
        ["hello", "invoice-reconcile", "sales-summary", "support-triage"].map(|name| format!("examples/{name}"));
    for folder in ["", "docs", "docs/decisions"].map(str::to_owned).iter().chain(&examples) {
        for entry in std::fs::read_dir(root.join(folder)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".md") {
                found.push(if folder.is_empty() { name } else { format!("{folder}/{name}") });
            }
        }
    }
    found.sort();
    assert!(found.contains(&"README.md".to_owned()), "{found:?}");
    found
}

fn blocks_of(document: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(repository().join(document)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => block.text.push_str(&format!("{line}\n")),
            None if line == "```sh" => {
                open = Some(Block { document: document.to_owned(), line: index + 2, text: String::new() });
            }
            None => {}
        }
    }
    assert!(open.is_none(), "{document}: a block without an end");
    blocks
}

/// A folder with `examples`, and a `livery` for the path.
struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn open() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().unwrap();
        // Started as root, the server becomes an ordinary user, who has to get in.
        std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(temp.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_livery"), temp.path().join("bin/livery")).unwrap();
        std::os::unix::fs::symlink(repository().join("examples"), temp.path().join("examples")).unwrap();
        Self { temp }
    }

    /// A command in this folder, with nothing of this test's own environment that could matter.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.temp.path())
            .env_clear()
            .env("HOME", self.temp.path())
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", self.temp.path().join("bin").display()))
            .env("LIVERY_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null());
        command
    }

    fn sh(&self, script: &str) -> Output {
        self.command("sh").args(["-c", script]).output().unwrap()
    }
}

/// `livery up`, as the README says. Dropping it asks it to stop.
struct Server(Child);

impl Server {
    fn start(place: &Place) -> Self {
        let log = std::fs::File::create(place.temp.path().join("server.log")).unwrap();
        let mut command = place.command("livery");
        command.arg("up").stdout(log.try_clone().unwrap()).stderr(log);
        let server = Self(command.spawn().unwrap());
        let deadline = Instant::now() + START_MAX;
        while !place.temp.path().join("livery-data/bootstrap.json").exists() {
            let log = || std::fs::read_to_string(place.temp.path().join("server.log")).unwrap();
            assert!(Instant::now() < deadline, "the server did not start:\n{}", log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

fn host_gives_sandboxes() -> bool {
    Place::open().command("livery").arg("doctor").output().unwrap().status.success()
}
