//! One sandbox in the platform's hands: commands, usage, its end.
//!
//! Read next: `exec.rs` and `files.rs` for the two kinds of request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::channel::Channel;
use super::control::Control;
use crate::config::Spec;
use crate::error::{Error, Lost, LostReason};
use crate::protocol::{Answer, Request, Teardown, Usage};
use crate::report::Grants;

/// How long the launcher may take to take a sandbox down.
const KILL_MAX: Duration = Duration::from_secs(10);
/// How long it may take to say what was used.
const USAGE_MAX: Duration = Duration::from_secs(5);

/// A live sandbox. Clones are the same sandbox; when the last one is dropped it is killed. Its workspace stays.
#[derive(Clone)]
pub struct Sandbox {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) spec: Spec,
    pub(crate) grants: Grants,
    pub(crate) channel: Arc<Channel>,
    /// Held by the program that runs: each is given the whole of the sandbox's memory.
    pub(crate) programs: tokio::sync::Mutex<()>,
    pub(crate) control: Control,
    pub(crate) ended: AtomicBool,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("id", &self.inner.spec.id).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.inner.spec
    }

    /// By which means its limits are kept on this host.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.inner.grants
    }

    /// `None` while it lives; the reason once it is lost. Wait with `wait_for(Option::is_some)`.
    #[must_use]
    pub fn lost(&self) -> watch::Receiver<Option<Lost>> {
        self.inner.channel.lost()
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// It is gone, or the launcher is.
    pub async fn usage(&self) -> Result<Usage, Error> {
        let request = Request::Usage { id: self.inner.spec.id.clone() };
        match self.inner.control.ask(request, "asking for usage", USAGE_MAX).await? {
            (Answer::Usage(usage), _) => Ok(usage),
            _ => Err(Error::LauncherGone),
        }
    }

    /// Ends every process in it and removes all but its workspace. Asking again is harmless.
    ///
    /// # Errors
    /// The launcher is gone, and with it the sandbox; a later one is asked nothing, since it may have another sandbox of this
    /// id by now. Or it did not finish within 10 s.
    pub async fn kill(&self, why: &str) -> Result<Teardown, Error> {
        self.inner.ended.store(true, Ordering::Relaxed);
        if self.inner.went_with_launcher() {
            return Err(Error::LauncherGone);
        }
        self.inner.channel.give_up(Lost::new(LostReason::Killed, why));
        let request = Request::Kill { id: self.inner.spec.id.clone() };
        match self.inner.control.ask(request, "ending the sandbox", KILL_MAX).await? {
            (Answer::Killed(teardown), _) => Ok(teardown),
            _ => Err(Error::LauncherGone),
        }
    }
}

impl Inner {
    /// Whether its launcher is gone: the kernel has ended it, and its id may be another sandbox's by now.
    pub(crate) fn went_with_launcher(&self) -> bool {
        self.channel.lost().borrow().as_ref().is_some_and(|lost| lost.reason == LostReason::LauncherGone)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.ended.load(Ordering::Relaxed) && !self.went_with_launcher() {
            self.control.tell(Request::Kill { id: self.spec.id.clone() });
        }
    }
}
