//! Ids in paths: one that does not parse is one that nobody has, and so 404.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use livery_core::Error;
use livery_core::id::{
    AppId, ApprovalId, ConnectionId, DeliveryId, EndUserId, FileId, KeyId, OrgId, PolicyId, RunId, ScheduleId,
    SnapshotId, TriggerId, WebhookId, WorkspaceId,
};

use crate::app::App;
use crate::problem::{Problem, Result};

/// What an id names, for the sentence "there is no such …".
pub(crate) trait Noun {
    const WHAT: &'static str;
}

macro_rules! nouns {
    ($($id:ident = $what:literal;)*) => {
        $(impl Noun for $id {
            const WHAT: &'static str = $what;
        })*
    };
}

nouns! {
    RunId = "run";
    OrgId = "organization";
    AppId = "application";
    ConnectionId = "connection";
    PolicyId = "policy";
    ApprovalId = "approval";
    KeyId = "API key";
    ScheduleId = "schedule";
    TriggerId = "trigger";
    WebhookId = "webhook";
    DeliveryId = "delivery";
    FileId = "file";
    EndUserId = "end user";
    WorkspaceId = "workspace";
    SnapshotId = "snapshot";
}

/// The `{id}` of a path.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: FromStr + Noun> FromRequestParts<App> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let parsed = first(parts, app).await.and_then(|text| text.parse().ok());
        parsed.map(Self).ok_or_else(|| Error::NotFound { what: T::WHAT }.into())
    }
}

/// The second id of a path. Found or not, the caller's right comes first: the handler asks with [`Second::found`].
pub(crate) struct Second<T>(Option<T>);

impl<T: FromStr + Noun> Second<T> {
    /// The id.
    ///
    /// # Errors
    /// 404 when it does not parse.
    pub(crate) fn found(self) -> Result<T> {
        self.0.ok_or_else(|| Error::NotFound { what: T::WHAT }.into())
    }
}

impl<T: FromStr + Noun> FromRequestParts<App> for Second<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let params = RawPathParams::from_request_parts(parts, app).await.ok();
        let text = params.and_then(|params| params.iter().nth(1).map(|(_, value)| value.to_owned()));
        Ok(Self(text.and_then(|text| text.parse().ok())))
    }
}

/// The one word in a path that is a name rather than an id.
pub(crate) struct Word(pub(crate) String);

impl FromRequestParts<App> for Word {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        first(parts, app).await.map(Self).ok_or_else(|| Error::NotFound { what: "name" }.into())
    }
}

/// The first parameter of the path, when it is text at all.
async fn first(parts: &mut Parts, app: &App) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, app).await.ok()?;
    params.iter().next().map(|(_, value)| value.to_owned())
}
