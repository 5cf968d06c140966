//! What a run that goes on is told of its past: its log, folded, and what became of its workspace.

use std::collections::BTreeSet;

use livery_core::agent::{ModelRef, Tier};
use livery_core::{Error, EventType, Result, Timestamp};
use livery_harness::record::SandboxFate;
use livery_harness::tools::{BuiltIn, FINISH};
use livery_harness::{Record, Recovery, State};
use livery_store::{Lease, RunRow, SnapshotRow};
use serde_json::Value;

use super::workspace::Opened;
use super::{models_of, snapshot};
use crate::Platform;
use crate::effects::EffectKind;
use crate::runs::Fork;

/// No node: whoever took the run over last found no workspace, and has not made one since.
const NOWHERE: &str = "";

/// What the log of a run says so far.
pub(super) struct Log {
    pub(super) state: State,
    pub(super) models: Vec<ModelRef>,
    /// Whether the loop ever started.
    pub(super) started: bool,
    /// Whether a sandbox stood and its workspace was filled.
    pub(super) had_sandbox: bool,
    /// The tier it stood in.
    pub(super) tier: Option<Tier>,
    /// How a fork begins, when it has not begun.
    pub(super) fork: Option<Fork>,
    /// The node that had the run last.
    node: Option<String>,
    /// The node whose workspace is the run's, when the log says; [`NOWHERE`] while none is.
    sandbox_node: Option<String>,
    /// What the sandbox was made of, by its digest: the next one is made of the same.
    pub(super) image: Option<String>,
    /// How often a credential was found in an answer.
    pub(super) redacted: u32,
    /// Whether the workspace outlives the run.
    pub(super) persists: bool,
    /// The one it works in then, and what it began with.
    pub(super) opened: Option<Opened>,
    /// Calls that may have changed the workspace, with the event of their end.
    pub(super) changes: Vec<(u64, String)>,
    /// Whether one of them was ever begun, whatever came of it.
    begun_change: bool,
    /// Calls that were held for a person and did not go on since.
    pub(super) held: BTreeSet<String>,
    /// Since when the run waits, if it does.
    waiting_since: Option<Timestamp>,
    /// How long it waited before that, in milliseconds.
    waited_ms: u64,
}

impl Log {
    pub(super) async fn read(platform: &Platform, row: &RunRow, resumed: bool) -> Result<Self> {
        let mut log = Self {
            state: State::new(),
            models: vec![],
            started: false,
            had_sandbox: false,
            tier: None,
            fork: None,
            node: None,
            sandbox_node: None,
            image: None,
            redacted: 0,
            persists: false,
            opened: None,
            changes: vec![],
            begun_change: false,
            held: BTreeSet::new(),
            waiting_since: None,
            waited_ms: 0,
        };
        // A run that starts now has one event, and that one is in the row already, but for the models.
        let mut records = 0;
        let events = if resumed || row.last_seq > 1 {
            platform.store.system_events_of(row.id).await?
        } else {
            platform.store.stored_events_after(row.org, row.id, 0, 1).await?
        };
        for event in events {
            let Ok(event_type) = event.event_type.parse::<EventType>() else { continue };
            let data = event.data.map(|data| data.parse()).transpose()?.unwrap_or(Value::Null);
            let data = platform.whole(row.org, data).await?;
            log.note((event.seq, event.at), event_type, &data)?;
            if let Some(record) = Record::from_event(event_type, &data).map_err(Error::internal)? {
                log.started = true;
                log.state.apply(&record);
                records += 1;
            }
        }
        // With any record beyond those of the other run it has begun.
        log.fork = log.fork.filter(|fork| fork.records == records);
        Ok(log)
    }

    fn note(&mut self, (seq, at): (u64, Timestamp), event_type: EventType, data: &Value) -> Result<()> {
        let node = || data["node"].as_str().map(str::to_owned);
        match event_type {
            EventType::RunQueued => {
                self.models = models_of(data)?;
                self.persists = !data["workspace"]["persist"].is_null();
                self.fork = serde_json::from_value(data["fork"].clone()).map_err(Error::internal)?;
            }
            EventType::RunStarted => self.node = node(),
            EventType::RunRecovered => {
                self.node = node();
                // Since then the model knows of a copy, or of none: what a node kept from before is out of date.
                if matches!(data["sandbox"].as_str(), Some("restored" | "lost")) {
                    self.sandbox_node = Some(NOWHERE.to_owned());
                }
            }
            EventType::WorkspaceOpened => {
                self.opened = Some(serde_json::from_value(data.clone()).map_err(Error::internal)?);
            }
            EventType::ApprovalRequested => self.held.extend(data["call_id"].as_str().map(str::to_owned)),
            EventType::ToolResumed => {
                self.held.remove(data["call_id"].as_str().unwrap_or_default());
            }
            EventType::RunWaiting => self.waiting_since = Some(at),
            EventType::RunResumed => self.waited_ms = self.waited_until(at).0,
            // Nobody knows what was done there; it may be missing in a copy.
            EventType::ShellOpened => self.changes.push((seq, "a person's shell (opened)".to_owned())),
            EventType::ShellClosed => self.changes.push((seq, "a person's shell (closed)".to_owned())),
            EventType::EgressRedacted => self.redacted = self.redacted.saturating_add(1),
            EventType::SandboxStarted => {
                self.had_sandbox = true;
                self.tier = data["tier"].as_str().map(str::parse).transpose().map_err(Error::internal)?;
                self.sandbox_node = node();
                self.image = data["image"].as_str().map(str::to_owned);
            }
            EventType::ToolStarted => {
                self.begun_change |= changes_workspace(data["tool"].as_str().unwrap_or_default());
            }
            EventType::ToolFinished | EventType::ToolOutcomeUnknown => {
                let (tool, call) = (data["tool"].as_str().unwrap_or_default(), &data["call_id"]);
                self.held.remove(call.as_str().unwrap_or_default());
                if changes_workspace(tool) {
                    self.changes.push((seq, format!("{tool} ({})", call.as_str().unwrap_or_default())));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Log {
    /// Whether something may have changed the workspace, be it a call of which nothing more is known.
    pub(super) const fn may_have_changed(&self) -> bool {
        self.begun_change || !self.changes.is_empty()
    }

    /// How long the run waited until `now`, in all, and whether it still did.
    pub(super) fn waited_until(&mut self, now: Timestamp) -> (u64, bool) {
        let since = self.waiting_since.take();
        let last = since.map_or(0, |since| now.millis_since(since));
        (self.waited_ms.saturating_add(last), since.is_some())
    }
}

/// Whether a tool may change files.
pub(super) fn changes_workspace(tool: &str) -> bool {
    let is_connected = BuiltIn::named(tool).is_some_and(BuiltIn::is_connected);
    tool != FINISH && !is_connected && EffectKind::of_tool(tool) != EffectKind::ReadTool
}

/// What is left of the sandbox of an earlier life: its processes never, its workspace when this node was the last to have
/// it. One from before another node had the run is out of date, and goes.
///
/// # Errors
/// When nobody can say now whether there is a copy: a run is not told that its files are lost because a store is away.
pub(super) async fn fate(
    platform: &Platform,
    lease: Lease,
    row: &RunRow,
    log: &Log,
) -> Result<(SandboxFate, Option<SnapshotRow>)> {
    if !log.had_sandbox {
        return Ok((SandboxFate::Untouched, None));
    }
    if stands_here(platform, row, log).await {
        return Ok((SandboxFate::Restarted, None));
    }
    Ok(match snapshot::newest(platform, lease).await? {
        Some(copy) => (SandboxFate::Restored, Some(copy)),
        None => (SandboxFate::Lost, None),
    })
}

async fn stands_here(platform: &Platform, row: &RunRow, log: &Log) -> bool {
    let Some(sandboxes) = &platform.sandboxes else { return false };
    let name = row.id.to_string();
    if !sandboxes.workspaces().await.unwrap_or_default().contains(&name) {
        return false;
    }
    let own = platform.identity.id.to_string();
    if log.sandbox_node.as_ref().is_none_or(|node| *node == own) {
        return true;
    }
    if let Err(error) = sandboxes.remove_workspace(&name).await {
        tracing::warn!(run = %row.id, %error, "a workspace that is out of date cannot be removed");
    }
    false
}

/// Who goes on, and from where.
pub(super) fn recovery(platform: &Platform, row: &RunRow, log: &Log, copy: Option<&SnapshotRow>) -> Recovery {
    let snapshot_seq = copy.map(|copy| copy.seq);
    let later = log.changes.iter().filter(|(seq, _)| snapshot_seq.is_some_and(|copied| *seq > copied));
    Recovery {
        number: row.recoveries,
        node: Some(platform.identity.id.to_string()),
        from: log.node.clone(),
        snapshot_seq,
        lacking: later.map(|(_, call)| call.clone()).collect(),
        held: log.held.iter().cloned().collect(),
    }
}
