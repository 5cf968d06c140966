//! Connections from inside a sandbox, as streams in this process.
//!
//! Programs in the sandbox connect to a port the guest listens on; each connection arrives here as a [`Flow`]. Every byte of
//! one is hostile, and so is the guest: `livery_guest::wire::flow::Ledger` holds it to its windows, and one that breaks
//! them loses its sandbox. A flow keeps at most its two windows in memory, and a run at most
//! [`FLOWS_MAX`] flows. Nothing here exists before [`Sandbox::relay`] was called.
//!
//! Read next: `relay/pump.rs`.

mod pump;

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use livery_guest::wire::flow::{FLOW_WINDOW_BYTES, FLOWS_MAX, Ledger, Listen, Step};
use livery_guest::wire::{self, Kind};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{mpsc, oneshot};

use super::sandbox::Sandbox;
use crate::error::Error;
use pump::{Inbox, Pump};

/// How long a guest may take to listen.
const LISTEN_MAX: Duration = Duration::from_secs(10);
/// What a flow buffers between its two ends here, each way.
const BUFFER_BYTES: usize = FLOW_WINDOW_BYTES as usize;

/// The connections programs in one sandbox make.
#[derive(Debug)]
pub struct Relay {
    flows: mpsc::Receiver<Flow>,
}

impl Relay {
    /// The next connection. `None`: the sandbox is gone.
    pub async fn accept(&mut self) -> Option<Flow> {
        self.flows.recv().await
    }
}

/// One connection of a program in a sandbox. Shutting it down ends it in order: what was written still arrives. Dropping it
/// without cuts it.
#[derive(Debug)]
pub struct Flow {
    stream: DuplexStream,
    finished: bool,
    cut: Option<oneshot::Sender<()>>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        if !self.finished
            && let Some(cut) = self.cut.take()
        {
            // The other end is gone when the sandbox is.
            let _ = cut.send(());
        }
    }
}

impl AsyncRead for Flow {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Flow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Sandbox {
    /// Lets programs in the sandbox connect to `127.0.0.1:port`, and answers what they send here. Call it before the first
    /// command, which could take the port. `None`: the sandbox has its relay already, in other hands.
    ///
    /// # Errors
    /// The port is taken ([`Error::Guest`]), or the sandbox is gone.
    pub async fn relay(&self, port: u16) -> Result<Option<Relay>, Error> {
        let (sender, flows) = mpsc::channel(FLOWS_MAX);
        if !self.inner.channel.flows().accept_into(sender) {
            return Ok(None);
        }
        let mut call = self.inner.channel.open(0);
        call.send(Kind::Listen, &Listen { port }.encode()).await?;
        match tokio::time::timeout(LISTEN_MAX, call.next()).await {
            Ok(answer) => answer.map(|_| Some(Relay { flows })),
            Err(_) => Err(self.silent().await),
        }
    }
}

/// Every flow of one sandbox.
pub(crate) struct Flows {
    frames: mpsc::Sender<Vec<u8>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    ends: HashMap<u32, End>,
    accepting: Accepting,
}

/// Who takes new flows.
#[derive(Default)]
enum Accepting {
    /// Nobody asked yet.
    #[default]
    NotYet,
    Into(mpsc::Sender<Flow>),
    /// The sandbox is gone.
    Over,
}

/// This side's end of one flow. Dropping it closes the stream.
struct End {
    inbox: Arc<Inbox>,
    pump: tokio::task::JoinHandle<()>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Flows {
    pub(crate) fn new(frames: mpsc::Sender<Vec<u8>>) -> Self {
        Self { frames, state: Mutex::default() }
    }

    /// A panic while it was held left it whole: every change is one step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn accept_into(&self, sender: mpsc::Sender<Flow>) -> bool {
        let mut state = self.lock();
        let free = matches!(state.accepting, Accepting::NotYet);
        if free {
            state.accepting = Accepting::Into(sender);
        }
        free
    }

    /// Takes a frame of the guest's. Never waits: what it leaves in memory is what the ledger allows.
    pub(crate) fn receive(self: &Arc<Self>, frame: wire::Frame<'_>) -> Result<(), wire::Error> {
        let mut state = self.lock();
        let number = frame.stream;
        match state.ledger.receive(frame.kind, number, frame.payload)? {
            Step::Opened => self.open(&mut state, number)?,
            Step::Read(bytes) => state.with(number, |inbox| inbox.push(bytes)),
            Step::ReadEnd => state.with(number, Inbox::end),
            Step::Granted(_) => state.with(number, Inbox::granted),
            Step::Closed => drop(state.ends.remove(&number)),
        }
        Ok(())
    }

    fn open(self: &Arc<Self>, state: &mut State, number: u32) -> Result<(), wire::Error> {
        let accepting = match &state.accepting {
            Accepting::Into(sender) => sender,
            Accepting::NotYet => return Err(wire::Error::Malformed),
            Accepting::Over => return Ok(()),
        };
        let (near, far) = tokio::io::duplex(BUFFER_BYTES);
        let (cut, is_cut) = oneshot::channel();
        let inbox = Arc::new(Inbox::default());
        // There are as many places as flows. Nobody takes them any more: dropped here, it is cut by its pump.
        let _ = accepting.try_send(Flow { stream: near, finished: false, cut: Some(cut) });
        let pump = Pump { flows: Arc::clone(self), inbox: Arc::clone(&inbox), number };
        let pump = tokio::spawn(pump.run(far, is_cut));
        state.ends.insert(number, End { inbox, pump });
        Ok(())
    }

    /// The sandbox is gone: every stream ends.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.accepting = Accepting::Over;
        state.ends.clear();
    }
}

impl State {
    fn with(&self, number: u32, act: impl FnOnce(&Inbox)) {
        if let Some(end) = self.ends.get(&number) {
            act(&end.inbox);
        }
    }
}
