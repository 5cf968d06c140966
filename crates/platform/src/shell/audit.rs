//! What is written down about a shell: that it was opened, before it is; how it ended, after it did. Two places know of it: the
//! organization's audit log, where it stays, and the log of the run, where its owner looks. A run that is over takes no more
//! events, so of a shell that ends with its run only the audit log knows the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use livery_core::agent::Tier;
use livery_core::id::{KeyId, RequestId, RunId};
use livery_core::{EventType, Result, Timestamp};
use livery_store::RunRow;
use serde_json::{Value, json};

use super::ShellEnd;
use crate::audit::note;
use crate::worker::RunLog;
use crate::{Caller, Platform};

/// How long the end of a shell may take to get into the log of its run.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// The account of one shell. Dropped, it is closed.
pub(super) struct Account {
    platform: Platform,
    row: Box<RunRow>,
    key: KeyId,
    request: RequestId,
    tier: Tier,
    opened_at: Timestamp,
    /// Where the end is told too.
    log: Option<RunLog>,
    /// Bytes typed, and bytes that the program showed.
    pub(super) typed: AtomicU64,
    pub(super) shown: AtomicU64,
    pub(super) end: ShellEnd,
    is_open: bool,
}

impl Account {
    /// Notes that a shell is about to be opened.
    ///
    /// # Errors
    /// It cannot be written down: then there is no shell.
    pub(super) async fn open(platform: &Platform, caller: &Caller, row: &RunRow, tier: Tier) -> Result<Self> {
        let account = Self {
            platform: platform.clone(),
            row: Box::new(row.clone()),
            key: caller.principal.key,
            request: caller.request_id,
            tier,
            opened_at: platform.clock.now(),
            log: None,
            typed: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            end: ShellEnd::Disconnected,
            is_open: true,
        };
        let (org, key, now) = (row.org, account.key, account.opened_at);
        let mut data = account.told();
        data["run"] = json!(row.id);
        data["on_behalf_of"] = json!(caller.on_behalf_of);
        platform
            .store
            .write(move |tx| Box::pin(async move { note(tx, org, "runs.shell.opened", now, key, data).await }))
            .await?;
        Ok(account)
    }

    pub(super) fn run(&self) -> RunId {
        self.row.id
    }

    /// Has the run's log tell of it. `false`: it does not.
    pub(super) async fn tell(&self, log: &RunLog, event_type: EventType, patience: Duration) -> bool {
        log.write(self.key.to_string(), event_type, self.told(), patience).await
    }

    /// From here on its end is told in the run's log too.
    pub(super) fn in_log_of(mut self, log: RunLog) -> Self {
        self.log = Some(log);
        self
    }

    /// It came to nothing.
    pub(super) fn close(mut self, end: ShellEnd) {
        self.end = end;
    }

    pub(super) async fn why_gone(&self) -> ShellEnd {
        self.platform.why_gone(self.row.org, self.row.id).await
    }

    /// Which shell.
    fn told(&self) -> Value {
        json!({"request_id": self.request, "tier": self.tier})
    }

    /// Which shell, and how it went.
    fn told_at_end(&self, now: Timestamp) -> Value {
        let mut data = self.told();
        data["reason"] = self.end.as_str().into();
        data["exit_code"] = json!(self.end.exit_code());
        data["signal"] = json!(self.end.signal());
        data["duration_ms"] = now.millis_since(self.opened_at).into();
        data["typed_bytes"] = self.typed.load(Ordering::Relaxed).into();
        data["shown_bytes"] = self.shown.load(Ordering::Relaxed).into();
        data
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (platform, org, run, key, log) =
            (self.platform.clone(), self.row.org, self.row.id, self.key, self.log.take());
        let now = platform.clock.now();
        let data = self.told_at_end(now);
        // The node waits for its tracked tasks when it stops.
        let task = async move {
            if let Some(log) = log
                && !log.write(key.to_string(), EventType::ShellClosed, data.clone(), CLOSE_MAX).await
            {
                tracing::debug!(%run, "a shell ended with its run; the audit log has its end");
            }
            let mut data = data;
            data["run"] = json!(run);
            let store = platform.store.clone();
            let noted = store
                .write(move |tx| Box::pin(async move { note(tx, org, "runs.shell.closed", now, key, data).await }))
                .await;
            if let Err(error) = noted {
                tracing::error!(%run, %key, %error, "the end of a shell could not be written into the audit log");
            }
        };
        self.platform.tasks.spawn_on(task, &runtime);
    }
}
