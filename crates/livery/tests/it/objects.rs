//! Files, artifacts and copies of workspaces in an S3-compatible bucket: with the store well, full, silent and back again.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use livery_testkit::fake_s3::{FakeS3, Keys, Mood};
use serde_json::{Value, json};

use crate::support::{PATIENCE, SHELL_AGENT, Server, livery, one_command, output, request, text};

/// A bucket, and a runtime that it runs on.
struct Bucket {
    server: FakeS3,
    url: String,
    place: String,
    keys: Keys,
    _runtime: tokio::runtime::Runtime,
}

impl Bucket {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let keys = Keys::default();
        let server = runtime.block_on(FakeS3::start(keys.clone())).unwrap();
        let (url, place) = (server.url(), format!("s3://{}/site", FakeS3::BUCKET));
        Self { server, url, place, keys, _runtime: runtime }
    }

    fn flags(&self) -> Vec<&str> {
        vec!["--objects", &self.place, "--objects-endpoint", &self.url]
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        vec![("AWS_ACCESS_KEY_ID", &self.keys.id), ("AWS_SECRET_ACCESS_KEY", &self.keys.secret)]
    }
}

fn upload(server: &Server, bytes: &[u8]) -> (u16, Value) {
    request(&server.url, &server.key, "POST", "/v1/files?name=data.bin", &[("content-type", "text/csv")], bytes)
}

/// The status and the bytes of a file, and whether all came that were promised.
fn download(server: &Server, file: &str) -> (u16, Vec<u8>, bool) {
    let host = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "GET /v1/files/{file}/content HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        server.key
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (mut reader, mut status, mut length) = (BufReader::new(stream), 0, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.starts_with("HTTP/1.1 ") {
            status = line[9..12].parse().unwrap();
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut bytes = Vec::new();
    let ended = reader.read_to_end(&mut bytes);
    let whole = ended.is_ok() && bytes.len() == length;
    (status, bytes, whole)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

/// Waits until `/readyz` says `status`; what it says of the object store.
fn ready(server: &mut Server, status: u16) -> String {
    let url = server.url.clone();
    let answer = server.wait(|| {
        let (found, answer) = request(&url, "", "GET", "/readyz", &[], b"");
        (found == status).then_some(answer)
    });
    let findings = answer["errors"].as_array().cloned().unwrap_or_default();
    let finding = findings.iter().find(|finding| finding["pointer"] == "objects");
    finding.map(|finding| finding["detail"].as_str().unwrap().to_owned()).unwrap_or_default()
}

fn spooled(server: &Server) -> usize {
    std::fs::read_dir(server.data.join("spool")).unwrap().count()
}

#[test]
fn files_and_artifacts_live_in_a_bucket_that_may_be_full_or_silent() {
    let bucket = Bucket::start();
    let mut server = Server::start_with(&bucket.flags(), &bucket.environment());
    ready(&mut server, 200);
    let content = bytes(11 * 1024 * 1024);
    let (status, file) = upload(&server, &content);
    assert_eq!((status, &file["bytes"]), (201, &json!(content.len())), "{file}\n{}", server.log());
    let file = file["id"].as_str().unwrap().to_owned();
    assert!(!server.data.join("files").exists(), "nothing of it is here");
    assert_eq!(download(&server, &file), (200, content.clone(), true));

    let script = one_command("mkdir -p outputs && cp data.bin outputs/copy.bin && echo small > outputs/note");
    let run = server.start_run(SHELL_AGENT, Some(&script), &json!({"files": [file]}));
    let view = server.ended(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{}", server.log());
    let (_, artifacts) = server.get(&format!("/v1/runs/{run}/artifacts"));
    let id = |path: &str| {
        let all = artifacts["data"].as_array().unwrap();
        let found = all.iter().find(|artifact| artifact["path"] == path || artifact["name"] == path);
        found.unwrap_or_else(|| panic!("no {path} in {artifacts}"))["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(download(&server, &id("copy.bin")), (200, content.clone(), true));

    // Full: what writes is refused with the reason, reads go on, a run that has something to keep waits.
    bucket.server.feel(Mood::Full);
    let before = bucket.server.keys();
    let (status, refused) = upload(&server, &bytes(6 * 1024 * 1024));
    assert_eq!((status, refused["code"].as_str()), (503, Some("unavailable")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("the object store is full"), "{refused}");
    assert!(refused["retry_after"].as_u64().is_some_and(|seconds| seconds > 0), "{refused}");
    // The ended run's snapshot may just be on its way out.
    let new: Vec<String> = bucket.server.keys().into_iter().filter(|key| !before.contains(key)).collect();
    assert_eq!((new, bucket.server.uploads(), spooled(&server)), (Vec::new(), 0, 0));
    assert_eq!(download(&server, &file), (200, content.clone(), true));
    let run = server.start_run(SHELL_AGENT, Some(&script), &json!({"files": [file]}));
    assert!(ready(&mut server, 503).contains("full"));
    let log = || server.get(&format!("/v1/runs/{run}/events")).1.to_string();
    let begun = std::time::Instant::now();
    while !log().contains("tool.finished") && begun.elapsed() < PATIENCE {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(server.get(&format!("/v1/runs/{run}")).1["status"], "running", "it waits with its artifacts");

    // Silent, then well: nothing needs a restart.
    bucket.server.feel(Mood::Hang);
    let url = server.url.clone();
    server.wait(|| {
        let (_, answer) = request(&url, "", "GET", "/readyz", &[], b"");
        answer.to_string().contains("does not answer in time").then_some(())
    });
    bucket.server.feel(Mood::Well);
    let view = server.ended(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{}", server.log());
    assert_eq!(view["artifacts"].as_array().map(Vec::len), Some(2), "{view}");
    ready(&mut server, 200);
    assert_eq!(upload(&server, &content).0, 201);

    // What was damaged over there is never given away as if it were whole.
    let key = bucket.server.keys().into_iter().find(|key| key.ends_with(&file)).unwrap();
    bucket.server.plant(&key, bytes(11 * 1024 * 1024 - 1));
    let (status, _, whole) = download(&server, &file);
    assert!(status == 500 || !whole, "{status}");
    assert_eq!(bucket.server.refused(), []);
    assert!(!server.log().contains(&bucket.keys.secret));
}

/// The second command writes nothing and waits for ever, so that the test decides when the node dies.
const INTERRUPTED: &str = r#"
turns:
  - tools: [{name: shell, arguments: {command: "mkdir -p deep && echo first > deep/trace"}}]
  - tools: [{name: shell, arguments: {command: "sleep 300"}}]
  - tools: [{name: shell, arguments: {command: "cat deep/trace"}}]
    expect: {tool_result_contains: "outcome unknown"}
  - text: done
    expect: {tool_result_contains: "first"}
"#;

#[test]
fn a_workspace_comes_back_from_the_bucket_even_if_that_is_away_at_first() {
    let bucket = Bucket::start();
    let mut first = Server::start_with(&bucket.flags(), &bucket.environment());
    let run = first.start_run(SHELL_AGENT, Some(INTERRUPTED), &json!({}));
    let (url, key) = (first.url.clone(), first.key.clone());
    first.wait(|| {
        let (_, page) = request(&url, &key, "GET", &format!("/v1/runs/{run}/events"), &[], b"");
        (page["data"].as_array()?.iter().filter(|event| event["type"] == "tool.started").count() > 1).then_some(())
    });
    // Killed while a copy is under way, it would come back without it, or leave bytes that only a later sweep finds.
    let database = first.data.join("livery.db");
    let mut settled = 0;
    first.wait(|| {
        let stored = bucket.server.keys().iter().filter(|key| key.ends_with(".tgz")).count();
        let is_settled = (stored, bucket.server.uploads(), copies_noted(&database)) == (1, 0, 1);
        settled = if is_settled { settled + 1 } else { 0 };
        (settled == 5).then_some(())
    });
    first.kill();
    let workspaces = first.data.join("sandboxes/workspaces");
    std::fs::remove_dir_all(&workspaces).unwrap();
    std::fs::create_dir(&workspaces).unwrap();

    bucket.server.feel(Mood::SlowDown);
    let mut second = Server::again_with(&first.data, &bucket.flags(), &bucket.environment());
    assert!(ready(&mut second, 503).contains("slow down"));
    let put_off = second.get(&format!("/v1/runs/{run}")).1;
    assert_eq!(
        put_off["finished_at"],
        Value::Null,
        "not ended: {put_off}\n{:#?}\n{}",
        second.events(&run),
        second.log()
    );
    bucket.server.feel(Mood::Well);
    let view = second.ended(&run);
    let events = second.events(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{events:#?}\n{}", second.log());
    let recovered = events.iter().find(|event| event["type"] == "run.recovered").unwrap();
    assert_eq!(recovered["data"]["sandbox"], "restored", "{recovered}");
    // With the run's end its copies go.
    second.wait(|| bucket.server.keys().iter().all(|key| !key.ends_with(".tgz")).then_some(()));
}

/// How many copies of workspaces the database knows.
fn copies_noted(database: &std::path::Path) -> usize {
    let script = "import sqlite3, sys\n\
                  database = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, timeout=10)\n\
                  print(database.execute('select count(*) from workspace_snapshots').fetchone()[0])";
    let answer = output(std::process::Command::new("python3").args(["-c", script]).arg(database));
    text(&answer.stdout).trim().parse().unwrap()
}

/// Uploads in chunks of a MiB, so that the length shows only at the end; the whole answer.
fn upload_unannounced(server: &Server, length: usize) -> String {
    let host = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /v1/files?name=large HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
         authorization: Bearer {}\r\n\r\n",
        server.key
    );
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![7; 1024 * 1024];
    let mut left = length;
    while left > 0 {
        let now = left.min(piece.len());
        stream.write_all(format!("{now:x}\r\n").as_bytes()).unwrap();
        stream.write_all(&piece[..now]).unwrap();
        stream.write_all(b"\r\n").unwrap();
        left -= now;
    }
    // The server may have answered by now and be about to hang up.
    let _ = stream.write_all(b"0\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    text(&answer)
}

fn files_below(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

#[test]
fn a_backup_says_what_is_in_the_bucket_and_a_restored_node_finds_it() {
    let bucket = Bucket::start();
    let mut server = Server::start_with(&bucket.flags(), &bucket.environment());
    let content = bytes(1000);
    let (status, file) = upload(&server, &content);
    assert_eq!(status, 201, "{file}");
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (out, into) = (home.path().join("backup"), home.path().join("restored"));
    let mut backup = livery();
    backup.args(["backup", "--include-root-key", "--json", "--data"]).arg(&server.data).arg("--out").arg(&out);
    let took = output(&mut backup);
    let manifest: Value = serde_json::from_slice(&took.stdout).unwrap();
    assert_eq!((&manifest["files"], &manifest["files_elsewhere"]), (&json!(0), &json!(1)), "{manifest}");
    assert!(text(&took.stderr).contains("1 files are not in this data directory"), "{}", text(&took.stderr));
    let first = std::fs::read(server.data.join("bootstrap.json")).unwrap();
    server.kill();
    let back = output(livery().arg("restore").arg(&out).arg("--data").arg(&into));
    assert!(back.status.success(), "{}", text(&back.stderr));
    std::fs::write(into.join("bootstrap.json"), first).unwrap();
    let restored = Server::again_with(&into, &bucket.flags(), &bucket.environment());
    assert_eq!(download(&restored, file["id"].as_str().unwrap()), (200, content, true));
}

/// What the server's memory was at most, in KiB.
fn peak_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_largest_file_passes_through_and_is_never_in_memory() {
    const GROWTH_KIB_MAX: u64 = 40 * 1024;
    let server = Server::start(&[]);
    // Once in small, so that what is set up once is.
    let (_, small) = upload(&server, &bytes(1024 * 1024));
    download(&server, small["id"].as_str().unwrap());
    let before = peak_kib(&server);
    let content = vec![7; 100 * 1024 * 1024];
    let (status, file) = upload(&server, &content);
    assert_eq!(status, 201, "{file}");
    let (status, got, whole) = download(&server, file["id"].as_str().unwrap());
    assert!(status == 200 && whole && got == content);
    let growth = peak_kib(&server).saturating_sub(before);
    assert!(growth < GROWTH_KIB_MAX, "100 MiB up and down took {growth} KiB of memory");
    assert_eq!(spooled(&server), 0);

    // One byte more, by a client that does not say so before.
    let before = files_below(&server.data.join("files"));
    let answer = upload_unannounced(&server, content.len() + 1);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("too_large"), "{answer}");
    assert_eq!((spooled(&server), files_below(&server.data.join("files"))), (0, before));
}

#[test]
fn a_place_that_cannot_be_used_names_the_flag() {
    let home = tempfile::tempdir().unwrap();
    let cases = [
        (vec!["--objects", "s3://bucket"], "AWS_ACCESS_KEY_ID"),
        (vec!["--objects", "s3://x"], "--objects"),
        (
            vec!["--objects", "s3://bucket", "--objects-endpoint", "http://minio.example:9000"],
            "LIVERY_OBJECTS_ALLOW_HTTP",
        ),
    ];
    for (flags, named) in cases {
        let refused = output(livery().arg("up").args(&flags).arg("--data").arg(home.path().join("data")));
        assert_eq!(refused.status.code(), Some(2), "{flags:?}: {}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(named), "{}", text(&refused.stderr));
    }
    assert!(!home.path().join("data").exists(), "nothing was made");
}
