//! One sandbox as the launcher sees it, from birth to the last cgroup removed.
//!
//! Read next: `server.rs`, which moves it through its phases.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::cgroup::Group;
use super::console::Console;
use super::disk;
use super::tiers::{Allowance, Sign};
use crate::config::Spec;
use crate::error::LostReason;
use crate::protocol::{Teardown, Usage};

/// A new process that has not become the guest by then is given up.
pub(crate) const SETUP_MAX: Duration = Duration::from_secs(10);
/// The same where a kernel has to boot first.
pub(crate) const BOOT_MAX: Duration = Duration::from_secs(25);
/// The same while a disk is made of its image.
pub(crate) const IMAGE_MAX: Duration = Duration::from_secs(230);
/// How long the kernel may hold on to the cgroups of dead processes.
pub(crate) const REMOVAL_MAX: Duration = Duration::from_secs(3);

/// Where a sandbox is in its life.
pub(crate) enum Phase {
    /// Its process 1 sets itself up; `seq` waits for the channel.
    Starting { seq: u64, report: OwnedFd, channel: OwnedFd, sign: Sign, text: Vec<u8> },
    /// The guest runs.
    Running,
    /// Killed; its process 1 is not collected yet.
    Dying(Death),
    /// Every process is gone; the cgroups are not yet.
    Removing { death: Death, since: Instant, usage: Usage },
}

/// Why it dies and who waits for that.
pub(crate) struct Death {
    /// `None`: it never was handed out, so nobody hears of it.
    pub(crate) reason: Option<(LostReason, String)>,
    pub(crate) asked: Instant,
    pub(crate) waiters: Vec<u64>,
}

pub(crate) struct Live {
    pub(crate) spec: Spec,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) group: Option<Group>,
    pub(crate) born: Instant,
    /// When everything it starts from was there.
    pub(crate) ready: Instant,
    pub(crate) phase: Phase,
    /// A machine's, from when it runs.
    pub(crate) console: Option<Console>,
    pub(crate) disk: disk::Watch,
    pub(crate) resident: Option<u64>,
    pub(crate) resident_peak: Option<u64>,
}

impl Live {
    /// When it must end, whatever happens.
    pub(crate) fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Starting { sign: Sign::ReportEnds, .. } => self.born + SETUP_MAX.min(self.spec.wall_clock),
            Phase::Starting { .. } => (self.ready + BOOT_MAX).min(self.born + IMAGE_MAX.min(self.spec.wall_clock)),
            _ => self.born + self.spec.wall_clock,
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let group = self.group.as_ref();
        Usage {
            wall: self.born.elapsed(),
            cpu: group.and_then(Group::cpu),
            memory_peak_bytes: group.and_then(Group::memory_peak).or(self.resident_peak),
            memory_bytes: group.and_then(Group::memory_now).or(self.resident),
            pids_peak: group.and_then(Group::pids_peak),
            disk_bytes: self.disk.last.map(|measure| measure.bytes),
            oom_kills: self.oom_kills(),
        }
    }

    /// Bytes its processes may have, those of its tier with them.
    pub(crate) fn memory_max(&self) -> u64 {
        (self.spec.memory_mb + Allowance::of(&self.spec).memory_mb) << 20
    }

    /// Whether a kernel, the host's or its own, ended something in it for memory.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.oom_kills().is_some_and(|kills| kills > 0)
    }

    /// What the host's kernel counted, and the one end that a machine's own has.
    fn oom_kills(&self) -> Option<u64> {
        let own = self.console.as_ref().map(|console| u64::from(console.is_out_of_memory()));
        let counted = self.group.as_ref().and_then(Group::oom_kills);
        counted.map_or(own, |counted| Some(counted + own.unwrap_or(0)))
    }

    /// The sentence for a run that ran out of memory.
    pub(crate) fn out_of_memory(&self) -> (LostReason, String) {
        (
            LostReason::OutOfMemory,
            format!("its processes needed more memory than its limit of {} MiB", self.spec.memory_mb),
        )
    }
}

impl Death {
    pub(crate) fn teardown(&self, usage: Usage, cgroups_removed: bool) -> Teardown {
        Teardown { was_alive: true, processes_gone: true, cgroups_removed, took: self.asked.elapsed(), usage }
    }
}
