//! Runs: start, read, list, cancel, follow.

mod request;
mod view;

pub use request::{AgentSource, InlineWebhook, RunFilter, RunWebhook, SandboxRequest, StartRun};
pub use view::{Artifact, RunAgent, RunSandbox, RunView};
