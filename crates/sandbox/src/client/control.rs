//! The conversation with the launcher: requests out, answers and losses in, by one task.
//!
//! Read next: `mod.rs`, which asks.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{Error, Lost, LostReason};
use crate::protocol::{Answer, Envelope, Message, Refusal, Request};
use crate::socket;

/// Requests waiting to be sent.
const ORDERS_MAX: usize = 4096;

/// A loss is told once; the first reason stands.
pub(crate) type LossSender = watch::Sender<Option<Lost>>;

/// What comes back: the answer, and the descriptor that came with it.
type Reply = Result<(Answer, Option<OwnedFd>), Error>;

struct Order {
    request: Request,
    reply: oneshot::Sender<Reply>,
}

/// Asks the launcher. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Control {
    orders: mpsc::Sender<Order>,
    losses: Arc<Mutex<HashMap<String, LossSender>>>,
}

impl Control {
    /// Starts the task that owns the socket.
    pub(crate) fn start(socket: OwnedFd) -> io::Result<(Self, tokio::task::JoinHandle<()>)> {
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let losses = Arc::new(Mutex::new(HashMap::new()));
        // SAFETY: an `OwnedFd` always answers the same open descriptor, and nothing else closes it.
        let socket = unsafe { AsyncFd::register(socket) }?;
        let (pending, losses_told) = (HashMap::new(), Arc::clone(&losses));
        let task = Task { socket, orders: received, pending, losses: losses_told, seq: 0, void_up_to: 0 };
        Ok((Self { orders, losses }, tokio::spawn(task.run())))
    }

    /// Sends a request and waits for its answer, at most `deadline`.
    pub(crate) async fn ask(&self, request: Request, what: &'static str, deadline: Duration) -> Reply {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.orders.send(Order { request, reply }).await.map_err(|_| Error::LauncherGone)?;
            answer.await.map_err(|_| Error::LauncherGone)?
        };
        tokio::time::timeout(deadline, asked).await.map_err(|_| Error::Deadline(what))?
    }

    /// Sends a request whose answer nobody waits for.
    pub(crate) fn tell(&self, request: Request) {
        let (reply, _) = oneshot::channel();
        if let Err(mpsc::error::TrySendError::Full(order)) = self.orders.try_send(Order { request, reply })
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let orders = self.orders.clone();
            runtime.spawn(async move { orders.send(order).await });
        }
    }

    /// Whether nobody will answer any more.
    pub(crate) fn is_over(&self) -> bool {
        self.orders.is_closed()
    }

    /// From now on a loss of this sandbox is told to `sender`.
    pub(crate) fn watch(&self, id: &str, sender: LossSender) {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), sender);
    }
}

impl Control {
    /// Nothing of that id came to be.
    pub(crate) fn forget(&self, id: &str) {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// Tells a loss, unless one was told before.
pub(crate) fn tell_loss(sender: &LossSender, lost: Lost) {
    sender.send_if_modified(|told| {
        let first = told.is_none();
        if first {
            *told = Some(lost);
        }
        first
    });
}

struct Task {
    socket: AsyncFd<OwnedFd>,
    orders: mpsc::Receiver<Order>,
    pending: HashMap<u64, oneshot::Sender<Reply>>,
    losses: Arc<Mutex<HashMap<String, LossSender>>>,
    /// The number of the last request.
    seq: u64,
    /// Requests up to this one went to a launcher that died.
    void_up_to: u64,
}

impl Task {
    async fn run(mut self) {
        loop {
            let Self { socket, orders, .. } = &mut self;
            tokio::select! {
                order = orders.recv() => {
                    let Some(Order { request, reply }) = order else { break };
                    self.seq += 1;
                    self.pending.insert(self.seq, reply);
                    if self.send(self.seq, request).await.is_err() {
                        break;
                    }
                }
                received = socket.async_io(tokio::io::Interest::READABLE, |fd| socket::receive(fd.as_fd())) => {
                    match received {
                        Ok(Some(packet)) => {
                            if self.heard(&packet.bytes, packet.fd).is_none() {
                                break;
                            }
                        }
                        Ok(None) | Err(_) => break,
                    }
                }
            }
        }
        self.end();
    }

    async fn send(&self, seq: u64, request: Request) -> io::Result<()> {
        let bytes = serde_json::to_vec(&Envelope { seq, request })?;
        self.socket.async_io(tokio::io::Interest::WRITABLE, |fd| socket::send(fd.as_fd(), &bytes, None)).await
    }

    /// `None`: the launcher speaks rubbish.
    fn heard(&mut self, bytes: &[u8], fd: Option<OwnedFd>) -> Option<()> {
        match serde_json::from_slice(bytes).ok()? {
            Message::Answer { seq, answer } => {
                // Whoever asked may have given up; a channel nobody takes closes here, which ends its guest.
                self.answer(seq, Ok((answer, fd)))?;
            }
            Message::Refused { seq, refusal } => self.answer(seq, Err(refusal.into()))?,
            Message::Lost { id, reason, detail } => {
                let sender = self.losses.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                if let Some(sender) = sender {
                    tell_loss(&sender, Lost::new(reason, detail));
                }
            }
            Message::Died { how } => {
                tracing::error!(target: "livery::launcher", "the launcher died ({how}); another one is started");
                self.void_up_to = self.seq;
                self.end();
            }
            Message::Log { warning: true, text } => tracing::warn!(target: "livery::launcher", "{text}"),
            Message::Log { warning: false, text } => tracing::info!(target: "livery::launcher", "{text}"),
        }
        Some(())
    }

    /// `None`: nobody asked.
    fn answer(&mut self, seq: u64, reply: Reply) -> Option<()> {
        match self.pending.remove(&seq) {
            Some(asker) => drop(asker.send(reply)),
            // It was read by the next launcher just before the death of the one before it was told.
            None if seq <= self.void_up_to => {}
            None => return None,
        }
        Some(())
    }

    /// The launcher is gone, and with it every sandbox.
    fn end(&mut self) {
        let losses = std::mem::take(&mut *self.losses.lock().unwrap_or_else(PoisonError::into_inner));
        for sender in losses.into_values() {
            tell_loss(&sender, Lost::new(LostReason::LauncherGone, "the launcher process ended"));
        }
        for (_, reply) in self.pending.drain() {
            let _ = reply.send(Err(Error::LauncherGone));
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid { detail } => Self::Invalid(detail),
            Refusal::Unknown => Self::Unknown,
            Refusal::Alive => Self::Alive,
            Refusal::Failed { step, detail } => Self::Start { step, detail },
            Refusal::Tier { tier, detail } => Self::Tier { tier, detail },
            Refusal::Full { detail } => Self::Full(detail),
        }
    }
}
