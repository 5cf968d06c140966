//! Connections and connectors. A value is written and never read.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{AppId, ConnectionId, EndUserId, KeyId, OrgId, Time, page};

/// A credential that runs can use, and what it is for.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "billing", "connector": "stripe", "credential": {"value": "rk_live_0123456789abcdef"}}))]
pub(crate) struct NewConnection {
    /// Used once on each level (organization, application, end user). It stands in `[REDACTED:NAME]`.
    #[schema(pattern = "^[a-z0-9_-]{1,64}$")]
    name: String,
    /// The name of a connector.
    connector: String,
    /// What the connector asks for beside the credential; `methods`, `paths` and `graphql` narrow what it allows.
    #[serde(default)]
    #[schema(value_type = Object)]
    settings: Option<Map<String, Value>>,
    #[schema(inline)]
    credential: NewCredential,
    /// The application whose runs may use it; absent: that of the key, or all of the organization's.
    #[schema(value_type = Option<AppId>)]
    application: Option<String>,
    /// The end user whose runs alone may use it; needs the scope `end_users:act`.
    #[schema(value_type = Option<EndUserId>)]
    end_user: Option<String>,
}

/// The members of its kind: `value`; `username` and `password`; `client_id` and `client_secret`; `access_key_id`,
/// `secret_access_key` and `session_token`.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCredential {
    #[schema(inline)]
    kind: Option<AuthKind>,
    /// A key or token: visible ASCII without spaces. Of a `service_account`, its JSON key file; of a `github_app`, its private
    /// key in PEM; of a `client_certificate`, the chain and its private key in PEM.
    #[schema(write_only, min_length = 16, max_length = 65536)]
    value: Option<String>,
    /// Of a basic credential.
    #[schema(write_only, min_length = 1, max_length = 256)]
    username: Option<String>,
    /// Of a basic credential; a token may stand in its place.
    #[schema(write_only, min_length = 16, max_length = 4096)]
    password: Option<String>,
    /// Of `oauth2` and `client_credentials`.
    #[schema(min_length = 1, max_length = 256)]
    client_id: Option<String>,
    /// Of `client_credentials`, and of `oauth2` unless the client is public.
    #[schema(write_only, min_length = 16, max_length = 4096)]
    client_secret: Option<String>,
    /// Of `aws`.
    #[schema(min_length = 1, max_length = 256)]
    access_key_id: Option<String>,
    /// Of `aws`.
    #[schema(write_only, min_length = 16, max_length = 4096)]
    secret_access_key: Option<String>,
    /// Of `aws`, for a temporary key.
    #[schema(write_only, min_length = 16, max_length = 4096)]
    session_token: Option<String>,
}

/// A kind of credential.
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AuthKind {
    ApiKey,
    Bearer,
    Basic,
    Oauth2,
    ClientCredentials,
    ServiceAccount,
    GithubApp,
    Aws,
    ClientCertificate,
}

/// A new value.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"credential": {"value": "rk_live_fedcba9876543210"}}))]
pub(crate) struct RotateConnection {
    #[schema(inline)]
    credential: NewCredential,
}

/// What is absent stays.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"methods": ["GET"], "paths": ["/v1/invoices/**"]}))]
pub(crate) struct ConnectionPatch {
    #[schema(pattern = "^[a-z0-9_-]{1,64}$")]
    name: Option<String>,
    /// Narrows what the connector allows; null: no more.
    methods: Option<Vec<String>>,
    /// Narrows what the connector allows; null: no more.
    paths: Option<Vec<String>>,
    /// Narrows a GraphQL API to operations: `{"path", "queries", "mutations", "subscriptions", "persisted"}`; null: no more.
    #[schema(value_type = Option<Object>)]
    graphql: Option<Map<String, Value>>,
    /// The application whose runs may use it; null: all of the organization's.
    #[schema(value_type = Option<AppId>)]
    application: Option<String>,
}

/// How a person agrees.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"flow": "code"}))]
pub(crate) struct AuthorizeConnection {
    /// `code`: in a browser that comes back here. `device`: elsewhere, with a code that is typed.
    #[schema(inline)]
    flow: Option<Flow>,
}

#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Flow {
    Code,
    Device,
}

/// What a person is asked to do.
#[derive(ToSchema)]
pub(crate) struct Authorization {
    connection: ConnectionId,
    /// What to open in a browser; the first browser that does is the only one that counts.
    url: String,
    /// What to type there; only with the flow `device`.
    #[schema(required)]
    user_code: Option<String>,
    expires_at: Time,
}

/// A connection without its value.
#[derive(ToSchema)]
pub(crate) struct Connection {
    id: ConnectionId,
    name: String,
    connector: String,
    #[schema(inline)]
    auth: AuthKind,
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    /// Counts the rotations, from 1.
    version: u32,
    #[schema(inline)]
    status: ConnectionStatus,
    /// The last test of its present value.
    #[schema(required)]
    test: Option<ConnectionTest>,
    organization: OrgId,
    /// The application whose runs may use it; null: all of the organization's.
    #[schema(required)]
    application: Option<AppId>,
    /// The end user whose runs alone may use it.
    #[schema(required)]
    end_user: Option<EndUserId>,
    created_by: KeyId,
    created_at: Time,
    updated_at: Time,
    /// To the minute.
    #[schema(required)]
    last_used_at: Option<Time>,
}

page!(ConnectionPage of Connection);

#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConnectionStatus {
    Active,
    Revoked,
    NeedsReauth,
}

/// How a test call went.
#[derive(ToSchema)]
pub(crate) struct ConnectionTest {
    /// `ok` or `refused`.
    outcome: String,
    /// Why it was refused; nothing of the upstream's answer is in it.
    #[schema(required)]
    reason: Option<String>,
    at: Time,
}

/// What can be connected to.
#[derive(ToSchema)]
pub(crate) struct Connector {
    name: String,
    /// Its name for people.
    title: String,
    /// What it is for, and where its credential comes from.
    about: String,
    /// The kinds of credentials it takes, the default first.
    #[schema(inline)]
    auth: Vec<AuthKind>,
    #[schema(inline)]
    settings: Vec<ConnectorSetting>,
    /// Where the credential may go, with settings in braces; none: where `base_url` says, or `host` for what is no HTTP.
    origins: Vec<String>,
    /// With which methods; none: with all.
    methods: Vec<String>,
    /// To which paths: `*` is one segment, `/**` the rest; none: to all.
    paths: Vec<String>,
    /// Where in a request the credential is put: `{"in": "header", "name", "prefix"}`, `{"in": "query", "name"}`,
    /// `{"in": "basic"}`, `{"in": "basic_token", "username"}`, `{"in": "sigv4", "region", "service"}` or
    /// `{"in": "client_certificate"}`.
    #[schema(value_type = Object)]
    slot: Map<String, Value>,
    /// The method and path of the test call.
    #[schema(required)]
    test: Option<String>,
}

page!(ConnectorPage of Connector);

/// What a connection says beside its credential.
#[derive(ToSchema)]
struct ConnectorSetting {
    name: String,
    /// `label` (one part of a host name), `base_url`, `slot`, `test_path`, `oauth` or `installation`.
    kind: String,
    required: bool,
    about: String,
}
