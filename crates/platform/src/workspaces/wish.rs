//! Whether a run works in a workspace that outlives it, decided when it is accepted.

use livery_core::agent::{Persist, Tier};
use livery_core::id::EndUserId;
use livery_core::{Error, Result};

use crate::agents::LoadedAgent;
use crate::runs::StartRun;

/// What a run's workspace persists for. A fork and a replay never have one: they look at what was, and change nothing of it.
///
/// # Errors
/// [`Error::Invalid`] where it cannot be had: nobody would know whose it is, or there would be nothing to keep.
pub(crate) fn persist(
    agent: &LoadedAgent,
    tier: Tier,
    request: &StartRun,
    end_user: Option<EndUserId>,
    repeats: bool,
) -> Result<Persist> {
    let spec = agent.agent.workspace.with_override(request.workspace);
    if repeats || spec.persist == Persist::None {
        return Ok(Persist::None);
    }
    let refuse = |detail: &str| {
        let detail = format!("{detail}, or start the run with workspace: {{\"persist\": \"none\"}}");
        Err(Error::invalid_field("/workspace/persist", detail))
    };
    if agent.version.is_none() {
        return refuse("an inline agent has no workspace that outlives a run: save the agent and name it");
    }
    if tier == Tier::Isolate {
        return refuse("the tier isolate has no workspace that could outlive a run: ask for another tier");
    }
    if end_user.is_none() {
        return refuse(
            "the workspace persists for an end user, and this run is for none: name one with Livery-On-Behalf-Of",
        );
    }
    Ok(spec.persist)
}
