//! What an organization says of all its runs, and an application of its own: the weakest sandbox they may have.
//!
//! It holds from the next run on, and for one that waits: a run's wish is looked at when it is accepted and again when its
//! sandbox is made. A sandbox that stands goes on.

use livery_core::agent::Tier;
use livery_core::id::{AppId, OrgId};
use livery_core::{Error, Result, Timestamp};
use livery_store::{ApplicationRow, OrganizationRow};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::note;
use crate::schedules::present;
use crate::{Caller, Page, PageRequest, Platform, Principal, Scope};

/// An organization as its members see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrganizationView {
    /// Its id.
    pub id: OrgId,
    /// Its name.
    pub name: String,
    /// The weakest tier its runs may have; null: any.
    pub minimum_tier: Option<Tier>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl From<OrganizationRow> for OrganizationView {
    fn from(row: OrganizationRow) -> Self {
        Self { id: row.id, name: row.name, minimum_tier: row.minimum_tier, created_at: row.created_at }
    }
}

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApplicationView {
    /// Its id.
    pub id: AppId,
    /// The tenant.
    pub organization: OrgId,
    /// Its name, unique there.
    pub name: String,
    /// The weakest tier its runs may have; null: any that its organization allows.
    pub minimum_tier: Option<Tier>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl From<ApplicationRow> for ApplicationView {
    fn from(row: ApplicationRow) -> Self {
        let ApplicationRow { id, org, name, created_at, minimum_tier } = row;
        Self { id, organization: org, name, minimum_tier, created_at }
    }
}

/// `PATCH /v1/organizations/{id}` and `PATCH /v1/applications/{id}`. What is absent stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SettingsPatch {
    /// The weakest tier that runs may have; null: any.
    #[serde(deserialize_with = "present")]
    pub minimum_tier: Option<Option<Tier>>,
}

impl Platform {
    /// The organizations the caller sees, the newest first: its own, and to the operator all.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `policies:read`.
    pub async fn list_organizations(&self, principal: &Principal, page: PageRequest) -> Result<Page<OrganizationView>> {
        if !is_operator(principal) {
            return Ok(Page::whole(vec![self.get_organization(principal, principal.org).await?]));
        }
        let list = self.store.system_list_organizations(&page.into()).await?;
        Page::try_from_list(list, |row| Ok(row.into()))
    }

    /// One organization.
    ///
    /// # Errors
    /// [`Error::NotFound`], for another's too, but to the operator.
    pub async fn get_organization(&self, principal: &Principal, id: OrgId) -> Result<OrganizationView> {
        if !is_operator(principal) {
            principal.require(Scope::PoliciesRead)?;
        }
        self.visible_organization(principal, id).await
    }

    /// Changes what an organization demands of all its runs.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Forbidden`] without `organizations:write`, the operator's right, unless it is the
    /// caller's own, with `policies:write` and no application: what holds for all is not one application's to loosen.
    pub async fn change_organization(
        &self,
        caller: &Caller,
        id: OrgId,
        patch: SettingsPatch,
    ) -> Result<OrganizationView> {
        let principal = &caller.principal;
        if !is_operator(principal) {
            principal.require(Scope::PoliciesWrite)?;
        }
        self.visible_organization(principal, id).await?;
        if !is_operator(principal) && principal.app.is_some() {
            let detail = "what holds for the whole organization is changed with organizations:write, or with a key that \
                          is not bound to an application";
            return Err(Error::Forbidden { detail: detail.to_owned() });
        }
        self.demand_tier(caller, id, None, patch).await?;
        self.visible_organization(principal, id).await
    }

    async fn visible_organization(&self, principal: &Principal, id: OrgId) -> Result<OrganizationView> {
        let visible = id == principal.org || is_operator(principal);
        let row = if visible { self.store.get_organization(id).await? } else { None };
        row.map(OrganizationView::from).ok_or(Error::NotFound { what: "organization" })
    }

    /// The applications the caller sees, the newest first: the organization's, or the one its key is bound to.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `policies:read`.
    pub async fn list_applications(&self, principal: &Principal, page: PageRequest) -> Result<Page<ApplicationView>> {
        principal.require(Scope::PoliciesRead)?;
        let list = self.store.page_applications(principal.org, principal.app, &page.into()).await?;
        Page::try_from_list(list, |row| Ok(row.into()))
    }

    /// One application.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_application(&self, principal: &Principal, id: AppId) -> Result<ApplicationView> {
        principal.require(Scope::PoliciesRead)?;
        self.visible_application(principal, id).await
    }

    /// Changes what an application demands of its runs.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Forbidden`] without `policies:write`.
    pub async fn change_application(
        &self,
        caller: &Caller,
        id: AppId,
        patch: SettingsPatch,
    ) -> Result<ApplicationView> {
        caller.principal.require(Scope::PoliciesWrite)?;
        self.visible_application(&caller.principal, id).await?;
        self.demand_tier(caller, caller.principal.org, Some(id), patch).await?;
        self.visible_application(&caller.principal, id).await
    }

    async fn visible_application(&self, principal: &Principal, id: AppId) -> Result<ApplicationView> {
        let visible = principal.app.is_none_or(|own| own == id);
        let row = if visible { self.store.get_application(principal.org, id).await? } else { None };
        row.map(ApplicationView::from).ok_or(Error::NotFound { what: "application" })
    }

    /// Writes the demand and, where it is another than before, who made it.
    async fn demand_tier(&self, caller: &Caller, org: OrgId, app: Option<AppId>, patch: SettingsPatch) -> Result<()> {
        let Some(tier) = patch.minimum_tier else { return Ok(()) };
        let (own, now) = (org == caller.principal.org, self.clock.now());
        let actor = if own { caller.principal.key.to_string() } else { "operator".to_owned() };
        let event = if app.is_some() { "application.changed" } else { "organization.changed" };
        let written = self.store.write(move |tx| {
            Box::pin(async move {
                if tx.set_minimum_tier(org, app, tier).await? {
                    note(tx, org, event, now, actor, json!({"application": app, "minimum_tier": tier})).await?;
                }
                Ok(())
            })
        });
        Ok(written.await?)
    }
}

/// Whether this key has the operator's right over all organizations.
fn is_operator(principal: &Principal) -> bool {
    principal.scopes.contains(&Scope::OrganizationsWrite)
}
