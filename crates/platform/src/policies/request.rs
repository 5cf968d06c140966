//! What a caller says about a policy.

use livery_core::id::AppId;
use serde::Deserialize;

/// `POST /v1/policies`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPolicy {
    /// For people.
    pub name: String,
    /// In Cedar.
    pub text: String,
    /// The application whose runs it speaks of; absent: that of the key, or all.
    #[serde(default)]
    pub application: Option<AppId>,
}

/// `PATCH /v1/policies/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyPatch {
    /// Another name.
    pub name: Option<String>,
    /// Another text.
    pub text: Option<String>,
}

/// `POST /v1/policies/validate`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// In Cedar.
    pub text: String,
}
