//! Which connection fills a run's slot, decided once when the run is accepted: what the request names, or else what the end
//! user, the application or the organization has, the nearest level first.

use std::collections::BTreeMap;

use livery_core::agent::{Agent, Slot};
use livery_core::id::{AppId, ConnectionId};
use livery_core::{Error, Result};
use livery_store::{ConnectionRow, ConnectionStatus};
use serde::Serialize;
use serde_json::{Value, json};

use crate::runs::{Cause, StartRun};
use crate::{Caller, Platform};

/// Most choices that an error names.
const CHOICES_MAX: usize = 8;

/// Why a connection fills a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// The request for the run named it.
    Run,
    /// The schedule names it.
    Schedule,
    /// The trigger names it.
    Trigger,
    /// The end user has it.
    EndUser,
    /// The application has it.
    Application,
    /// The organization has it.
    Organization,
}

impl Reason {
    /// Who named what a request names.
    fn of(cause: &Cause) -> Self {
        match cause {
            Cause { schedule: Some(_), .. } => Self::Schedule,
            Cause { trigger: Some(_), .. } => Self::Trigger,
            _ => Self::Run,
        }
    }
}

/// The slots that are filled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bindings(BTreeMap<String, Binding>);

#[derive(Debug, Clone)]
struct Binding {
    connection: ConnectionId,
    version: u32,
    reason: Reason,
}

impl Bindings {
    /// As the run's row keeps them: slot to id.
    pub(crate) fn ids(&self) -> BTreeMap<&str, ConnectionId> {
        self.0.iter().map(|(slot, binding)| (slot.as_str(), binding.connection)).collect()
    }

    /// As `run.queued` tells them; `None` without any.
    pub(crate) fn told(&self) -> Option<Value> {
        let told =
            |binding: &Binding| json!({"id": binding.connection, "version": binding.version, "level": binding.reason});
        (!self.0.is_empty()).then(|| self.0.iter().map(|(slot, binding)| (slot.clone(), told(binding))).collect())
    }
}

impl Platform {
    /// Fills the slots of a run of `application` that `caller` starts. A run that repeats another names what that one had,
    /// for an agent that may have other slots by now.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a connection this run may not know of; [`Error::Invalid`] at `/connections/SLOT` for a slot
    /// the agent does not have, a connection that does not fit it, a required slot that nothing fills, or several
    /// connections of which none is named like the slot.
    pub(crate) async fn bind_connections(
        &self,
        caller: &Caller,
        application: Option<AppId>,
        agent: &Agent,
        request: &StartRun,
        cause: &Cause,
    ) -> Result<Bindings> {
        let (named, reason) = (&request.connections, Reason::of(cause));
        let unknown = named.keys().find(|slot| !agent.connections.contains_key(*slot));
        if let (Some(slot), None) = (unknown, &cause.origin) {
            return Err(refused(slot, "the agent has no such slot".into()));
        }
        let mut bindings = BTreeMap::new();
        for (name, slot) in &agent.connections {
            let found = match named.get(name) {
                Some(id) => Some((self.named_connection(caller, application, name, slot, *id).await?, reason)),
                None => self.nearest_connection(caller, application, name, slot).await?,
            };
            match found {
                Some((row, reason)) => {
                    let binding = Binding { connection: row.id, version: row.version, reason };
                    bindings.insert(name.clone(), binding);
                }
                None if slot.required => {
                    let detail = format!(
                        "the agent requires a connection for its slot `{name}` (connector {}); create one with POST /v1/connections",
                        slot.connector
                    );
                    return Err(refused(name, detail));
                }
                None => {}
            }
        }
        Ok(Bindings(bindings))
    }

    /// A connection that a request names. Another end user's, and another application's, is one that does not exist.
    async fn named_connection(
        &self,
        caller: &Caller,
        application: Option<AppId>,
        name: &str,
        slot: &Slot,
        id: ConnectionId,
    ) -> Result<ConnectionRow> {
        let row = self.store.get_connection(caller.principal.org, id).await?;
        let usable = |row: &ConnectionRow| {
            caller.principal.sees(row.application)
                && (row.application.is_none() || row.application == application)
                && (row.end_user.is_none() || row.end_user == caller.on_behalf_of)
        };
        let row = row.filter(usable).ok_or(Error::NotFound { what: "connection" })?;
        if row.connector != slot.connector {
            let detail = format!("the slot takes a connection of {}, this one is of {}", slot.connector, row.connector);
            return Err(refused(name, detail));
        }
        check_status(name, &row)?;
        Ok(row)
    }

    /// The connection of the nearest level that has one: the only one there, or the one named like the slot.
    async fn nearest_connection(
        &self,
        caller: &Caller,
        application: Option<AppId>,
        name: &str,
        slot: &Slot,
    ) -> Result<Option<(ConnectionRow, Reason)>> {
        let (org, end_user) = (caller.principal.org, caller.on_behalf_of);
        let usable = self.store.usable_connections(org, &slot.connector, application, end_user).await?;
        let Some(reason) = usable.iter().map(level_of).min_by_key(|level| *level as u8) else { return Ok(None) };
        let mut level: Vec<ConnectionRow> = usable.into_iter().filter(|row| level_of(row) == reason).collect();
        let at = match level.len() {
            1 => 0,
            _ => level.iter().position(|row| row.name == name).ok_or_else(|| ambiguous(name, slot, &level))?,
        };
        let row = level.swap_remove(at);
        check_status(name, &row)?;
        Ok(Some((row, reason)))
    }
}

fn level_of(row: &ConnectionRow) -> Reason {
    match (row.end_user, row.application) {
        (Some(_), _) => Reason::EndUser,
        (None, Some(_)) => Reason::Application,
        (None, None) => Reason::Organization,
    }
}

fn check_status(slot: &str, row: &ConnectionRow) -> Result<()> {
    match row.status {
        ConnectionStatus::Active => Ok(()),
        ConnectionStatus::Revoked => Err(refused(slot, format!("the connection {} is revoked", row.id))),
        ConnectionStatus::NeedsReauth => {
            Err(refused(slot, format!("the connection {} has to be authorised again: rotate it", row.id)))
        }
    }
}

fn ambiguous(name: &str, slot: &Slot, level: &[ConnectionRow]) -> Error {
    let choices: Vec<String> = level.iter().take(CHOICES_MAX).map(|row| format!("{} ({})", row.name, row.id)).collect();
    let more = if level.len() > CHOICES_MAX { ", …" } else { "" };
    let detail = format!(
        "there are {} connections of {} and none is named `{name}`; name one: {}{more}",
        level.len(),
        slot.connector,
        choices.join(", ")
    );
    refused(name, detail)
}

fn refused(slot: &str, detail: String) -> Error {
    Error::invalid_field(format!("/connections/{}", slot.replace('~', "~0").replace('/', "~1")), detail)
}
