//! Policies: what runs of an organization, or of one of its applications, may do. Texts in Cedar; `livery_broker::policy` reads
//! them.
//!
//! A set is parsed once for a tenant and a revision of its policies, and every request asks the database for the revision: what
//! was changed anywhere holds from the next request on, on every node.
//!
//! Walk on: `decide` is the question "may this leave".

mod decide;
mod request;
mod view;

use livery_core::id::{AppId, PolicyId};
use livery_core::{Error, FieldError, Result};
use livery_store::PolicyRow;
use serde_json::json;

pub(crate) use self::decide::{PolicySets, may_leave, may_query, may_send, may_use, rule_json};
pub use self::request::{NewPolicy, PolicyPatch, PolicyText};
pub use self::view::{PolicyCheck, PolicyStatement, PolicyView};
use crate::audit::note;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// Most policies of one organization.
pub const POLICIES_PER_ORGANIZATION_MAX: u64 = 100;
/// Longest name, in characters.
pub const NAME_CHARS_MAX: usize = 200;

impl Platform {
    /// Creates a policy of the organization, or of an application.
    ///
    /// # Errors
    /// [`Error::Invalid`] (`invalid_policy`) for a text that is none; [`Error::NotFound`] for an application that is not the
    /// caller's; [`Error::Conflict`] beyond [`POLICIES_PER_ORGANIZATION_MAX`].
    pub async fn create_policy(&self, caller: &Caller, new: NewPolicy) -> Result<Posted<PolicyView>> {
        let principal = &caller.principal;
        principal.require(Scope::PoliciesWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let application = self.policy_application(principal, new.application).await?;
        check_name(&new.name)?;
        check_text(&new.text)?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        let row = PolicyRow {
            id: PolicyId::from_bits(self.mint()),
            org,
            application,
            name: new.name,
            content: new.text,
            version: 1,
            created_by: actor,
            created_at: now,
            updated_at: now,
        };
        self.post(caller, move |tx| {
            Box::pin(async move {
                if tx.count_policies(org).await? >= POLICIES_PER_ORGANIZATION_MAX {
                    let detail = format!("an organization has at most {POLICIES_PER_ORGANIZATION_MAX} policies");
                    return Err(Error::Conflict { code: "conflict", detail }.into());
                }
                tx.insert_policy(&row).await?;
                note(tx, org, "policy.created", now, actor, told(&row)).await?;
                Ok(PolicyView::from(row))
            })
        })
        .await
    }

    /// Policies the caller sees, the newest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `policies:read`.
    pub async fn list_policies(&self, principal: &Principal, page: PageRequest) -> Result<Page<PolicyView>> {
        principal.require(Scope::PoliciesRead)?;
        let list = self.store.list_policies(principal.org, principal.app, &page.into()).await?;
        Page::try_from_list(list, |row| Ok(row.into()))
    }

    /// One policy.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_policy(&self, principal: &Principal, id: PolicyId) -> Result<PolicyView> {
        principal.require(Scope::PoliciesRead)?;
        self.visible_policy(principal, id).await.map(PolicyView::from)
    }

    /// Replaces a policy's name or text. What is absent stays. It holds from the next request of any run on.
    ///
    /// # Errors
    /// Those of [`Platform::create_policy`]; [`Error::Conflict`] when somebody else replaced it at the same time.
    pub async fn replace_policy(&self, caller: &Caller, id: PolicyId, patch: PolicyPatch) -> Result<PolicyView> {
        let before = self.writable_policy(&caller.principal, id).await?;
        let (actor, now) = (caller.principal.key, self.clock.now());
        let row = PolicyRow {
            name: patch.name.unwrap_or_else(|| before.name.clone()),
            content: patch.text.unwrap_or_else(|| before.content.clone()),
            updated_at: now,
            ..before
        };
        check_name(&row.name)?;
        check_text(&row.content)?;
        let written = self.store.write(move |tx| {
            Box::pin(async move {
                if !tx.replace_policy(&row).await? {
                    let detail = "the policy was changed at the same time; look at it and try again".to_owned();
                    return Err(Error::Conflict { code: "conflict", detail }.into());
                }
                let row = PolicyRow { version: row.version.saturating_add(1), ..row };
                note(tx, row.org, "policy.replaced", now, actor, told(&row)).await?;
                Ok(PolicyView::from(row))
            })
        });
        Ok(written.await?)
    }

    /// Deletes a policy. It holds no more from the next request of any run on.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_policy(&self, caller: &Caller, id: PolicyId) -> Result<()> {
        let row = self.writable_policy(&caller.principal, id).await?;
        let (actor, now) = (caller.principal.key, self.clock.now());
        let written = self.store.write(move |tx| {
            Box::pin(async move {
                if tx.delete_policy(row.org, id).await? {
                    note(tx, row.org, "policy.deleted", now, actor, told(&row)).await?;
                }
                Ok(())
            })
        });
        Ok(written.await?)
    }

    /// Looks a text over without saving it.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `policies:read`.
    pub fn check_policy(&self, principal: &Principal, text: &PolicyText) -> Result<PolicyCheck> {
        principal.require(Scope::PoliciesRead)?;
        Ok(PolicyCheck::of(&text.text))
    }

    async fn policy_application(&self, principal: &Principal, named: Option<AppId>) -> Result<Option<AppId>> {
        let missing = Error::NotFound { what: "application" };
        match (named, principal.app) {
            (Some(named), Some(own)) if named != own => Err(missing),
            (Some(named), _) => {
                self.store.get_application(principal.org, named).await?.ok_or(missing)?;
                Ok(Some(named))
            }
            (None, own) => Ok(own),
        }
    }

    async fn visible_policy(&self, principal: &Principal, id: PolicyId) -> Result<PolicyRow> {
        let row = self.store.get_policy(principal.org, id).await?.filter(|row| principal.sees(row.application));
        row.ok_or(Error::NotFound { what: "policy" })
    }

    /// One the caller may change: what holds for the whole organization is not an application's to loosen.
    async fn writable_policy(&self, principal: &Principal, id: PolicyId) -> Result<PolicyRow> {
        principal.require(Scope::PoliciesWrite)?;
        let row = self.visible_policy(principal, id).await?;
        if principal.app.is_some() && row.application.is_none() {
            let detail = "the policy is the organization's: a key that is not bound to an application changes it";
            return Err(Error::Forbidden { detail: detail.to_owned() });
        }
        Ok(row)
    }
}

fn told(row: &PolicyRow) -> serde_json::Value {
    let sha256 = livery_core::canonical::sha256_hex(&row.content);
    json!({"policy": row.id, "name": row.name, "version": row.version, "application": row.application, "sha256": sha256})
}

fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(Error::invalid_field("/name", format!("1 to {NAME_CHARS_MAX} characters on one line")));
    }
    Ok(())
}

fn check_text(text: &str) -> Result<()> {
    livery_broker::policy::check(text).map(drop).map_err(|faults| Error::Invalid {
        code: "invalid_policy",
        detail: "the text is no policy".to_owned(),
        errors: faults
            .into_iter()
            .map(|fault| {
                let detail = format!("{}:{}: {}", fault.line, fault.column, fault.detail);
                FieldError::new("/text", "invalid_policy", detail)
            })
            .collect(),
    })
}
