//! What a run's loop is built from: the same for every life of the run, and for its replay.

use livery_core::agent::ModelRef;
use livery_core::{Error, Result};
use livery_harness::Setup;
use livery_store::RunRow;

use crate::agents::LoadedAgent;

/// The setup of a run, from its row, its agent and the models that `run.queued` names.
///
/// # Errors
/// When the stored input is no JSON.
pub(crate) fn setup_of(row: &RunRow, agent: &LoadedAgent, models: Vec<ModelRef>) -> Result<Setup> {
    Ok(Setup {
        input: row.input.parse()?,
        limits: row.limits,
        models,
        can_sandbox: true,
        ..Setup::new(agent.agent.clone(), serde_json::Value::Null)
    })
}

/// The models that the data of a `run.queued` names, in order.
///
/// # Errors
/// When it names none that can be read.
pub(crate) fn models_of(queued: &serde_json::Value) -> Result<Vec<ModelRef>> {
    serde_json::from_value(queued["models"].clone()).map_err(Error::internal)
}
