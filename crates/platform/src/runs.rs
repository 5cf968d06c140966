//! Runs: start, read, list, follow, cancel. What happens to one in between is `worker`'s.

mod cancel;
mod follow;
mod read;
mod request;
mod start;
mod view;

pub use follow::{Follow, Followed};
pub use read::{EVENTS_PAGE_MAX, EventPage, WAIT_MAX};
pub use request::{
    AgentSource, INPUT_FILES_MAX, InlineWebhook, METADATA_BYTES_MAX, METADATA_KEYS_MAX, RunFilter, RunWebhook, StartRun,
};
pub(crate) use start::{StoredWebhook, WEBHOOK_SECRET_FIELD};
pub use view::{Artifact, RunAgent, RunSandbox, RunView};
