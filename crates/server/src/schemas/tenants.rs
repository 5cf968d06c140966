//! Organizations, API keys and model providers.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{AppId, KeyId, NodeId, OrgId, ProviderId, Time, page};

/// A node: a data directory and the process on it.
#[derive(ToSchema)]
pub(crate) struct Node {
    id: NodeId,
    /// For people.
    name: String,
    state: NodeState,
    /// `api`, `worker`, `delivery`, `maintenance`.
    roles: Vec<String>,
    /// Where its API listens.
    #[schema(required)]
    address: Option<String>,
    version: String,
    started_at: Time,
    seen_at: Time,
}

/// How a node is: it takes work, it ends what it has and takes no more, or it was not seen for a while.
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeState {
    Up,
    Draining,
    Gone,
}

page!(NodePage of Node);

/// The images of a node.
#[derive(ToSchema)]
pub(crate) struct Images {
    /// The node that was asked.
    node: NodeId,
    /// `host` first, then in the order they came.
    data: Vec<Image>,
}

/// What a sandbox is made of.
#[derive(ToSchema)]
pub(crate) struct Image {
    /// `name:tag`, as often as it has names; none when it only waits for the runs that have it.
    names: Vec<String>,
    /// `sha256:…`, of its manifest; `host` has none.
    #[schema(required)]
    digest: Option<String>,
    /// Such as `linux/amd64`.
    #[schema(required)]
    platform: Option<String>,
    /// Unpacked.
    #[schema(required)]
    bytes: Option<u64>,
    /// When it was made, as it says of itself.
    #[schema(required)]
    created: Option<String>,
    /// When it came to this node.
    #[schema(required)]
    imported_at: Option<Time>,
    /// Agents of this organization whose latest version names it.
    agents: u64,
    /// Runs of this organization that have it and are not over.
    runs: u64,
}

/// The sandbox tiers of a node.
#[derive(ToSchema)]
pub(crate) struct SandboxTiers {
    /// The node that was asked.
    node: NodeId,
    /// From the weakest to the strongest; the isolate, which is compared with none, last.
    data: Vec<SandboxTier>,
}

/// One tier as a node has it.
#[derive(ToSchema)]
pub(crate) struct SandboxTier {
    /// `container`, `gvisor`, `microvm`, `isolate`.
    tier: String,
    status: TierStatus,
    /// What was found, in a sentence.
    detail: String,
    /// What to do about it.
    #[schema(required)]
    fix: Option<String>,
    /// Of the program that carries it.
    #[schema(required)]
    version: Option<String>,
    /// Of the same program.
    #[schema(required)]
    sha256: Option<String>,
    /// Whether it is there for development alone: it satisfies no minimum tier.
    dev_only: bool,
    /// From a request to its first command's end, when it was tried.
    #[schema(required)]
    trial_ms: Option<u64>,
}

/// Whether runs can have it: as designed, with a weaker means that `detail` names, or not at all.
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TierStatus {
    Ok,
    Degraded,
    Unusable,
}

/// A new organization.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrganization {
    /// For people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// An organization with its first application, and a key that has every right in it.
#[derive(ToSchema)]
pub(crate) struct OrganizationCreated {
    id: OrgId,
    name: String,
    application: AppId,
    /// `lvk_…`, shown this once.
    api_key: String,
}

/// An organization.
#[derive(ToSchema)]
pub(crate) struct Organization {
    id: OrgId,
    name: String,
    /// The weakest tier its runs may have; null: any.
    #[schema(required)]
    minimum_tier: Option<Tier>,
    created_at: Time,
}

page!(OrganizationPage of Organization);

/// An application of an organization.
#[derive(ToSchema)]
pub(crate) struct Application {
    id: AppId,
    organization: OrgId,
    name: String,
    /// The weakest tier its runs may have; null: any that its organization allows.
    #[schema(required)]
    minimum_tier: Option<Tier>,
    created_at: Time,
}

page!(ApplicationPage of Application);

/// What changes; what is absent stays.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"minimum_tier": "gvisor"}))]
pub(crate) struct SettingsPatch {
    /// The weakest tier that runs may have; null: any.
    minimum_tier: Option<Tier>,
}

/// How strong the wall around a run is: `container` < `gvisor` < `microvm`; `isolate` is compared with none.
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tier {
    Container,
    Gvisor,
    Microvm,
    Isolate,
}

/// A new API key.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApiKey {
    /// For people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Its rights: at most those of the key that creates it.
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<String>,
    /// The application it is bound to; absent: that of the creating key.
    #[schema(value_type = Option<AppId>)]
    application: Option<String>,
    /// When it stops to work.
    #[schema(value_type = Option<Time>)]
    expires_at: Option<String>,
}

/// One right of an API key.
pub(crate) struct Scope;

impl utoipa::PartialSchema for Scope {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
        let names = livery_platform::Scope::ALL.iter().map(|scope| scope.as_str());
        let text = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
        Schema::Object(text.description(Some("One right of an API key.")).build()).into()
    }
}

impl ToSchema for Scope {
    fn name() -> std::borrow::Cow<'static, str> {
        "Scope".into()
    }
}

/// An API key without its secret.
#[derive(ToSchema)]
pub(crate) struct ApiKey {
    id: KeyId,
    name: String,
    /// The first characters, to tell keys apart.
    prefix: String,
    organization: OrgId,
    #[schema(required)]
    application: Option<AppId>,
    scopes: Vec<Scope>,
    created_at: Time,
    #[schema(required)]
    expires_at: Option<Time>,
    #[schema(required)]
    revoked_at: Option<Time>,
    /// To the minute.
    #[schema(required)]
    last_used_at: Option<Time>,
}

page!(ApiKeyPage of ApiKey);

/// A new API key with its secret.
#[derive(ToSchema)]
pub(crate) struct ApiKeyCreated {
    #[schema(inline)]
    #[serde(flatten)]
    view: ApiKey,
    /// `lvk_…`, shown this once.
    api_key: String,
}

/// Which wire format a provider speaks.
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProviderKind {
    Anthropic,
    Openai,
    OpenaiCompatible,
    Google,
    Mistral,
    Ollama,
}

/// A new model provider.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "anthropic", "kind": "anthropic", "api_key": "sk-ant-…"}))]
pub(crate) struct NewModelProvider {
    /// The part before the slash in `PROVIDER/MODEL`.
    #[schema(pattern = "^[a-z0-9-]{1,64}$")]
    name: String,
    kind: ProviderKind,
    /// What the format's paths are appended to: with `/v1` for the OpenAI kinds, without for Anthropic.
    base_url: Option<String>,
    /// Write-only.
    #[schema(write_only)]
    api_key: Option<String>,
}

/// A model provider without its key.
#[derive(ToSchema)]
pub(crate) struct ModelProvider {
    id: ProviderId,
    name: String,
    kind: ProviderKind,
    base_url: String,
    /// Whether a key is stored.
    has_api_key: bool,
    organization: OrgId,
    created_at: Time,
}

page!(ModelProviderPage of ModelProvider);
