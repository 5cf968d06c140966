//! Ids and times: text with a pattern.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! ids {
    ($($name:ident: $what:literal;)*) => {
        $(
            pub(crate) struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    id(livery_core::id::$name::PREFIX, $what)
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    stringify!($name).into()
                }
            }
        )*
    };
}

ids! {
    RunId: "A run.";
    AgentId: "One version of an agent.";
    OrgId: "An organization: the tenant.";
    AppId: "An application of an organization.";
    EndUserId: "An end user of an application.";
    NodeId: "A node.";
    KeyId: "An API key, not its secret.";
    ConnectionId: "A connection.";
    PolicyId: "A policy.";
    ApprovalId: "An approval.";
    ProviderId: "A model provider.";
    WebhookId: "A webhook endpoint.";
    DeliveryId: "One delivery to a webhook endpoint.";
    WebhookEventId: "One event as a webhook names it, the same at every attempt.";
    FileId: "A file.";
    WorkspaceId: "A workspace that outlives its runs.";
    SnapshotId: "A snapshot of one.";
    ScheduleId: "A schedule.";
    TriggerId: "A trigger.";
    RequestId: "A request.";
}

fn id(prefix: &str, what: &str) -> RefOr<Schema> {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(what))
        .pattern(Some(format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$")))
        .examples([format!("{prefix}_01jd8x3v9k5m2n7p4q6r8s0t1v")]);
    Schema::Object(text.build()).into()
}

/// A moment.
pub(crate) struct Time;

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC."))
            .examples(["2026-10-01T12:00:00.000001Z"]);
        Schema::Object(text.build()).into()
    }
}

impl ToSchema for Time {
    fn name() -> Cow<'static, str> {
        "Time".into()
    }
}
