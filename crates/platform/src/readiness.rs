//! Whether this node can serve, and why not.

use std::time::Duration;

use serde::Serialize;

use crate::Platform;

/// Longest time one check may take.
const CHECK_MAX: Duration = Duration::from_secs(2);

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether every check is well.
    pub ready: bool,
    /// Each of them.
    pub checks: Vec<Check>,
}

/// One thing that has to work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `database`, `objects`, `sandbox`, `shutdown`.
    pub name: &'static str,
    /// Whether it does.
    pub ok: bool,
    /// What is wrong, for the operator; never a secret.
    pub detail: String,
}

impl Platform {
    /// Checks what a run needs.
    pub async fn readiness(&self) -> Readiness {
        let checks =
            vec![self.database().await, self.objects_check(), self.sandbox_check().await, self.shutdown_check()];
        Readiness { ready: checks.iter().all(|check| check.ok), checks }
    }

    /// A write that changes nothing, so that a full or read-only disk shows.
    async fn database(&self) -> Check {
        let now = self.clock.now().to_string();
        let write = self.store.write(move |tx| Box::pin(async move { tx.system_set_meta("readiness", &now).await }));
        let (ok, detail) = match tokio::time::timeout(CHECK_MAX, write).await {
            Ok(Ok(())) => (true, String::from("writes are durable")),
            Ok(Err(error)) => (false, error.to_string()),
            Err(_) => (false, format!("no answer in {} s", CHECK_MAX.as_secs())),
        };
        Check { name: "database", ok, detail }
    }

    /// What the last look said: it is taken at its own pace, since a write to a bucket costs time and money.
    fn objects_check(&self) -> Check {
        match self.objects_health.trouble() {
            None => Check { name: "objects", ok: true, detail: "files can be stored".into() },
            Some(trouble) => Check { name: "objects", ok: false, detail: trouble.to_string() },
        }
    }

    /// Asks the launcher: one that died takes every sandbox along. Another is started, unless that happens all the time.
    async fn sandbox_check(&self) -> Check {
        let (ok, detail) = match &self.sandboxes {
            _ if !self.config.roles.worker => (true, "this node works on no runs"),
            _ if self.stop.is_cancelled() => (true, "no more are made here"),
            None => (false, "no tier is usable; `livery doctor` says why"),
            Some(sandboxes) => match tokio::time::timeout(CHECK_MAX, sandboxes.grants()).await {
                Ok(Ok(_)) => (true, "the container tier is there"),
                Ok(Err(_)) => (false, "the launcher is gone; restart this node"),
                Err(_) => (false, "the launcher does not answer"),
            },
        };
        Check { name: "sandbox", ok, detail: detail.into() }
    }

    fn shutdown_check(&self) -> Check {
        let draining = self.stop.is_cancelled();
        let detail = match self.running.len() {
            _ if !draining => "serving".to_owned(),
            0 => "this node drains: it takes no more work".to_owned(),
            runs => format!("this node drains: it takes no more work, and {runs} runs here are to reach a safe point"),
        };
        Check { name: "shutdown", ok: !draining, detail }
    }
}
