//! What a caller says about a connection. A value goes from the body into a [`Secret`] and into nothing else: these types
//! have no `Debug` that would show it, and no `Clone`.

use std::fmt;

use livery_broker::Secret;
use livery_core::connector::{AuthKind, Settings};
use livery_core::id::{AppId, EndUserId};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

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

/// A credential on its way in, in the members of its kind. Deliberately without `Debug` and `Clone`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewCredential {
    /// The kind, where the connector takes several; its first otherwise.
    pub kind: Option<AuthKind>,
    /// A key or token; the key file of a service account; the private key of an app; a client certificate with its key.
    #[serde(deserialize_with = "secret")]
    pub value: Option<Secret>,
    /// The user name of a basic credential.
    pub username: Option<String>,
    /// The password of a basic credential.
    #[serde(deserialize_with = "secret")]
    pub password: Option<Secret>,
    /// The id of an OAuth client.
    pub client_id: Option<String>,
    /// Its secret; a public client has none.
    #[serde(deserialize_with = "secret")]
    pub client_secret: Option<Secret>,
    /// The id of an AWS access key.
    pub access_key_id: Option<String>,
    /// Its secret.
    #[serde(deserialize_with = "secret")]
    pub secret_access_key: Option<Secret>,
    /// The session token of a temporary one.
    #[serde(deserialize_with = "secret")]
    pub session_token: Option<Secret>,
}

impl NewCredential {
    /// The names of the members that are there.
    pub(super) fn given(&self) -> Vec<&'static str> {
        let members = [
            ("value", self.value.is_some()),
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("client_id", self.client_id.is_some()),
            ("client_secret", self.client_secret.is_some()),
            ("access_key_id", self.access_key_id.is_some()),
            ("secret_access_key", self.secret_access_key.is_some()),
            ("session_token", self.session_token.is_some()),
        ];
        members.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }
}

/// `POST /v1/connections/{id}/rotate`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RotateConnection {
    /// The new credential, of the same kind.
    pub credential: NewCredential,
}

/// `PATCH /v1/connections/{id}`: what is absent stays.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionPatch {
    /// Its name.
    pub name: Option<String>,
    /// The methods it is narrowed to; `null`: those of its connector.
    #[serde(deserialize_with = "said")]
    pub methods: Option<Option<Value>>,
    /// The paths it is narrowed to; `null`: those of its connector.
    #[serde(deserialize_with = "said")]
    pub paths: Option<Option<Value>>,
    /// The operations of a GraphQL API it is narrowed to; `null`: all.
    #[serde(deserialize_with = "said")]
    pub graphql: Option<Option<Value>>,
    /// The application whose runs may use it; `null`: all of the organization's.
    #[serde(deserialize_with = "said")]
    pub application: Option<Option<AppId>>,
}

/// `POST /v1/connections/{id}/authorize`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizeConnection {
    /// How the person agrees.
    pub flow: Flow,
}

/// How a person agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// In a browser that comes back.
    #[default]
    Code,
    /// Elsewhere, with a code that is typed.
    Device,
}

/// What a list of connections is narrowed to.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionFilter {
    /// Of this end user.
    pub end_user: Option<EndUserId>,
}

/// A member that is there, be it `null`.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::from))
}
