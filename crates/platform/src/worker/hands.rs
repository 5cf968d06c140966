//! A run's sandbox: made at the first tool call that needs one, filled once, taken down with the run.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use livery_core::agent::sandbox::MinimumTier;
use livery_core::agent::{SandboxSpec, Tier};
use livery_core::{Error, ErrorCode, EventType, RunError};
use livery_harness::prompt::AGENT_DIR;
use livery_images::Lease;
use livery_sandbox::{LostReason, Sandbox, Sandboxes, Spec};
use livery_store::{FileRole, Lease as RunLease, RunRow, SnapshotRow};
use serde_json::json;
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::drive::Signal;
use super::egress::{Door, Earlier, Egress};
use super::pack::{Packing, in_the_way, make_way};
use super::patience::{patiently, read_patiently};
use super::tools::terminal::Terminals;
use super::workspace::{self, Opened};
use super::{snapshot, standing};
use crate::Platform;
use crate::agents::LoadedAgent;
use crate::effects::{EffectKind, Phase};

/// Where a run works.
pub(super) const WORKSPACE: &str = "/workspace";
/// Processes and threads of one run.
const PIDS_MAX: u32 = 256;
/// How much longer than its run a sandbox may live, so that the run's own limit is the one that speaks.
const WALL_CLOCK_MARGIN: Duration = Duration::from_secs(30);
/// The same where its workspace is saved: what snapshots may add to its time, then artifacts, then packing.
const SAVE_MARGIN: Duration = Duration::from_secs(300);

/// How often a sandbox is asked for while launchers die.
const CREATE_TRIES_MAX: u32 = 5;
/// The pause between two tries; the next one waits for the launcher by itself.
const CREATE_PAUSE: Duration = Duration::from_millis(500);

/// How often a workspace is tried to be removed.
const REMOVE_TRIES_MAX: u32 = 20;
/// The pause between two tries.
const REMOVE_PAUSE: Duration = Duration::from_millis(100);

/// Why a run lets go of its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The run is over: its workspace and the copies of it go too.
    Over,
    /// Somebody else may have the run: its workspace goes, if so.
    Lost,
    /// It goes on later: its workspace stays for this node, should it be the one.
    ForNow,
}

/// What earlier lives of a run have left.
pub(super) struct Left {
    /// Whether a sandbox stood, on any node: only then can there be copies.
    pub(super) stood: bool,
    /// The tier it stood in: the run keeps it.
    pub(super) tier: Option<Tier>,
    /// Whether its workspace was filled, here on this node.
    pub(super) filled: bool,
    /// What it is filled with instead of what the run began with.
    pub(super) copy: Option<SnapshotRow>,
    /// How often a credential was found in an answer.
    pub(super) redacted: u32,
    /// Calls that waited for a person.
    pub(super) held: BTreeSet<String>,
    /// Whether its workspace outlives it.
    pub(super) persists: bool,
    /// What it began with, if an earlier life opened it.
    pub(super) opened: Option<Opened>,
    /// Whether something may have changed it.
    pub(super) changed: bool,
}

/// The sandbox of one run, there or not.
pub(super) struct Hands {
    pub(super) platform: Platform,
    pub(super) row: RunRow,
    pub(super) agent: Arc<LoadedAgent>,
    spec: SandboxSpec,
    workspace: Left,
    /// How long the run may still take.
    time: Duration,
    pub(super) signals: mpsc::Sender<Signal>,
    sandbox: OnceCell<Arc<Sandbox>>,
    /// Keeps its image on disk.
    image: OnceLock<Lease>,
    /// Whether there may be a workspace, however far its making came.
    touched: AtomicBool,
    /// The workspace that outlives the run, once it is open.
    opened: OnceLock<Opened>,
    /// Whether something may have changed it.
    changed: AtomicBool,
    /// When it stood, in microseconds; zero: it does not.
    stood_at: AtomicI64,
    /// The way out.
    pub(super) door: Arc<Door>,
    /// What keeps running in it between calls.
    pub(super) terminals: Terminals,
    /// Seats for people's shells in it.
    pub(super) shells: Arc<Semaphore>,
    /// Cancelled when the run lets go of the sandbox: people's shells are hung up.
    pub(super) leaving: CancellationToken,
    /// Held by whoever packs the workspace.
    pub(super) packing: Packing,
}

impl Hands {
    pub(super) fn new(
        platform: Platform,
        row: &RunRow,
        agent: Arc<LoadedAgent>,
        spec: SandboxSpec,
        workspace: Left,
        time: Duration,
        signals: mpsc::Sender<Signal>,
    ) -> Self {
        let (sandbox, image, stood_at) = (OnceCell::new(), OnceLock::new(), AtomicI64::new(0));
        // An earlier life may have died over the making of it, before its log could say so.
        let touched = AtomicBool::new(workspace.filled || row.recoveries > 0);
        let changed = AtomicBool::new(workspace.changed);
        // One that is filled anew is opened anew.
        let stays = workspace.filled || workspace.copy.is_some();
        let opened = workspace.opened.filter(|_| stays).map_or_else(OnceLock::new, OnceLock::from);
        let (row, terminals) = (row.clone(), Terminals::new(row.lease_epoch));
        let earlier = Earlier { redacted: workspace.redacted, held: workspace.held.clone() };
        let door = Door::new(platform.clone(), row.clone(), signals.clone(), earlier);
        Self {
            platform,
            row,
            agent,
            spec,
            workspace,
            time,
            signals,
            sandbox,
            image,
            touched,
            opened,
            changed,
            stood_at,
            door,
            terminals,
            shells: standing::seats(),
            leaving: CancellationToken::new(),
            packing: Packing::default(),
        }
    }

    /// The sandbox, made now if there is none. Calls that come together wait for the same one.
    ///
    /// # Errors
    /// What ends the run: this host cannot give it, or it broke while it was filled.
    pub(super) async fn sandbox(&self) -> Result<Arc<Sandbox>, RunError> {
        self.sandbox.get_or_try_init(|| Box::pin(self.make())).await.cloned()
    }

    /// The sandbox, if one was ever made.
    pub(super) fn made(&self) -> Option<&Arc<Sandbox>> {
        self.sandbox.get()
    }

    /// Whether the sandbox is gone because the launcher is, and another launcher is there or comes.
    pub(super) fn went_with_launcher(&self) -> bool {
        let launcher_is_back = self.platform.sandboxes.as_ref().is_some_and(|sandboxes| !sandboxes.is_over());
        let lost = self.sandbox.get().map(|sandbox| sandbox.lost());
        let reason = lost.and_then(|lost| lost.borrow().as_ref().map(|lost| lost.reason));
        launcher_is_back && reason == Some(LostReason::LauncherGone)
    }

    /// Whether an earlier life of the run has left a workspace: here, or a copy of it.
    pub(super) const fn has_workspace(&self) -> bool {
        self.workspace.filled || self.workspace.copy.is_some()
    }

    /// Whether the workspace outlives the run.
    pub(super) const fn persists(&self) -> bool {
        self.workspace.persists
    }

    /// The workspace that outlives the run, once it is open.
    pub(super) fn opened(&self) -> Option<Opened> {
        self.opened.get().copied()
    }

    /// The same, or what an earlier life opened and lost.
    pub(super) fn last_opened(&self) -> Option<Opened> {
        self.opened().or(self.workspace.opened)
    }

    /// Something may have changed the workspace.
    pub(super) fn note_change(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Whether something may have.
    pub(super) fn may_have_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    /// How long the run may still take.
    pub(super) const fn time(&self) -> Duration {
        self.time
    }

    /// Tells whoever follows the run what a tool prints.
    pub(super) fn show(&self, call_id: &str, stream: &'static str, bytes: &[u8]) {
        let data = || json!({"call_id": call_id, "stream": stream, "text": String::from_utf8_lossy(bytes)});
        self.platform.live.publish(self.row.id, "tool.output", data);
    }

    /// Milliseconds the sandbox stood.
    pub(super) fn stood_ms(&self) -> u64 {
        let earlier = self.row.usage.sandbox_ms;
        match self.stood_at.load(Ordering::Relaxed) {
            0 => earlier,
            at => {
                earlier.saturating_add(self.platform.clock.now().millis_since(livery_core::Timestamp::from_micros(at)))
            }
        }
    }

    async fn make(&self) -> Result<Arc<Sandbox>, RunError> {
        let unavailable = |message: String| RunError::retryable(ErrorCode::SandboxUnavailable, message);
        let Some(sandboxes) = &self.platform.sandboxes else {
            return Err(unavailable("this host gives no sandboxes; `livery doctor` says why".into()));
        };
        self.touched.store(true, Ordering::Relaxed);
        let begun = self.platform.clock.now();
        let (tier, minimum) = self.tier(sandboxes).await?;
        let root = self.platform.image_root(&self.spec.image).await.map_err(unavailable)?;
        let mut spec = Spec { tier, image: root.image, ..Spec::new(self.row.id.to_string()) };
        spec.cpu = f64::from(self.spec.cpu.as_millis()) / 1000.0;
        spec.memory_mb = self.spec.memory_mb.into();
        spec.disk_mb = self.spec.disk_mb.into();
        spec.pids = PIDS_MAX;
        let margin = if self.workspace.persists { SAVE_MARGIN } else { WALL_CLOCK_MARGIN };
        spec.wall_clock = self.time + margin;
        let way_out = || Box::pin(Egress::of(&self.platform, &self.row, &self.spec.network, self.time));
        let egress = read_patiently(self.row.id, "the way out", self.time, way_out).await;
        let egress = egress.map_err(|error| unavailable(format!("its way out cannot be made: {}", error.code())))?;
        spec.env = root.env;
        spec.env.extend(egress.as_ref().map(Egress::environment).unwrap_or_default());
        self.platform.reached(EffectKind::SandboxCreate, Phase::Before);
        let sandbox = self.platform.during(EffectKind::SandboxCreate, create(sandboxes, spec)).await;
        let sandbox = sandbox.map_err(|error| {
            self.platform.metrics.sandbox_failed();
            unavailable(error.to_string())
        })?;
        self.platform.reached(EffectKind::SandboxCreate, Phase::After);
        let sandbox = Arc::new(sandbox);
        let now = self.platform.clock.now();
        self.stood_at.store(now.as_micros(), Ordering::Relaxed);
        if let Some(copy) = &self.workspace.copy {
            let restore = async |_| Ok(snapshot::restore(&self.platform, &sandbox, copy).await?);
            let restored = patiently(self.row.id, "the copy of a workspace", &CancellationToken::new(), restore).await;
            restored.map_err(|error| {
                tracing::error!(run = %self.row.id, %error, "a workspace could not be restored");
                RunError::retryable(
                    ErrorCode::SandboxLost,
                    "the copy of the workspace could not be restored".to_owned(),
                )
            })?;
        } else if !self.workspace.filled {
            let restored = self.open_workspace(&sandbox).await?;
            self.fill(&sandbox, restored).await?;
            self.platform.reached(EffectKind::SandboxFill, Phase::After);
        }
        if let Some(egress) = egress {
            egress.open(&sandbox).await.map_err(|error| lost_or(&error, || unavailable(error.to_string())))?;
        }
        let data = json!({
            "tier": tier,
            "minimum_tier": minimum,
            "start_ms": now.millis_since(begun),
            "image": root.name,
            "node": self.platform.identity.id,
            "means": sandbox.grants(),
        });
        self.platform.metrics.sandbox_started(Duration::from_millis(now.millis_since(begun)));
        if let Some(lease) = root.lease {
            // One of an earlier try holds the same.
            let _ = self.image.set(lease);
        }
        // Only a run that is over hears no signals.
        let _ = self.signals.send(Signal::Event(EventType::SandboxStarted, data)).await;
        Ok(sandbox)
    }

    /// The tier it gets, and what was demanded of it: asked for again, since it may have waited for long. One that stood
    /// before keeps exactly the tier it had.
    async fn tier(&self, sandboxes: &Sandboxes) -> Result<(Tier, Option<MinimumTier>), RunError> {
        let unavailable = |message: String| RunError::retryable(ErrorCode::SandboxUnavailable, message);
        let demands = || self.platform.store.demands_on_tier(self.row.org, self.row.application);
        let demands = read_patiently(self.row.id, "the minimum tier", self.time, demands).await;
        let demands = demands.map_err(|_| unavailable("the minimum tier of its organization cannot be read".into()))?;
        let (settled, or_stronger) = match self.workspace.tier {
            Some(stood) => (demands.keep(stood), false),
            None => (demands.settle(&self.spec), self.spec.or_stronger),
        };
        let settled = settled.map_err(|refused| RunError::fatal(ErrorCode::PolicyDenied, refused.to_string()))?;
        let minimum = demands.strictest();
        let tier = sandboxes.choose(settled, or_stronger, minimum.map(|minimum| minimum.tier)).await;
        Ok((tier.map_err(|error| unavailable(error.to_string()))?, minimum))
    }

    /// Lays out what the runs before left, where the workspace outlives them. `true`: there was something.
    async fn open_workspace(&self, sandbox: &Sandbox) -> Result<bool, RunError> {
        if !self.workspace.persists {
            return Ok(false);
        }
        let opened = Box::pin(workspace::open(self, sandbox)).await?;
        self.platform.reached(EffectKind::WorkspaceOpen, Phase::After);
        // Only one life fills a sandbox.
        let _ = self.opened.set(opened);
        // Only a run that is over hears no signals.
        let _ = self.signals.send(Signal::Event(EventType::WorkspaceOpened, json!(opened))).await;
        Ok(opened.snapshot.is_some())
    }

    /// The agent's files, its tools and skills, and the files of the request. What a workspace that was `restored` has already
    /// of the agent's `files/` stays as it is.
    async fn fill(&self, sandbox: &Sandbox, restored: bool) -> Result<(), RunError> {
        let internal = |error: Error| {
            RunError::retryable(ErrorCode::Internal, format!("the workspace cannot be filled: {}", error.code()))
        };
        let (row, store) = (&self.row, &self.platform.store);
        let files = || store.agent_files(row.org, row.agent_id);
        let files = read_patiently(row.id, "the agent", self.time, files).await;
        for file in files.map_err(|error| internal(error.into()))? {
            if let Some((path, mode)) = place_of(&file.path, file.mode) {
                let theirs = restored && file.path.starts_with("files/");
                if theirs && sandbox.stat(&path).await.is_ok() {
                    continue;
                }
                match sandbox.put(&path, &file.bytes, mode).await {
                    // What earlier runs made of the folder stays theirs: there is no place for the file any more.
                    Err(error) if theirs && in_the_way(&error) => {
                        tracing::info!(run = %row.id, path, %error, "a file of the agent is not laid into its workspace");
                    }
                    put => put.map_err(|error| not_laid(&path, &error))?,
                }
                self.platform.reached(EffectKind::SandboxFill, Phase::During);
            }
        }
        let inputs = || store.run_files(row.org, row.id, FileRole::Input);
        let inputs = read_patiently(row.id, "the list of input files", self.time, inputs).await;
        for input in inputs.map_err(|error| internal(error.into()))? {
            let fetch = async |_| Ok(self.platform.fetch_file(&input.file).await?);
            // Nobody but the run's own end stops the wait: then this is dropped.
            let fetched = patiently(row.id, "an input file", &CancellationToken::new(), fetch).await;
            let fetched = fetched.map_err(|error| internal(error.into()))?;
            let path = format!("{WORKSPACE}/{}", input.path);
            let mut put = sandbox.put_file(&path, fetched.open().await.map_err(internal)?, 0o644).await;
            if restored && put.as_ref().is_err_and(in_the_way) {
                // What an earlier run made there goes: this run was given the file, and every later one would meet the same.
                make_way(sandbox, &input.path).await;
                put = sandbox.put_file(&path, fetched.open().await.map_err(internal)?, 0o644).await;
            }
            put.map_err(|error| not_laid(&path, &error))?;
        }
        Ok(())
    }

    /// Takes the sandbox down, and what is left of it as far as `leaving` says.
    pub(super) async fn close(&self, lease: RunLease, leaving: Leaving) {
        let platform = self.platform.clone();
        let id = self.row.id.to_string();
        let sandbox = self.sandbox.get().cloned();
        let has_workspace = self.touched.load(Ordering::Relaxed);
        let may_be_copied = has_workspace || self.workspace.stood;
        let Some(sandboxes) = platform.sandboxes.clone() else { return };
        // Nobody waits for it: the run's end is told already. The tracker does, at shutdown.
        let node = self.platform.clone();
        platform.tasks.spawn(async move {
            node.reached(EffectKind::SandboxRemoval, Phase::Before);
            if let Some(sandbox) = sandbox
                && let Err(error) = sandbox.kill("the run is over").await
                && !matches!(error, livery_sandbox::Error::LauncherGone)
            {
                tracing::warn!(run = %id, %error, "a sandbox did not go; the launcher's own limit ends it");
            }
            node.reached(EffectKind::SandboxRemoval, Phase::During);
            let goes = match leaving {
                Leaving::Over => true,
                Leaving::Lost => node.is_elsewhere(lease).await,
                Leaving::ForNow => false,
            };
            if goes && has_workspace {
                remove_workspace(&sandboxes, &id).await;
            }
            if leaving == Leaving::Over && may_be_copied {
                snapshot::forget(&node, lease).await;
            }
            node.reached(EffectKind::SandboxRemoval, Phase::After);
        });
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.door.close();
        if self.sandbox.initialized() {
            self.platform.metrics.sandbox_ended();
        }
    }
}

/// Makes a sandbox. A launcher that dies meanwhile is waited for, as long as another one may come.
async fn create(sandboxes: &Sandboxes, spec: Spec) -> Result<Sandbox, livery_sandbox::Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match sandboxes.create(spec.clone()).await {
            Err(livery_sandbox::Error::LauncherGone) if tries < CREATE_TRIES_MAX && !sandboxes.is_over() => {
                tokio::time::sleep(CREATE_PAUSE).await;
            }
            made => return made,
        }
    }
}

/// Removes a workspace, if there is one. A sandbox that was given up while it was made takes a moment to end.
async fn remove_workspace(sandboxes: &Sandboxes, id: &str) {
    let mut tries = 0;
    loop {
        tries += 1;
        match sandboxes.remove_workspace(id).await {
            Ok(()) | Err(livery_sandbox::Error::Unknown) => return,
            Err(_) if tries < REMOVE_TRIES_MAX => tokio::time::sleep(REMOVE_PAUSE).await,
            Err(error) => {
                return tracing::warn!(run = %id, %error, "a workspace could not be removed; the next start sweeps it");
            }
        }
    }
}

/// Where a file of the agent's folder lies in the sandbox. What the agent does not need there (`AGENT.md`, scripts) stays out.
fn place_of(path: &str, mode: u32) -> Option<(String, u32)> {
    if let Some(rest) = path.strip_prefix("files/") {
        return Some((format!("{WORKSPACE}/{rest}"), mode));
    }
    if path.starts_with("tools/") {
        // JSON uploads carry no permission bits, and a tool that cannot be executed is no tool.
        return Some((format!("{AGENT_DIR}/{path}"), 0o755));
    }
    path.starts_with("skills/").then(|| (format!("{AGENT_DIR}/{path}"), mode))
}

fn not_laid(path: &str, error: &livery_sandbox::Error) -> RunError {
    lost_or(error, || {
        RunError::fatal(ErrorCode::AgentError, format!("{path} cannot be laid into the workspace: {error}"))
    })
}

/// A sandbox that is gone ends the run with the reason; anything else is what `otherwise` says.
pub(super) fn lost_or(error: &livery_sandbox::Error, otherwise: impl FnOnce() -> RunError) -> RunError {
    match error {
        livery_sandbox::Error::Lost(lost) if lost.reason == LostReason::LauncherGone => {
            RunError::retryable(ErrorCode::SandboxLost, lost.to_string())
        }
        livery_sandbox::Error::Lost(lost) => RunError::fatal(ErrorCode::SandboxLost, lost.to_string()),
        livery_sandbox::Error::LauncherGone => RunError::retryable(ErrorCode::SandboxLost, error.to_string()),
        _ => otherwise(),
    }
}

#[cfg(test)]
mod tests {
    use super::place_of;

    #[test]
    fn only_what_the_agent_needs_is_laid_out() {
        let place = |path| place_of(path, 0o644);
        assert_eq!(place("files/data/a.csv"), Some(("/workspace/data/a.csv".into(), 0o644)));
        assert_eq!(place("tools/sum/run.sh"), Some(("/workspace/.livery/agent/tools/sum/run.sh".into(), 0o755)));
        assert_eq!(place("skills/x/SKILL.md"), Some(("/workspace/.livery/agent/skills/x/SKILL.md".into(), 0o644)));
        assert_eq!(place("scripts/x.yaml"), None);
        assert_eq!(place("README.md"), None);
    }
}
