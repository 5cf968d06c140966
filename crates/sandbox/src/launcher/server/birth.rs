//! A sandbox's birth: checked, started, watched, handed out or given up.
//!
//! Read next: `../start.rs`, `death.rs`.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

use livery_core::agent::Tier;
use rustix::event::epoll::{self, EventFlags};

use super::images::{self, Births};
use super::workspaces::open_workspace;
use super::{DEATH, FIRST_WORD, REPORT, Server, TICK, token};
use crate::config::{RootFs, Spec, WAITING_PREFIX};
use crate::launcher::cgroup::Group;
use crate::launcher::console::Console;
use crate::launcher::disk;
use crate::launcher::disks::cache::{self, Disk};
use crate::launcher::journal::Identity;
use crate::launcher::live::{Live, Phase};
use crate::launcher::mounts::Tree;
use crate::launcher::root::RootPlan;
use crate::launcher::start::{self, Start, Started, Wait};
use crate::launcher::tiers::container::{self, Limits};
use crate::launcher::tiers::{Carrier, Sign, Tiers, gvisor, isolate, microvm};
use crate::launcher::validate;
use crate::protocol::{Answer, Message, Refusal};

impl Server {
    pub(super) fn create(&mut self, seq: u64, spec: Spec) -> Result<(), Refusal> {
        let id = spec.id.clone();
        self.start(seq, spec).inspect_err(|_| self.discard_unwanted(&id))
    }

    fn start(&mut self, seq: u64, spec: Spec) -> Result<(), Refusal> {
        let invalid = |detail: String| Refusal::Invalid { detail };
        validate::spec(&spec).map_err(invalid)?;
        if self.ending.is_some() {
            return Err(Refusal::Full { detail: "the launcher is ending".to_owned() });
        }
        if self.by_id.contains_key(&spec.id) {
            return Err(Refusal::Alive);
        }
        self.has_room()?;
        self.p.tiers.check(spec.tier)?;
        let root = self.root(spec.tier, &spec.image)?;
        let identity = self.p.identities.of(&spec.id);
        let host_id =
            identity.ok_or_else(|| Refusal::Full { detail: "every uid of the range is in use".to_owned() })?;
        let failed = |step: &str| {
            let step = step.to_owned();
            move |error: io::Error| Refusal::Failed { step, detail: error.to_string() }
        };
        let workspace = open_workspace(&spec.id, host_id).map_err(failed("workspace"))?;
        let group = self.p.cgroups.create(&spec).map_err(failed("cgroup"))?;
        let tmp_mb = if spec.tier == Tier::Isolate { isolate::TMP_MB } else { (spec.memory_mb / 2).max(1) };
        let tree = Tree { root: &root, workspace: &workspace, tmp_mb };
        let disk = (spec.tier == Tier::Microvm).then(|| self.disk(&root)).transpose();
        let disk = disk.map_err(failed("image")).inspect_err(|_| {
            group.remove();
        })?;
        let Some(carrier) = self.carrier(&spec, tree, disk, group.limits_memory()) else {
            group.remove();
            return Err(Refusal::Tier { tier: spec.tier, detail: "this launcher does not have it".to_owned() });
        };
        let start = Start { carrier, host_id, group: Some(&group) };
        let started = match start::start(&self.p.ground, &start) {
            Ok(started) => started,
            Err(error) => {
                group.remove();
                return Err(Refusal::Failed { step: "namespaces".to_owned(), detail: explain(&error) });
            }
        };
        self.adopt(seq, spec, started, group).map_err(failed("watching"))
    }

    /// Whether one more run may have a sandbox. Those that wait for a run take nobody's place.
    pub(super) fn has_room(&self) -> Result<(), Refusal> {
        let alive = self.live.values().filter(|live| !live.spec.id.starts_with(WAITING_PREFIX)).count();
        if alive >= self.p.config.sandboxes_max {
            return Err(Refusal::Full { detail: format!("{alive} sandboxes are alive") });
        }
        Ok(())
    }

    /// What the tier puts around the guest: exactly what was asked for, or nothing.
    fn carrier<'a>(
        &'a self,
        spec: &'a Spec,
        tree: Tree<'a>,
        disk: Option<Disk>,
        memory_is_limited: bool,
    ) -> Option<Carrier<'a>> {
        let ground = &self.p.ground;
        let (guest, filter, landlock_abi) = (ground.guest.as_fd(), &ground.filter, ground.landlock_abi);
        match (spec.tier, &self.p.tiers) {
            (Tier::Container, _) => {
                let limits = limits(spec, memory_is_limited);
                let (places, arguments) = (container::PLACES, Vec::new());
                Some(Carrier::Container(container::Plan {
                    tree,
                    guest,
                    filter,
                    landlock_abi,
                    limits,
                    places,
                    arguments,
                }))
            }
            (Tier::Gvisor, Tiers { gvisor: Ok(installed), .. }) => {
                Some(Carrier::Gvisor(gvisor::Plan::new(installed, spec, tree)))
            }
            (Tier::Isolate, Tiers { isolate: Ok(_), .. }) => {
                Some(Carrier::Container(isolate::plan(tree, guest, filter, landlock_abi, spec)))
            }
            (Tier::Microvm, Tiers { microvm: Ok(installed), .. }) => {
                Some(Carrier::Microvm(microvm::Plan::new(installed, spec, disk?, tree.workspace, tree.tmp_mb)))
            }
            (Tier::Gvisor | Tier::Microvm | Tier::Isolate, _) => None,
        }
    }

    /// The image as a disk, which is there when the machine's carrier has waited for it.
    fn disk(&mut self, root: &RootPlan) -> io::Result<Disk> {
        let folder = self.p.config.disks_dir.clone().unwrap_or_else(|| PathBuf::from("disks"));
        let (disk, maker) = cache::want(root, &folder, self.p.ground.launcher.as_fd())?;
        if let Some(maker) = maker {
            let token = self.next_serial;
            self.next_serial += 1;
            epoll::add(&self.epoll, &maker, super::token(token, DEATH), EventFlags::IN)?;
            self.makers.insert(token, (maker, Instant::now()));
            let text =
                format!("looking at an image for machines, and making its disk in {} if it is new", folder.display());
            self.say(&Message::Log { warning: false, text });
        }
        Ok(disk)
    }

    /// Takes a new process into the books.
    fn adopt(&mut self, seq: u64, spec: Spec, started: Started, group: Group) -> io::Result<()> {
        let Started { pid, pidfd, report, sign, channel } = started;
        let serial = self.next_serial;
        self.next_serial += 1;
        let watched = Identity::of(pid)
            .ok_or_else(|| io::Error::other("the new process is gone"))
            .and_then(|identity| self.p.journal.started(&spec.id, identity))
            .and_then(|()| Ok(epoll::add(&self.epoll, &pidfd, token(serial, DEATH), EventFlags::IN)?))
            .and_then(|()| Ok(epoll::add(&self.epoll, &report, token(serial, REPORT), EventFlags::IN)?))
            .and_then(|()| match sign {
                Sign::ReportEnds => Ok(()),
                _ => Ok(epoll::add(&self.epoll, &channel, token(serial, FIRST_WORD), EventFlags::IN)?),
            });
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
        let phase = Phase::Starting { seq, report, channel, sign, text: Vec::new() };
        let live = Live {
            spec,
            pid,
            pidfd,
            group: Some(group),
            born: Instant::now(),
            ready: Instant::now(),
            phase,
            console: None,
            disk: disk::Watch::default(),
            resident: None,
            resident_peak: None,
        };
        self.live.insert(serial, live);
        Ok(())
    }

    fn root(&mut self, tier: Tier, image: &RootFs) -> Result<RootPlan, Refusal> {
        if let (Tier::Isolate, Ok(installed)) = (tier, &self.p.tiers.isolate) {
            return match image {
                RootFs::Host => Ok(installed.root.clone()),
                RootFs::Directory(_) => Err(Refusal::Invalid { detail: "an isolate has no image".to_owned() }),
            };
        }
        let RootFs::Directory(path) = image else { return Ok(self.p.host_root.clone()) };
        let config = &self.p.config;
        let invalid = |detail| Refusal::Invalid { detail };
        let (folder, name) = validate::image(path, &config.image_dirs).map_err(invalid)?;
        let privileged = self.p.ground.privileged;
        let owner = privileged.then(|| config.image_owner.unwrap_or(0));
        let opened = images::open(folder, name, owner).map_err(|error| invalid(format!("image {name}: {error}")))?;
        let births = Births { next: self.next_serial, oldest: self.live.keys().next().copied() };
        let root = self.images.root(path, &opened, privileged, births);
        root.map_err(|error| Refusal::Failed { step: "image".to_owned(), detail: error.to_string() })
    }

    /// A starting process reported a failed step, or became the guest.
    pub(super) fn report(&mut self, serial: u64) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        let Phase::Starting { report, text, sign, .. } = &mut live.phase else {
            if let Some(console) = &mut live.console {
                console.listen();
            }
            return;
        };
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
        if text.is_empty() && *sign == Sign::ReportEnds {
            self.hand_out(serial);
        } else if text.contains(&0) {
            let text = String::from_utf8_lossy(text).into_owned();
            let (step, detail) = text.split_once('\0').unwrap_or(("setting up", &text));
            self.give_up(serial, step, detail);
        }
    }

    /// The guest runs: its channel goes to the platform.
    pub(super) fn hand_out(&mut self, serial: u64) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        if let Phase::Starting { seq, channel, report, .. } = std::mem::replace(&mut live.phase, Phase::Running) {
            if live.spec.tier == Tier::Microvm {
                // Its kernel may have a word to say later, and stays watched.
                live.console = Some(Console::new(report));
            } else {
                // Before it closes: gone already where its end was the sign.
                let _ = epoll::delete(&self.epoll, &report);
            }
            let answer = Answer::Created { grants: self.p.grants.of(live.spec.tier) };
            self.say_with(&Message::Answer { seq, answer }, Some(channel));
        }
    }

    /// A start failed: the one who asked hears why, and what there is of it is taken down.
    pub(super) fn give_up(&mut self, serial: u64, step: &str, detail: &str) {
        if let Some(live) = self.live.get(&serial)
            && let Phase::Starting { seq, .. } = live.phase
        {
            let refusal = Refusal::Failed { step: step.to_owned(), detail: detail.to_owned() };
            self.answer(seq, Err(refusal));
            self.kill(serial, None, None);
        }
    }
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
        Some(libc::ENOSYS) => {
            format!(
                "{error}: something filters clone3 (in a container, try: docker run --security-opt seccomp=unconfined …)"
            )
        }
        Some(libc::ENOSPC | libc::EUSERS) => {
            format!("{error}: no more namespaces (try: sysctl -w user.max_user_namespaces=100000)")
        }
        _ => error.to_string(),
    }
}
