//! Terminals in a sandbox: opened, typed into, looked at, resized, closed; each lasts until its sandbox does.
//!
//! What a terminal showed is kept by the guest, up to a limit, and asked for by offset: this process holds no more of it than one
//! answer. Every byte is hostile, and so is the guest: `livery_guest::wire::terminal::Ledger` holds it to what was asked, and one
//! that breaks the books loses its sandbox. Nothing here makes the bytes fit for a person's terminal; who shows them does.
//! Read next: `livery-guest`'s `terminal.rs`, the other side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use livery_guest::wire::flow::Grant;
use livery_guest::wire::message::{Done, Outcome};
use livery_guest::wire::terminal::{Ledger, Open, Output};
use livery_guest::wire::{self, Kind};
use tokio::sync::{Notify, oneshot};

use super::channel::Channel;
use super::exec::{absolute, environment};
use super::sandbox::Sandbox;
use crate::error::Error;

pub use livery_guest::wire::terminal::{READ_BYTES_MAX, RING_BYTES, SIDE_MAX, Size, TERMINALS_MAX};

/// How long a guest may take to start the program.
const OPEN_MAX: Duration = Duration::from_secs(10);

/// A program to start before a terminal.
#[derive(Clone, Debug)]
pub struct TerminalSpec {
    /// Program and arguments. A program without `/` is looked up in `PATH`.
    pub argv: Vec<String>,
    /// Absolute, or below `/workspace`. Default `/workspace`.
    pub cwd: Option<String>,
    /// On top of the sandbox's environment, and of `TERM=xterm-256color`.
    pub env: Vec<(String, String)>,
    /// How large it begins.
    pub size: Size,
    /// Whether it only passes bytes on, for programs that feed it: nothing is echoed or changed, and of all keys Ctrl-D alone
    /// does something: it ends the input.
    pub plain: bool,
}

impl TerminalSpec {
    /// A program before a terminal of 24 by 80.
    #[must_use]
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self { argv, cwd: None, env: Vec::new(), size: Size::default(), plain: false }
    }
}

/// How a terminal's program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It returned this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What a terminal showed from an offset on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where `bytes` begin. Later than was asked for: what lay between is lost.
    pub start: u64,
    /// As the program wrote them, at most [`READ_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// How the program ended, once all it showed is read.
    pub ended: Option<Ended>,
}

impl Shown {
    /// Where to read on.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }
}

/// One terminal. Dropping it hangs it up.
#[derive(Debug)]
pub struct Terminal {
    channel: Arc<Channel>,
    number: u32,
    pid: u32,
    end: Arc<End>,
    /// One question at a time: an answer to another one's would be nobody's.
    reading: tokio::sync::Mutex<()>,
    /// Two typists' bytes stay in the order they came.
    typing: tokio::sync::Mutex<()>,
}

impl Sandbox {
    /// Starts a program before a terminal of its own.
    ///
    /// # Errors
    /// It could not be started, or there are [`TERMINALS_MAX`] already ([`Error::Guest`]), the guest did not answer in 10 s
    /// ([`Error::Deadline`]; the sandbox stays), or the sandbox is gone.
    pub async fn terminal(&self, spec: TerminalSpec) -> Result<Terminal, Error> {
        let payload = self.opening(&spec)?;
        let channel = &self.inner.channel;
        let mut call = channel.open(0);
        let end = channel.terminals().open(call.number());
        let mut terminal = Terminal {
            channel: Arc::clone(channel),
            number: call.number(),
            pid: 0,
            end,
            reading: tokio::sync::Mutex::default(),
            typing: tokio::sync::Mutex::default(),
        };
        call.send(Kind::TerminalOpen, &payload).await?;
        let answer = match tokio::time::timeout(OPEN_MAX, call.next()).await {
            Ok(answer) => answer?,
            // A sandbox may be too busy to answer: that is no reason to end what works in it. What it opens later is closed by
            // the terminal's drop.
            Err(_) => return Err(Error::Deadline("starting a program before a terminal")),
        };
        if answer.kind != Kind::Done {
            return Err(call.rubbish(wire::Error::Kind(answer.kind as u8)));
        }
        let done = Done::decode(&answer.payload).map_err(|error| call.rubbish(error))?;
        terminal.pid = u32::try_from(done.total).map_err(|_| call.rubbish(wire::Error::Malformed))?;
        Ok(terminal)
    }

    fn opening(&self, spec: &TerminalSpec) -> Result<Vec<u8>, Error> {
        let invalid = |what: &str| Error::Invalid(what.to_owned());
        let own = [("TERM".to_owned(), "xterm-256color".to_owned())];
        let own: Vec<_> = own.into_iter().chain(spec.env.iter().cloned()).collect();
        let open = Open {
            argv: spec.argv.iter().map(|argument| argument.clone().into_bytes()).collect(),
            env: environment(&self.inner.spec.env, &own),
            cwd: absolute(spec.cwd.as_deref().unwrap_or("/workspace"))?,
            size: checked(spec.size)?,
            plain: spec.plain,
        };
        if open.argv.is_empty() || open.argv.iter().chain(&open.env).any(|s| s.contains(&0)) {
            return Err(invalid("a terminal needs a program, and no NUL in its arguments or environment"));
        }
        open.encode().map_err(|_| invalid("arguments and environment are too long (64 KiB, 1024 entries)"))
    }
}

/// A size a guest takes.
fn checked(size: Size) -> Result<Size, Error> {
    let fits = |side: u16| (1..=SIDE_MAX).contains(&side);
    if fits(size.rows) && fits(size.columns) {
        Ok(size)
    } else {
        Err(Error::Invalid(format!("a terminal has 1 to {SIDE_MAX} rows and columns")))
    }
}

impl Terminal {
    /// The process number of its program, as the guest says.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// What it showed from `offset` on, as soon as that is something, or its program has ended. `None`: nothing within `patience`.
    /// A question asked while another waits waits for that one's answer first. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The sandbox is gone.
    pub async fn read(&self, offset: u64, limit: u32, patience: Duration) -> Result<Option<Shown>, Error> {
        let ask = async {
            let _one = self.reading.lock().await;
            let (request, answer) = self.end.ask(offset, limit);
            self.channel.send(Kind::TerminalRead, self.number, &request).await?;
            match answer.await {
                Ok(shown) => Ok(shown),
                Err(_) => Err(self.channel.reason().await),
            }
        };
        tokio::time::timeout(patience, ask).await.map_or(Ok(None), |shown| shown.map(Some))
    }

    /// Types bytes, waiting while the program does not take them.
    ///
    /// # Errors
    /// The program took too little for `patience` ([`Error::Deadline`]; a part may have been typed), or the sandbox is gone.
    pub async fn write(&self, bytes: &[u8], patience: Duration) -> Result<(), Error> {
        let typed = async {
            let _one = self.typing.lock().await;
            let mut left = bytes;
            while !left.is_empty() {
                let room = self.end.types(left.len()).await?;
                let (now, later) = left.split_at(room);
                self.channel.send(Kind::TerminalInput, self.number, now).await?;
                left = later;
            }
            Ok(())
        };
        match tokio::time::timeout(patience, typed).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Typing::Over)) => Err(self.channel.reason().await),
            Ok(Err(Typing::Failed(error))) => Err(error),
            Err(_) => Err(Error::Deadline("typing into a terminal")),
        }
    }

    /// Says how large it is now.
    ///
    /// # Errors
    /// A side is out of range, or the sandbox is gone.
    pub async fn resize(&self, size: Size) -> Result<(), Error> {
        self.channel.send(Kind::TerminalResize, self.number, &checked(size)?.encode()).await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.channel.terminals().forget(self.number);
        self.channel.send_soon(Kind::TerminalClose, self.number, &[]);
    }
}

/// Why nothing more is typed.
enum Typing {
    Over,
    Failed(Error),
}

impl From<Error> for Typing {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Every terminal of one sandbox that is open here.
#[derive(Debug, Default)]
pub(crate) struct Terminals {
    ends: Mutex<HashMap<u32, Arc<End>>>,
}

/// This side of one terminal.
#[derive(Debug, Default)]
pub(super) struct End {
    state: Mutex<State>,
    /// Rung when there is room again, and when there never will be.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    waits: Option<oneshot::Sender<Shown>>,
    over: bool,
}

/// A panic while it was held left it whole: every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Terminals {
    pub(super) fn open(&self, number: u32) -> Arc<End> {
        let end = Arc::new(End::default());
        lock(&self.ends).insert(number, Arc::clone(&end));
        end
    }

    fn forget(&self, number: u32) {
        lock(&self.ends).remove(&number);
    }

    /// Takes a frame of the guest's. Never waits, and keeps at most one answer of each terminal.
    pub(crate) fn receive(&self, frame: wire::Frame<'_>) -> Result<(), wire::Error> {
        // Closed here, while the guest was still speaking.
        let Some(end) = lock(&self.ends).get(&frame.stream).cloned() else { return Ok(()) };
        if frame.kind == Kind::TerminalOutput { end.shown(frame.payload) } else { end.granted(frame.payload) }
    }

    /// The sandbox is gone: nobody waits any more.
    pub(crate) fn close(&self) {
        for (_, end) in lock(&self.ends).drain() {
            let mut state = lock(&end.state);
            state.over = true;
            state.waits = None;
            drop(state);
            end.room.notify_waiters();
        }
    }
}

impl End {
    fn ask(&self, offset: u64, limit: u32) -> (Vec<u8>, oneshot::Receiver<Shown>) {
        let (answer, shown) = oneshot::channel();
        let mut state = lock(&self.state);
        if !state.over {
            state.waits = Some(answer);
        }
        (state.ledger.asks(offset, limit).encode(), shown)
    }

    fn shown(&self, payload: &[u8]) -> Result<(), wire::Error> {
        let mut state = lock(&self.state);
        let Some(Output { start, ended, bytes, .. }) = state.ledger.answers(payload)? else { return Ok(()) };
        let ended = match ended {
            Some(Outcome::Code(code)) => Some(Ended::Code(code)),
            Some(Outcome::Signal(signal)) => Some(Ended::Signal(signal)),
            Some(Outcome::Background(_)) | None => None,
        };
        if let Some(waits) = state.waits.take() {
            // Who gave up waiting asks again, for the same offset.
            let _ = waits.send(Shown { start, bytes: bytes.to_vec(), ended });
        }
        Ok(())
    }

    fn granted(&self, payload: &[u8]) -> Result<(), wire::Error> {
        lock(&self.state).ledger.granted(Grant::decode(payload)?.bytes)?;
        self.room.notify_waiters();
        Ok(())
    }

    /// Waits until at least one byte may be typed and books as many as may, up to `wanted`.
    async fn types(&self, wanted: usize) -> Result<usize, Typing> {
        loop {
            let rung = self.room.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            {
                let mut state = lock(&self.state);
                if state.over {
                    return Err(Typing::Over);
                }
                let now = u32::try_from(wanted).unwrap_or(u32::MAX).min(state.ledger.room());
                if now > 0 && state.ledger.types(now) {
                    return Ok(usize::try_from(now).unwrap_or(0));
                }
            }
            rung.await;
        }
    }
}
