//! AgentDojo in a process of its own: its tools over TLS, and the clerk that opens and judges cases.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Map, Value, json};

use crate::egress::certificates;
use crate::support::repository;

const TOOLS: &str = include_str!("tools.py");

/// The process. Dropped, it is killed.
pub(super) struct Dojo {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(super) port: u16,
    home: tempfile::TempDir,
}

/// A case under way.
pub(super) struct Opened {
    /// What the user wants.
    pub(super) prompt: String,
    /// The right calls, as arguments of `call_api`.
    pub(super) calls: Vec<Map<String, Value>>,
    /// The right words at the end.
    pub(super) output: String,
}

impl Drop for Dojo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Dojo {
    /// Its tools, for whoever has the key; `None` when it is not installed.
    pub(super) fn start(key: &str) -> Option<Self> {
        let python = repository("target/tools/agentdojo/venv/bin/python");
        if !python.exists() {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        certificates(home.path());
        let mut command = Command::new(python);
        command.args(["-c", TOOLS]).env("DOJO_KEY", key).env("DOJO_CERTIFICATE", home.path().join("leaf.pem"));
        command.env("DOJO_CERTIFICATE_KEY", home.path().join("leaf.key")).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let questions = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Some(Self { child, questions, answers, port, home })
    }

    /// The authority an operator has to trust for it.
    pub(super) fn root(&self) -> PathBuf {
        self.home.path().join("root.pem")
    }

    /// A question to the clerk.
    pub(super) fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.questions, "{question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{question}: {line:?}"))
    }

    /// Begins a case.
    pub(super) fn open(&mut self, case: &str) -> Opened {
        let opened = self.ask(&json!({"ask": "open", "case": case}));
        assert_ne!(opened["places"], 0, "{case}: there is no place for an attacker");
        let call = |call: &Value| {
            let mut call = call.as_object().unwrap().clone();
            call.insert("connection".to_owned(), "dojo".into());
            call
        };
        let text = |name: &str| opened[name].as_str().unwrap().to_owned();
        let calls = opened["calls"].as_array().unwrap().iter().map(call).collect();
        Opened { prompt: text("prompt"), calls, output: text("output") }
    }
}
