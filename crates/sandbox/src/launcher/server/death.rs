//! A sandbox's death: killed or found dead, its cgroups removed, and everyone told who waits.
//!
//! Read next: `../live.rs` for the phases.

use std::os::fd::AsFd;
use std::time::Instant;

use livery_guest::GUESTS_WORD;
use rustix::event::epoll;

use super::Server;
use crate::error::LostReason;
use crate::launcher::cgroup::Group;
use crate::launcher::live::{Death, Phase, REMOVAL_MAX};
use crate::launcher::start::{self, Wait};
use crate::protocol::{Answer, Message, Refusal};

impl Server {
    /// Kills a sandbox for `reason`; `waiter` hears of the teardown.
    pub(super) fn kill(&mut self, serial: u64, reason: Option<(LostReason, String)>, waiter: Option<u64>) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        match &mut live.phase {
            Phase::Dying(death) | Phase::Removing { death, .. } => death.waiters.extend(waiter),
            Phase::Starting { seq, report, channel, .. } if reason.is_some() => {
                let seq = *seq;
                let _ = epoll::delete(&self.epoll, &*report);
                // Watched only where the guest's first word is waited for.
                let _ = epoll::delete(&self.epoll, &*channel);
                start::kill(live.pidfd.as_fd());
                live.phase =
                    Phase::Dying(Death { reason: None, asked: Instant::now(), waiters: waiter.into_iter().collect() });
                let detail = "the sandbox was ended before it was ready".to_owned();
                self.answer(seq, Err(Refusal::Failed { step: "starting".to_owned(), detail }));
            }
            Phase::Starting { .. } | Phase::Running => {
                start::kill(live.pidfd.as_fd());
                live.phase =
                    Phase::Dying(Death { reason, asked: Instant::now(), waiters: waiter.into_iter().collect() });
            }
        }
    }

    /// Process 1 of a sandbox has ended, and so has every other.
    pub(super) fn died(&mut self, serial: u64) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        if !start::reap(live.pidfd.as_fd(), Wait::IfGone) {
            return;
        }
        let _ = epoll::delete(&self.epoll, &live.pidfd);
        if let Some(console) = &mut live.console {
            console.listen();
        }
        let usage = live.usage();
        let oom = live.is_out_of_memory().then(|| live.out_of_memory());
        let now = Instant::now();
        let phase = std::mem::replace(&mut live.phase, Phase::Running);
        let death = match phase {
            Phase::Starting { seq, report, channel, mut text, .. } => {
                let _ = epoll::delete(&self.epoll, &report);
                let _ = epoll::delete(&self.epoll, &channel);
                let mut rest = [0; 1024];
                if let Ok(count) = rustix::io::read(&report, &mut rest) {
                    text.extend_from_slice(&rest[..count]);
                }
                let text = String::from_utf8_lossy(&text).into_owned();
                let last = last_words(&text).unwrap_or("its first process died");
                let (step, detail) = text.split_once('\0').unwrap_or(("starting", last));
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
    pub(super) fn clean_up(&mut self) {
        let mut done = Vec::new();
        for (serial, live) in &mut self.live {
            if let Phase::Removing { since, .. } = &live.phase {
                let gone = live.group.as_ref().is_none_or(Group::remove);
                if gone || since.elapsed() > REMOVAL_MAX {
                    done.push((*serial, gone));
                }
            }
        }
        for (serial, gone) in done {
            let Some(live) = self.live.remove(&serial) else { continue };
            self.by_id.remove(&live.spec.id);
            self.discard_unwanted(&live.spec.id);
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
}

/// What a carrier said at last: its guest's own word where there is one, before what a kernel prints when it ends.
fn last_words(text: &str) -> Option<&str> {
    let own = text.lines().find_map(|line| line.split_once(GUESTS_WORD)).map(|(_, word)| word);
    let panic = || text.lines().find(|line| line.contains("Kernel panic"));
    own.or_else(panic).or_else(|| text.lines().rev().find(|line| !line.trim().is_empty())).map(str::trim)
}
