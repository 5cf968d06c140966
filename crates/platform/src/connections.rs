//! Connections: credentials that runs use and nobody sees.
//!
//! A connection belongs to the organization, to one of its applications or to one end user. Its value goes in once, is
//! sealed for its row and version, and is opened for one request at a time: there is no call that answers it.
//!
//! Walk on: `catalogue` is what connectors there are, `secret` what a value may be, `bind` which connection fills a run's
//! slot, `bound` what a worker gets for it, `probe` the test call. Kinds that are exchanged for tokens: `mint` asks for one,
//! `tokens` keeps it, `authorize` and `device` are how a person agrees.

mod authorize;
mod bind;
mod bound;
mod catalogue;
mod change;
mod device;
mod discovery;
mod giveback;
mod material;
mod mint;
mod probe;
mod request;
mod secret;
mod tokens;
mod view;

use livery_broker::Target;
use livery_core::connector::{AuthKind, Connector, is_name};
use livery_core::id::{AppId, ConnectionId, EndUserId};
use livery_core::{Error, FieldError, Result};
use livery_store::{ConnectionRow, ConnectionStatus, Json};
use serde_json::json;

pub use self::authorize::{Authorization, Begun, Consent};
pub(crate) use self::bind::Bindings;
pub use self::bound::Bound;
pub use self::request::{
    AuthorizeConnection, ConnectionFilter, ConnectionPatch, Flow, NewConnection, NewCredential, RotateConnection,
};
pub(crate) use self::tokens::Tokens;
pub use self::view::{ConnectionTest, ConnectionView, ConnectorSetting, ConnectorView};
use self::view::{connector_view, view_of};
use crate::audit::note;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// Most connections of one organization that are not revoked.
pub const CONNECTIONS_PER_ORGANIZATION_MAX: u64 = 100_000;
/// What a connection's value is sealed as.
pub(crate) use self::tokens::{ACCESS_FIELD, REFRESH_FIELD};

pub(crate) const VALUE_FIELD: &str = "value";

impl Platform {
    /// The connectors there are, by name.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `connections:read`.
    pub fn list_connectors(&self, principal: &Principal) -> Result<Page<ConnectorView>> {
        principal.require(Scope::ConnectionsRead)?;
        Ok(Page::whole(catalogue::recipes()?.iter().map(connector_view).collect()))
    }

    /// One connector.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get_connector(&self, principal: &Principal, name: &str) -> Result<ConnectorView> {
        principal.require(Scope::ConnectionsRead)?;
        catalogue::recipe(name)?.map(connector_view).ok_or(Error::NotFound { what: "connector" })
    }

    /// Creates a connection of the organization, of an application, or of an end user.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings or a value that cannot be used; [`Error::NotFound`] for an application or end user
    /// that is not the caller's; [`Error::Conflict`] for a name in use on its level.
    pub async fn create_connection(&self, caller: &Caller, new: NewConnection) -> Result<Posted<ConnectionView>> {
        let principal = &caller.principal;
        principal.require(Scope::ConnectionsWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let (application, end_user) = self.owner_of(caller, new.application, new.end_user).await?;
        if !is_name(&new.name) {
            return Err(Error::invalid_field("/name", "a connection's name has 1 to 64 of a-z, 0-9, _ and -"));
        }
        let recipe = catalogue::recipe(&new.connector)?
            .ok_or_else(|| Error::invalid_field("/connector", "there is no such connector; see GET /v1/connectors"))?;
        let connector = recipe.settle(&new.settings).map_err(invalid_settings)?;
        self.check_reach(&connector)?;
        let (auth, value) = secret::checked(&connector, new.credential)?;
        let (_, settings) = Box::pin(self.discovered(principal.org, recipe, auth, new.settings)).await?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        let id = ConnectionId::from_bits(self.mint());
        let row = ConnectionRow {
            id,
            org,
            application,
            end_user,
            name: new.name,
            connector: new.connector,
            auth: auth.as_str().to_owned(),
            settings: Json::of(&settings)?,
            sealed_value: Some(self.seal_value(org, id, 1, &value, now).await?),
            version: 1,
            // Nobody has agreed yet.
            status: if auth == AuthKind::Oauth2 { ConnectionStatus::NeedsReauth } else { ConnectionStatus::Active },
            created_by: actor,
            created_at: now,
            updated_at: now,
            last_used_at: None,
            tested_at: None,
            test_outcome: None,
            test_reason: None,
        };
        let view = view_of(row.clone())?;
        self.post(caller, move |tx| {
            Box::pin(async move {
                if tx.count_connections(org).await? >= CONNECTIONS_PER_ORGANIZATION_MAX {
                    let detail = format!("an organization has at most {CONNECTIONS_PER_ORGANIZATION_MAX} connections");
                    return Err(Error::Conflict { code: "conflict", detail }.into());
                }
                match tx.insert_connection(&row).await {
                    Err(livery_store::Error::Exists { .. }) => {
                        let detail = format!("there is a connection named {} here; delete or rotate it", row.name);
                        return Err(Error::Conflict { code: "conflict", detail }.into());
                    }
                    other => other?,
                }
                let told = json!({
                    "connection": id, "name": row.name, "connector": row.connector, "version": 1,
                    "application": application, "end_user": end_user,
                });
                note(tx, org, "connection.created", now, actor, told).await?;
                Ok(view)
            })
        })
        .await
    }

    /// Connections the caller sees, newest first, those that were revoked included.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `connections:read`.
    pub async fn list_connections(
        &self,
        principal: &Principal,
        filter: ConnectionFilter,
        page: PageRequest,
    ) -> Result<Page<ConnectionView>> {
        principal.require(Scope::ConnectionsRead)?;
        let list = self.store.list_connections(principal.org, principal.app, filter.end_user, &page.into()).await?;
        Page::try_from_list(list, view_of)
    }

    /// One connection, without its value.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_connection(&self, principal: &Principal, id: ConnectionId) -> Result<ConnectionView> {
        principal.require(Scope::ConnectionsRead)?;
        view_of(self.visible_connection(principal, id).await?)
    }

    /// Replaces the value. From then on every request uses the new one, those of runs under way included.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a value that cannot be used; [`Error::Conflict`] when it is revoked, or
    /// somebody else rotated it at the same time.
    pub async fn rotate_connection(
        &self,
        caller: &Caller,
        id: ConnectionId,
        request: RotateConnection,
    ) -> Result<Posted<ConnectionView>> {
        let row = self.writable_connection(caller, id).await?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        if row.status == ConnectionStatus::Revoked {
            return Err(revoked());
        }
        let connector = settled(&row)?;
        let (auth, value) = secret::checked(&connector, request.credential)?;
        if auth.as_str() != row.auth {
            let detail = format!("this connection has a {} credential; another kind is another connection", row.auth);
            return Err(Error::invalid_field("/credential", detail));
        }
        let (org, actor, now) = (row.org, caller.principal.key, self.clock.now());
        let (from, version) = (row.version, row.version.saturating_add(1));
        let sealed = self.seal_value(org, id, version, &value, now).await?;
        let token = self.store.get_connection_token(org, id).await?;
        let agreed = auth != AuthKind::Oauth2 || token.is_some_and(|token| token.sealed_refresh.is_some());
        let status = if agreed { ConnectionStatus::Active } else { row.status };
        let rotated = ConnectionRow { status, version, updated_at: now, tested_at: None, ..row };
        let view = view_of(rotated)?;
        let posted = self
            .post(caller, move |tx| {
                Box::pin(async move {
                    if !tx.rotate_connection(org, id, from, &sealed, now).await? {
                        let detail = "the connection was changed at the same time; look at it and try again".to_owned();
                        return Err(Error::Conflict { code: "conflict", detail }.into());
                    }
                    let told = json!({"connection": id, "version": version});
                    note(tx, org, "connection.rotated", now, actor, told).await?;
                    Ok(view)
                })
            })
            .await?;
        self.broker.forget(org, &id.to_string());
        Ok(posted)
    }

    /// Revokes a connection: its value is gone, and no request uses it any more. Revoking it again changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_connection(&self, caller: &Caller, id: ConnectionId) -> Result<()> {
        let row = self.writable_connection(caller, id).await?;
        let (org, actor, now) = (row.org, caller.principal.key, self.clock.now());
        let what = self.to_give_back(&row).await;
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    if tx.revoke_connection(org, id, now).await? {
                        tx.delete_connection_token(org, id).await?;
                        tx.forget_connection_authorization(org, id).await?;
                        note(tx, org, "connection.revoked", now, actor, json!({"connection": id})).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.broker.forget(org, &id.to_string());
        if let Some(what) = what {
            self.give_back(row, what);
        }
        Ok(())
    }

    /// The level a new connection is on. A key of an application creates what is its application's; only a key of the whole
    /// organization creates what all of them may use.
    async fn owner_of(
        &self,
        caller: &Caller,
        application: Option<AppId>,
        end_user: Option<EndUserId>,
    ) -> Result<(Option<AppId>, Option<EndUserId>)> {
        let principal = &caller.principal;
        let application = match (application, principal.app) {
            (Some(named), Some(own)) if named != own => return Err(Error::NotFound { what: "application" }),
            (Some(named), _) => {
                self.store
                    .get_application(principal.org, named)
                    .await?
                    .ok_or(Error::NotFound { what: "application" })?;
                Some(named)
            }
            (None, own) => own,
        };
        let Some(end_user) = end_user_of(caller, end_user)? else { return Ok((application, None)) };
        let row = self.store.get_end_user(principal.org, end_user).await?;
        let row =
            row.filter(|row| principal.sees(Some(row.application))).ok_or(Error::NotFound { what: "end user" })?;
        if application.is_some_and(|application| application != row.application) {
            return Err(Error::invalid_field("/application", "the end user is another application's"));
        }
        Ok((Some(row.application), Some(end_user)))
    }

    /// Where it goes, as far as it can be judged without dialling: a private address is refused here already.
    fn check_reach(&self, connector: &Connector) -> Result<()> {
        let (at, target) = match (&connector.mail, &connector.postgres) {
            (Some(server), _) => ("/settings/host", Target::mail(server)),
            (None, Some(server)) => ("/settings/host", Target::database(&server.host, server.port, server.plaintext)),
            (None, None) => {
                let base = connector.reach.base().ok_or_else(|| Error::internal("a connector without an origin"))?;
                ("/settings/base_url", Target::base_url(&base))
            }
        };
        let target = target.map_err(|refused| Error::invalid_field(at, refused.to_string()))?;
        self.broker.check(&target).map_err(|refused| Error::invalid_field(at, refused.to_string()))
    }

    async fn visible_connection(&self, principal: &Principal, id: ConnectionId) -> Result<ConnectionRow> {
        let row = self.store.get_connection(principal.org, id).await?.filter(|row| principal.sees(row.application));
        row.ok_or(Error::NotFound { what: "connection" })
    }

    /// One the caller may change: what is the organization's is not an application's to change, and who acts for an end user
    /// changes that end user's alone.
    async fn writable_connection(&self, caller: &Caller, id: ConnectionId) -> Result<ConnectionRow> {
        let principal = &caller.principal;
        principal.require(Scope::ConnectionsWrite)?;
        let row = self.visible_connection(principal, id).await?;
        if caller.on_behalf_of.is_some() && row.end_user != caller.on_behalf_of {
            return Err(Error::NotFound { what: "connection" });
        }
        if principal.app.is_some() && row.application.is_none() {
            let detail = "the connection is the organization's: a key that is not bound to an application changes it";
            return Err(Error::Forbidden { detail: detail.to_owned() });
        }
        Ok(row)
    }
}

/// The end user it is for: named in the body, or in `Livery-On-Behalf-Of`, or nobody.
fn end_user_of(caller: &Caller, named: Option<EndUserId>) -> Result<Option<EndUserId>> {
    if named.is_some() {
        caller.principal.require(Scope::EndUsersAct)?;
    }
    match (named, caller.on_behalf_of) {
        (Some(named), Some(header)) if named != header => {
            Err(Error::invalid_field("/end_user", "another end user than that of Livery-On-Behalf-Of"))
        }
        (named, header) => Ok(named.or(header)),
    }
}

/// What a stored connection is. Its settings were fine when it was created.
fn settled(row: &ConnectionRow) -> Result<Connector> {
    let recipe = catalogue::recipe(&row.connector)?
        .ok_or_else(|| Error::internal(format!("{}: no connector {}", row.id, row.connector)))?;
    recipe.settle(&row.settings.parse()?).map_err(|errors| {
        let first = errors.first().map(|error| format!("{}: {}", error.pointer, error.detail)).unwrap_or_default();
        Error::Conflict {
            code: "conflict",
            detail: format!("the connector {} no longer takes this connection's settings ({first})", row.connector),
        }
    })
}

fn auth_of(row: &ConnectionRow) -> Result<AuthKind> {
    serde_json::from_value(row.auth.clone().into()).map_err(Error::internal)
}

fn invalid_settings(errors: Vec<FieldError>) -> Error {
    Error::Invalid { code: "invalid_value", detail: "the settings do not fit the connector".into(), errors }
}

fn revoked() -> Error {
    Error::Conflict { code: "conflict", detail: "the connection is revoked; create another one".to_owned() }
}

#[cfg(test)]
mod tests;
