//! The launcher's loop: the platform's requests, every sandbox's birth and death, and the watch over limits.
//!
//! One thread, one `epoll`, nothing that waits. Read next: `live.rs` for a sandbox's phases.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};

use super::child::Limits;
use super::janitor::{self, Job, Running};
use super::journal::Identity;
use super::live::{Death, Live, Phase, REMOVAL_MAX};
use super::root::{self, RootPlan};
use super::setup::{Prepared, ROOTS, TRASH, WORKSPACES};
use super::start::{self, Start, Started, Wait};
use super::{memory, step, validate};
use crate::config::{RootFs, Spec};
use crate::error::LostReason;
use crate::protocol::{Answer, Envelope, Message, Refusal, Request, Teardown, WORKSPACES_PAGE};
use crate::socket;

/// How often limits are looked at while any sandbox lives.
const TICK: Duration = Duration::from_millis(100);
/// How often a cgroup that the kernel still holds is tried again.
const RETRY: Duration = Duration::from_millis(5);
/// Time spent measuring workspaces in one tick.
const DISK_SLICE: Duration = Duration::from_millis(4);
/// Answers the platform has not taken; beyond it the platform is stuck, which is treated as its death.
const OUTBOX_MAX: usize = 16_384;
/// After the platform's death or its order to end: everything is gone by then, or this process is.
const END_MAX: Duration = Duration::from_secs(10);
/// The platform's descriptor in `epoll`; sandboxes and removals count up from above it.
const CONTROL: u64 = 0;

/// What a sandbox's descriptor says; the low bit of its token.
const DEATH: u64 = 0;
const REPORT: u64 = 1;

pub(crate) struct Server {
    control: OwnedFd,
    epoll: OwnedFd,
    p: Prepared,
    /// By serial number, the upper bits of its tokens.
    live: BTreeMap<u64, Live>,
    by_id: HashMap<String, u64>,
    images: HashMap<PathBuf, RootPlan>,
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
            images: HashMap::new(),
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
        let (serial, what) = (token >> 1, token & 1);
        if self.live.contains_key(&serial) {
            if what == REPORT { self.report(serial) } else { self.died(serial) }
        } else {
            self.removed(serial);
        }
    }

    // ---- the platform ----

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
            Request::Kill { id } => match self.by_id.get(&id).copied() {
                Some(serial) => {
                    let reason = (LostReason::Killed, "it was ended by the platform".to_owned());
                    return self.kill(serial, Some(reason), Some(seq));
                }
                None => Ok(Answer::Killed(Teardown { processes_gone: true, cgroups_removed: true, ..Teardown::default() })),
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
            Request::Workspaces { after } => workspaces(after.as_deref()).map(|ids| Answer::Workspaces { ids }),
            Request::Grants => Ok(Answer::Grants(self.p.grants.clone())),
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

    // ---- birth ----

    fn create(&mut self, seq: u64, spec: Spec) -> Result<(), Refusal> {
        let invalid = |detail: String| Refusal::Invalid { detail };
        validate::spec(&spec).map_err(invalid)?;
        if self.ending.is_some() {
            return Err(Refusal::Full { detail: "the launcher is ending".to_owned() });
        }
        if self.by_id.contains_key(&spec.id) {
            return Err(Refusal::Alive);
        }
        if self.live.len() >= self.p.config.sandboxes_max {
            return Err(Refusal::Full { detail: format!("{} sandboxes are alive", self.live.len()) });
        }
        let root = self.root(&spec.image)?;
        let identity = self.p.identities.of(&spec.id);
        let host_id = identity.ok_or_else(|| Refusal::Full { detail: "every uid of the range is in use".to_owned() })?;
        let failed = |step: &str| {
            let step = step.to_owned();
            move |error: io::Error| Refusal::Failed { step, detail: error.to_string() }
        };
        let workspace = open_workspace(&spec.id, host_id).map_err(failed("workspace"))?;
        let group = self.p.cgroups.create(&spec).map_err(failed("cgroup"))?;
        let start = Start {
            root: &root,
            workspace: &workspace,
            host_id,
            group: Some(&group),
            limits: limits(&spec, group.limits_memory()),
            tmp_mb: (spec.memory_mb / 2).max(1),
        };
        let started = match start::start(&self.p.ground, &start) {
            Ok(started) => started,
            Err(error) => {
                group.remove();
                return Err(Refusal::Failed { step: "namespaces".to_owned(), detail: explain(&error) });
            }
        };
        self.adopt(seq, spec, started, group).map_err(failed("watching"))
    }

    /// Takes a new process into the books.
    fn adopt(&mut self, seq: u64, spec: Spec, started: Started, group: super::cgroup::Group) -> io::Result<()> {
        let Started { pid, pidfd, report, channel } = started;
        let serial = self.next_serial;
        self.next_serial += 1;
        let watched = Identity::of(pid)
            .ok_or_else(|| io::Error::other("the new process is gone"))
            .and_then(|identity| self.p.journal.started(&spec.id, identity))
            .and_then(|()| Ok(epoll::add(&self.epoll, &pidfd, EventData::new_u64(serial << 1 | DEATH), EventFlags::IN)?))
            .and_then(|()| Ok(epoll::add(&self.epoll, &report, EventData::new_u64(serial << 1 | REPORT), EventFlags::IN)?));
        if let Err(error) = watched {
            start::kill(pidfd.as_fd());
            start::reap(pidfd.as_fd(), Wait::UntilGone);
            group.remove();
            return Err(error);
        }
        if self.live.is_empty() {
            self.next_tick = Instant::now() + TICK;
        }
        self.by_id.insert(spec.id.clone(), serial);
        let phase = Phase::Starting { seq, report, channel, text: Vec::new() };
        let live = Live { spec, pid, pidfd, group: Some(group), born: Instant::now(), phase, disk: super::disk::Watch::default(), resident: None, resident_peak: None };
        self.live.insert(serial, live);
        Ok(())
    }

    fn root(&mut self, image: &RootFs) -> Result<RootPlan, Refusal> {
        let RootFs::Directory(path) = image else { return Ok(self.p.host_root.clone()) };
        let real = validate::image(path, &self.p.config.image_dirs).map_err(|detail| Refusal::Invalid { detail })?;
        if let Some(plan) = self.images.get(&real) {
            return Ok(plan.clone());
        }
        let name = format!("image-{}", self.images.len());
        let plan = root::directory(Path::new(ROOTS), &name, &real)
            .map_err(|error| Refusal::Failed { step: "image".to_owned(), detail: error.to_string() })?;
        self.images.insert(real, plan.clone());
        Ok(plan)
    }

    /// A starting process reported a failed step, or became the guest.
    fn report(&mut self, serial: u64) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        let Phase::Starting { report, text, .. } = &mut live.phase else { return };
        let mut buffer = [0; 1024];
        match rustix::io::read(&*report, &mut buffer) {
            Ok(0) => {}
            Ok(count) => {
                text.extend_from_slice(&buffer[..count]);
                text.truncate(4096);
                return;
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Err(_) => {}
        }
        let _ = epoll::delete(&self.epoll, &*report);
        if text.is_empty() {
            self.hand_out(serial);
        } else {
            let text = String::from_utf8_lossy(text).into_owned();
            let (step, detail) = text.split_once('\0').unwrap_or(("setting up", &text));
            self.give_up(serial, step, detail);
        }
    }

    /// The guest runs: its channel goes to the platform.
    fn hand_out(&mut self, serial: u64) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        if let Phase::Starting { seq, channel, .. } = std::mem::replace(&mut live.phase, Phase::Running) {
            let answer = Answer::Created { grants: self.p.grants.clone() };
            self.say_with(&Message::Answer { seq, answer }, Some(channel));
        }
    }

    /// A start failed: the one who asked hears why, and what there is of it is taken down.
    fn give_up(&mut self, serial: u64, step: &str, detail: &str) {
        if let Some(live) = self.live.get(&serial)
            && let Phase::Starting { seq, .. } = live.phase
        {
            let refusal = Refusal::Failed { step: step.to_owned(), detail: detail.to_owned() };
            self.answer(seq, Err(refusal));
            self.kill(serial, None, None);
        }
    }

    // ---- death ----

    /// Kills a sandbox for `reason`; `waiter` hears of the teardown.
    fn kill(&mut self, serial: u64, reason: Option<(LostReason, String)>, waiter: Option<u64>) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        match &mut live.phase {
            Phase::Dying(death) | Phase::Removing { death, .. } => death.waiters.extend(waiter),
            Phase::Starting { seq, report, .. } if reason.is_some() => {
                let seq = *seq;
                let _ = epoll::delete(&self.epoll, &*report);
                start::kill(live.pidfd.as_fd());
                live.phase = Phase::Dying(Death { reason: None, asked: Instant::now(), waiters: waiter.into_iter().collect() });
                let detail = "the sandbox was ended before it was ready".to_owned();
                self.answer(seq, Err(Refusal::Failed { step: "starting".to_owned(), detail }));
            }
            Phase::Starting { .. } | Phase::Running => {
                start::kill(live.pidfd.as_fd());
                live.phase = Phase::Dying(Death { reason, asked: Instant::now(), waiters: waiter.into_iter().collect() });
            }
        }
    }

    /// Process 1 of a sandbox has ended, and so has every other.
    fn died(&mut self, serial: u64) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        if !start::reap(live.pidfd.as_fd(), Wait::IfGone) {
            return;
        }
        let _ = epoll::delete(&self.epoll, &live.pidfd);
        let usage = live.usage();
        let oom = live.is_out_of_memory().then(|| live.out_of_memory());
        let now = Instant::now();
        let phase = std::mem::replace(&mut live.phase, Phase::Running);
        let death = match phase {
            Phase::Starting { seq, report, mut text, .. } => {
                let _ = epoll::delete(&self.epoll, &report);
                let mut rest = [0; 1024];
                if let Ok(count) = rustix::io::read(&report, &mut rest) {
                    text.extend_from_slice(&rest[..count]);
                }
                let text = String::from_utf8_lossy(&text).into_owned();
                let (step, detail) = text.split_once('\0').unwrap_or(("starting", "its first process died"));
                let detail = oom.map_or_else(|| detail.to_owned(), |(_, sentence)| sentence);
                self.answer(seq, Err(Refusal::Failed { step: step.to_owned(), detail }));
                Death { reason: None, asked: now, waiters: Vec::new() }
            }
            Phase::Running => {
                let exited = (LostReason::GuestExited, "its first process ended by itself".to_owned());
                Death { reason: Some(oom.unwrap_or(exited)), asked: now, waiters: Vec::new() }
            }
            Phase::Dying(death) | Phase::Removing { death, .. } => death,
        };
        if let Some(live) = self.live.get_mut(&serial) {
            live.phase = Phase::Removing { death, since: now, usage };
        }
    }

    /// Removes the cgroups of the dead and says good-bye to those that are gone.
    fn clean_up(&mut self) {
        let mut done = Vec::new();
        for (serial, live) in &mut self.live {
            if let Phase::Removing { since, .. } = &live.phase {
                let gone = live.group.as_ref().is_none_or(super::cgroup::Group::remove);
                if gone || since.elapsed() > REMOVAL_MAX {
                    done.push((*serial, gone));
                }
            }
        }
        for (serial, gone) in done {
            let Some(live) = self.live.remove(&serial) else { continue };
            self.by_id.remove(&live.spec.id);
            self.p.journal.ended(&live.spec.id, self.live.is_empty());
            let Phase::Removing { death, usage, .. } = live.phase else { continue };
            if let Some((reason, detail)) = death.reason.clone() {
                self.say(&Message::Lost { id: live.spec.id, reason, detail });
            }
            for seq in &death.waiters {
                let teardown = death.teardown(usage.clone(), gone);
                self.say(&Message::Answer { seq: *seq, answer: Answer::Killed(teardown) });
            }
        }
        self.start_removals();
    }

    // ---- the watch ----

    fn tick(&mut self, now: Instant) {
        let mut verdicts = Vec::new();
        let watched = self.watched_memory();
        for (serial, live) in &mut self.live {
            let alive = matches!(live.phase, Phase::Starting { .. } | Phase::Running);
            if let Some(resident) = watched.get(&live.pid) {
                live.resident = Some(*resident);
                live.resident_peak = live.resident_peak.max(Some(*resident));
            }
            if !alive {
                continue;
            }
            let over = live.resident.is_some_and(|bytes| bytes > live.spec.memory_mb << 20);
            if live.is_out_of_memory() || over {
                verdicts.push((*serial, live.out_of_memory()));
            } else if now >= live.deadline() {
                let detail = format!("its wall clock of {} s ran out", live.spec.wall_clock.as_secs_f64());
                verdicts.push((*serial, (LostReason::WallClock, detail)));
            }
        }
        verdicts.extend(self.watch_disks(now));
        for (serial, (reason, detail)) in verdicts {
            let starting = self.live.get(&serial).is_some_and(|l| matches!(l.phase, Phase::Starting { .. }));
            if starting { self.give_up(serial, "starting", &detail) } else { self.kill(serial, Some((reason, detail)), None) }
        }
    }

    /// Resident memory of the sandboxes no cgroup limits.
    fn watched_memory(&self) -> HashMap<i32, u64> {
        let unlimited = |live: &&Live| !live.group.as_ref().is_some_and(super::cgroup::Group::limits_memory);
        let roots: Vec<i32> = self.live.values().filter(unlimited).map(|live| live.pid).collect();
        if roots.is_empty() { HashMap::new() } else { memory::resident(&roots) }
    }

    /// Measures workspaces in turn, for one slice of time.
    fn watch_disks(&mut self, now: Instant) -> Vec<(u64, (LostReason, String))> {
        let mut verdicts = Vec::new();
        let until = now + DISK_SLICE;
        let turn = self.disk_turn;
        let order: Vec<u64> = self.live.range(turn..).chain(self.live.range(..turn)).map(|(serial, _)| *serial).collect();
        for serial in order {
            let Some(live) = self.live.get_mut(&serial) else { continue };
            self.disk_turn = serial;
            if !matches!(live.phase, Phase::Running) || !live.disk.is_due(now) {
                continue;
            }
            if let Some(measure) = live.disk.advance(&workspace_path(&live.spec.id), until) {
                let limit = live.spec.disk_mb << 20;
                // About one name for every 4 KiB, and some for small limits.
                let names_max = (limit / 4096).max(16_384);
                if measure.bytes > limit || measure.hidden {
                    let detail = format!("/workspace grew beyond its limit of {} MiB", live.spec.disk_mb);
                    verdicts.push((serial, (LostReason::DiskFull, detail)));
                } else if measure.names > names_max {
                    let detail = format!("/workspace has more than {names_max} files and folders");
                    verdicts.push((serial, (LostReason::DiskFull, detail)));
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
        verdicts.extend(self.keep_reserve());
        verdicts
    }

    /// When the host's own reserve is touched, the largest workspace's sandbox goes.
    fn keep_reserve(&self) -> Option<(u64, (LostReason, String))> {
        let free = rustix::fs::statvfs(WORKSPACES).ok()?;
        if free.f_bavail * free.f_frsize >= self.p.config.disk_reserve_mb << 20 {
            return None;
        }
        let running = self.live.iter().filter(|(_, live)| matches!(live.phase, Phase::Running));
        let sized = running.filter_map(|(serial, live)| Some((live.disk.last?.bytes, *serial)));
        let (bytes, serial) = sized.max().filter(|(bytes, _)| *bytes > 1 << 20)?;
        let detail = format!("the host is short of disk space, and its /workspace was the largest with {} MiB", bytes >> 20);
        Some((serial, (LostReason::DiskFull, detail)))
    }

    // ---- workspaces ----

    fn remove_workspace(&mut self, seq: u64, id: &str) -> Result<(), Refusal> {
        validate::id(id).map_err(|detail| Refusal::Invalid { detail })?;
        if self.by_id.contains_key(id) {
            return Err(Refusal::Invalid { detail: "its sandbox is alive".to_owned() });
        }
        let from = workspace_path(id);
        let metadata = fs::symlink_metadata(&from).map_err(|_| Refusal::Unknown)?;
        let serial = self.next_serial;
        self.next_serial += 1;
        let path = Path::new(TRASH).join(format!("{id}.{serial}"));
        // An ordinary user may only move a folder it may write; the run may have closed it.
        fs::set_permissions(&from, fs::Permissions::from_mode(0o700))
            .and_then(|()| fs::rename(&from, &path))
            .map_err(|error| Refusal::Failed { step: "workspace".to_owned(), detail: error.to_string() })?;
        self.p.identities.forget(id);
        self.p.janitor.add(Job { path, owner: (metadata.uid(), metadata.gid()), seq: Some(seq) });
        Ok(())
    }

    fn start_removals(&mut self) {
        while let Some(job) = self.p.janitor.next() {
            let token = self.next_serial;
            self.next_serial += 1;
            let started = janitor::spawn(&job, self.p.ground.privileged).and_then(|pidfd| {
                epoll::add(&self.epoll, &pidfd, EventData::new_u64(token << 1 | DEATH), EventFlags::IN)?;
                Ok(pidfd)
            });
            match started {
                Ok(pidfd) => self.p.janitor.started(Running { job, pidfd, token }),
                Err(error) => self.removal_done(&job, Err(error)),
            }
        }
    }

    fn removed(&mut self, token: u64) {
        if let Some((job, outcome)) = self.p.janitor.finished(token) {
            self.removal_done(&job, outcome);
        }
    }

    fn removal_done(&mut self, job: &Job, outcome: io::Result<()>) {
        let outcome = match outcome {
            Ok(()) => {
                self.p.identities.free(job.owner.0);
                Ok(Answer::Removed)
            }
            Err(error) => {
                // It stays in the trash, its uid stays busy, and the next life tries again.
                self.say(&Message::Log { warning: true, text: format!("removing {}: {error}", job.path.display()) });
                Err(Refusal::Failed { step: "workspace".to_owned(), detail: error.to_string() })
            }
        };
        if let Some(seq) = job.seq {
            self.answer(seq, outcome);
        }
    }
}

fn workspace_path(id: &str) -> PathBuf {
    Path::new(WORKSPACES).join(id)
}

/// The folder behind `/workspace`: found or made, and owned by its run's uid.
fn open_workspace(id: &str, (uid, gid): (u32, u32)) -> io::Result<PathBuf> {
    let path = workspace_path(id);
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => std::os::unix::fs::chown(&path, Some(uid), Some(gid))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = fs::symlink_metadata(&path)?;
            if !metadata.is_dir() || metadata.uid() != uid {
                return Err(io::Error::other("its folder is not what this launcher made"));
            }
        }
        Err(error) => return Err(error),
    }
    Ok(path)
}

/// One page of workspace names, in order.
fn workspaces(after: Option<&str>) -> Result<Vec<String>, Refusal> {
    let entries = fs::read_dir(WORKSPACES)
        .map_err(|error| Refusal::Failed { step: "workspaces".to_owned(), detail: error.to_string() })?;
    let mut ids: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    ids.retain(|id| after.is_none_or(|after| id.as_str() > after));
    ids.sort_unstable();
    ids.truncate(WORKSPACES_PAGE);
    Ok(ids)
}

fn limits(spec: &Spec, memory_is_limited: bool) -> Limits {
    // A process may reserve somewhat more than it may use: thread stacks and allocators do.
    let data_bytes = (!memory_is_limited).then(|| (spec.memory_mb << 20) * 2);
    Limits { processes: u64::from(spec.pids) + 1, file_bytes: spec.disk_mb << 20, data_bytes }
}

/// Adds the likely fix to an error of the first step.
fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => format!(
            "{error}: this host forbids user namespaces to this user (try: sysctl -w \
             kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0, or run as root)"
        ),
        Some(libc::ENOSPC | libc::EUSERS) => format!("{error}: no more namespaces (try: sysctl -w user.max_user_namespaces=100000)"),
        _ => error.to_string(),
    }
}
