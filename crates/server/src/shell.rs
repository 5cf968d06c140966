//! `livery.shell.v1`: a shell and the WebSocket of its person, until one of them, the run, a limit or the server ends it.
//!
//! ```text
//! person ─▶ binary ─▶ one message at a time ─▶ typed into the terminal      person ◀─ binary ◀─ what the terminal shows
//! person ─▶ {"type": "resize", "columns": 80, "rows": 24} | {"type": "close"}
//! person ◀─ {"type": "ready", "run": "run_…", "tier": "container", "columns": 80, "rows": 24}
//! person ◀─ {"type": "closed", "reason": "exited", "exit_code": 0, "signal": null}, then the close frame
//! ```
//!
//! Nothing is queued: what is shown is asked for when the socket took the last piece, and the next message is read when the program
//! took the last one. All of it is one task, the connection's own. A socket that takes nothing is cut by `guarded`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use livery_core::Error;
use livery_platform::Scope;
use livery_platform::shell::ws::{self, Event, Inlet, Kind, Sender};
use livery_platform::shell::{Shell, ShellEnd};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::json;
use crate::options::{SHELL_MESSAGE_BYTES_MAX, SHELL_SILENT_BEATS_MAX, SHELL_UNCHECKED_BEATS_MAX};

/// The subprotocol.
pub(crate) const PROTOCOL: &str = "livery.shell.v1";
/// How long the connection may take to become one.
const UPGRADE_MAX: Duration = Duration::from_secs(10);
/// How long the last words may take to be said and answered.
const CLOSING: Duration = Duration::from_secs(2);
/// Bytes that are read and thrown away meanwhile.
const CLOSING_BYTES_MAX: usize = 1024 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Things said that wait for the socket.
const WAITING_MAX: usize = 1;

type Socket = TokioIo<Upgraded>;

/// A shell and who sits there.
pub(crate) struct Session {
    pub(crate) app: App,
    pub(crate) shell: Shell,
    /// Asked again at every heartbeat, so that a revoked key has no shell.
    pub(crate) bearer: String,
    /// Columns and rows at the beginning.
    pub(crate) size: (u16, u16),
}

/// How it ended, and the code that a broken rule is closed with.
struct Over(ShellEnd, Option<u16>);

impl From<ShellEnd> for Over {
    fn from(end: ShellEnd) -> Self {
        let code = match end {
            ShellEnd::Stopping => Some(1001),
            ShellEnd::InvalidMessage | ShellEnd::Revoked => Some(1008),
            ShellEnd::Unchecked => Some(1011),
            _ => None,
        };
        Self(end, code)
    }
}

/// A text message of the person's side.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Resize { columns: u16, rows: u16 },
    Close {},
}

/// When something was last heard, and when something last went through, in milliseconds since the beginning.
struct Clocks {
    begun: Instant,
    heard: AtomicU64,
    moved: AtomicU64,
    /// Nothing is read while the program does not take what was typed.
    is_deaf: AtomicBool,
}

impl Clocks {
    fn new() -> Self {
        let (heard, moved) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { begun: Instant::now(), heard, moved, is_deaf: AtomicBool::new(false) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn note(&self, clock: &AtomicU64) {
        clock.store(self.now(), Ordering::Relaxed);
    }

    fn since(&self, clock: &AtomicU64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(clock.load(Ordering::Relaxed)))
    }

    /// Why it is over by now: nobody is there, or nothing happens.
    fn end(&self, heartbeat: Duration, idle: Duration) -> Option<ShellEnd> {
        let is_deaf = self.is_deaf.load(Ordering::Relaxed);
        if !is_deaf && self.since(&self.heard) > heartbeat * SHELL_SILENT_BEATS_MAX {
            return Some(ShellEnd::Disconnected);
        }
        (self.since(&self.moved) >= idle).then_some(ShellEnd::Idle)
    }
}

impl Session {
    /// Serves it to its end. Dropping the future hangs the shell up.
    pub(crate) async fn serve(self, upgrade: OnUpgrade) {
        let Ok(Ok(upgraded)) = timeout(UPGRADE_MAX, upgrade).await else {
            return self.shell.close(ShellEnd::Disconnected);
        };
        let (mut from, to) = split(TokioIo::new(upgraded));
        let (words, said) = mpsc::channel(WAITING_MAX);
        let writing = write(to, said).fuse();
        tokio::pin!(writing);
        let clocks = Clocks::new();
        let over = {
            let talking = self.talk(&mut from, &words, &clocks);
            tokio::pin!(talking);
            tokio::select! {
                biased;
                over = &mut talking => over,
                () = &mut writing => ShellEnd::Disconnected.into(),
            }
        };
        let Over(end, code) = over;
        // Hung up first: what is said about it may take a moment.
        self.shell.close(end);
        if writing.is_terminated() {
            return;
        }
        let last =
            json!({"type": "closed", "reason": end.as_str(), "exit_code": end.exit_code(), "signal": end.signal()});
        let last = [control(&last), Event::Close(Some(code.unwrap_or(1000)), end.as_str().to_owned())];
        let saying = async {
            // Ends the writer with the last of them.
            let words = words;
            tokio::join!(
                async {
                    for event in last {
                        let _ = words.send(event).await;
                    }
                },
                writing
            );
        };
        let hearing = drain(&mut from, matches!(end, ShellEnd::Disconnected));
        part(saying, hearing, patience(end, self.app.options.write_stall, &self.app.draining)).await;
    }

    /// Everything at once, until the first of it ends.
    async fn talk(&self, from: &mut ReadHalf<Socket>, words: &mpsc::Sender<Event>, clocks: &Clocks) -> Over {
        let (columns, rows) = self.size;
        let ready = json!({
            "type": "ready", "run": self.shell.run(), "tier": self.shell.tier(), "columns": columns, "rows": rows,
        });
        if words.send(control(&ready)).await.is_err() {
            return ShellEnd::Disconnected.into();
        }
        let (typed, typing) = mpsc::channel(WAITING_MAX);
        tokio::select! {
            biased;
            () = self.app.draining.cancelled() => ShellEnd::Stopping.into(),
            over = self.hear(from, words, typed, clocks) => over,
            end = self.types(typing, clocks) => end.into(),
            end = self.show(words, clocks) => end.into(),
            end = self.shell.let_go() => end.into(),
            end = self.watch(words, clocks) => end.into(),
            end = stay(self.app.options.heartbeat, || self.may_stay()) => end.into(),
            () = sleep_until(clocks.begun + self.app.options.shell_time) => ShellEnd::TimeLimit.into(),
        }
    }

    /// What the person's side says.
    async fn hear(
        &self,
        from: &mut ReadHalf<Socket>,
        words: &mpsc::Sender<Event>,
        typed: mpsc::Sender<Vec<u8>>,
        clocks: &Clocks,
    ) -> Over {
        let mut inlet = Inlet::within(Sender::Program, SHELL_MESSAGE_BYTES_MAX);
        let mut room = vec![0; READ_BYTES];
        loop {
            let event = match inlet.take() {
                Ok(event) => event,
                Err(violation) => return Over(ShellEnd::InvalidMessage, Some(violation.close_code())),
            };
            let Some(event) = event else {
                match from.read(&mut room).await {
                    Ok(count @ 1..) => inlet.push(&room[..count]),
                    _ => return ShellEnd::Disconnected.into(),
                }
                clocks.note(&clocks.heard);
                continue;
            };
            match event {
                Event::Message(Kind::Binary, bytes) => {
                    clocks.note(&clocks.moved);
                    clocks.is_deaf.store(true, Ordering::Relaxed);
                    // The typist ends only with all of it.
                    let _ = typed.send(bytes).await;
                    clocks.note(&clocks.heard);
                    clocks.is_deaf.store(false, Ordering::Relaxed);
                }
                Event::Message(Kind::Text, text) => {
                    if let Err(end) = self.obey(text).await {
                        return end.into();
                    }
                }
                Event::Ping(payload) => {
                    if words.send(Event::Pong(payload)).await.is_err() {
                        return ShellEnd::Disconnected.into();
                    }
                }
                Event::Pong(_) => {}
                Event::Close(..) => return ShellEnd::Closed.into(),
            }
        }
    }

    async fn obey(&self, text: Vec<u8>) -> Result<(), ShellEnd> {
        let value = json::parse(&text).map_err(|_| ShellEnd::InvalidMessage)?;
        match serde_json::from_value(value).map_err(|_| ShellEnd::InvalidMessage)? {
            Said::Resize { columns, rows } => self.shell.resize(columns, rows).await,
            Said::Close {} => Err(ShellEnd::Closed),
        }
    }

    /// Types what was said, one message after the other.
    async fn types(&self, mut typing: mpsc::Receiver<Vec<u8>>, clocks: &Clocks) -> ShellEnd {
        while let Some(bytes) = typing.recv().await {
            if let Err(end) = self.shell.types(&bytes, self.app.options.shell_idle).await {
                return end;
            }
            clocks.note(&clocks.moved);
        }
        // Whoever said it is gone: that is told elsewhere.
        std::future::pending().await
    }

    /// What the terminal shows. The first piece of it that was said to be the last is.
    async fn show(&self, words: &mpsc::Sender<Event>, clocks: &Clocks) -> ShellEnd {
        loop {
            let shown = match self.shell.shown().await {
                Ok(shown) => shown,
                Err(end) => return end,
            };
            if !shown.text.is_empty() {
                clocks.note(&clocks.moved);
                let event = Event::Message(Kind::Binary, shown.text.into_bytes());
                if words.send(event).await.is_err() {
                    return ShellEnd::Disconnected;
                }
            }
            if let Some(exit) = shown.exit {
                return ShellEnd::Exited(exit);
            }
        }
    }

    /// Whether the key may still open shells.
    async fn may_stay(&self) -> Result<bool, Error> {
        match self.app.platform.authenticate(&self.bearer).await {
            Ok(principal) => Ok(principal.require(Scope::RunsShell).is_ok()),
            Err(Error::Unauthenticated { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// At every heartbeat: a ping, whether anybody is there, whether anything happens. Waits for nothing else.
    async fn watch(&self, words: &mpsc::Sender<Event>, clocks: &Clocks) -> ShellEnd {
        let options = &self.app.options;
        loop {
            sleep(options.heartbeat.min(options.shell_idle)).await;
            if let Some(end) = clocks.end(options.heartbeat, options.shell_idle) {
                return end;
            }
            // A socket with something to take already has no need of a ping.
            let _ = words.try_send(Event::Ping(Vec::new()));
        }
    }
}

/// Asks at every heartbeat whether the key is still good, each time for as long at most. A failure says nothing about it; several in a
/// row are a key that nobody can speak for.
async fn stay<F>(beat: Duration, may: impl Fn() -> F) -> ShellEnd
where
    F: Future<Output = Result<bool, Error>>,
{
    let mut failures = 0;
    while failures < SHELL_UNCHECKED_BEATS_MAX {
        sleep(beat).await;
        match timeout(beat, may()).await {
            Ok(Ok(true)) => failures = 0,
            Ok(Ok(false)) => return ShellEnd::Revoked,
            Ok(Err(_)) | Err(_) => failures += 1,
        }
    }
    ShellEnd::Unchecked
}

/// How long the last words may wait to be taken. What a program showed before it ended is waited for like all it showed, unless the
/// server stops.
async fn patience(end: ShellEnd, stall: Duration, draining: &CancellationToken) {
    if matches!(end, ShellEnd::Exited(_)) {
        tokio::select! {
            () = sleep(stall) => return,
            () = draining.cancelled() => {}
        }
    }
    sleep(CLOSING).await;
}

/// Says the last words while it hears what still comes, then waits for the other side's end. Who does not take them in time goes
/// without.
async fn part(saying: impl Future<Output = ()>, hearing: impl Future<Output = ()>, patience: impl Future<Output = ()>) {
    tokio::pin!(saying, hearing, patience);
    let mut is_heard = false;
    loop {
        tokio::select! {
            biased;
            () = &mut saying => break,
            () = &mut hearing, if !is_heard => is_heard = true,
            () = &mut patience => return,
        }
    }
    if !is_heard {
        let _ = timeout(CLOSING, hearing).await;
    }
}

fn control(value: &serde_json::Value) -> Event {
    Event::Message(Kind::Text, value.to_string().into_bytes())
}

/// Writes what is said; after a close nothing follows.
async fn write(mut to: impl AsyncWrite + Unpin, mut said: mpsc::Receiver<Event>) {
    while let Some(event) = said.recv().await {
        let Some(bytes) = ws::encoded(&event, Sender::Upstream) else { return };
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
        if matches!(event, Event::Close(..)) {
            let _ = to.shutdown().await;
            return;
        }
    }
}

/// Waits for the other side's end, and throws away what comes before it.
async fn drain(from: &mut (impl AsyncRead + Unpin), is_done: bool) {
    let (mut left, mut room) = (if is_done { 0 } else { CLOSING_BYTES_MAX }, vec![0; READ_BYTES]);
    while left > 0 {
        match from.read(&mut room).await {
            Ok(count @ 1..) => left = left.saturating_sub(count),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests;
