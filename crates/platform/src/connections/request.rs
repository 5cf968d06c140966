//! What a caller says about a connection. A value goes from the body into a [`Secret`] and into nothing else: these types
//! have no `Debug` that would show it, and no `Clone`.

use std::fmt;

use livery_broker::Secret;
use livery_core::connector::{AuthKind, Settings};
use livery_core::id::{AppId, EndUserId};
use serde::{Deserialize, Deserializer};

/// `POST /v1/connections`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewConnection {
    /// `[a-z0-9_-]{1,64}`, once on each level.
    pub name: String,
    /// Which connector.
    pub connector: String,
    /// What the connector asks for beside the credential.
    #[serde(default)]
    pub settings: Settings,
    /// The credential, write-only.
    #[serde(default)]
    pub credential: NewCredential,
    /// The application whose runs may use it; absent: that of the key.
    #[serde(default)]
    pub application: Option<AppId>,
    /// The end user whose runs alone may use it.
    #[serde(default)]
    pub end_user: Option<EndUserId>,
}

impl fmt::Debug for NewConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewConnection")
            .field("name", &self.name)
            .field("connector", &self.connector)
            .finish_non_exhaustive()
    }
}

/// A credential on its way in: `value`, or `username` and `password`. Deliberately without `Debug` and `Clone`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewCredential {
    /// The kind, where the connector takes several; its first otherwise.
    pub kind: Option<AuthKind>,
    /// A key or token.
    #[serde(deserialize_with = "secret")]
    pub value: Option<Secret>,
    /// The user name of a basic credential.
    pub username: Option<String>,
    /// The password of a basic credential.
    #[serde(deserialize_with = "secret")]
    pub password: Option<Secret>,
}

/// `POST /v1/connections/{id}/rotate`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RotateConnection {
    /// The new credential, of the same kind.
    pub credential: NewCredential,
}

/// What a list of connections is narrowed to.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionFilter {
    /// Of this end user.
    pub end_user: Option<EndUserId>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::from))
}
