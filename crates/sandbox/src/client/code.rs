//! Programs in JavaScript and TypeScript, for the tier that runs nothing else.
//!
//! Each runs in an isolate and a process of its own: nothing of one is there for the next but the files it wrote. What comes back is
//! hostile as a whole; a program that breaks its host can say anything, about itself.
//! Read next: `exec.rs`, whose streams it shares, and `../launcher/tiers/isolate/run.js`, which answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use livery_core::agent::Tier;
use livery_guest::wire::Kind;
use livery_guest::wire::code::{self, ANSWER_BYTES_MAX};
use livery_guest::wire::message::OUTPUT_BYTES_MAX;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exec::{ExecResult, MARGIN, Run, Stream};
use super::sandbox::Sandbox;
use crate::error::Error;

/// Bytes of one program.
pub const SOURCE_BYTES_MAX: usize = 1024 * 1024;
/// Characters of a value as JSON.
const VALUE_CHARS_MAX: usize = 128 * 1024;
/// Bytes of an exception's sentence, and of its stack.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
const STACK_BYTES_MAX: usize = 16 * 1024;
/// Where V8, or the allocator, begins to say that there is no more memory; of no further use to who wrote the program.
const LAST_WORDS: [&str; 4] = [
    "\n<--- Last few GCs",
    "\n\n#\n# Fatal process out of memory",
    "\n\n#\n# Fatal JavaScript out of memory",
    "memory allocation of ",
];

/// What a program is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// JavaScript.
    Js,
    /// TypeScript; its types are taken out, not checked.
    Ts,
}

/// A program to run.
#[derive(Clone, Debug)]
pub struct Code {
    /// What it is written in.
    pub language: Language,
    /// A script, whose value is that of its last expression, or a module, whose value is its default export. `await` works at the top
    /// of both. At most 1 MiB.
    pub source: String,
    /// Then its process is killed.
    pub timeout: Duration,
    /// Bytes kept of each of stdout and stderr: half from the start, half from the end. At most 1 MiB.
    pub output_limit: u32,
}

impl Code {
    /// A program with 2 minutes and 64 KiB of output.
    #[must_use]
    pub fn new(language: Language, source: impl Into<String>) -> Self {
        Self { language, source: source.into(), timeout: Duration::from_secs(120), output_limit: 64 * 1024 }
    }
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq)]
pub enum CodeOutcome {
    /// It ran to its end, with this value; `None` where it has none.
    Value(Option<Value>),
    /// It was not understood, and nothing of it ran.
    Syntax(String),
    /// It threw something that nobody caught, or its value is not JSON.
    Exception {
        /// A sentence.
        message: String,
        /// Where, if what was thrown is an error.
        stack: Option<String>,
    },
    /// It took longer than its time.
    Timeout,
    /// It needed more memory than there is.
    Memory,
    /// Its host ended without a word.
    Crashed {
        /// Its exit status.
        exit_code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeResult {
    /// What became of it.
    pub outcome: CodeOutcome,
    /// What it printed; where the middle is missing, a line says how much.
    pub stdout: Vec<u8>,
    /// What it complained, likewise.
    pub stderr: Vec<u8>,
    /// Whether something is missing from either.
    pub truncated: bool,
    /// Where in the sandbox all that was printed is (when truncated).
    pub full_output: Option<String>,
    /// From the request to the answer.
    pub took: Duration,
}

/// What the host writes about a program.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    /// `Some(Value::Null)` is a value, `None` is none.
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
    #[serde(default)]
    error: Option<Fault>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    kind: String,
    message: String,
    #[serde(default)]
    stack: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Sandbox {
    /// Runs a program. `on_output` hears the first half of `output_limit` of each stream as it comes. Programs of one sandbox run one
    /// after the other; dropping the future kills this one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the tier is another; the host could not be started ([`Error::Guest`]); the sandbox was lost. A
    /// program that fails is an `Ok`.
    pub async fn run_code(&self, code: Code, mut on_output: impl FnMut(Stream, &[u8])) -> Result<CodeResult, Error> {
        if self.inner.spec.tier != Tier::Isolate {
            return Err(Error::Unsupported("programs, only commands"));
        }
        if code.source.len() > SOURCE_BYTES_MAX {
            return Err(Error::Invalid("a program has at most 1 MiB".to_owned()));
        }
        let _turn = self.inner.programs.lock().await;
        let started = Instant::now();
        let env: BTreeMap<&str, &str> =
            self.inner.spec.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request =
            json!({"language": code.language, "source": code.source, "env": env, "limit": VALUE_CHARS_MAX}).to_string();
        let output_limit = code.output_limit.min(OUTPUT_BYTES_MAX);
        let timeout_ms = u32::try_from(code.timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        let most = u64::from(output_limit) * 2 + request.len() as u64 + u64::from(ANSWER_BYTES_MAX);
        let mut call = self.inner.channel.open(most);
        call.send(Kind::Code, &code::Code { timeout_ms, output_limit }.encode()).await?;
        call.kill_on_drop();
        let mut run = Run::new(request.as_bytes(), Some(Vec::new()));
        let deadline = code.timeout.saturating_add(MARGIN);
        let exit = match tokio::time::timeout(deadline, run.until_exit(&mut call, &mut on_output)).await {
            Ok(exit) => exit?,
            Err(_) => return Err(self.silent().await),
        };
        self.settle(&exit).await?;
        let answer = run.answer.take().unwrap_or_default();
        Ok(CodeResult::new(&answer, run.result(exit, started.elapsed())))
    }
}

impl CodeResult {
    fn new(answer: &[u8], result: ExecResult) -> Self {
        let outcome = outcome(answer, &result);
        let ExecResult { stdout, mut stderr, truncated, full_output, took, .. } = result;
        if outcome == CodeOutcome::Memory {
            without_last_words(&mut stderr);
        }
        Self { outcome, stdout, stderr, truncated, full_output, took }
    }
}

fn outcome(answer: &[u8], result: &ExecResult) -> CodeOutcome {
    if result.timed_out {
        return CodeOutcome::Timeout;
    }
    match result.signal {
        // The engine's own end, for which there are other reasons too.
        Some(libc::SIGTRAP | libc::SIGABRT) if last_words(&result.stderr).is_some() => return CodeOutcome::Memory,
        Some(_) => return CodeOutcome::Crashed { exit_code: None, signal: result.signal },
        None => {}
    }
    if answer.is_empty() {
        return match result.exit_code {
            // It ended itself.
            Some(0) => CodeOutcome::Value(None),
            exit_code => CodeOutcome::Crashed { exit_code, signal: None },
        };
    }
    match serde_json::from_slice::<Answer>(answer) {
        Ok(Answer { error: Some(fault), .. }) => fault.into_outcome(),
        Ok(Answer { value, error: None }) => CodeOutcome::Value(value),
        // A program that wrote it itself leaves such a thing.
        Err(_) => CodeOutcome::Crashed { exit_code: result.exit_code, signal: None },
    }
}

impl Fault {
    fn into_outcome(self) -> CodeOutcome {
        let Self { kind, mut message, mut stack } = self;
        cut(&mut message, MESSAGE_BYTES_MAX);
        if let Some(stack) = &mut stack {
            cut(stack, STACK_BYTES_MAX);
        }
        if kind == "syntax" { CodeOutcome::Syntax(message) } else { CodeOutcome::Exception { message, stack } }
    }
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
}

fn without_last_words(stderr: &mut Vec<u8>) {
    if let Some(place) = last_words(stderr) {
        stderr.truncate(place);
    }
}

/// Where they begin.
fn last_words(stderr: &[u8]) -> Option<usize> {
    let place = |words: &str| stderr.windows(words.len()).position(|w| w == words.as_bytes());
    LAST_WORDS.into_iter().filter_map(place).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: Option<i32>, signal: Option<i32>, timed_out: bool) -> ExecResult {
        let (stdout, stderr) = (Vec::new(), b"mine\n<--- Last few GCs --->\nnot mine".to_vec());
        let (took, truncated) = (Duration::ZERO, false);
        ExecResult {
            exit_code,
            signal,
            background_pid: None,
            stdout,
            stderr,
            truncated,
            timed_out,
            full_output: None,
            took,
        }
    }

    #[test]
    fn what_a_host_left_is_read_and_never_believed() {
        let of = |answer: &str| outcome(answer.as_bytes(), &ended(Some(0), None, false));
        assert_eq!(of(r#"{"value":[1]}"#), CodeOutcome::Value(Some(json!([1]))));
        assert_eq!(of(r#"{"value":null}"#), CodeOutcome::Value(Some(Value::Null)));
        assert_eq!(of("{}"), CodeOutcome::Value(None));
        assert_eq!(of(""), CodeOutcome::Value(None));
        assert_eq!(of(r#"{"error":{"kind":"syntax","message":"no"}}"#), CodeOutcome::Syntax("no".into()));
        let long = format!(r#"{{"error":{{"kind":"exception","message":"{}","stack":"s"}}}}"#, "é".repeat(5000));
        let CodeOutcome::Exception { message, stack } = of(&long) else { panic!("no exception") };
        assert!(message.len() <= MESSAGE_BYTES_MAX + 3 && stack.as_deref() == Some("s"));
        for rubbish in ["[", r#"{"error":1}"#, r#"{"error":{"kind":"x"}}"#, "\u{0}"] {
            assert!(matches!(of(rubbish), CodeOutcome::Crashed { .. }), "{rubbish}");
        }
    }

    #[test]
    fn an_end_that_is_none_of_the_programs_says_which() {
        let of = |code, signal, timed_out| CodeResult::new(b"", ended(code, signal, timed_out));
        assert_eq!(of(None, Some(libc::SIGKILL), true).outcome, CodeOutcome::Timeout);
        let memory = of(None, Some(libc::SIGTRAP), false);
        assert_eq!((memory.outcome, memory.stderr.as_slice()), (CodeOutcome::Memory, b"mine".as_slice()));
        let crashed = CodeOutcome::Crashed { exit_code: None, signal: Some(libc::SIGSEGV) };
        assert_eq!(of(None, Some(libc::SIGSEGV), false).outcome, crashed);
        assert_eq!(of(Some(3), None, false).outcome, CodeOutcome::Crashed { exit_code: Some(3), signal: None });
    }
}
