//! End users: whom an application acts for. They never sign in here; a key with `end_users:act` names one in
//! `Livery-On-Behalf-Of`.

use livery_core::id::{AppId, EndUserId};
use livery_core::{Error, Result, Timestamp};
use livery_store::EndUserRow;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::note;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// Longest external id and name, in characters.
pub const TEXT_CHARS_MAX: usize = 200;

/// `POST /v1/end_users`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEndUser {
    /// What the application calls the user; unique there.
    pub external_id: String,
    /// A name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// The application; absent: that of the key, or the organization's first.
    #[serde(default)]
    pub application: Option<AppId>,
}

/// `{id, application, external_id, name, created_at}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndUserView {
    /// The end user.
    pub id: EndUserId,
    /// The application.
    pub application: AppId,
    /// What the application calls the user.
    pub external_id: String,
    /// A name for people.
    pub name: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl From<EndUserRow> for EndUserView {
    fn from(row: EndUserRow) -> Self {
        Self {
            id: row.id,
            application: row.application,
            external_id: row.external_id,
            name: row.name,
            created_at: row.created_at,
        }
    }
}

impl Platform {
    /// Creates an end user of an application.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an application that is not the caller's; [`Error::Conflict`] (`duplicate_name`) for an
    /// external id that is there already.
    pub async fn create_end_user(&self, caller: &Caller, new: NewEndUser) -> Result<Posted<EndUserView>> {
        let principal = &caller.principal;
        principal.require(Scope::EndUsersWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        check("/external_id", &new.external_id)?;
        if let Some(name) = &new.name {
            check("/name", name)?;
        }
        let application = self.application_for(principal, new.application).await?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        let row = EndUserRow {
            id: EndUserId::from_bits(self.mint()),
            org,
            application,
            external_id: new.external_id,
            name: new.name,
            created_at: now,
        };
        self.post(caller, move |tx| {
            Box::pin(async move {
                tx.insert_end_user(&row).await?;
                let data = json!({"end_user": row.id, "application": application});
                note(tx, org, "end_user.created", now, actor, data).await?;
                Ok(EndUserView::from(row))
            })
        })
        .await
    }

    /// End users the caller sees, the newest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `end_users:read`.
    pub async fn list_end_users(&self, principal: &Principal, page: PageRequest) -> Result<Page<EndUserView>> {
        principal.require(Scope::EndUsersRead)?;
        let list = self.store.list_end_users(principal.org, principal.app, &page.into()).await?;
        Page::try_from_list(list, |row| Ok(row.into()))
    }

    /// One end user.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_end_user(&self, principal: &Principal, id: EndUserId) -> Result<EndUserView> {
        principal.require(Scope::EndUsersRead)?;
        let row = self.store.get_end_user(principal.org, id).await?;
        let row = row.filter(|row| principal.sees(Some(row.application)));
        row.map(EndUserView::from).ok_or(Error::NotFound { what: "end user" })
    }

    async fn application_for(&self, principal: &Principal, named: Option<AppId>) -> Result<AppId> {
        let missing = Error::NotFound { what: "application" };
        match (named, principal.app) {
            (Some(named), Some(own)) if named != own => Err(missing),
            (Some(named), _) => {
                self.store.get_application(principal.org, named).await?.map(|row| row.id).ok_or(missing)
            }
            (None, Some(own)) => Ok(own),
            (None, None) => {
                let all = self.store.list_applications(principal.org).await?;
                all.last().map(|row| row.id).ok_or(missing)
            }
        }
    }
}

fn check(pointer: &str, text: &str) -> Result<()> {
    if text.trim().is_empty() || text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Error::invalid_field(pointer, format!("1 to {TEXT_CHARS_MAX} characters on one line")));
    }
    Ok(())
}
