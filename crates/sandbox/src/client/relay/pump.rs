//! Carries the bytes of one flow between its stream and the frames of the channel, with a limit on every wait.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use livery_guest::wire::flow::{FLOW_FRAME_BYTES, Grant};
use livery_guest::wire::{self, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Flows;

/// No byte either way for this long ends a flow.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// A program that takes nothing of what waits for it for this long is cut off.
const SLOW_MAX: Duration = Duration::from_secs(30);
/// How long a flow that was ended in order may take to be closed inside.
const LINGER_MAX: Duration = Duration::from_secs(30);

/// What came from the guest and is not carried on yet. Bounded by the window.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<Waiting>,
    came: Notify,
    granted: Notify,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    ended: bool,
    moved: Option<Instant>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, bytes: &[u8]) {
        let mut waiting = self.lock();
        waiting.bytes.extend_from_slice(bytes);
        waiting.moved = Some(Instant::now());
        drop(waiting);
        self.came.notify_one();
    }

    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.came.notify_one();
    }

    pub(super) fn granted(&self) {
        self.lock().moved = Some(Instant::now());
        self.granted.notify_one();
    }

    /// The bytes that wait, `None` after the last.
    async fn next(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut waiting = self.lock();
                if !waiting.bytes.is_empty() {
                    return Some(mem::take(&mut waiting.bytes));
                }
                if waiting.ended {
                    return None;
                }
            }
            self.came.notified().await;
        }
    }

    /// Resolves when nothing has moved for [`IDLE_MAX`].
    async fn idle(&self) {
        let begun = Instant::now();
        loop {
            let until = self.lock().moved.unwrap_or(begun) + IDLE_MAX;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// One flow's carrier.
pub(super) struct Pump {
    pub(super) flows: Arc<Flows>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) number: u32,
}

impl Pump {
    /// Carries until both directions have ended, the stream was dropped, or a limit is reached; then cuts what is left. The
    /// guest's own close ends this task from outside.
    pub(super) async fn run(self, stream: DuplexStream, is_cut: oneshot::Receiver<()>) {
        let (read, write) = tokio::io::split(stream);
        let both = async { tokio::join!(self.inward(write), self.outward(read)).1 };
        let left = async {
            if is_cut.await.is_err() {
                sleep(LINGER_MAX).await;
            }
        };
        let finished = tokio::select! {
            finished = both => finished,
            () = left => false,
            () = self.inbox.idle() => false,
        };
        // Ended in order on both sides: the guest closes by itself.
        if !finished && self.flows.lock().ledger.ends(self.number) {
            self.send(Kind::FlowCut, &[]).await;
        }
    }

    /// From the guest to the stream. A stream that is gone takes all: the bytes are granted and dropped.
    async fn inward(&self, mut stream: WriteHalf<DuplexStream>) {
        while let Some(bytes) = self.inbox.next().await {
            let _ = stream.write_all(&bytes).await;
            let bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            if !self.flows.lock().ledger.consumed(self.number, bytes) {
                return;
            }
            self.send(Kind::FlowGrant, &Grant { bytes }.encode()).await;
        }
        let _ = stream.shutdown().await;
    }

    /// From the stream to the guest. `false`: it could not all be sent.
    async fn outward(&self, mut stream: ReadHalf<DuplexStream>) -> bool {
        let mut buffer = vec![0; FLOW_FRAME_BYTES];
        loop {
            let Ok(count) = stream.read(&mut buffer).await else { return false };
            if count == 0 {
                break;
            }
            let mut left = &buffer[..count];
            while !left.is_empty() {
                let Some(sent) = self.send_some(left).await else { return false };
                left = &left[sent..];
            }
        }
        if self.flows.lock().ledger.ends(self.number) {
            self.send(Kind::FlowWriteEnd, &[]).await;
        }
        true
    }

    /// Sends what the guest's window takes, waiting for one.
    async fn send_some(&self, bytes: &[u8]) -> Option<usize> {
        let room = timeout(SLOW_MAX, self.room()).await.ok()??;
        let count = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if !self.flows.lock().ledger.sends(self.number, u32::try_from(count).unwrap_or(u32::MAX)) {
            return None;
        }
        self.send(Kind::FlowWrite, &bytes[..count]).await;
        Some(count)
    }

    async fn room(&self) -> Option<u32> {
        loop {
            let room = self.flows.lock().ledger.room(self.number)?;
            if room > 0 {
                return Some(room);
            }
            self.inbox.granted.notified().await;
        }
    }

    /// A channel that is gone ends this task with it.
    async fn send(&self, kind: Kind, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + wire::HEADER_BYTES);
        wire::encode(&mut frame, kind, self.number, payload);
        let _ = self.flows.frames.send(frame).await;
    }
}
