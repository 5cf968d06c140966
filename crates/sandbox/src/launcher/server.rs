//! The launcher's loop: the platform's requests, every sandbox's birth and death, and the watch over limits.
//!
//! One thread, one `epoll`, nothing that waits. Read next: `server/birth.rs`, `server/death.rs`, `server/watch.rs`.

mod adopt;
mod birth;
mod death;
mod door;
mod images;
mod watch;
mod workspaces;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use livery_core::agent::Tier;
use rustix::event::epoll::{self, EventData, EventFlags};

use self::images::Images;
use super::live::{Live, Phase};
use super::setup::Prepared;
use super::step;
use crate::error::LostReason;
use crate::protocol::{Answer, Envelope, Message, Refusal, Request, Teardown};
use crate::socket;

/// How often limits are looked at while any sandbox lives.
const TICK: Duration = Duration::from_millis(100);
/// How often a cgroup that the kernel still holds is tried again.
const RETRY: Duration = Duration::from_millis(5);
/// Answers the platform has not taken; beyond it the platform is stuck, which is treated as its death.
const OUTBOX_MAX: usize = 16_384;
/// After the platform's death or its order to end: everything is gone by then, or this process is.
const END_MAX: Duration = Duration::from_secs(10);
/// The platform's descriptor in `epoll`; sandboxes and removals count up from above it.
const CONTROL: u64 = 0;

/// What a sandbox's descriptor says; the low bits of its token.
const DEATH: u64 = 0;
const REPORT: u64 = 1;
const FIRST_WORD: u64 = 2;
const WHAT_BITS: u32 = 2;

/// What `epoll` answers for a descriptor of a sandbox or a removal.
const fn token(serial: u64, what: u64) -> EventData {
    EventData::new_u64(serial << WHAT_BITS | what)
}

pub(crate) struct Server {
    control: OwnedFd,
    epoll: OwnedFd,
    p: Prepared,
    /// By serial number, the upper bits of its tokens.
    live: BTreeMap<u64, Live>,
    by_id: HashMap<String, u64>,
    images: Images,
    /// Processes that make an image's disk and when they began, by their token.
    makers: HashMap<u64, (OwnedFd, Instant)>,
    outbox: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    next_serial: u64,
    next_tick: Instant,
    disk_turn: u64,
    /// Set once it is ending; the number of the request that asked, if one did.
    ending: Option<(Instant, Option<u64>)>,
    platform_gone: bool,
}

/// Answers each request with the reason this launcher cannot work, until the platform is gone.
pub(crate) fn refuse_all(control: &OwnedFd, error: &step::Error) {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        let mut fds = [PollFd::new(control, PollFlags::IN)];
        let _ = poll(&mut fds, None);
        match socket::receive(control.as_fd()) {
            Ok(Some(packet)) => {
                let Ok(Envelope { seq, .. }) = serde_json::from_slice(&packet.bytes) else { return };
                let refusal = Refusal::Failed { step: error.step.to_owned(), detail: error.detail.clone() };
                let bytes = serde_json::to_vec(&Message::Refused { seq, refusal }).unwrap_or_default();
                let _ = socket::send(control.as_fd(), &bytes, None);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

impl Server {
    pub(crate) fn new(control: OwnedFd, prepared: Prepared) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &control, EventData::new_u64(CONTROL), EventFlags::IN)?;
        let mut server = Self {
            control,
            epoll,
            p: prepared,
            live: BTreeMap::new(),
            by_id: HashMap::new(),
            images: Images::default(),
            makers: HashMap::new(),
            outbox: VecDeque::new(),
            next_serial: 1,
            next_tick: Instant::now(),
            disk_turn: 0,
            ending: None,
            platform_gone: false,
        };
        for text in std::mem::take(&mut server.p.notes) {
            server.say(&Message::Log { warning: false, text });
        }
        Ok(server)
    }

    /// Serves until the platform is gone or asks for the end, and every sandbox is down.
    pub(crate) fn run(mut self) -> io::Result<()> {
        crate::thin::give_back();
        let mut events = Vec::with_capacity(64);
        loop {
            self.clean_up();
            self.flush();
            if self.is_done() {
                break;
            }
            let timeout = self.wait();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                let epoll::Event { data, flags } = event;
                self.ready(data.u64(), flags);
            }
            let now = Instant::now();
            if now >= self.next_tick {
                self.tick(now);
                self.next_tick = now + TICK;
            }
        }
        self.p.cgroups.remove();
        if let Some((_, Some(seq))) = self.ending {
            self.say(&Message::Answer { seq, answer: Answer::ShutDown });
            self.flush();
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.ending.is_some_and(|(since, _)| self.live.is_empty() || since.elapsed() > END_MAX)
    }

    /// How long `epoll` may sleep: for ever when nothing lives.
    fn wait(&self) -> Option<rustix::event::Timespec> {
        if self.live.is_empty() {
            return None;
        }
        let removing = self.live.values().any(|l| matches!(l.phase, Phase::Removing { .. }));
        let until = if removing { RETRY } else { self.next_tick.saturating_duration_since(Instant::now()) };
        Some(rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::from(until.subsec_nanos()) })
    }

    fn ready(&mut self, token: u64, flags: EventFlags) {
        if token == CONTROL {
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.requests();
            }
            return;
        }
        let serial = token >> WHAT_BITS;
        if !self.live.contains_key(&serial) {
            return self.removed(serial);
        }
        match token & ((1 << WHAT_BITS) - 1) {
            REPORT => self.report(serial),
            FIRST_WORD => self.first_word(serial),
            _ => self.died(serial),
        }
    }

    /// Receives what is there. The socket's end, or anything that is not a request, is the platform's death.
    fn requests(&mut self) {
        // A few at a time: a birth takes a millisecond, and deaths wait meanwhile.
        for _ in 0..8 {
            match socket::receive(self.control.as_fd()) {
                Ok(Some(packet)) => match serde_json::from_slice::<Envelope>(&packet.bytes) {
                    Ok(envelope) => self.request(envelope),
                    Err(_) => return self.lose_platform(),
                },
                Ok(None) => return self.lose_platform(),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
                Err(_) => return self.lose_platform(),
            }
        }
    }

    fn lose_platform(&mut self) {
        if !self.platform_gone {
            self.platform_gone = true;
            let _ = epoll::delete(&self.epoll, &self.control);
            self.outbox.clear();
            self.end(None);
        }
    }

    fn end(&mut self, seq: Option<u64>) {
        if self.ending.is_none() {
            self.ending = Some((Instant::now(), seq));
        }
        let serials: Vec<u64> = self.live.keys().copied().collect();
        for serial in serials {
            self.kill(serial, Some((LostReason::LauncherGone, "the platform is ending".to_owned())), None);
        }
    }

    fn request(&mut self, Envelope { seq, request }: Envelope) {
        let outcome = match request {
            Request::Create(spec) => match self.create(seq, *spec) {
                // Answered when the guest runs.
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            },
            Request::Adopt { id, spec } => self.adopt_as(&id, *spec).map(|()| Answer::Adopted),
            Request::Kill { id } => match self.by_id.get(&id).copied() {
                Some(serial) => {
                    let reason = (LostReason::Killed, "it was ended by the platform".to_owned());
                    return self.kill(serial, Some(reason), Some(seq));
                }
                None => {
                    Ok(Answer::Killed(Teardown { processes_gone: true, cgroups_removed: true, ..Teardown::default() }))
                }
            },
            Request::Usage { id } => {
                let live = self.by_id.get(&id).and_then(|serial| self.live.get(serial));
                live.map(|live| Answer::Usage(live.usage())).ok_or(Refusal::Unknown)
            }
            Request::RemoveWorkspace { id } => match self.remove_workspace(seq, &id) {
                // Answered when the janitor is done.
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            },
            Request::Workspaces { after } => {
                workspaces::workspaces(after.as_deref()).map(|ids| Answer::Workspaces { ids })
            }
            Request::Grants => Ok(Answer::Grants(self.p.grants.clone())),
            Request::Tiers => Ok(Answer::Tiers(Tier::ALL.iter().map(|tier| self.p.tiers.report(*tier)).collect())),
            Request::Shutdown => return self.end(Some(seq)),
        };
        self.answer(seq, outcome);
    }

    fn answer(&mut self, seq: u64, outcome: Result<Answer, Refusal>) {
        self.say(&match outcome {
            Ok(answer) => Message::Answer { seq, answer },
            Err(refusal) => Message::Refused { seq, refusal },
        });
    }

    fn say(&mut self, message: &Message) {
        self.say_with(message, None);
    }

    fn say_with(&mut self, message: &Message, fd: Option<OwnedFd>) {
        if !self.platform_gone {
            let bytes = serde_json::to_vec(message).unwrap_or_default();
            self.outbox.push_back((bytes, fd));
        }
    }

    /// Sends what the platform takes; asks `epoll` for the moment it takes more.
    fn flush(&mut self) {
        while let Some((bytes, fd)) = self.outbox.front() {
            match socket::send(self.control.as_fd(), bytes, fd.as_ref().map(AsFd::as_fd)) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.lose_platform(),
            }
        }
        if self.outbox.len() > OUTBOX_MAX {
            return self.lose_platform();
        }
        if !self.platform_gone {
            let mut flags = EventFlags::IN;
            flags.set(EventFlags::OUT, !self.outbox.is_empty());
            let _ = epoll::modify(&self.epoll, &self.control, EventData::new_u64(CONTROL), flags);
        }
    }
}
