//! The only crate with SQL; every function takes a tenant or is named `system_…`.
//!
//! One ordered log, the runs that are readings of it, the queue, the outbox and the few tables around them, in SQLite
//! (WAL, `synchronous=FULL`) for one node or in Postgres for many. Writes go through [`Store::write`]: one group-commit
//! writer there, a transaction each here; reads through a pool of their own. Statements are portable text with `$1`
//! placeholders; what is engine-specific is the schema folder, `sqlite`, `postgres` and the statements named in `catalogue`.
//!
//! Absent on purpose: policy decisions, clocks (times are arguments), minting of ids, HTTP, sealing (secrets arrive sealed).
//!
//! Walk on: `writer` and `postgres` are how a write becomes durable, `progress` and `events` are the log, `queue` is who may work on a run,
//! `doorbell` is how readers learn of a commit.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
#![cfg_attr(test, allow(clippy::print_stderr, reason = "a test that is skipped says so"))]

mod agents;
mod approvals;
mod backup;
#[cfg(test)]
mod catalogue;
mod circuits;
mod connection_authorizations;
mod connection_tokens;
mod connections;
mod deliveries;
mod delivery_queue;
mod doorbell;
mod duties;
mod error;
mod event_rows;
mod events;
mod files;
mod idempotency;
mod images;
mod json;
mod keys;
pub mod lock;
mod meta;
mod migrations;
mod nodes;
mod observe;
mod page;
mod policies;
mod postgres;
mod progress;
mod providers;
mod queue;
mod reader;
mod receipt_keys;
mod resealing;
mod retention;
mod run_list;
mod runs;
mod schedules;
mod snapshots;
mod sql;
mod sqlite;
mod store;
mod tenants;
mod transfer;
mod triggers;
mod tx;
mod vault;
mod webhooks;
mod workspaces;
mod writer;

pub use agents::{AgentFile, AgentRow, AgentSelector, NewAgent, Saved};
pub use approvals::{ApprovalFilter, ApprovalRow, ApprovalStatus, Decision};
pub use backup::{Counts, Snapshot};
pub use circuits::{CircuitFailure, CircuitRow};
pub use connection_authorizations::ConnectionAuthorizationRow;
pub use connection_tokens::{ConnectionTokenRow, TokenClaim};
pub use connections::{ConnectionChange, ConnectionRow, ConnectionStatus};
pub use deliveries::{DeliveryFilter, DeliveryRow, DeliveryStatus, NewDelivery};
pub use delivery_queue::{ClaimedDelivery, DeliveryAttempt, DeliveryClaim, Destination};
pub use doorbell::Doorbell;
pub use error::{Error, Result};
pub use events::{EventHeader, NewEvent, OrgEvent, StoredEvent};
pub use files::{FileRole, FileRow, RunFile};
pub use idempotency::{Answer, IdempotencyKey, Reservation};
pub use images::IMAGE_USES_MAX;
pub use json::Json;
pub use keys::{ApiKeyRow, NewApiKey};
pub use migrations::Place;
pub use nodes::NodeRow;
pub use observe::{Observer, WriteOutcome};
pub use page::{List, PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, Page};
pub use policies::PolicyRow;
pub use postgres::PostgresOptions;
pub use progress::{Progress, Terminal};
pub use providers::ProviderRow;
pub use queue::{ClaimedRun, Heartbeat, Holder};
pub use receipt_keys::ReceiptKeyRow;
pub use resealing::{SealedColumn, SealedValue};
pub use run_list::{METADATA_FILTERS_MAX, RunFilter};
pub use runs::{CancelRequest, Lease, NewRun, RunRow};
pub use schedules::{ScheduleRow, Slot};
pub use snapshots::SnapshotRow;
pub use store::{Options, Store};
pub use tenants::{ApplicationRow, EndUserRow, OrganizationRow};
pub use transfer::{Counted, Manifest, Piece, Rows};
pub use triggers::{TriggerDeliveryRow, TriggerOutcome, TriggerRow};
pub use tx::Tx;
pub use vault::DataKeyRow;
pub use webhooks::{WebhookChange, WebhookRow};
pub use workspaces::{
    Kept, NewSnapshot, SNAPSHOTS_ASIDE_MAX, SNAPSHOTS_MAX, SnapshotOrigin, WorkspaceFilter, WorkspaceRow,
    WorkspaceSnapshotRow,
};
