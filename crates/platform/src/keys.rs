//! API keys: shown once, stored as a digest, revocable.

use livery_core::Timestamp;
use livery_core::id::{AppId, KeyId, OrgId};
use serde::{Deserialize, Serialize};

use crate::Scope;

/// `POST /v1/api_keys`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// A label for people, 1–100 characters.
    pub name: String,
    /// Its rights; at most those of the creating key.
    pub scopes: Vec<Scope>,
    /// The application it is bound to; absent: that of the creating key.
    #[serde(default)]
    pub application: Option<AppId>,
    /// When it stops to work.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApiKeyView {
    /// Its id.
    pub id: KeyId,
    /// Its label.
    pub name: String,
    /// The first characters, to tell keys apart.
    pub prefix: String,
    /// The tenant.
    pub organization: OrgId,
    /// The application.
    pub application: Option<AppId>,
    /// Its rights.
    pub scopes: Vec<Scope>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it stops to work.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A new key: the only answer that ever carries the secret.
#[derive(Clone, PartialEq, Serialize)]
pub struct ApiKeyCreated {
    /// The key.
    #[serde(flatten)]
    pub view: ApiKeyView,
    /// `lvk_…`, shown once.
    pub api_key: String,
}
