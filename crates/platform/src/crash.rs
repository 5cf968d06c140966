//! Dying on demand: a debug build kills its own process with SIGKILL at one planned place around an effect.
//!
//! A release build has none of it: [`Platform::reached`] and [`Platform::during`] compile to nothing there, and the plan is
//! no field of its configuration. Walk on: [`crate::effects`] lists the places.

use livery_harness::Record;

use crate::Platform;
use crate::effects::{EffectKind, Phase};

#[cfg(debug_assertions)]
pub use self::plan::CrashPlan;

/// Which side of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// About to be made.
    Ahead,
    /// Made.
    Made,
}

impl Platform {
    /// This place was reached. In a debug build with this very plan the process ends here.
    #[inline]
    pub(crate) fn reached(&self, effect: EffectKind, phase: Phase) {
        #[cfg(debug_assertions)]
        if self.config.crash.is_due(effect, phase) {
            plan::die();
        }
        #[cfg(not(debug_assertions))]
        let _ = (effect, phase);
    }

    /// Does what `doing` does. In a debug build with this very plan the process ends a moment after it began.
    #[inline]
    pub(crate) async fn during<F: Future>(&self, effect: EffectKind, doing: F) -> F::Output {
        #[cfg(debug_assertions)]
        if self.config.crash.is_due(effect, Phase::During) {
            plan::tear(doing).await;
        }
        #[cfg(not(debug_assertions))]
        let _ = effect;
        doing.await
    }

    /// The places on either side of the commit that writes these records down. `may_repeat`: whether a call does no harm when it
    /// is done twice.
    #[inline]
    pub(crate) fn reached_commit(&self, records: &[Record], commit: Commit, may_repeat: impl Fn(&str) -> bool) {
        #[cfg(debug_assertions)]
        for record in records {
            if let Some((effect, phase)) = place_of(record, commit, &may_repeat) {
                self.reached(effect, phase);
            }
        }
        #[cfg(not(debug_assertions))]
        let _ = (records, commit, may_repeat);
    }
}

/// What a record says about an effect: that it is meant, or that it is done.
#[cfg(debug_assertions)]
fn place_of(record: &Record, commit: Commit, may_repeat: impl Fn(&str) -> bool) -> Option<(EffectKind, Phase)> {
    let kind_of = |tool: &str, call_id: &str| match EffectKind::of_tool(tool) {
        EffectKind::ApiWrite if may_repeat(call_id) => EffectKind::ApiRead,
        kind => kind,
    };
    let intent = if commit == Commit::Ahead { Phase::BeforeIntent } else { Phase::Before };
    let result = if commit == Commit::Ahead { Phase::After } else { Phase::Committed };
    Some(match record {
        Record::ModelRequested(_) => (EffectKind::ModelCall, intent),
        Record::ModelResponded(_) => (EffectKind::ModelCall, result),
        Record::ModelRetried(_) => (EffectKind::RetryWait, intent),
        Record::ToolStarted(started) => (kind_of(&started.tool, &started.call_id), intent),
        // A call that was refused was never begun.
        Record::ToolFinished(done) if done.refused.is_none() && done.tool != "finish" => {
            (kind_of(&done.tool, &done.call_id), result)
        }
        _ if record.terminal().is_some() => {
            (EffectKind::Finish, if commit == Commit::Ahead { Phase::Before } else { Phase::Committed })
        }
        _ => return None,
    })
}

#[cfg(debug_assertions)]
mod plan {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use crate::effects::{CrashPoint, EffectKind, Phase};

    /// How long an effect goes on before it is torn.
    const TEAR_AFTER: Duration = Duration::from_millis(2);

    /// Where this process dies, if anywhere.
    #[derive(Debug, Clone, Default)]
    pub struct CrashPlan {
        point: Option<CrashPoint>,
        seen: Arc<AtomicU32>,
    }

    impl CrashPlan {
        /// To die there.
        pub fn at(point: CrashPoint) -> Self {
            Self { point: Some(point), seen: Arc::default() }
        }

        /// Whether this is the place, and the time.
        pub(super) fn is_due(&self, effect: EffectKind, phase: Phase) -> bool {
            let here = |point: CrashPoint| point.effect == effect && point.phase == phase;
            self.point.is_some_and(|point| here(point) && self.seen.fetch_add(1, Ordering::SeqCst) + 1 == point.nth)
        }
    }

    /// Begins `doing` and dies in the middle of it, or right behind it when it is quick.
    pub(super) async fn tear<F: Future>(doing: F) -> ! {
        // Whichever comes first: what it would have answered is nobody's to know.
        let _ = tokio::time::timeout(TEAR_AFTER, doing).await;
        die()
    }

    /// No destructor, no flush, no goodbye.
    pub(super) fn die() -> ! {
        // Nothing returns from this kill; should the kernel refuse it, an abort runs no destructors either.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        #[expect(clippy::disallowed_methods, reason = "to skip draining and destructors is the point")]
        std::process::abort()
    }
}
