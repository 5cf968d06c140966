//! A sandbox's birth: checked, started, watched, handed out or given up.
//!
//! Read next: `../start.rs`, `death.rs`.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::workspaces::open_workspace;
use super::{DEATH, REPORT, Server, TICK};
use crate::config::{RootFs, Spec};
use crate::launcher::cgroup::Group;
use crate::launcher::child::Limits;
use crate::launcher::disk;
use crate::launcher::journal::Identity;
use crate::launcher::live::{Live, Phase};
use crate::launcher::root::{self, RootPlan};
use crate::launcher::setup::ROOTS;
use crate::launcher::start::{self, Start, Started, Wait};
use crate::launcher::validate;
use crate::protocol::{Answer, Message, Refusal};

impl Server {
    pub(super) fn create(&mut self, seq: u64, spec: Spec) -> Result<(), Refusal> {
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
        let host_id =
            identity.ok_or_else(|| Refusal::Full { detail: "every uid of the range is in use".to_owned() })?;
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
    fn adopt(&mut self, seq: u64, spec: Spec, started: Started, group: Group) -> io::Result<()> {
        let Started { pid, pidfd, report, channel } = started;
        let serial = self.next_serial;
        self.next_serial += 1;
        let watched = Identity::of(pid)
            .ok_or_else(|| io::Error::other("the new process is gone"))
            .and_then(|identity| self.p.journal.started(&spec.id, identity))
            .and_then(|()| {
                Ok(epoll::add(&self.epoll, &pidfd, EventData::new_u64(serial << 1 | DEATH), EventFlags::IN)?)
            })
            .and_then(|()| {
                Ok(epoll::add(&self.epoll, &report, EventData::new_u64(serial << 1 | REPORT), EventFlags::IN)?)
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
        let phase = Phase::Starting { seq, report, channel, text: Vec::new() };
        let live = Live {
            spec,
            pid,
            pidfd,
            group: Some(group),
            born: Instant::now(),
            phase,
            disk: disk::Watch::default(),
            resident: None,
            resident_peak: None,
        };
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
    pub(super) fn report(&mut self, serial: u64) {
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
