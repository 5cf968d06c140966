//! A release of this very program, made by `cargo xtask dist`, fetched over HTTP, installed, run and removed by the commands
//! of `docs/install.md`: every block marked `sh release`, in order, in one shell.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::support::{PATIENCE, repository, request, text};

/// Where releases are in the documents.
const PLACE: &str = "https://example.com/livery";
/// How a block of the documents is marked that works on a release.
const MARK: &str = "```sh release";

#[test]
fn a_release_is_installed_run_and_removed_as_the_page_says() {
    let home = tempfile::tempdir().unwrap();
    // Started as root, the server becomes an ordinary user, who has to get in.
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let release = home.path().join("release");
    pack(&release);
    let place = serve(release.clone());
    let blocks = blocks(&repository("docs/install.md"));
    let removal = blocks.iter().position(|block| block.contains("--uninstall")).unwrap();
    let commands = |blocks: &[String]| blocks.concat().replace(PLACE, &place);

    sh(home.path(), &release, &commands(&blocks[..removal]));
    let installed = home.path().join(".local/bin/livery");
    assert!(std::fs::symlink_metadata(&installed).unwrap().is_symlink());
    serves(&installed, &home.path().join("data"));
    sh(home.path(), &release, &commands(&blocks[removal..]));
    assert!(!installed.exists() && !home.path().join(".local/lib/livery").exists());
    assert!(home.path().join("data/bootstrap.json").exists(), "data stays");

    // Changed on its way: nothing is installed.
    let archive = archive_in(&release);
    let mut bytes = std::fs::read(&archive).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let refused = shell(home.path(), &release).arg(commands(&blocks[..1])).output().unwrap();
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("nothing was changed"), "{}", text(&refused.stderr));
    assert!(!installed.exists());
}

/// Packs this test's program, without what only a debugger reads where `strip` is installed.
fn pack(out: &Path) {
    std::fs::create_dir(out).unwrap();
    let program = out.with_file_name("program");
    let strip = Command::new("strip").arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_livery")).status();
    if !strip.is_ok_and(|status| status.success()) {
        std::fs::copy(env!("CARGO_BIN_EXE_livery"), &program).unwrap();
    }
    let mut xtask = Command::new(env!("CARGO"));
    xtask.args(["run", "--quiet", "--package", "xtask", "--", "dist", "--binary"]).arg(program).arg("--out").arg(out);
    let done = xtask.current_dir(repository("")).output().unwrap();
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
}

/// The blocks of a document that work on a release.
fn blocks(document: &Path) -> Vec<String> {
    let page = std::fs::read_to_string(document).unwrap();
    let blocks: Vec<String> = page
        .split(&format!("{MARK}\n"))
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block ends").0.to_owned())
        .collect();
    assert!(blocks.len() >= 5, "{blocks:?}");
    blocks
}

fn shell(home: &Path, folder: &Path) -> Command {
    let mut command = Command::new("sh");
    command.current_dir(folder).env_clear().env("HOME", home).env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.stdin(Stdio::null()).arg("-euc");
    command
}

fn sh(home: &Path, folder: &Path, script: &str) {
    let output = shell(home, folder).arg(script).output().unwrap();
    assert!(output.status.success(), "{script}\n{}{}", text(&output.stdout), text(&output.stderr));
}

fn archive_in(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|end| end == "gz")).unwrap()
}

/// A server of the installed program answers, and ends when it is asked to.
fn serves(program: &Path, data: &Path) {
    let mut server = Command::new(program)
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let ready = loop {
        let read = std::fs::read_to_string(data.join("bootstrap.json")).ok();
        if let Some(value) = read.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok()) {
            break value;
        }
        assert!(server.try_wait().unwrap().is_none(), "the server ended");
        assert!(begun.elapsed() < PATIENCE, "the server did not start");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(request(ready["url"].as_str().unwrap(), "", "GET", "/healthz", &[], b"").0, 200);
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
}

/// Files of a folder over HTTP on loopback, for as long as the test runs; answers where.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away early is its own affair.
            let _ = answer(&stream, &folder);
        }
    });
    place
}

fn answer(mut stream: &TcpStream, folder: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let name = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    while reader.read_line(&mut line)? > 2 {}
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len())?;
            stream.write_all(&bytes)
        }
        Err(_) => stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    }
}
