//! A server of one's own, and the smallest client that can talk to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take before a test fails. Generous: two busy cores are slow, and no test measures time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) fn livery() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_livery"));
    for name in [
        "LIVERY_URL",
        "LIVERY_API_KEY",
        "LIVERY_DATABASE",
        "LIVERY_ROOT_KEY",
        "LIVERY_ROOT_KEY_OTHERS",
        "LIVERY_KMS_TOKEN",
        "LIVERY_KMS_TOKEN_FILE",
        "LIVERY_KMS_NAMESPACE",
        "LIVERY_KMS_CA",
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        "LIVERY_MODEL",
        "LIVERY_BASE_URL",
        "LIVERY_OBJECTS",
        "LIVERY_OBJECTS_ENDPOINT",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
    ] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A running `livery up`. Dropped, it is killed.
pub(crate) struct Server {
    pub(crate) data: PathBuf,
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) bootstrap: Value,
    child: Child,
    log: PathBuf,
    /// Owns the directories of a first life; a second life borrows them.
    _home: Option<tempfile::TempDir>,
}

impl Server {
    /// A new data directory and a server on it.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        // Livery leaves root and must still reach its data directory.
        std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let data = home.path().join("data");
        Self::on(&data, flags, &[], Some(home))
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let data = home.path().join("data");
        Self::on(&data, flags, environment, Some(home))
    }

    /// A server on an existing data directory.
    pub(crate) fn again(data: &Path, flags: &[&str]) -> Self {
        Self::on(data, flags, &[], None)
    }

    /// The same with more in its environment.
    pub(crate) fn again_with(data: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::on(data, flags, environment, None)
    }

    fn on(data: &Path, flags: &[&str], environment: &[(&str, &str)], home: Option<tempfile::TempDir>) -> Self {
        let log = data.with_extension("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let before = std::fs::read_to_string(data.join("bootstrap.json")).unwrap_or_default();
        let child = livery()
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(flags)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut server = Self {
            data: data.to_owned(),
            url: String::new(),
            key: String::new(),
            bootstrap: Value::Null,
            child,
            log,
            _home: home,
        };
        let ready = server.wait(|| {
            let text = std::fs::read_to_string(data.join("bootstrap.json")).ok().filter(|text| *text != before)?;
            let ready = serde_json::from_str::<Value>(&text).ok()?;
            // A start that finishes what an earlier one left undone has the earlier one's address there first.
            TcpStream::connect(ready["url"].as_str()?.trim_start_matches("http://")).ok().map(|_| ready)
        });
        server.url = ready["url"].as_str().unwrap().to_owned();
        server.key = ready["api_key"].as_str().unwrap().to_owned();
        server.bootstrap = ready;
        server
    }

    /// Polls until `look` sees something, within [`PATIENCE`].
    pub(crate) fn wait<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended ({status}):\n{}", self.log());
            }
            assert!(begun.elapsed() < PATIENCE, "nothing came:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where what it says is written.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.log.clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no chance to tidy anything up.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal to the platform's process alone.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM.
    pub(crate) fn ask_to_stop(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// The exit code, once it ended by itself.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server did not end:\n{}", self.log());
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.exit_code()
    }

    /// A client command for this server.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = livery();
        command.args(args).env("LIVERY_URL", &self.url).env("LIVERY_API_KEY", &self.key);
        command
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        request(&self.url, &self.key, "GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        request(
            &self.url,
            &self.key,
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
    }

    /// Starts an inline agent with one script and answers the run's id.
    pub(crate) fn start_run(&self, agent_md: &str, script: Option<&str>, extra: &Value) -> String {
        let mut body = json!({"agent": {"agent_md": agent_md, "files": {}}});
        if let Some(script) = script {
            body["agent"]["files"]["scripts/s.yaml"] = base64(script.as_bytes()).into();
        }
        for (name, value) in extra.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let (status, run) = self.post("/v1/runs", &body);
        assert_eq!(status, 202, "{run}");
        run["id"].as_str().unwrap().to_owned()
    }

    /// The run, once it ended.
    pub(crate) fn ended(&self, run: &str) -> Value {
        let begun = Instant::now();
        loop {
            let (status, view) = self.get(&format!("/v1/runs/{run}?wait=10"));
            assert_eq!(status, 200, "{view}");
            if !view["finished_at"].is_null() {
                return view;
            }
            assert!(begun.elapsed() < PATIENCE, "the run did not end: {view}\n{}", self.log());
        }
    }

    /// All events of a run.
    pub(crate) fn events(&self, run: &str) -> Vec<Value> {
        let (status, page) = self.get(&format!("/v1/runs/{run}/events?limit=1000"));
        assert_eq!(status, 200, "{page}");
        page["data"].as_array().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A scripted agent with a shell.
pub(crate) const SHELL_AGENT: &str =
    "---\nname: shell-agent\nmodel: scripted/s\ntools: [shell, read_file, write_file]\n---\nWork.\n";

/// A script that runs one command and finishes.
pub(crate) fn one_command(command: &str) -> String {
    let command = serde_json::to_string(command).unwrap();
    format!("turns:\n  - tools: [{{name: shell, arguments: {{command: {command}}}}}]\n  - text: done\n")
}

/// `GET` whose answer is no JSON.
pub(crate) fn get_text(url: &str, key: &str, path: &str) -> String {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// One HTTP/1.1 exchange on a connection of its own.
pub(crate) fn request(
    url: &str,
    key: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, Value) {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !key.is_empty() {
        head.push_str(&format!("authorization: Bearer {key}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0);
    let mut length = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse::<u64>().ok();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut bytes = Vec::new();
    reader.take(length.unwrap_or(64 * 1024 * 1024)).read_to_end(&mut bytes).unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Standard base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Processes of this machine whose environment or command line names `needle`.
pub(crate) fn processes_naming(needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let dir = entry.path();
        let read = |file: &str| std::fs::read(dir.join(file)).unwrap_or_default();
        if [read("cmdline"), read("environ")].iter().any(|bytes| text(bytes).contains(needle)) {
            found.push(format!(
                "{} {}",
                entry.file_name().to_string_lossy(),
                text(&read("cmdline")).replace('\0', " ")
            ));
        }
    }
    found
}

/// Bytes of every file below a directory, for the canary.
pub(crate) fn bytes_below(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        // Links lead out of the directory, and what is neither file nor folder does not end.
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            all.extend(bytes_below(&path));
        } else if kind.is_file() {
            all.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
    all
}

/// Says aloud that a test could not look: `CONTRIBUTING.md` has the convention.
pub(crate) fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("{test}: {why}\n");
    match std::env::var_os("LIVERY_SKIP_LOG") {
        Some(path) => std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap(),
        None => eprint!("SKIPPED: {line}"),
    }
}
