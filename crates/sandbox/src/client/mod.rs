//! The platform's side: connects to the launcher and hands out sandboxes.
//!
//! Nothing here needs rights, opens a workspace, or trusts a guest. Read next: `sandbox.rs`, `tiers.rs`.

mod channel;
mod code;
mod control;
mod doctor;
mod exec;
mod files;
mod jobs;
mod pool;
mod process;
mod relay;
mod sandbox;
mod terminal;
mod tiers;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use livery_core::agent::Tier;
use tokio::sync::watch;

pub use code::{Code, CodeOutcome, CodeResult, Language, SOURCE_BYTES_MAX};
pub use doctor::probe;
pub use exec::{Exec, ExecResult, Stream};
pub use files::{Artifact, ArtifactLimits, Artifacts, Entry, FileKind, FilePart, Listing};
pub use jobs::SIGKILL;
pub use process::{LauncherProcess, spawn_launcher};
pub use relay::{Flow, Relay};
pub use sandbox::Sandbox;
pub use terminal::{Ended, READ_BYTES_MAX, RING_BYTES, SIDE_MAX, Shown, Size, TERMINALS_MAX, Terminal, TerminalSpec};

use crate::config::Spec;
use crate::error::Error;
use crate::launcher::check_spec;
use crate::protocol::{Answer, Request};
use crate::report::Grants;
use channel::Channel;
use control::{Control, LossSender};

/// Starts under way at once, for each processor: more only make each other slow.
const STARTS_PER_CPU: usize = 4;
/// How long a start may wait for its turn.
const TURN_MAX: Duration = Duration::from_secs(120);
/// From the request to a guest that runs.
const CREATE_MAX: Duration = Duration::from_secs(15);
/// The same where a kernel boots first.
const BOOT_MAX: Duration = Duration::from_secs(30);
/// The same where a disk is made of the image first, once.
const IMAGE_MAX: Duration = Duration::from_secs(240);
/// Removing a workspace of any size.
const REMOVE_MAX: Duration = Duration::from_secs(120);
/// A question the launcher answers from memory.
const QUESTION_MAX: Duration = Duration::from_secs(10);
/// The launcher's own end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);

/// Every sandbox of this process. Clones are the same.
#[derive(Clone)]
pub struct Sandboxes {
    inner: Arc<Inner>,
}

struct Inner {
    control: Control,
    task: tokio::task::JoinHandle<()>,
    child: Mutex<Option<std::process::Child>>,
    turns: tokio::sync::Semaphore,
    /// One lock per id, so that two creates of one id cannot pass each other.
    by_id: Mutex<HashMap<String, Arc<Slot>>>,
    trials: tiers::Trials,
    pool: pool::Pool,
}

type Slot = tokio::sync::Mutex<Weak<sandbox::Inner>>;

impl std::fmt::Debug for Sandboxes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandboxes").finish_non_exhaustive()
    }
}

impl Sandboxes {
    /// Takes over a launcher. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    pub fn connect(launcher: LauncherProcess) -> Result<Self, Error> {
        let LauncherProcess { control, child, waiting } = launcher;
        let started = Control::start(control).map_err(|source| Error::Io { doing: "watching the launcher", source });
        let (control, task) = started?;
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let turns = tokio::sync::Semaphore::new(cpus * STARTS_PER_CPU);
        let inner = Inner {
            control,
            task,
            child: Mutex::new(Some(child)),
            turns,
            by_id: Mutex::new(HashMap::new()),
            trials: tiers::Trials::default(),
            pool: pool::Pool::new(waiting),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a sandbox, or answers the live one of that id. Its workspace is found again if there was one.
    ///
    /// # Errors
    /// See [`Error`]; after one, nothing of the sandbox is left but perhaps its workspace. Bounded by 15 s (30 s where a kernel boots, 240 s where an image becomes a disk first), and the
    /// turns of those that start before it.
    pub async fn create(&self, spec: Spec) -> Result<Sandbox, Error> {
        check_spec(&spec).map_err(Error::Invalid)?;
        let slot = Arc::clone(self.slots().entry(spec.id.clone()).or_default());
        let mut place = slot.lock().await;
        if let Some(inner) = place.upgrade() {
            let alive = Sandbox { inner };
            if alive.lost().borrow().is_none() {
                return Ok(alive);
            }
            // Lost on this side: make sure that it is gone on the launcher's before its id is used again.
            if !alive.inner.went_with_launcher() {
                alive.kill("its id is used again").await?;
            }
        }
        let started = match self.waiting(&spec).await {
            Some(waited) => Ok(waited),
            None => self.start(spec.clone()).await,
        };
        let sandbox = match started {
            // What a `create` that was given up half-way has left: it is ending already.
            Err(Error::Alive) => {
                let request = Request::Kill { id: spec.id.clone() };
                self.inner.control.ask(request, "ending an abandoned sandbox", QUESTION_MAX).await?;
                self.start(spec).await?
            }
            other => other?,
        };
        *place = Arc::downgrade(&sandbox.inner);
        drop(place);
        self.forget_the_dead();
        Ok(sandbox)
    }

    async fn start(&self, spec: Spec) -> Result<Sandbox, Error> {
        let turn = tokio::time::timeout(TURN_MAX, self.inner.turns.acquire()).await;
        let turn = turn.map_err(|_| Error::Deadline("waiting for other sandboxes to start"))?;
        let started = self.start_now(spec).await;
        drop(turn);
        started
    }

    async fn start_now(&self, spec: Spec) -> Result<Sandbox, Error> {
        let (loss, _) = watch::channel(None);
        let (grants, channel) = self.ask_to_create(&spec, &loss).await?;
        self.hold(spec, grants, channel, loss)
    }

    /// A guest that runs, and the way to it.
    async fn ask_to_create(&self, spec: &Spec, loss: &LossSender) -> Result<(Grants, OwnedFd), Error> {
        let control = &self.inner.control;
        control.watch(&spec.id, loss.clone());
        // The environment is for commands; the launcher has no use for it.
        let request = Request::Create(Box::new(Spec { env: Vec::new(), ..spec.clone() }));
        let most = match spec.tier {
            Tier::Container => CREATE_MAX,
            Tier::Microvm => IMAGE_MAX,
            Tier::Gvisor | Tier::Isolate => BOOT_MAX,
        };
        match control.ask(request, "starting the sandbox", most).await {
            Ok((Answer::Created { grants }, Some(channel))) => Ok((grants, channel)),
            Ok(_) => Err(Error::LauncherGone),
            Err(error) => {
                control.forget(&spec.id);
                if matches!(error, Error::Deadline(_)) {
                    control.tell(Request::Kill { id: spec.id.clone() });
                }
                Err(error)
            }
        }
    }

    /// The sandbox behind a channel.
    fn hold(&self, spec: Spec, grants: Grants, channel: OwnedFd, loss: LossSender) -> Result<Sandbox, Error> {
        let control = self.inner.control.clone();
        let channel = Channel::start(channel, &spec.id, control.clone(), loss);
        let channel = channel.map_err(|source| Error::Io { doing: "watching the guest", source })?;
        let (ended, programs) = (std::sync::atomic::AtomicBool::new(false), tokio::sync::Mutex::default());
        let inner = sandbox::Inner { spec, grants, channel: Arc::new(channel), programs, control, ended };
        Ok(Sandbox { inner: Arc::new(inner) })
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.inner.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the slots whose sandbox is gone and that nobody waits for.
    fn forget_the_dead(&self) {
        let in_use =
            |slot: &Arc<Slot>| Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|s| s.strong_count() > 0);
        self.slots().retain(|_, slot| in_use(slot));
    }

    /// Removes the workspace of a sandbox that is not alive. One that does not exist is [`Error::Unknown`].
    ///
    /// # Errors
    /// Its sandbox is alive, the files resist, or the launcher is gone.
    pub async fn remove_workspace(&self, id: &str) -> Result<(), Error> {
        let request = Request::RemoveWorkspace { id: id.to_owned() };
        self.inner.control.ask(request, "removing the workspace", REMOVE_MAX).await.map(drop)
    }

    /// The ids of all workspaces on disk, in order; after a crash, those no run needs any more are the caller's to remove.
    ///
    /// # Errors
    /// The launcher is gone.
    pub async fn workspaces(&self) -> Result<Vec<String>, Error> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let request = Request::Workspaces { after: all.last().cloned() };
            match self.inner.control.ask(request, "listing workspaces", QUESTION_MAX).await? {
                (Answer::Workspaces { ids }, _) if ids.is_empty() => return Ok(all),
                (Answer::Workspaces { ids }, _) => all.extend(ids),
                _ => return Err(Error::LauncherGone),
            }
        }
    }

    /// Whether there is no launcher any more, and none will come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.inner.control.is_over()
    }

    /// By which means limits are kept on this host.
    ///
    /// # Errors
    /// The launcher could not start (the error says why) or is gone.
    pub async fn grants(&self) -> Result<Grants, Error> {
        match self.inner.control.ask(Request::Grants, "asking the launcher", QUESTION_MAX).await? {
            (Answer::Grants(grants), _) => Ok(grants),
            _ => Err(Error::LauncherGone),
        }
    }

    /// Ends every sandbox and the launcher, and waits for both.
    ///
    /// # Errors
    /// The launcher did not end in time; it is killed then, which ends every sandbox.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let answer = self.inner.control.ask(Request::Shutdown, "ending the launcher", SHUTDOWN_MAX).await;
        let child = self.inner.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            if answer.is_err() {
                let _ = child.kill();
            }
            // It has answered or been killed: this is short.
            let waited = tokio::task::spawn_blocking(move || child.wait()).await;
            drop(waited);
        }
        match answer {
            Ok(_) | Err(Error::LauncherGone) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The socket closes with the task, and its end is the launcher's.
        self.task.abort();
    }
}
