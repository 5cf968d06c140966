//! Organizations: the tenants. More of them comes with the tenancy work; two can exist and are kept apart today.
//!
//! Walk on: `settings` is what is demanded of the runs of an organization, and of those of an application.

mod settings;

use livery_core::Result;
use livery_core::id::{AppId, KeyId, OrgId};
use livery_store::{ApplicationRow, OrganizationRow, Tx};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::settings::{ApplicationView, OrganizationView, SettingsPatch};
use crate::audit::note;
use crate::keys::{ApiKeyView, check_name, fresh_key, new_row};
use crate::startup::Startup;
use crate::{Caller, Platform, Posted, Scope};

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

/// What the first application of an organization is called.
const FIRST_APPLICATION: &str = "default";
/// Runs in state `running` at once, unless the organization has another limit.
const CONCURRENT_RUNS_DEFAULT: u32 = 50;

/// The identity written to `bootstrap.json` at the first start.
#[derive(Clone, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Its id.
    pub organization: OrgId,
    /// Its first application.
    pub application: AppId,
    /// A key with every right, without rate limit.
    pub api_key: String,
}

/// The fact that the first organization was created.
const BOOTSTRAPPED: &str = "bootstrapped";

/// The rows of a new organization.
struct Founding {
    organization: OrganizationRow,
    application: ApplicationRow,
    key: livery_store::NewApiKey,
    api_key: String,
}

impl Platform {
    /// Creates the first organization when there is none; `None` when there is one already. `keep` is called before, to put
    /// the key, of which the store has a digest alone, where it will not be lost.
    ///
    /// # Errors
    /// Those of `keep`, and nothing was created; those of the store, and what was kept may be of no use.
    pub async fn bootstrap(&self, keep: impl FnOnce(&Bootstrap) -> Result<()>) -> Result<Option<Bootstrap>> {
        let startup = Startup::begin(self.store.is_embedded());
        if startup.step(|| self.store.system_count_organizations()).await? > 0 {
            return Ok(None);
        }
        let founding = self.found("default", None, Scope::ALL.to_vec(), false)?;
        let bootstrap = Bootstrap {
            organization: founding.organization.id,
            application: founding.application.id,
            api_key: founding.api_key.clone(),
        };
        keep(&bootstrap)?;
        // Nodes that start on a new database at the same moment: one of them founds, the others find it done.
        let founded = self
            .store
            .write(move |tx| {
                Box::pin(async move {
                    let first = tx.system_set_meta_once(BOOTSTRAPPED, "1").await?;
                    if first {
                        insert(tx, &founding).await?;
                    }
                    Ok(first)
                })
            })
            .await?;
        Ok(founded.then_some(bootstrap))
    }

    /// Creates another organization: the operator's right.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `organizations:write`; [`Error::Invalid`] for a bad name.
    pub async fn create_organization(
        &self,
        caller: &Caller,
        new: NewOrganization,
    ) -> Result<Posted<OrganizationCreated>> {
        caller.principal.require(Scope::OrganizationsWrite)?;
        check_name("/name", &new.name)?;
        let scopes = Scope::ALL.iter().copied().filter(|scope| !Scope::OPERATOR.contains(scope)).collect();
        let founding = self.found(&new.name, Some(CONCURRENT_RUNS_DEFAULT), scopes, true)?;
        let created = OrganizationCreated {
            id: founding.organization.id,
            name: new.name,
            application: founding.application.id,
            api_key: founding.api_key.clone(),
        };
        self.post_secret(caller, created, move |tx| Box::pin(async move { insert(tx, &founding).await })).await
    }

    fn found(
        &self,
        name: &str,
        max_concurrent_runs: Option<u32>,
        scopes: Vec<Scope>,
        rate_limited: bool,
    ) -> Result<Founding> {
        let now = self.clock.now();
        let organization = OrganizationRow {
            id: OrgId::from_bits(self.mint()),
            name: name.to_owned(),
            max_concurrent_runs,
            created_at: now,
            minimum_tier: None,
        };
        let application = ApplicationRow {
            id: AppId::from_bits(self.mint()),
            org: organization.id,
            name: FIRST_APPLICATION.to_owned(),
            created_at: now,
            minimum_tier: None,
        };
        let fresh = fresh_key();
        let view = ApiKeyView {
            id: KeyId::from_bits(self.mint()),
            name: "first key".to_owned(),
            prefix: fresh.prefix,
            organization: organization.id,
            application: Some(application.id),
            scopes,
            created_at: now,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        Ok(Founding {
            key: new_row(&view, fresh.hash, rate_limited)?,
            organization,
            application,
            api_key: fresh.api_key,
        })
    }
}

async fn insert(tx: &mut Tx, founding: &Founding) -> livery_store::Result<()> {
    tx.insert_organization(&founding.organization).await?;
    tx.insert_application(&founding.application).await?;
    tx.insert_api_key(&founding.key).await?;
    let (org, now) = (founding.organization.id, founding.organization.created_at);
    note(
        tx,
        org,
        "organization.created",
        now,
        "operator",
        json!({"name": founding.organization.name, "application": founding.application.id}),
    )
    .await
}
