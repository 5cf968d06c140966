//! Organizations: the tenants. More of them comes with the tenancy work; two can exist and are kept apart today.

use livery_core::id::{AppId, OrgId};
use serde::{Deserialize, Serialize};

/// `POST /v1/organizations`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrganization {
    /// For people, 1–100 characters.
    pub name: String,
}

/// A new organization with its first application and a key that has every right in it; the key is shown once.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct OrganizationCreated {
    /// Its id.
    pub id: OrgId,
    /// Its name.
    pub name: String,
    /// Its first application.
    pub application: AppId,
    /// `lvk_…`, shown once.
    pub api_key: String,
}
