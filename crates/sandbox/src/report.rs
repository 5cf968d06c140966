//! What this host can give, found by trying; and what one sandbox got.
//!
//! Read next: `client/doctor.rs`, which fills these in.

use std::time::Duration;

use livery_core::agent::Tier;
use serde::{Deserialize, Serialize};

/// How well one thing works here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As designed.
    Ok,
    /// Works, with a weaker means that `detail` names.
    Degraded,
    /// Sandboxes cannot start until it is fixed.
    Unusable,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable name, like `user_namespaces`.
    pub name: String,
    /// How well it works.
    pub status: Status,
    /// What was found, in a sentence.
    pub detail: String,
    /// The command that would fix it.
    pub fix: Option<String>,
}

impl Check {
    pub(crate) fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), status: Status::Ok, detail: detail.into(), fix: None }
    }

    pub(crate) fn degraded(name: &str, detail: impl Into<String>, fix: &str) -> Self {
        let fix = (!fix.is_empty()).then(|| fix.to_owned());
        Self { name: name.to_owned(), status: Status::Degraded, detail: detail.into(), fix }
    }

    pub(crate) fn unusable(name: &str, detail: impl Into<String>, fix: &str) -> Self {
        let fix = (!fix.is_empty()).then(|| fix.to_owned());
        Self { name: name.to_owned(), status: Status::Unusable, detail: detail.into(), fix }
    }
}

/// What is known of one tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierReport {
    /// Which one.
    pub tier: Tier,
    /// Whether runs can have it.
    pub status: Status,
    /// What was found, in a sentence.
    pub detail: String,
    /// The command that would fix it.
    pub fix: Option<String>,
    /// Of the program that carries it, as it says itself.
    pub version: Option<String>,
    /// Of the same program.
    pub sha256: Option<String>,
    /// Whether it is there for development alone: a wall that nobody relies on, such as a virtual machine without the
    /// processor's help. It satisfies no minimum and is never given instead of another tier.
    #[serde(default)]
    pub dev_only: bool,
    /// From the request for a sandbox to its first command's end, in the trial. `None`: it was not tried.
    pub trial: Option<Duration>,
}

impl TierReport {
    /// Whether a run may have it; with `relied_on` the wall has to be a real one.
    pub(crate) fn can_be_given(&self, relied_on: bool) -> bool {
        self.status != Status::Unusable && !(relied_on && self.dev_only)
    }

    pub(crate) fn new(tier: Tier, status: Status, detail: impl Into<String>) -> Self {
        Self {
            tier,
            status,
            detail: detail.into(),
            fix: None,
            version: None,
            sha256: None,
            dev_only: false,
            trial: None,
        }
    }
}

/// Everything that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// The worst of the checks: whether the container tier can be used.
    pub status: Status,
    /// In the order a reader wants them.
    pub checks: Vec<Check>,
    /// What sandboxes get on this host; `None` when the launcher did not start.
    pub grants: Option<Grants>,
    /// Every tier, tried; empty when the launcher did not start.
    pub tiers: Vec<TierReport>,
}

impl HostReport {
    /// Whether sandboxes can be made here, if with weaker means.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.status != Status::Unusable
    }
}

/// By which means each limit and boundary is enforced for a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Whether the launcher is root.
    pub privileged: bool,
    /// A host uid of its own, or the launcher's.
    pub own_uid: bool,
    /// `cgroup v2`, `cgroup v1` or `rlimit and watchdog`.
    pub memory: String,
    /// `cgroup v2`, `cgroup v1` or `rlimit`.
    pub pids: String,
    /// `cgroup v2`, `cgroup v1` or `none`.
    pub cpu: String,
    /// How `disk_mb` is kept.
    pub disk: String,
    /// The kernel's Landlock version, 0 where there is none, it is too old to be used, or another kernel answers the run.
    pub landlock_abi: u32,
}

impl Grants {
    /// What a sandbox of this tier has of them.
    pub(crate) fn of(&self, tier: Tier) -> Self {
        let own = self.clone();
        match tier {
            Tier::Container | Tier::Isolate => own,
            Tier::Gvisor => Self { landlock_abi: 0, ..own },
            Tier::Microvm => Self { landlock_abi: 0, disk: "a disk of its own".to_owned(), ..own },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is there for development only can be asked for, and is relied on by nobody.
    #[test]
    fn a_stand_in_satisfies_no_minimum() {
        for (status, dev_only, plainly, relied_on) in [
            (Status::Ok, false, true, true),
            (Status::Degraded, false, true, true),
            (Status::Unusable, false, false, false),
            (Status::Ok, true, true, false),
            (Status::Degraded, true, true, false),
            (Status::Unusable, true, false, false),
        ] {
            let report = TierReport { dev_only, ..TierReport::new(Tier::Microvm, status, "") };
            assert_eq!((report.can_be_given(false), report.can_be_given(true)), (plainly, relied_on), "{report:?}");
        }
    }
}
