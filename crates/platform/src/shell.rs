//! A person's shell in the live sandbox of a run: who may have one, what is written down about it, what passes through it.
//!
//! It is a terminal like those of the agent, behind the same walls and with the same limits, and it is in nobody's way: a
//! sandbox is never made for it, kept for it or paused by it. That one is opened is in the organization's audit log and in the
//! run's own before the first byte; what is typed and shown is written nowhere. What comes out is made harmless first
//! ([`livery_core::terminal`]). Dropping a [`Shell`] hangs it up. Read next: `shell/audit.rs`, `worker/standing.rs`.

mod audit;

use std::sync::atomic::Ordering;
use std::time::Duration;

use livery_core::agent::Tier;
use livery_core::id::{OrgId, RunId};
use livery_core::terminal::{Keep, Sieve};
use livery_core::{Error, EventType, Result, RunStatus};
use livery_sandbox::{Ended, READ_BYTES_MAX, Size, Terminal, TerminalSpec};
use livery_store::{Holder, RunRow};
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use self::audit::Account;
use crate::worker::Place;
use crate::{Caller, Platform, Scope};

/// The framing of a WebSocket, for whoever brings a shell to its person. `platform` introduces it: it is the broker's.
pub use livery_broker::ws;
pub use livery_sandbox::SIDE_MAX;

/// Shells of one run at a time. A sandbox has eight terminals; the others are its agent's.
pub const SHELLS_PER_RUN_MAX: usize = 4;
/// Longest command, in bytes.
pub const COMMAND_BYTES_MAX: usize = 4096;
/// How long the run's log may take to know of a shell before there is none.
const NOTE_MAX: Duration = Duration::from_secs(10);
/// Between two questions to a terminal that shows nothing.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Most characters of a guest's reason that are passed on.
const REASON_CHARS_MAX: usize = 200;
/// What a person gets who names no command, and what one gets who is a program.
const USUAL: &str = "exec ${SHELL:-sh} -i";
const USUAL_PLAIN: &str = "cat | sh";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewShell {
    /// A command line for `sh -c`; absent: the image's shell.
    pub command: Option<String>,
    /// How wide the terminal begins, from 1 to [`SIDE_MAX`].
    pub columns: u16,
    /// How high, likewise.
    pub rows: u16,
    /// Whether a program sits there: nothing is echoed, no key signals, Ctrl-D ends the input.
    pub plain: bool,
}

/// Why a shell is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellEnd {
    /// Its program ended.
    Exited(ShellExit),
    /// The person said so.
    Closed,
    /// The person is gone without a word.
    Disconnected,
    /// The person's side broke a rule of the protocol.
    InvalidMessage,
    /// Nothing was typed or shown for too long.
    Idle,
    /// It lasted as long as one may.
    TimeLimit,
    /// The key that opened it may do so no more.
    Revoked,
    /// Whether the key may still do so could not be found out.
    Unchecked,
    /// This node stops.
    Stopping,
    /// The run ended.
    RunOver,
    /// The sandbox is gone while the run is not: it waits, was interrupted, or broke a limit.
    SandboxGone,
    /// It could not be started.
    Failed,
}

/// How a shell's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellExit {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl ShellEnd {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Closed => "closed",
            Self::Disconnected => "disconnected",
            Self::InvalidMessage => "invalid_message",
            Self::Idle => "idle",
            Self::TimeLimit => "time_limit",
            Self::Revoked => "key_revoked",
            Self::Unchecked => "key_unchecked",
            Self::Stopping => "server_stopping",
            Self::RunOver => "run_over",
            Self::SandboxGone => "sandbox_gone",
            Self::Failed => "failed",
        }
    }

    /// The exit status of its program, where that ended with one.
    #[must_use]
    pub const fn exit_code(self) -> Option<i32> {
        match self {
            Self::Exited(ShellExit::Code(code)) => Some(code),
            _ => None,
        }
    }

    /// The signal that ended its program.
    #[must_use]
    pub const fn signal(self) -> Option<i32> {
        match self {
            Self::Exited(ShellExit::Signal(signal)) => Some(signal),
            _ => None,
        }
    }
}

/// What a shell showed next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Text with nothing in it that a terminal obeys but colours, cursor and the like. May be empty.
    pub text: String,
    /// How its program ended, once all it showed was read.
    pub exit: Option<ShellExit>,
}

/// A run of the caller's in which a shell may be opened, if there is a sandbox.
pub struct ShellOf {
    platform: Platform,
    caller: Caller,
    row: RunRow,
}

/// An open shell. Dropping it hangs it up and writes down how it ended.
pub struct Shell {
    account: Account,
    terminal: Terminal,
    tier: Tier,
    /// How far was read, and what makes it harmless.
    reading: Mutex<(u64, Sieve)>,
    /// Cancelled when the run lets go of the sandbox.
    leaving: CancellationToken,
    _seat: OwnedSemaphorePermit,
}

impl Platform {
    /// A run in which the caller may open a shell.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `runs:shell`; [`Error::NotFound`] for a run that is not the caller's, or not that of the end
    /// user the caller acts for.
    pub async fn shell_of(&self, caller: &Caller, run: RunId) -> Result<ShellOf> {
        caller.principal.require(Scope::RunsShell)?;
        let row = self.visible_run(&caller.principal, run).await?;
        if caller.on_behalf_of.is_some() && caller.on_behalf_of != row.end_user {
            return Err(Error::NotFound { what: "run" });
        }
        Ok(ShellOf { platform: self.clone(), caller: caller.clone(), row })
    }

    /// Why a shell lost its sandbox: with its run, with this node, or without either.
    async fn why_gone(&self, org: OrgId, run: RunId) -> ShellEnd {
        match self.store.get_run(org, run).await {
            Ok(row) if row.as_ref().is_none_or(|row| row.status.is_terminal()) => ShellEnd::RunOver,
            _ => self.why_let_go(),
        }
    }

    /// Why a run that goes on lets go of its sandbox.
    pub(crate) fn why_let_go(&self) -> ShellEnd {
        if self.stop.is_cancelled() { ShellEnd::Stopping } else { ShellEnd::SandboxGone }
    }
}

impl ShellOf {
    /// Opens it, once the logs know of it.
    ///
    /// # Errors
    /// [`Error::Conflict`]: `run_over`, `no_sandbox`, `run_elsewhere` (the detail names the node), `no_shell` (the tier has none),
    /// `shell_failed`. [`Error::Limited`] when the run has [`SHELLS_PER_RUN_MAX`]. [`Error::Unavailable`] when the run's log does
    /// not take it in time.
    pub async fn open(self, new: NewShell) -> Result<Shell> {
        let Self { platform, caller, row } = self;
        let place = platform.place_of(&row).await?;
        let tier = place.tier();
        if tier == Tier::Isolate {
            let detail = "a sandbox of the tier isolate has no programs, and so no shell".to_owned();
            return Err(Error::Conflict { code: "no_shell", detail });
        }
        let seat = place.seats.clone().try_acquire_owned().map_err(|_| too_many())?;
        // Its end is told in the run's log even if the answer to its beginning comes too late: where that was not written, no end
        // is either.
        let account = Account::open(&platform, &caller, &row, tier).await?.in_log_of(place.log.clone());
        if !account.tell(&place.log, EventType::ShellOpened, NOTE_MAX).await {
            account.close(ShellEnd::Failed);
            return Err(not_noted(&platform, &row).await);
        }
        let terminal = match place.terminal(spec(&new)).await {
            Ok(terminal) => terminal,
            Err(error) => {
                account.close(ShellEnd::Failed);
                return Err(not_started(&error));
            }
        };
        let reading = Mutex::new((0, Sieve::new(Keep::Display)));
        Ok(Shell { account, terminal, tier, reading, leaving: place.leaving, _seat: seat })
    }
}

impl Platform {
    /// Where the run's sandbox stands, if it stands here.
    async fn place_of(&self, row: &RunRow) -> Result<Place> {
        let conflict = |code, detail: String| Err(Error::Conflict { code, detail });
        if row.status.is_terminal() {
            return conflict("run_over", format!("the run is over ({})", row.status));
        }
        if let Some(place) = self.running.standing.of(row.id) {
            return Ok(place);
        }
        let own = self.identity.id.to_string();
        if let Holder::Node(owner) = self.store.run_holder(row.org, row.id).await? {
            let node = owner.split_once('/').map_or(owner.as_str(), |(node, _)| node);
            if node != own {
                return conflict("run_elsewhere", format!("the run works on {node}, and this is {own}: ask that node"));
            }
        }
        let why = match row.status {
            RunStatus::Queued => "the run has not begun",
            RunStatus::Waiting => "the run waits for a person and has given its sandbox back",
            _ => "no sandbox stands yet: the first call of a tool that needs one makes it",
        };
        conflict("no_sandbox", format!("{why}; a shell never makes one"))
    }
}

fn spec(new: &NewShell) -> TerminalSpec {
    let usual = if new.plain { USUAL_PLAIN } else { USUAL };
    let mut spec = TerminalSpec::new(["sh", "-c", new.command.as_deref().unwrap_or(usual)]);
    spec.size = Size { rows: new.rows, columns: new.columns };
    spec.plain = new.plain;
    spec
}

fn too_many() -> Error {
    let detail = format!("the run has {SHELLS_PER_RUN_MAX} shells open, the most it may have");
    Error::Limited { code: "too_many_shells", detail, retry_after_s: 5 }
}

async fn not_noted(platform: &Platform, row: &RunRow) -> Error {
    if platform.why_gone(row.org, row.id).await == ShellEnd::RunOver {
        return Error::Conflict { code: "run_over", detail: "the run ended meanwhile".to_owned() };
    }
    let detail = "the run's log does not take it now, and no shell is opened without".to_owned();
    Error::Unavailable { detail, retry_after_s: 2 }
}

fn not_started(error: &livery_sandbox::Error) -> Error {
    use livery_sandbox::Error as Sandbox;
    let failed = |code, why: &str| Error::Conflict { code, detail: format!("the shell could not be started: {why}") };
    match error {
        Sandbox::Deadline(_) => {
            let detail = "the sandbox did not start the shell in time; it may be busy".to_owned();
            Error::Unavailable { detail, retry_after_s: 5 }
        }
        Sandbox::Lost(_) | Sandbox::LauncherGone => failed("no_sandbox", &error.to_string()),
        // The guest's own words.
        Sandbox::Guest { reason, .. } => {
            let reason = livery_core::terminal::text(reason.as_bytes());
            failed("shell_failed", &reason.chars().take(REASON_CHARS_MAX).collect::<String>())
        }
        _ => failed("shell_failed", &error.to_string()),
    }
}

impl Shell {
    /// The run.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.account.run()
    }

    /// The tier of its sandbox.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.tier
    }

    /// What it shows next, waiting until that is something. One caller at a time; dropping the future loses nothing. Where more
    /// was shown than the sandbox keeps, a line in the text says how much is missing.
    ///
    /// # Errors
    /// Why the shell is over.
    pub async fn shown(&self) -> Result<Shown, ShellEnd> {
        let mut reading = self.reading.lock().await;
        let (offset, sieve) = &mut *reading;
        let shown = loop {
            match self.terminal.read(*offset, READ_BYTES_MAX, ASK_AGAIN).await {
                Ok(Some(shown)) => break shown,
                Ok(None) => {}
                Err(_) => return Err(self.gone().await),
            }
        };
        let mut text = String::new();
        let missing = shown.start.saturating_sub(*offset);
        if missing > 0 {
            text.push_str(&sieve.finish());
            text.push_str(&format!("\r\n[… {missing} bytes were not shown …]\r\n"));
        }
        text.push_str(&sieve.pass(&shown.bytes));
        *offset = shown.end();
        self.account.shown.store(*offset, Ordering::Relaxed);
        let exit = shown.ended.map(|ended| match ended {
            Ended::Code(code) => ShellExit::Code(code),
            Ended::Signal(signal) => ShellExit::Signal(signal),
        });
        if exit.is_some() {
            text.push_str(&sieve.finish());
        }
        Ok(Shown { text, exit })
    }

    /// Types bytes, waiting while the program does not take them.
    ///
    /// # Errors
    /// Why the shell is over: [`ShellEnd::Idle`] when too little was taken for `patience`.
    pub async fn types(&self, bytes: &[u8], patience: Duration) -> Result<(), ShellEnd> {
        match self.terminal.write(bytes, patience).await {
            Ok(()) => {
                self.account.typed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(livery_sandbox::Error::Deadline(_)) => Err(ShellEnd::Idle),
            Err(_) => Err(self.gone().await),
        }
    }

    /// Says how large it is now.
    ///
    /// # Errors
    /// Why the shell is over: [`ShellEnd::InvalidMessage`] for a side out of range.
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<(), ShellEnd> {
        match self.terminal.resize(Size { rows, columns }).await {
            Ok(()) => Ok(()),
            Err(livery_sandbox::Error::Invalid(_)) => Err(ShellEnd::InvalidMessage),
            Err(_) => Err(self.gone().await),
        }
    }

    /// Resolves when the run lets go of the sandbox: then the shell is to be closed, while the run's log still takes its end.
    pub async fn let_go(&self) -> ShellEnd {
        self.leaving.cancelled().await;
        self.gone().await
    }

    /// Hangs it up and has it written down why. Without this it is as if the person were gone.
    pub fn close(mut self, end: ShellEnd) {
        self.account.end = end;
    }

    async fn gone(&self) -> ShellEnd {
        self.account.why_gone().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_words_are_made_harmless_and_a_busy_sandbox_is_no_fault() {
        let reason = format!("no\u{1b}]52;c;c3RvbGVu\u{7} such\u{1b}[6n file{}", "!".repeat(1000));
        let Error::Conflict { code, detail } = not_started(&livery_sandbox::Error::Guest { errno: 2, reason }) else {
            panic!("no conflict");
        };
        assert_eq!(code, "shell_failed");
        assert!(detail.contains("no such file!") && detail.len() < 300, "{detail:?}");
        assert!(!detail.chars().any(char::is_control), "{detail:?}");
        let busy = not_started(&livery_sandbox::Error::Deadline("starting"));
        assert!(matches!(busy, Error::Unavailable { .. }), "{busy:?}");
        assert_eq!(not_started(&livery_sandbox::Error::LauncherGone).code(), "no_sandbox");
    }
}
