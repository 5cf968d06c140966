//! What a run's loop is built from: the same for every life of the run, and for its replay.

use std::collections::BTreeMap;

use livery_core::agent::ModelRef;
use livery_core::id::ConnectionId;
use livery_core::{Error, Result};
use livery_harness::Setup;
use livery_store::RunRow;

use crate::agents::LoadedAgent;

/// The setup of a run, from its row, its agent and the models that `run.queued` names.
///
/// # Errors
/// When the stored input or the stored slots are no JSON.
pub(crate) fn setup_of(row: &RunRow, agent: &LoadedAgent, models: Vec<ModelRef>) -> Result<Setup> {
    Ok(Setup {
        input: row.input.parse()?,
        limits: row.limits,
        models,
        can_sandbox: true,
        connections: connections_of(row, agent)?,
        ..Setup::new(agent.agent.clone(), serde_json::Value::Null)
    })
}

/// The slots that have a connection, each with the connector the agent asks for.
fn connections_of(row: &RunRow, agent: &LoadedAgent) -> Result<BTreeMap<String, String>> {
    let bound: BTreeMap<String, ConnectionId> = row.connections.parse()?;
    let slots = &agent.agent.connections;
    Ok(bound.into_keys().filter_map(|slot| slots.get(&slot).map(|wanted| (slot, wanted.connector.clone()))).collect())
}

/// The models that the data of a `run.queued` names, in order.
///
/// # Errors
/// When it names none that can be read.
pub(crate) fn models_of(queued: &serde_json::Value) -> Result<Vec<ModelRef>> {
    serde_json::from_value(queued["models"].clone()).map_err(Error::internal)
}
