//! Two sides and what goes between them, until one of them, a rule or a limit ends it.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::message::{Event, Inlet, Kind, Sender, Violation};
use super::{IDLE, MESSAGE_BYTES_MAX};
use crate::Error;
use crate::error::Phase;
use crate::proxy::placeholder::Finder;
use crate::scrub::{Framing, Matcher, Scrubber};
use crate::transport::{Finding, Place};

/// Things said that wait for the other side to take them. Each may be a whole message.
const WAITING_MAX: usize = 1;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// How long the last words may take to be said and answered.
const CLOSING: Duration = Duration::from_secs(2);
/// Bytes that are read and thrown away meanwhile.
const CLOSING_BYTES_MAX: u64 = 4 * MESSAGE_BYTES_MAX as u64;

/// A program's side: its stream after the `101`.
pub type Stream = Pin<Box<dyn Duplex>>;

/// A stream both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The program in the sandbox.
    Program,
    /// Whom it talks to.
    Upstream,
}

/// How it came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// One side said its last word.
    Closed(Side),
    /// One side is gone without one.
    Gone(Side),
    /// One side broke the protocol or a limit.
    Violation(Side, Violation),
    /// The program sent a placeholder, which went no further.
    Placeholder,
    /// Neither side said anything for too long.
    Idle,
    /// It had to end: time, size, or what it was opened with is not good any more.
    Cut(Error),
}

/// What went one way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// Messages.
    pub messages: u64,
    /// Their bytes, as they went on.
    pub bytes: u64,
    /// SHA-256 of these, hex.
    pub sha256: String,
}

/// The account of a WebSocket that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub end: End,
    /// The code that was closed with; `None`: nobody said one.
    pub code: Option<u16>,
    /// From the program to the upstream.
    pub sent: Sum,
    /// From the upstream to the program.
    pub received: Sum,
    /// Whether the credential came back, and in which spellings.
    pub finding: Option<Finding>,
}

/// What both sides are brought together with.
pub(crate) struct Bridge {
    pub(crate) upstream: TokioIo<Upgraded>,
    pub(crate) matcher: Option<Arc<Matcher>>,
    /// When the run is over.
    pub(crate) deadline: Instant,
}

/// Passes messages on until it ends. `allows` is asked for each message to the program, with its bytes; `cut` ends it from
/// outside. Dropping the future cuts both sides without a word.
pub(crate) async fn bridge(
    bridge: Bridge,
    program: Stream,
    allows: impl FnMut(usize) -> bool + Send,
    cut: impl Future<Output = ()> + Send,
) -> Ended {
    let (mut from_program, to_program) = split(program);
    let (mut from_upstream, to_upstream) = split(bridge.upstream);
    let (program, for_program) = mpsc::channel(WAITING_MAX);
    let (upstream, for_upstream) = mpsc::channel(WAITING_MAX);
    let mut writing = pin!(
        async {
            let near = write(to_program, Sender::Upstream, for_program);
            tokio::join!(near, write(to_upstream, Sender::Program, for_upstream))
        }
        .fuse()
    );
    let mut up = Up { finder: Finder::default(), sum: Counted::default() };
    let scrubber = Scrubber::new(bridge.matcher, Framing::None);
    let mut down = Down { scrubber, allows, sum: Counted::default() };
    let heard = Mutex::new(Instant::now());
    let (end, said) = {
        let near = Pump { side: Side::Program, back: &program, on: &upstream, heard: &heard };
        let far = Pump { side: Side::Upstream, back: &upstream, on: &program, heard: &heard };
        let mut pumping = pin!(async {
            tokio::select! {
                end = near.run(&mut from_program, &mut up) => end,
                end = far.run(&mut from_upstream, &mut down) => end,
            }
        });
        tokio::select! {
            biased;
            () = cut => (End::Cut(Error::Revoked), None),
            () = sleep_until(bridge.deadline) => (End::Cut(Error::Timeout { phase: Phase::Total }), None),
            () = silence(&heard) => (End::Idle, None),
            end = &mut pumping => end,
            // Both writers gave up, so nothing said arrives any more.
            _ = &mut writing => (End::Gone(Side::Program), None),
        }
    };
    let words = Words::of(end, said);
    let code = words.code();
    // What was said is still on its way; then both get a last word, and may answer it.
    let _ = timeout(CLOSING, async {
        tokio::join!(
            async {
                let _ = program.send(words.to_program).await;
                drop(program);
            },
            async {
                let _ = upstream.send(words.to_upstream).await;
                drop(upstream);
            },
            &mut writing,
            drain(&mut from_program, words.is_program_done),
            drain(&mut from_upstream, words.is_upstream_done),
        )
    })
    .await;
    let finding = down.finding();
    Ended { end, code, sent: up.sum.close(), received: down.sum.close(), finding }
}

/// Resolves when neither side has said anything for [`IDLE`].
async fn silence(heard: &Mutex<Instant>) {
    loop {
        let until = *heard.lock().unwrap_or_else(PoisonError::into_inner) + IDLE;
        if until <= Instant::now() {
            return;
        }
        sleep_until(until).await;
    }
}

/// The last words to both sides.
struct Words {
    to_program: Event,
    to_upstream: Event,
    is_program_done: bool,
    is_upstream_done: bool,
}

impl Words {
    fn of(end: End, said: Option<(Option<u16>, String)>) -> Self {
        let close = |code, text: &str| Event::Close(Some(code), text.to_owned());
        let away = || close(1001, "");
        let (to_program, to_upstream) = match end {
            End::Closed(side) => {
                let (code, reason) = said.unwrap_or_default();
                let (on, back) = (Event::Close(code, reason), Event::Close(code, String::new()));
                if side == Side::Program { (back, on) } else { (on, back) }
            }
            End::Gone(_) => (close(1001, "livery: the other side is gone"), away()),
            End::Violation(Side::Program, why) => (close(why.close_code(), &format!("livery: {}", why.text())), away()),
            End::Violation(Side::Upstream, why) => (
                close(why.close_code(), &format!("livery: the upstream sent {}", why.text())),
                close(why.close_code(), ""),
            ),
            End::Placeholder => (close(1008, "livery: placeholder_misplaced"), away()),
            End::Idle => (close(1001, "livery: nothing was said for too long"), away()),
            End::Cut(error) => (close(1001, &format!("livery: {}", error.kind())), away()),
        };
        let is_done = |own| matches!(end, End::Closed(side) | End::Gone(side) if side == own);
        Self {
            to_program,
            to_upstream,
            is_program_done: is_done(Side::Program),
            is_upstream_done: is_done(Side::Upstream),
        }
    }

    fn code(&self) -> Option<u16> {
        match &self.to_program {
            Event::Close(code, _) => *code,
            _ => None,
        }
    }
}

/// Writes what is said to one side, as this sender; each thing within [`IDLE`]. After a close nothing follows.
async fn write<S: AsyncWrite>(mut stream: WriteHalf<S>, sender: Sender, mut said: mpsc::Receiver<Event>) {
    while let Some(event) = said.recv().await {
        let Some(bytes) = encoded(&event, sender) else { return };
        let written = timeout(IDLE, async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
        if matches!(event, Event::Close(..)) {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// As bytes, with masks nobody can guess; `None` where there is no randomness.
pub fn encoded(event: &Event, sender: Sender) -> Option<Vec<u8>> {
    let mut is_random = true;
    let bytes = event.encode(sender, || {
        let mut key = [0; 4];
        is_random &= getrandom::fill(&mut key).is_ok();
        key
    });
    is_random.then_some(bytes)
}

/// Waits for the other side's last word or end, and throws away what comes before it.
async fn drain<S: AsyncRead>(stream: &mut ReadHalf<S>, is_done: bool) {
    if is_done {
        return;
    }
    let mut left = CLOSING_BYTES_MAX;
    let mut room = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = stream.read(&mut room).await {
        left = left.saturating_sub(count as u64);
        if left == 0 {
            return;
        }
    }
}

/// How a pump ended, and the close that was said.
type Over = (End, Option<(Option<u16>, String)>);

/// One direction.
struct Pump<'a> {
    side: Side,
    /// To the side that is read: answers to its pings.
    back: &'a mpsc::Sender<Event>,
    /// To the other side.
    on: &'a mpsc::Sender<Event>,
    heard: &'a Mutex<Instant>,
}

impl Pump<'_> {
    async fn run<S: AsyncRead>(&self, stream: &mut ReadHalf<S>, sieve: &mut impl Sieve) -> Over {
        let mut inlet = Inlet::new(if self.side == Side::Program { Sender::Program } else { Sender::Upstream });
        let mut room = vec![0; READ_BYTES];
        loop {
            match stream.read(&mut room).await {
                Ok(count @ 1..) => inlet.push(&room[..count]),
                _ => return (End::Gone(self.side), None),
            }
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            loop {
                match inlet.take() {
                    Ok(None) => break,
                    Ok(Some(event)) => {
                        if let Some(over) = self.pass(event, sieve).await {
                            return over;
                        }
                    }
                    Err(violation) => return (End::Violation(self.side, violation), None),
                }
            }
        }
    }

    /// Hands one thing on; says so when it was the last.
    async fn pass(&self, event: Event, sieve: &mut impl Sieve) -> Option<Over> {
        let (to, event) = match event {
            Event::Message(kind, message) => match sieve.message(kind, message) {
                Ok(message) => (self.on, Event::Message(kind, message)),
                Err(end) => return Some((end, None)),
            },
            // Answered here. The other side is asked too, so that it stays awake, but not told what with.
            Event::Ping(payload) => {
                let _ = self.back.send(Event::Pong(payload)).await;
                (self.on, Event::Ping(Vec::new()))
            }
            Event::Pong(_) => return None,
            Event::Close(code, reason) => {
                let over = sieve
                    .reason(reason)
                    .map_or_else(|end| (end, None), |reason| (End::Closed(self.side), Some((code, reason))));
                return Some(over);
            }
        };
        let other = if self.side == Side::Program { Side::Upstream } else { Side::Program };
        to.send(event).await.err().map(|_| (End::Gone(other), None))
    }
}

/// What looks at everything that goes one way.
trait Sieve {
    fn message(&mut self, kind: Kind, message: Vec<u8>) -> Result<Vec<u8>, End>;
    fn reason(&mut self, reason: String) -> Result<String, End>;
}

/// From the program: no placeholder leaves, in one message or across two.
struct Up {
    finder: Finder,
    sum: Counted,
}

impl Sieve for Up {
    fn message(&mut self, _: Kind, message: Vec<u8>) -> Result<Vec<u8>, End> {
        if !self.finder.push(&message).is_empty() {
            return Err(End::Placeholder);
        }
        self.sum.add(&message);
        Ok(message)
    }

    fn reason(&mut self, reason: String) -> Result<String, End> {
        if self.finder.push(reason.as_bytes()).is_empty() { Ok(reason) } else { Err(End::Placeholder) }
    }
}

/// To the program: the credential is taken out, in one message or across two.
struct Down<A> {
    scrubber: Scrubber,
    allows: A,
    sum: Counted,
}

impl<A: FnMut(usize) -> bool> Sieve for Down<A> {
    fn message(&mut self, kind: Kind, message: Vec<u8>) -> Result<Vec<u8>, End> {
        let before = self.scrubber.redactions();
        let mut out = Vec::with_capacity(message.len());
        self.scrubber.message(&message, &mut out);
        if kind == Kind::Text && self.scrubber.redactions() > before {
            // A secret may end in the middle of a character.
            out = String::from_utf8_lossy(&out).into_owned().into_bytes();
        }
        if !(self.allows)(out.len()) {
            return Err(End::Cut(Error::TooLarge { what: "all that the run received" }));
        }
        self.sum.add(&out);
        Ok(out)
    }

    fn reason(&mut self, reason: String) -> Result<String, End> {
        let before = self.scrubber.redactions();
        self.scrubber.message(reason.as_bytes(), &mut Vec::new());
        Ok(if self.scrubber.redactions() > before { String::new() } else { reason })
    }
}

impl<A> Down<A> {
    fn finding(&self) -> Option<Finding> {
        let found = self.scrubber.redactions() > 0;
        found.then(|| Finding { place: Place::Body, variants: self.scrubber.variants() })
    }
}

#[derive(Default)]
struct Counted {
    messages: u64,
    bytes: u64,
    hash: Sha256,
}

impl Counted {
    fn add(&mut self, message: &[u8]) {
        self.messages += 1;
        self.bytes += message.len() as u64;
        self.hash.update(message);
    }

    fn close(self) -> Sum {
        let sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Sum { messages: self.messages, bytes: self.bytes, sha256 }
    }
}
