//! `terminal`: programs of the run that keep running between calls, before a terminal or in the background.
//!
//! The guest keeps what a terminal showed; here is only how far the model has read. What it reads is text: whatever moves a cursor
//! or makes a terminal answer is taken out. A terminal lives as long as its sandbox. Its numbers are never used again, so
//! that one of an earlier life is known to be gone. Read next: `livery_sandbox`'s `client/terminal.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use livery_core::terminal::{Keep, Sieve};
use livery_harness::ToolOutcome;
use livery_harness::tools::{Terminal as Call, TerminalAction, key_bytes};
use livery_sandbox::{Ended, READ_BYTES_MAX, Sandbox, Size, Terminal, TerminalSpec};
use regex::Regex;
use serde_json::{Value, json};

use super::{Trouble, absolute, trouble};
use crate::worker::hands::{Hands, WORKSPACE};

/// Bytes of text one call answers with, before it is cut for the model: the last ones.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// A program that showed something and then nothing for so long is taken to wait.
const QUIET: Duration = Duration::from_millis(700);
/// Between two looks at a terminal that floods.
const REST: Duration = Duration::from_millis(20);
/// How long a program may take to take what is typed.
const TYPING_MAX: Duration = Duration::from_secs(10);
/// Numbers of one life of a run.
const NUMBERS_EACH_LIFE: u64 = 1000;

/// The terminals of one life of a run.
#[derive(Debug)]
pub(in crate::worker) struct Terminals {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Of this life; those below are of earlier ones.
    first: u64,
    next: u64,
    open: BTreeMap<u64, Arc<Held>>,
}

/// One that is open.
#[derive(Debug)]
struct Held {
    terminal: Terminal,
    command: String,
    /// How far the model has read.
    read: Mutex<u64>,
}

impl Terminals {
    /// Of the life that holds the lease of this epoch.
    pub(in crate::worker) fn new(epoch: u64) -> Self {
        let first = epoch.saturating_mul(NUMBERS_EACH_LIFE).saturating_add(1);
        Self { state: Mutex::new(State { first, next: first, open: BTreeMap::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, held: Arc<Held>) -> Result<u64, Trouble> {
        let mut state = self.lock();
        let number = state.next;
        if number - state.first + 1 >= NUMBERS_EACH_LIFE {
            return Err(Trouble::Answer("this run has opened too many terminals; use those that are open".to_owned()));
        }
        state.next = number + 1;
        state.open.insert(number, held);
        Ok(number)
    }

    fn get(&self, number: Option<u64>) -> Result<(u64, Arc<Held>), Trouble> {
        let state = self.lock();
        let number = number.ok_or_else(|| Trouble::Answer("say which `terminal`".to_owned()))?;
        let held = state.open.get(&number).cloned();
        held.map(|held| (number, held)).ok_or_else(|| Trouble::Answer(gone(number, &state)))
    }
}

/// A terminal that is not there, in words a model can act on.
fn gone(number: u64, state: &State) -> String {
    let open: Vec<String> = state.open.keys().map(u64::to_string).collect();
    let open = if open.is_empty() { "none is open".to_owned() } else { format!("open: {}", open.join(", ")) };
    let why = if number < state.first {
        "it went with its sandbox when the run was interrupted or waited; files are kept, programs are not"
    } else {
        "it was closed, or never opened"
    };
    format!("terminal_gone: there is no terminal {number}: {why} ({open}). Open a new one.")
}

pub(super) async fn call(hands: &Hands, sandbox: &Sandbox, call_id: &str, call: Call) -> Result<ToolOutcome, Trouble> {
    let until = call.until.as_deref().map(pattern).transpose()?;
    match call.action {
        TerminalAction::Open => open(hands, sandbox, call_id, &call, until.as_ref()).await,
        TerminalAction::Write => {
            let (number, held) = hands.terminals.get(call.terminal)?;
            let mut typed = call.input.clone().unwrap_or_default().into_bytes();
            typed.extend(call.keys.iter().flat_map(|key| key_bytes(*key)));
            let written = held.terminal.write(&typed, TYPING_MAX).await;
            written.map_err(|error| trouble(&error, "it could not all be typed"))?;
            look(hands, call_id, number, &held, &call, until.as_ref()).await
        }
        TerminalAction::Read => {
            let (number, held) = hands.terminals.get(call.terminal)?;
            look(hands, call_id, number, &held, &call, until.as_ref()).await
        }
        TerminalAction::Resize => {
            let (number, held) = hands.terminals.get(call.terminal)?;
            let resized = held.terminal.resize(size_of(&call)).await;
            resized.map_err(|error| trouble(&error, "it could not be resized"))?;
            Ok(ToolOutcome::text(format!("Terminal {number} is resized.")))
        }
        TerminalAction::Close => {
            let (number, _) = hands.terminals.get(call.terminal)?;
            hands.terminals.lock().open.remove(&number);
            Ok(ToolOutcome::text(format!("Terminal {number} is closed; its program was told to end.")))
        }
        TerminalAction::List => list(hands, sandbox).await,
        TerminalAction::Kill => kill(sandbox, &call).await,
    }
}

async fn open(
    hands: &Hands,
    sandbox: &Sandbox,
    call_id: &str,
    call: &Call,
    until: Option<&Regex>,
) -> Result<ToolOutcome, Trouble> {
    let command = call.command.clone().unwrap_or_else(|| "exec ${SHELL:-sh} -i".to_owned());
    let mut spec = TerminalSpec::new(["sh", "-c", command.as_str()]);
    spec.cwd = Some(call.cwd.as_deref().map_or_else(|| WORKSPACE.to_owned(), absolute));
    spec.size = size_of(call);
    let terminal = sandbox.terminal(spec).await.map_err(|error| trouble(&error, "the terminal could not be opened"))?;
    let held = Arc::new(Held { terminal, command, read: Mutex::new(0) });
    let number = hands.terminals.add(Arc::clone(&held))?;
    look(hands, call_id, number, &held, call, until).await
}

fn size_of(call: &Call) -> Size {
    let usual = Size::default();
    Size { rows: call.rows.unwrap_or(usual.rows), columns: call.columns.unwrap_or(usual.columns) }
}

fn pattern(text: &str) -> Result<Regex, Trouble> {
    const BYTES_MAX: usize = 64 * 1024;
    let built = regex::RegexBuilder::new(text).size_limit(BYTES_MAX).dfa_size_limit(BYTES_MAX).build();
    built.map_err(|error| Trouble::Answer(format!("`until` cannot be read: {error}")))
}

/// What was seen of a terminal in one call.
struct Seen {
    sieve: Sieve,
    text: String,
    /// Where to read on.
    offset: u64,
    /// Bytes nobody will read.
    skipped: u64,
    ended: Option<Ended>,
    found: bool,
}

impl Seen {
    fn add(&mut self, text: &str, until: Option<&Regex>) {
        self.text.push_str(text);
        if self.text.len() > TEXT_BYTES_MAX {
            let cut = self.text.ceil_char_boundary(self.text.len() - TEXT_BYTES_MAX);
            self.text.drain(..cut);
            self.skipped = self.skipped.saturating_add(cut as u64);
        }
        self.found = self.found || until.is_some_and(|until| until.is_match(&self.text));
    }
}

/// Reads on until what is waited for is there, the program waits or has ended, or the time is over.
async fn look(
    hands: &Hands,
    call_id: &str,
    number: u64,
    held: &Held,
    call: &Call,
    until: Option<&Regex>,
) -> Result<ToolOutcome, Trouble> {
    let last = *held.read.lock().unwrap_or_else(PoisonError::into_inner);
    let offset = call.offset.unwrap_or(last);
    let mut seen =
        Seen { sieve: Sieve::new(Keep::Text), text: String::new(), offset, skipped: 0, ended: None, found: false };
    let end = Instant::now() + Duration::from_secs(call.wait_s.into());
    while !seen.found && seen.ended.is_none() {
        let left = end.saturating_duration_since(Instant::now());
        let quiet = if until.is_some() || seen.text.is_empty() { left } else { left.min(QUIET) };
        // What is there already is read whatever the time is.
        let patience = quiet.max(REST);
        let shown = held.terminal.read(seen.offset, READ_BYTES_MAX, patience).await;
        let Some(shown) = shown.map_err(|error| trouble(&error, "the terminal could not be read"))? else { break };
        seen.skipped = seen.skipped.saturating_add(shown.start - seen.offset);
        seen.offset = shown.end();
        seen.ended = shown.ended;
        let text = seen.sieve.pass(&shown.bytes);
        hands.show(call_id, "stdout", text.as_bytes());
        seen.add(&text, until);
        tokio::time::sleep(REST).await;
        if Instant::now() >= end {
            break;
        }
    }
    let rest = seen.sieve.finish();
    seen.add(&rest, until);
    *held.read.lock().unwrap_or_else(PoisonError::into_inner) = seen.offset;
    Ok(ToolOutcome::text(told(number, &seen, until.is_some())))
}

/// The state in a line of JSON, then the text as it is.
fn told(number: u64, seen: &Seen, waited: bool) -> String {
    let mut state = json!({"terminal": number, "running": seen.ended.is_none(), "offset": seen.offset});
    match seen.ended {
        Some(Ended::Code(code)) => state["exit_code"] = code.into(),
        Some(Ended::Signal(signal)) => state["signal"] = signal.into(),
        None => {}
    }
    if seen.skipped > 0 {
        state["skipped_bytes"] = seen.skipped.into();
    }
    if waited {
        state["found"] = seen.found.into();
    }
    format!("{state}\n{}", seen.text)
}

async fn list(hands: &Hands, sandbox: &Sandbox) -> Result<ToolOutcome, Trouble> {
    let jobs = sandbox.jobs().await.map_err(|error| trouble(&error, "they could not be listed"))?;
    let terminals: Vec<Value> = hands
        .terminals
        .lock()
        .open
        .iter()
        .map(|(number, held)| json!({"terminal": number, "pid": held.terminal.pid(), "command": held.command}))
        .collect();
    Ok(ToolOutcome::text(json!({"terminals": terminals, "background_pids": jobs}).to_string()))
}

async fn kill(sandbox: &Sandbox, call: &Call) -> Result<ToolOutcome, Trouble> {
    let Some(pid) = call.pid else { return Err(Trouble::Answer("say which `pid`".to_owned())) };
    let killed = sandbox.signal_job(pid, livery_sandbox::SIGKILL).await;
    match killed.map_err(|error| trouble(&error, "it could not be killed"))? {
        true => Ok(ToolOutcome::text(format!("Background command {pid} is killed."))),
        false => Err(Trouble::Answer(format!("no background command {pid} runs"))),
    }
}
