//! A connection and a connector as callers see them. Never a value.

use livery_core::connector::{AuthKind, CredentialSlot, Method, PathPattern, Recipe, SettingKind};
use livery_core::id::{AppId, ConnectionId, EndUserId, KeyId, OrgId};
use livery_core::{Result, Timestamp};
use livery_store::{ConnectionRow, Json};
use serde::Serialize;

use super::auth_of;

/// A connection without its value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConnectionView {
    /// Its id.
    pub id: ConnectionId,
    /// Its name.
    pub name: String,
    /// What it connects to.
    pub connector: String,
    /// The kind of its credential.
    pub auth: AuthKind,
    /// What the connector asked for beside the credential.
    pub settings: Json,
    /// Counts the rotations, from 1.
    pub version: u32,
    /// `active`, `revoked` or `needs_reauth`.
    pub status: &'static str,
    /// The last test of its present value.
    pub test: Option<ConnectionTest>,
    /// The tenant.
    pub organization: OrgId,
    /// The application whose runs may use it; none: all of the tenant's.
    pub application: Option<AppId>,
    /// The end user whose runs alone may use it.
    pub end_user: Option<EndUserId>,
    /// The key that created it.
    pub created_by: KeyId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its value or status changed last.
    pub updated_at: Timestamp,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// How a test call went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionTest {
    /// `ok` or `refused`.
    pub outcome: String,
    /// Why it was refused: a sentence of ours, nothing of the answer.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A connector: what a connection to it is asked for, and where its credential may go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConnectorView {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What it is for, and where its credential comes from.
    pub about: String,
    /// The kinds of credentials it takes, the default first.
    pub auth: Vec<AuthKind>,
    /// What a connection says beside its credential; `methods` and `paths` can always be said.
    pub settings: Vec<ConnectorSetting>,
    /// Where the credential may go; empty: where the setting `base_url` says.
    pub origins: Vec<String>,
    /// With which methods; empty: all.
    pub methods: Vec<Method>,
    /// To which paths; empty: all.
    pub paths: Vec<PathPattern>,
    /// Where in a request the credential is put.
    pub slot: CredentialSlot,
    /// The method and path of the test call, if there is one.
    pub test: Option<String>,
}

/// One thing a connection is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectorSetting {
    /// Its name.
    pub name: String,
    /// `label`, `base_url`, `slot` or `test_path`.
    pub kind: SettingKind,
    /// Whether it must be said.
    pub required: bool,
    /// What it is.
    pub about: String,
}

pub(super) fn view_of(row: ConnectionRow) -> Result<ConnectionView> {
    let test = match (row.tested_at, row.test_outcome.clone()) {
        (Some(at), Some(outcome)) => Some(ConnectionTest { outcome, reason: row.test_reason.clone(), at }),
        _ => None,
    };
    Ok(ConnectionView {
        auth: auth_of(&row)?,
        id: row.id,
        name: row.name,
        connector: row.connector,
        settings: row.settings,
        version: row.version,
        status: row.status.as_str(),
        test,
        organization: row.org,
        application: row.application,
        end_user: row.end_user,
        created_by: row.created_by,
        created_at: row.created_at,
        updated_at: row.updated_at,
        last_used_at: row.last_used_at,
    })
}

pub(super) fn connector_view(recipe: &Recipe) -> ConnectorView {
    let settings = recipe.settings.iter().map(|(name, setting)| ConnectorSetting {
        name: name.clone(),
        kind: setting.kind,
        required: setting.required,
        about: setting.about.clone(),
    });
    ConnectorView {
        name: recipe.name.clone(),
        title: recipe.title.clone(),
        about: recipe.about.clone(),
        auth: recipe.auth.clone(),
        settings: settings.collect(),
        origins: recipe.origins.clone(),
        methods: recipe.methods.clone(),
        paths: recipe.paths.clone(),
        slot: recipe.slot.clone(),
        test: recipe.test.as_ref().map(|test| format!("{} {}", test.method, test.path)),
    }
}
