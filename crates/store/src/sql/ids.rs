//! Ids go in and come out as their text.

use std::borrow::Cow;

use livery_core::id::{
    AgentId, AppId, ApprovalId, ConnectionId, DeliveryId, EndUserId, FileId, KeyId, NodeId, OrgId, PolicyId,
    ProviderId, RequestId, RunId, ScheduleId, SnapshotId, TriggerId, WebhookEventId, WebhookId, WorkspaceId,
};

use crate::error::Result;
use crate::sql::columns::parse;
use crate::sql::{Arg, Cell, Column};

macro_rules! id_columns {
    ($($id:ty),* $(,)?) => {$(
        impl From<$id> for Arg {
            fn from(id: $id) -> Self {
                Self::Text(Some(Cow::Owned(id.to_string())))
            }
        }

        impl From<Option<$id>> for Arg {
            fn from(id: Option<$id>) -> Self {
                Self::Text(id.map(|id| Cow::Owned(id.to_string())))
            }
        }

        impl Column for $id {
            fn read(cell: Cell<'_>) -> Result<Self> {
                parse("id", cell)
            }
        }
    )*};
}
id_columns!(
    AgentId,
    AppId,
    ApprovalId,
    ConnectionId,
    DeliveryId,
    EndUserId,
    FileId,
    KeyId,
    NodeId,
    OrgId,
    PolicyId,
    ProviderId,
    RequestId,
    RunId,
    ScheduleId,
    SnapshotId,
    TriggerId,
    WebhookEventId,
    WebhookId,
    WorkspaceId,
);
