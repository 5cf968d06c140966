//! The watch over limits that the kernel does not keep by itself: wall clock, disk, and memory where no cgroup does.
//!
//! Read next: `../disk.rs`, `../memory.rs`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use livery_core::agent::Tier;

use super::Server;
use super::workspaces::workspace_path;
use crate::error::LostReason;
use crate::launcher::cgroup::Group;
use crate::launcher::disk::{Measure, Most};
use crate::launcher::live::{Live, Phase};
use crate::launcher::memory;
use crate::launcher::setup::WORKSPACES;
use crate::launcher::tiers::Allowance;

/// Time spent measuring workspaces in one tick.
const DISK_SLICE: Duration = Duration::from_millis(4);

/// Whoever has fewer files than this is not what the host is short of.
const NAMES_SPARED: u64 = 1_000;

/// A sandbox that is over a limit, and what is said about it.
type Verdict = (u64, (LostReason, String));

impl Server {
    pub(super) fn tick(&mut self, now: Instant) {
        let mut verdicts = Vec::new();
        let watched = self.watched_memory();
        let makes_disks = !self.makers.is_empty();
        for (serial, live) in &mut self.live {
            if makes_disks && live.spec.tier == Tier::Microvm {
                live.ready = now;
            }
            let alive = matches!(live.phase, Phase::Starting { .. } | Phase::Running);
            if let Some(resident) = watched.get(&live.pid) {
                live.resident = Some(*resident);
                live.resident_peak = live.resident_peak.max(Some(*resident));
            }
            if !alive {
                continue;
            }
            let over = live.resident.is_some_and(|bytes| bytes > live.memory_max());
            if live.is_out_of_memory() || over {
                verdicts.push((*serial, live.out_of_memory()));
            } else if now >= live.deadline() && matches!(live.phase, Phase::Starting { .. }) {
                let waited = live.born.elapsed().as_secs();
                let detail = format!("it was not ready within {waited} s");
                verdicts.push((*serial, (LostReason::WallClock, detail)));
            } else if now >= live.deadline() {
                let detail = format!("its wall clock of {} s ran out", live.spec.wall_clock.as_secs_f64());
                verdicts.push((*serial, (LostReason::WallClock, detail)));
            }
        }
        verdicts.extend(self.watch_disks(now));
        for (serial, (reason, detail)) in verdicts {
            let starting = self.live.get(&serial).is_some_and(|l| matches!(l.phase, Phase::Starting { .. }));
            if starting {
                self.give_up(serial, "starting", &detail)
            } else {
                self.kill(serial, Some((reason, detail)), None)
            }
        }
    }

    /// Resident memory of the sandboxes no cgroup limits.
    fn watched_memory(&self) -> HashMap<i32, u64> {
        let unlimited = |live: &&Live| !live.group.as_ref().is_some_and(Group::limits_memory);
        let roots: Vec<i32> = self.live.values().filter(unlimited).map(|live| live.pid).collect();
        if roots.is_empty() { HashMap::new() } else { memory::resident(&roots) }
    }

    /// Measures workspaces in turn, for one slice of time.
    fn watch_disks(&mut self, now: Instant) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let until = now + DISK_SLICE;
        let turn = self.disk_turn;
        let order: Vec<u64> =
            self.live.range(turn..).chain(self.live.range(..turn)).map(|(serial, _)| *serial).collect();
        for serial in order {
            let Some(live) = self.live.get_mut(&serial) else { continue };
            self.disk_turn = serial;
            if !matches!(live.phase, Phase::Running) || !live.disk.is_due(now) {
                continue;
            }
            let most = Most::of(live.spec.disk_mb).and(Allowance::of(&live.spec).disk_bytes);
            if let Some(measure) = live.disk.advance(&workspace_path(&live.spec.id), most, until) {
                if measure.bytes > most.bytes || measure.hidden {
                    let detail = format!("/workspace grew beyond its limit of {} MiB", live.spec.disk_mb);
                    verdicts.push((serial, (LostReason::DiskFull, detail)));
                } else if measure.names > most.names {
                    let detail = format!("/workspace has more than {} files and folders", most.names);
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

    /// When the host's own reserve is touched, of bytes or of files, the sandbox whose workspace has the most goes.
    fn keep_reserve(&self) -> Option<Verdict> {
        let free = rustix::fs::statvfs(WORKSPACES).ok()?;
        let config = &self.p.config;
        if free.f_bavail * free.f_frsize < config.disk_reserve_mb.saturating_mul(1 << 20) {
            let (bytes, serial) = self.largest(|measure| measure.bytes).filter(|(bytes, _)| *bytes > 1 << 20)?;
            let detail =
                format!("the host is short of disk space, and its /workspace was the largest with {} MiB", bytes >> 20);
            return Some((serial, (LostReason::DiskFull, detail)));
        }
        // A file system that makes room for files as it goes says zero of all.
        if free.f_favail < free.f_files.saturating_mul(config.inode_reserve_percent) / 100 {
            let (names, serial) = self.largest(|measure| measure.names).filter(|(names, _)| *names > NAMES_SPARED)?;
            let detail = format!("the host is short of files, and its /workspace had the most with {names}");
            return Some((serial, (LostReason::DiskFull, detail)));
        }
        None
    }

    /// The running sandbox that is known to have the most of something.
    fn largest(&self, of: impl Fn(Measure) -> u64) -> Option<(u64, u64)> {
        let running = self.live.iter().filter(|(_, live)| matches!(live.phase, Phase::Running));
        running.map(|(serial, live)| (of(live.disk.known()), *serial)).max()
    }
}
