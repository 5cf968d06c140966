//! The tiers: each makes a carrier, a process that holds one guest behind the tier's own wall.
//!
//! All of them are born the same way (`start.rs`), speak over the same stream, and die with process 1 of their PID namespace.
//! What differs is here: which ids there are inside, what the new process becomes, when it counts as started, and what the
//! wall itself costs. Nothing here picks another tier than the one asked for. Read next: `tiers/container.rs`.

pub(crate) mod container;
pub(crate) mod gvisor;
pub(crate) mod isolate;
pub(crate) mod microvm;
mod program;
mod tool;

use std::io;

use livery_core::agent::Tier;

use super::INSIDE_ID;
use super::child::{Birth, Never};
use super::step;
use crate::config::{SandboxConfig, Spec};
use crate::protocol::Refusal;
use crate::report::{Status, TierReport};

/// What this launcher has for each tier.
pub(crate) struct Tiers {
    pub(crate) gvisor: Result<gvisor::Installed, tool::Absent>,
    pub(crate) isolate: Result<isolate::Installed, tool::Absent>,
    pub(crate) microvm: Result<microvm::Installed, tool::Absent>,
}

/// One guest's wall.
pub(crate) enum Carrier<'a> {
    /// A container, or an isolate, which is one around other things.
    Container(container::Plan<'a>),
    Gvisor(gvisor::Plan<'a>),
    Microvm(microvm::Plan<'a>),
}

/// By what the launcher sees that a guest is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The report closes: the process that set itself up has become the guest.
    ReportEnds,
    /// The guest says its first word: until then there is a kernel to boot.
    FirstWord,
    /// The carrier hands over a socket to listen on; the guest calls there, once, and says its first word.
    Door,
    /// The same, with the socket here.
    Call,
}

/// What a tier takes for itself, beside what it gives to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) memory_mb: u64,
    /// Host processes and threads for `pids` of the guest's.
    pub(crate) pids: u64,
    /// Bytes of a workspace that are not the run's files.
    pub(crate) disk_bytes: u64,
}

impl Tiers {
    /// # Errors
    /// The folder of the operator's programs cannot be made.
    pub(crate) fn prepare(config: &SandboxConfig, privileged: bool) -> io::Result<Self> {
        program::clear(config.runsc.is_some() || config.isolate_host.is_some() || config.microvm.is_some())?;
        let (gvisor, isolate) = (gvisor::install(config, privileged), isolate::install(config, privileged));
        Ok(Self { gvisor, isolate, microvm: microvm::install(config, privileged) })
    }

    /// Whether sandboxes of a tier can be asked for; the refusal says what to do.
    pub(crate) fn check(&self, tier: Tier) -> Result<(), Refusal> {
        let report = self.report(tier);
        if report.status == Status::Unusable {
            let fix = report.fix.map(|fix| format!(" (to fix: {fix})")).unwrap_or_default();
            return Err(Refusal::Tier { tier, detail: format!("{}{fix}", report.detail) });
        }
        Ok(())
    }

    /// What is known without a trial.
    pub(crate) fn report(&self, tier: Tier) -> TierReport {
        match tier {
            Tier::Container => {
                TierReport::new(tier, Status::Ok, "namespaces, seccomp and cgroups of the host's kernel")
            }
            Tier::Gvisor => gvisor::report(&self.gvisor),
            Tier::Isolate => isolate::report(&self.isolate),
            Tier::Microvm => microvm::report(&self.microvm),
        }
    }
}

impl Allowance {
    pub(crate) fn of(spec: &Spec) -> Self {
        match spec.tier {
            Tier::Gvisor => gvisor::allowance(spec),
            Tier::Isolate => isolate::allowance(),
            Tier::Microvm => microvm::allowance(spec),
            // Process 1.
            Tier::Container => Self { memory_mb: 0, pids: 1, disk_bytes: 0 },
        }
    }
}

impl Carrier<'_> {
    /// Which host id stands behind which id of its user namespace; `run` is the run's own.
    pub(crate) fn ids(&self, run: u32) -> Vec<(u32, u32)> {
        match self {
            Self::Container(_) | Self::Microvm(_) => vec![(INSIDE_ID, run)],
            Self::Gvisor(plan) => plan.ids(run),
        }
    }

    pub(crate) const fn sign(&self) -> Sign {
        match self {
            Self::Container(_) => Sign::ReportEnds,
            Self::Gvisor(_) => Sign::FirstWord,
            Self::Microvm(plan) => plan.sign(),
        }
    }

    /// In the new process: becomes the guest, or what carries it.
    pub(crate) fn take_over(&self, birth: &Birth<'_>) -> Result<Never, step::Error> {
        match self {
            Self::Container(plan) => container::become_guest(plan, birth),
            Self::Gvisor(plan) => gvisor::become_runsc(plan, birth),
            Self::Microvm(plan) => microvm::become_monitor(plan, birth),
        }
    }
}
