//! What tiers this host has, found by booting one of each; and which of them a run gets.
//!
//! A trial costs a sandbox, so it is made when somebody first wants to know, and its answer is kept while the launcher lives:
//! a good one for good, a bad one for a minute. Read next: `../launcher/tiers.rs`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use livery_core::agent::Tier;

use super::{Code, CodeOutcome, Exec, Language, QUESTION_MAX, Sandbox, Sandboxes};
use crate::config::Spec;
use crate::error::Error;
use crate::protocol::{Answer, Request};
use crate::report::{Status, TierReport};

/// One trial: a start, one command, the end.
const TRIAL_MAX: Duration = Duration::from_secs(40);
/// How the ids of trials begin.
pub(super) const TRIAL_PREFIX: &str = "doctor-";
/// The same where a disk is made of the image first, once.
const FIRST_TRIAL_MAX: Duration = Duration::from_secs(250);
/// How long a failed trial counts.
const FAILURE_MAX: Duration = Duration::from_secs(60);
/// From the weakest to the strongest. An isolate is no place for a shell, so it is never given instead of one.
const STRENGTH: [Tier; 3] = [Tier::Container, Tier::Gvisor, Tier::Microvm];

/// Trials made, each with the moment it ended.
pub(super) type Trials = tokio::sync::Mutex<HashMap<Tier, (Instant, TierReport)>>;

impl Sandboxes {
    /// Every tier, tried where there is something to try. Bounded by 40 s for each that is there.
    ///
    /// # Errors
    /// The launcher could not start or is gone.
    pub async fn tiers(&self) -> Result<Vec<TierReport>, Error> {
        let mut reports = Vec::new();
        for known in self.known_tiers().await? {
            reports.push(self.tried(known).await);
        }
        Ok(reports)
    }

    /// One tier, tried.
    ///
    /// # Errors
    /// The launcher could not start or is gone.
    pub async fn tier(&self, tier: Tier) -> Result<TierReport, Error> {
        let known = self.known_tiers().await?.into_iter().find(|report| report.tier == tier);
        match known {
            Some(known) => Ok(self.tried(known).await),
            None => Err(Error::LauncherGone),
        }
    }

    /// The tier a run gets: the one it asks for; where `or_stronger`, else the next stronger one that can be used. Never a
    /// weaker one, and nothing that is for development alone where there is a `minimum`.
    ///
    /// # Errors
    /// [`Error::Tier`], about the tier that was asked for; or the launcher is gone.
    pub async fn choose(&self, asked: Tier, or_stronger: bool, minimum: Option<Tier>) -> Result<Tier, Error> {
        if let Some(minimum) = minimum.filter(|minimum| !asked.satisfies(*minimum)) {
            let detail = format!("{minimum} is demanded, and {asked} was asked for");
            return Err(Error::Tier { tier: asked, detail });
        }
        // A container that cannot start says so itself, each time: its trial would only be a second start.
        if asked == Tier::Container && !or_stronger {
            return Ok(asked);
        }
        let wanted = self.tier(asked).await?;
        if wanted.can_be_given(minimum.is_some()) {
            return Ok(asked);
        }
        let stronger = STRENGTH.into_iter().filter(|tier| or_stronger && *tier != asked && tier.satisfies(asked));
        for tier in stronger {
            if self.tier(tier).await?.can_be_given(true) {
                return Ok(tier);
            }
        }
        if wanted.status != Status::Unusable {
            let detail = "it is for development only here, and satisfies no minimum tier".to_owned();
            return Err(Error::Tier { tier: asked, detail });
        }
        let fix = wanted.fix.map(|fix| format!(" (to fix: {fix})")).unwrap_or_default();
        Err(Error::Tier { tier: asked, detail: format!("{}{fix}", wanted.detail) })
    }

    async fn known_tiers(&self) -> Result<Vec<TierReport>, Error> {
        match self.inner.control.ask(Request::Tiers, "asking the launcher for its tiers", QUESTION_MAX).await? {
            (Answer::Tiers(reports), _) => Ok(reports),
            _ => Err(Error::LauncherGone),
        }
    }

    /// The tier with what its trial said, made now if there is none. Those who ask meanwhile wait for the same one.
    async fn tried(&self, known: TierReport) -> TierReport {
        if known.status == Status::Unusable {
            return known;
        }
        let mut trials = self.inner.trials.lock().await;
        if let Some((at, report)) = trials.get(&known.tier)
            && (report.status != Status::Unusable || at.elapsed() < FAILURE_MAX)
            && report.sha256 == known.sha256
        {
            return report.clone();
        }
        let report = self.try_out(known).await;
        trials.insert(report.tier, (Instant::now(), report.clone()));
        report
    }

    async fn try_out(&self, known: TierReport) -> TierReport {
        let failed = |detail: String| TierReport { status: Status::Unusable, detail, ..known.clone() };
        let most = if known.tier == Tier::Microvm { FIRST_TRIAL_MAX } else { TRIAL_MAX };
        match tokio::time::timeout(most, self.trial(known.tier)).await {
            Ok(Ok(took)) => TierReport { trial: Some(took), ..known },
            Ok(Err(error)) => failed(format!("the trial failed: {error}")),
            Err(_) => failed(format!("the trial did not end within {} s", most.as_secs())),
        }
    }

    /// Makes a sandbox, runs a command in it and ends it; how long it took to the command's end.
    pub(super) async fn trial(&self, tier: Tier) -> Result<Duration, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{TRIAL_PREFIX}{tier}-{}-{number}", std::process::id());
        let began = Instant::now();
        let spec = Spec { tier, memory_mb: 64, pids: 16, disk_mb: 8, ..Spec::new(&id) };
        let sandbox = self.create(spec).await;
        let outcome = match &sandbox {
            Ok(sandbox) => answers(sandbox).await.map(|good| (good, began.elapsed())),
            Err(_) => Err(Error::Unknown),
        };
        let teardown = match &sandbox {
            Ok(sandbox) => Some(sandbox.kill("the self-test is over").await?),
            Err(_) => None,
        };
        // A sandbox that did not start may have no workspace either.
        let removed = self.remove_workspace(&id).await;
        sandbox?;
        removed?;
        let (good, took) = outcome?;
        let clean = teardown.as_ref().is_some_and(|end| end.processes_gone && end.cgroups_removed);
        if !good || !clean {
            let detail = format!("it did not end cleanly: {teardown:?}");
            return Err(Error::Start { step: "self-test".to_owned(), detail });
        }
        Ok(took)
    }
}

/// Whether the tier's first question is answered: a command, or a program where there are none.
async fn answers(sandbox: &Sandbox) -> Result<bool, Error> {
    if sandbox.spec().tier != Tier::Isolate {
        return Ok(sandbox.exec(Exec::new(["true"]), |_, _| {}).await?.exit_code == Some(0));
    }
    let outcome = sandbox.run_code(Code::new(Language::Js, "40 + 2"), |_, _| {}).await?.outcome;
    Ok(outcome == CodeOutcome::Value(Some(42.into())))
}
