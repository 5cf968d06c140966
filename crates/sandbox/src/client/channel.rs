//! The stream to one guest: frames of many requests, sent by one task and received by another.
//!
//! What a guest sends is hostile. Each request says how many bytes it may be answered with; a guest that sends more, or
//! anything that is not a frame, is cut off and its sandbox killed. So memory is bounded by what was asked for.
//! Read next: `sandbox.rs`.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use livery_guest::wire::message::{Failure, Hello};
use livery_guest::wire::{self, Decoder, Kind, Side, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

use super::control::{Control, LossSender, tell_loss};
use super::relay::Flows;
use super::terminal::Terminals;
use crate::error::{Error, Lost, LostReason};
use crate::protocol::Request;

/// Frames waiting to be written.
const FRAMES_MAX: usize = 64;
/// One read from the socket.
const READ_BYTES: usize = 32 * 1024;
/// What a frame costs in memory beside its payload.
const FRAME_COST: u64 = 64;
/// After the stream's end: how long the launcher may take to say why.
const REASON_WAIT: Duration = Duration::from_secs(3);

/// One frame of an answer.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    pub(crate) payload: Vec<u8>,
}

struct Stream {
    events: mpsc::UnboundedSender<Event>,
    /// Bytes this request may still be answered with.
    left: u64,
}

/// The host's end of a sandbox's channel.
pub(crate) struct Channel {
    frames: mpsc::Sender<Vec<u8>>,
    streams: Arc<Mutex<HashMap<u32, Stream>>>,
    flows: Arc<Flows>,
    terminals: Arc<Terminals>,
    next: AtomicU32,
    lost: watch::Receiver<Option<Lost>>,
    loss: LossSender,
    reader: tokio::task::JoinHandle<()>,
    writer: tokio::task::JoinHandle<()>,
}

impl Channel {
    /// Takes over the descriptor the launcher handed out.
    pub(crate) fn start(fd: OwnedFd, id: &str, control: Control, loss: LossSender) -> io::Result<Self> {
        let stream = std::os::unix::net::UnixStream::from(fd);
        stream.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(stream)?.into_split();
        let (frames, waiting) = mpsc::channel(FRAMES_MAX);
        let streams = Arc::new(Mutex::new(HashMap::new()));
        let flows = Arc::new(Flows::new(frames.clone()));
        let terminals = Arc::new(Terminals::default());
        let lost = loss.subscribe();
        let receiver = Receiver {
            read,
            streams: Arc::clone(&streams),
            flows: Arc::clone(&flows),
            terminals: Arc::clone(&terminals),
            loss: loss.clone(),
            lost: lost.clone(),
            control,
            id: id.to_owned(),
        };
        let reader = tokio::spawn(receiver.run());
        let writer = tokio::spawn(write_frames(write, waiting));
        Ok(Self { frames, streams, flows, terminals, next: AtomicU32::new(1), lost, loss, reader, writer })
    }

    /// Resolves when the sandbox is lost.
    pub(crate) fn lost(&self) -> watch::Receiver<Option<Lost>> {
        self.lost.clone()
    }

    /// Says that it is lost, for a reason found on this side.
    pub(crate) fn give_up(&self, lost: Lost) {
        tell_loss(&self.loss, lost);
    }

    /// The connections the guest carries.
    pub(crate) const fn flows(&self) -> &Arc<Flows> {
        &self.flows
    }

    /// The terminals that are open.
    pub(crate) fn terminals(&self) -> &Terminals {
        &self.terminals
    }

    /// Opens a stream that may be answered with `bytes_max` bytes of payload.
    #[expect(clippy::disallowed_methods, reason = "bounded in bytes: `left` is checked before each send")]
    pub(crate) fn open(self: &Arc<Self>, bytes_max: u64) -> Call {
        let stream = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::unbounded_channel();
        // Small frames cost more than they carry: leave room for the polite ones.
        let left = bytes_max.saturating_mul(2).saturating_add(256 * 1024);
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        // After a loss nothing more is dispatched; an entry then would never be closed.
        if self.lost.borrow().is_none() {
            streams.insert(stream, Stream { events: sender, left });
        }
        drop(streams);
        Call { channel: Arc::clone(self), stream, events, done: false, kill_on_drop: false }
    }

    /// Why the sandbox is gone, waiting a little for the launcher's word.
    pub(crate) async fn reason(&self) -> Error {
        let mut lost = self.lost.clone();
        let told = tokio::time::timeout(REASON_WAIT, lost.wait_for(Option::is_some)).await;
        let reason = told.ok().and_then(Result::ok).and_then(|lost| lost.clone());
        Error::Lost(reason.unwrap_or_else(|| Lost::new(LostReason::GuestExited, "its channel closed")))
    }

    pub(crate) async fn send(&self, kind: Kind, stream: u32, payload: &[u8]) -> Result<(), Error> {
        let mut frame = Vec::with_capacity(payload.len() + wire::HEADER_BYTES);
        wire::encode(&mut frame, kind, stream, payload);
        if self.frames.send(frame).await.is_err() {
            return Err(self.reason().await);
        }
        Ok(())
    }

    /// Sends a last word for somebody who cannot wait.
    pub(crate) fn send_soon(&self, kind: Kind, stream: u32, payload: &[u8]) {
        let mut frame = Vec::new();
        wire::encode(&mut frame, kind, stream, payload);
        if let Err(mpsc::error::TrySendError::Full(frame)) = self.frames.try_send(frame)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let frames = self.frames.clone();
            runtime.spawn(async move { frames.send(frame).await });
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
        self.flows.close();
        self.terminals.close();
    }
}

/// One request under way. Dropping it unfinished forgets its answer and, where asked, kills its command.
pub(crate) struct Call {
    channel: Arc<Channel>,
    stream: u32,
    events: mpsc::UnboundedReceiver<Event>,
    done: bool,
    kill_on_drop: bool,
}

impl Call {
    /// A command must not outlive the one who waits for it.
    pub(crate) const fn kill_on_drop(&mut self) {
        self.kill_on_drop = true;
    }

    /// Which of the channel's it is.
    pub(crate) const fn number(&self) -> u32 {
        self.stream
    }

    pub(crate) async fn send(&self, kind: Kind, payload: &[u8]) -> Result<(), Error> {
        self.channel.send(kind, self.stream, payload).await
    }

    /// The next frame of the answer. A failure frame is an error, and the last one.
    pub(crate) async fn next(&mut self) -> Result<Event, Error> {
        let Some(event) = self.events.recv().await else {
            self.done = true;
            return Err(self.channel.reason().await);
        };
        if matches!(event.kind, Kind::Exit | Kind::Done | Kind::Failed | Kind::Running) {
            self.done = true;
        }
        if event.kind == Kind::Failed {
            let failure = Failure::decode(&event.payload).map_err(|error| self.rubbish(error))?;
            return Err(Error::Guest { errno: failure.errno, reason: failure.reason });
        }
        Ok(event)
    }

    /// The guest broke the protocol: the sandbox is given up.
    pub(crate) fn rubbish(&self, error: wire::Error) -> Error {
        let lost = protocol_lost(error);
        self.channel.give_up(lost.clone());
        Error::Lost(lost)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.channel.streams.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.stream);
        if self.done || !self.kill_on_drop {
            return;
        }
        self.channel.send_soon(Kind::Signal, self.stream, &libc::SIGKILL.to_le_bytes());
    }
}

fn protocol_lost(error: wire::Error) -> Lost {
    Lost::new(LostReason::Protocol, format!("its guest broke the protocol: {error}"))
}

async fn write_frames(mut write: OwnedWriteHalf, mut waiting: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = waiting.recv().await {
        if write.write_all(&frame).await.is_err() {
            break;
        }
    }
}

struct Receiver {
    read: OwnedReadHalf,
    streams: Arc<Mutex<HashMap<u32, Stream>>>,
    flows: Arc<Flows>,
    terminals: Arc<Terminals>,
    loss: LossSender,
    lost: watch::Receiver<Option<Lost>>,
    control: Control,
    id: String,
}

impl Receiver {
    async fn run(mut self) {
        let outcome = self.receive().await;
        if let Err(error) = outcome {
            // Nothing more is heard from it, and it hears nothing more.
            let _ = rustix::net::shutdown(self.read.as_ref(), rustix::net::Shutdown::Both);
            tell_loss(&self.loss, protocol_lost(error));
            self.control.tell(Request::Kill { id: self.id.clone() });
        } else {
            // The stream ended: the launcher knows why.
            let told = tokio::time::timeout(REASON_WAIT, self.lost.wait_for(Option::is_some)).await.is_ok();
            if !told {
                tell_loss(&self.loss, Lost::new(LostReason::GuestExited, "its guest closed the channel"));
                self.control.tell(Request::Kill { id: self.id.clone() });
            }
        }
        // Ends every request that waits. A loss is told first, so that none is opened after this.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.flows.close();
        self.terminals.close();
    }

    async fn receive(&mut self) -> Result<(), wire::Error> {
        let mut decoder = Decoder::new(Side::Host);
        let mut buffer = vec![0; READ_BYTES];
        let mut greeted = false;
        loop {
            let count = match self.read.read(&mut buffer).await {
                Ok(0) | Err(_) => return Ok(()),
                Ok(count) => count,
            };
            decoder.push(&buffer[..count]);
            while let Some(frame) = decoder.next()? {
                if greeted {
                    self.dispatch(frame)?;
                } else {
                    greet(frame)?;
                    greeted = true;
                }
            }
        }
    }

    /// Gives a frame to whoever asked; answers to forgotten requests are dropped.
    fn dispatch(&self, frame: wire::Frame<'_>) -> Result<(), wire::Error> {
        if frame.kind.is_of_flow() {
            return self.flows.receive(frame);
        }
        if frame.kind.is_of_terminal() {
            return self.terminals.receive(frame);
        }
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if frame.kind == Kind::Hello {
            return Err(wire::Error::Malformed);
        }
        let Some(stream) = streams.get_mut(&frame.stream) else { return Ok(()) };
        let cost = frame.payload.len() as u64 + FRAME_COST;
        stream.left = stream.left.checked_sub(cost).ok_or(wire::Error::TooLong)?;
        // A receiver that is gone is removed by its own drop.
        let _ = stream.events.send(Event { kind: frame.kind, payload: frame.payload.to_vec() });
        Ok(())
    }
}

fn greet(frame: wire::Frame<'_>) -> Result<(), wire::Error> {
    if frame.kind == Kind::Hello && frame.stream == 0 && Hello::decode(frame.payload)?.version == u32::from(VERSION) {
        Ok(())
    } else {
        Err(wire::Error::Malformed)
    }
}

#[cfg(test)]
mod tests;
