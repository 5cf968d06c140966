//! Runs: start, read, list, follow, cancel. What happens to one in between is `worker`'s.

mod cancel;
mod delayed;
mod egress;
mod follow;
mod fork;
mod read;
mod request;
mod start;
mod template;
mod view;

pub(crate) use cancel::cancel_in;
pub(crate) use delayed::wake_delayed;
pub(crate) use follow::Tails;
pub use follow::{Follow, Followed};
pub(crate) use fork::Fork;
pub use fork::{ForkRun, ForkedFrom};
pub use read::{EVENTS_PAGE_MAX, EventPage, WAIT_MAX};
pub use request::{
    AgentSource, INPUT_FILES_MAX, InlineWebhook, METADATA_BYTES_MAX, METADATA_KEYS_MAX, RunFilter, RunWebhook,
    START_AHEAD_S_MAX, StartRun,
};
pub(crate) use start::{Cause, Prepared, Queueing, StoredWebhook, WEBHOOK_SECRET_FIELD};
pub use template::RunTemplate;
pub(crate) use template::{Owner, explain};
pub use view::{Artifact, RunAgent, RunSandbox, RunView};
