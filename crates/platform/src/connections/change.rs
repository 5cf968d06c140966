//! What of a connection can be changed beside its value: its name, what it is narrowed to, and whose it is.

use livery_core::connector::{Settings, is_name};
use livery_core::id::{AppId, ConnectionId};
use livery_core::{Error, Result, Timestamp};
use livery_store::{ConnectionChange, ConnectionRow, ConnectionStatus, Json};
use serde_json::{Value, json};

use super::{ConnectionPatch, ConnectionView, catalogue, invalid_settings, revoked, settled, view_of};
use crate::audit::note;
use crate::{Caller, Platform};

impl Platform {
    /// Changes a connection. What it is narrowed to holds from the next request on, for runs under way too.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for what does not fit the connector; [`Error::Conflict`] when it is revoked, the
    /// name is in use on its level, or somebody else changed it at the same time; [`Error::Forbidden`] for an application's
    /// key that widens or moves it.
    pub async fn change_connection(
        &self,
        caller: &Caller,
        id: ConnectionId,
        patch: ConnectionPatch,
    ) -> Result<ConnectionView> {
        let row = self.writable_connection(caller, id).await?;
        if row.status == ConnectionStatus::Revoked {
            return Err(revoked());
        }
        let name = patch.name.unwrap_or_else(|| row.name.clone());
        if !is_name(&name) {
            return Err(Error::invalid_field("/name", "a connection's name has 1 to 64 of a-z, 0-9, _ and -"));
        }
        let settings =
            narrowed(&row, [("methods", patch.methods), ("paths", patch.paths), ("graphql", patch.graphql)])?;
        self.check_not_wider(caller, &row, &settings).await?;
        let application = self.moved(caller, &row, patch.application).await?;
        let (org, actor, now) = (row.org, caller.principal.key, later(self.clock.now(), row.updated_at));
        let change = ConnectionChange { from: row.updated_at, name, settings, application };
        let changed = ConnectionRow {
            name: change.name.clone(),
            settings: change.settings.clone(),
            application,
            updated_at: now,
            ..row
        };
        let told = json!({
            "connection": id, "name": changed.name, "application": application,
            "settings": serde_json::from_str::<Value>(changed.settings.as_str()).map_err(Error::internal)?,
        });
        let write = self.store.write(move |tx| {
            Box::pin(async move {
                match tx.change_connection(org, id, &change, now).await {
                    Err(livery_store::Error::Exists { .. }) => {
                        let detail = format!("there is a connection named {} here", change.name);
                        return Err(Error::Conflict { code: "conflict", detail }.into());
                    }
                    Ok(false) => {
                        let detail = "the connection was changed at the same time; look at it and try again".to_owned();
                        return Err(Error::Conflict { code: "conflict", detail }.into());
                    }
                    other => other?,
                };
                note(tx, org, "connection.changed", now, actor, told).await
            })
        });
        write.await?;
        self.broker.forget(org, &id.to_string());
        view_of(changed)
    }

    /// What somebody else narrowed a connection to, an application's key narrows further and never widens. One that an
    /// application's own key made is the application's to change.
    async fn check_not_wider(&self, caller: &Caller, row: &ConnectionRow, settings: &Json) -> Result<()> {
        let Some(app) = caller.principal.app else { return Ok(()) };
        let changed = ConnectionRow { settings: settings.clone(), ..row.clone() };
        if settled(&changed)?.reach.is_within(&settled(row)?.reach) {
            return Ok(());
        }
        let maker = self.store.get_api_key(row.org, row.created_by).await?;
        if maker.is_some_and(|key| key.application == Some(app)) {
            return Ok(());
        }
        let detail = "a key of an application does not widen what a connection that the organization made is for";
        Err(Error::Forbidden { detail: detail.to_owned() })
    }

    /// Only a key of the whole organization moves a connection, and an end user's stays with its end user.
    async fn moved(&self, caller: &Caller, row: &ConnectionRow, to: Option<Option<AppId>>) -> Result<Option<AppId>> {
        let Some(to) = to.filter(|to| *to != row.application) else { return Ok(row.application) };
        if row.end_user.is_some() {
            return Err(Error::invalid_field("/application", "an end user's connection stays with its end user"));
        }
        if caller.principal.app.is_some() {
            let detail = "only a key that is not bound to an application moves a connection".to_owned();
            return Err(Error::Forbidden { detail });
        }
        if let Some(application) = to {
            let found = self.store.get_application(row.org, application).await?;
            found.ok_or(Error::NotFound { what: "application" })?;
        }
        Ok(to)
    }
}

/// The settings with other narrowing, checked against the connector as a whole.
fn narrowed(row: &ConnectionRow, changes: [(&str, Option<Option<Value>>); 3]) -> Result<Json> {
    let mut settings: Settings = row.settings.parse()?;
    for (name, change) in changes {
        match change {
            None => {}
            Some(None) => drop(settings.remove(name)),
            Some(Some(value)) => drop(settings.insert(name.to_owned(), value)),
        }
    }
    let recipe = catalogue::recipe(&row.connector)?
        .ok_or_else(|| Error::internal(format!("{}: no connector {}", row.id, row.connector)))?;
    recipe.settle(&settings).map_err(|errors| {
        let moved = |mut error: livery_core::FieldError| {
            error.pointer = error.pointer.replacen("/settings/", "/", 1);
            error
        };
        invalid_settings(errors.into_iter().map(moved).collect())
    })?;
    Ok(Json::of(&settings)?)
}

/// Later than the change before, however coarse the clock: the moment tells one state from the next.
fn later(now: Timestamp, before: Timestamp) -> Timestamp {
    if now > before { now } else { before.plus_millis(1) }
}
