//! Which walls this node can put around a run, and that a run gets the one it asks for or a refusal.
//!
//! A node that works on no runs has no launcher and cannot know: it refuses what no node of this version has, and leaves the
//! rest to the node that takes the run. Read next: `livery_sandbox::Sandboxes::choose`.

use livery_core::agent::sandbox::MinimumTier;
use livery_core::agent::{SandboxSpec, Tier};
use livery_core::error::FieldError;
use livery_core::id::{AppId, OrgId};
use livery_core::{Error, Result};
use livery_sandbox::{Status, TierReport};
use serde::Serialize;

use crate::{Platform, Principal, Scope};

/// The tiers of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tiers {
    /// The node that was asked; others may have others.
    pub node: String,
    /// All there are, from the weakest to the strongest, the isolate last.
    pub data: Vec<TierView>,
}

/// One tier as a node has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TierView {
    /// Which one.
    pub tier: Tier,
    /// `ok`, `degraded` or `unusable`.
    pub status: Status,
    /// What was found, in a sentence.
    pub detail: String,
    /// What to do about it.
    pub fix: Option<String>,
    /// Of the program that carries it.
    pub version: Option<String>,
    /// Of the same program.
    pub sha256: Option<String>,
    /// Whether it is there for development alone: it satisfies no minimum tier.
    pub dev_only: bool,
    /// Milliseconds from a request to its first command's end, when it was tried.
    pub trial_ms: Option<u64>,
}

impl From<TierReport> for TierView {
    fn from(report: TierReport) -> Self {
        let TierReport { tier, status, detail, fix, version, sha256, dev_only, trial } = report;
        let trial_ms = trial.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        Self { tier, status, detail, fix, version, sha256, dev_only, trial_ms }
    }
}

impl Platform {
    /// The tiers of this node, each tried (once: the answer is kept).
    ///
    /// # Errors
    /// [`Error::Forbidden`] without the scope `nodes:read`.
    pub async fn tiers(&self, principal: &Principal) -> Result<Tiers> {
        principal.require(Scope::NodesRead)?;
        let found = match &self.sandboxes {
            Some(sandboxes) => sandboxes.tiers().await.map_err(|error| error.to_string()),
            None if self.config.roles.worker => {
                Err("this host gives no sandboxes; `livery doctor` says why".to_owned())
            }
            None => Err("this node works on no runs".to_owned()),
        };
        let data = match found {
            Ok(reports) => reports.into_iter().map(TierView::from).collect(),
            Err(why) => Tier::ALL.iter().map(|tier| TierView::absent(*tier, &why)).collect(),
        };
        Ok(Tiers { node: self.identity.id.to_string(), data })
    }

    /// Holds a run's wish against what its organization and application demand of it: the wish with a tier that will do,
    /// and the demand that is in force.
    ///
    /// # Errors
    /// `tier_below_minimum`, for a run that asks for less and no stronger one.
    pub(crate) async fn settle_tier(
        &self,
        org: OrgId,
        application: Option<AppId>,
        wish: SandboxSpec,
    ) -> Result<(SandboxSpec, Option<MinimumTier>)> {
        let demands = self.store.demands_on_tier(org, application).await?;
        match demands.settle(&wish) {
            Ok(tier) => Ok((SandboxSpec { tier, ..wish }, demands.strictest())),
            Err(below) => {
                let (code, detail) = ("tier_below_minimum", below.to_string());
                let errors = vec![FieldError::new("/sandbox/tier", code, detail.clone())];
                Err(Error::Invalid { code, detail, errors })
            }
        }
    }

    /// A run gets exactly the tier it asks for, a stronger one where it says so, or a refusal.
    pub(crate) async fn check_tier(&self, sandbox: &SandboxSpec, minimum: Option<MinimumTier>) -> Result<()> {
        let refused = |detail: String| Error::Invalid {
            code: "tier_unavailable",
            errors: vec![FieldError::new("/sandbox/tier", "tier_unavailable", detail.clone())],
            detail,
        };
        if let Some(sandboxes) = &self.sandboxes {
            match sandboxes.choose(sandbox.tier, sandbox.or_stronger, minimum.map(|minimum| minimum.tier)).await {
                // A launcher that is gone may be back when the run wants its sandbox.
                Ok(_) | Err(livery_sandbox::Error::LauncherGone | livery_sandbox::Error::Deadline(_)) => {}
                Err(error) => return Err(refused(error.to_string())),
            }
        } else if self.config.roles.worker && sandbox.tier != Tier::Container {
            return Err(refused(format!("the tier {} cannot be used here; `livery doctor` says why", sandbox.tier)));
        }
        Ok(())
    }
}

impl TierView {
    fn absent(tier: Tier, why: &str) -> Self {
        let (version, sha256, trial_ms) = (None, None, None);
        let (detail, fix, dev_only) = (why.to_owned(), None, false);
        Self { tier, status: Status::Unusable, detail, fix, version, sha256, dev_only, trial_ms }
    }
}
