//! The vault's keys, by their ids.

use utoipa::ToSchema;

use super::OrgId;

/// What the vault's keys are, and whether a rotation is still under way.
#[derive(ToSchema)]
pub(crate) struct Vault {
    /// The root key everything is to be wrapped under.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    root_key: String,
    /// The one the answering node wraps with.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    node_root_key: String,
    /// All root keys that node can open with.
    readable: Vec<String>,
    /// Root keys that were replaced and that node still has. Once they wrap nothing, they can be taken away.
    replaced: Vec<String>,
    /// How many keys each root key wraps.
    #[schema(inline)]
    root_keys: Vec<RootKeyUse>,
    /// Keys still to be wrapped anew. At 0, replaced root keys can be taken away.
    keys_pending: u64,
    /// Values still to be sealed anew under their organization's newest data key.
    values_pending: u64,
}

/// A root key and what it wraps.
#[derive(ToSchema)]
struct RootKeyUse {
    #[schema(pattern = "^[0-9a-f]{16}$")]
    id: String,
    keys: u64,
}

/// Which root key is the new one.
#[derive(ToSchema)]
pub(crate) struct Rewrap {
    /// `node_root_key` of a node that was given the new key.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    root_key: String,
}

/// Whose data key is rotated.
#[derive(ToSchema)]
pub(crate) struct RotateDataKey {
    organization: OrgId,
}
