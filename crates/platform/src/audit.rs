//! What belongs to no run goes into the organization's own stream of the log: keys, endpoints, providers, agents.

use livery_core::Timestamp;
use livery_core::id::OrgId;
use livery_store::{Json, OrgEvent, Tx};
use serde_json::Value;

/// Notes an event of the organization in the transaction that makes it true. Never a secret.
pub(crate) async fn note(
    tx: &mut Tx,
    org: OrgId,
    event_type: &'static str,
    now: Timestamp,
    actor: impl ToString,
    data: Value,
) -> livery_store::Result<()> {
    let event = OrgEvent {
        event_type: event_type.to_owned(),
        actor: actor.to_string(),
        on_behalf_of: None,
        at: now,
        data: Json::of(&data)?,
    };
    tx.append_org_event(org, &event).await.map(drop)
}
