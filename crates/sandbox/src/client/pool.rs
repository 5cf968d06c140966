//! Sandboxes that wait for a run: started before anybody wants them, where a start is slow beside what a run does first.
//!
//! There are none until a run has asked for such a sandbox, at most [`Pool::most`] of each of the [`SHAPES_MAX`] shapes that were asked for
//! last, and none any more when nobody has asked for [`IDLE_MAX`]. Each becomes one run's and nobody else's. They are started in a task of their own, never
//! while a run waits. Read next: `../launcher/server/adopt.rs`.

mod image;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use livery_core::agent::Tier;
use tokio::sync::{Notify, watch};

use self::image::Image;
use super::control::LossSender;
use super::tiers::TRIAL_PREFIX;
use super::{Inner, QUESTION_MAX, Sandbox, Sandboxes};
use crate::config::{Spec, WAITING_PREFIX};
use crate::error::Lost;
use crate::protocol::{Answer, Request};
use crate::report::Grants;

/// Kinds of sandbox that wait: a tier with its limits and its image.
const SHAPES_MAX: usize = 3;
/// How long they wait after the last run that wanted one.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// How long a kind that was asked for is kept at least when others come.
const KEPT_MIN: Duration = Duration::from_secs(10);
/// How many may die while they wait before no more are started until a run asks, which then hears why.
const LOST_MAX: usize = 4;
/// Their own wall clock: longer than they ever wait.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// After a run got one, before the next is started: the run is to have the processor.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks at those that wait while nobody asks.
const LOOK: Duration = Duration::from_secs(10);

/// Those that wait, and for what.
pub(super) struct Pool {
    /// How many the operator wants of each tier.
    wanted: Option<usize>,
    state: Mutex<State>,
    /// Somebody asked.
    asked: Arc<Notify>,
}

#[derive(Default)]
struct State {
    ready: Vec<Ready>,
    /// What was asked for last; the latest at the end.
    wanted: Vec<Wanted>,
    is_tended: bool,
    number: u64,
}

/// A shape that runs want.
struct Wanted {
    shape: Spec,
    asked_at: Instant,
    /// How many died since then while they waited.
    lost: usize,
}

/// One that waits. Nothing is read from its guest yet.
struct Ready {
    spec: Spec,
    image: Image,
    grants: Grants,
    channel: OwnedFd,
    loss: LossSender,
}

impl Ready {
    fn is_lost(&self) -> bool {
        self.loss.borrow().is_some()
    }

    /// Whether it is what a run of this shape would be given now.
    fn is(&self, shape: &Spec) -> bool {
        let now = Image::of(&shape.image);
        self.spec.shape() == *shape && now != Image::Gone && self.image == now
    }
}

impl Pool {
    pub(super) fn new(wanted: Option<usize>) -> Self {
        Self { wanted, state: Mutex::default(), asked: Arc::default() }
    }

    /// How many sandboxes of a tier wait. A container starts as fast as one is handed over; a machine keeps much memory.
    fn most(&self, tier: Tier) -> usize {
        match tier {
            Tier::Container => 0,
            Tier::Gvisor | Tier::Isolate => self.wanted.unwrap_or(2),
            Tier::Microvm => self.wanted.unwrap_or(1),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of this shape, if one waits.
    fn take(&self, shape: &Spec) -> Option<Ready> {
        let mut state = self.state();
        let index = state.ready.iter().position(|ready| ready.is(shape) && !ready.is_lost())?;
        Some(state.ready.remove(index))
    }

    /// What is to be done next: started, or taken down, or nothing more.
    fn next(&self) -> Step {
        let mut state = self.state();
        let State { ready, wanted, is_tended, number } = &mut *state;
        for lost in ready.extract_if(.., |ready| ready.is_lost()) {
            wanted.iter_mut().filter(|wanted| wanted.shape == lost.spec.shape()).for_each(|wanted| wanted.lost += 1);
        }
        wanted.retain(|wanted| wanted.asked_at.elapsed() <= IDLE_MAX);
        if wanted.is_empty() {
            *is_tended = false;
            return Step::Clear(std::mem::take(ready));
        }
        if let Some(index) = ready.iter().position(|ready| !wanted.iter().any(|wanted| ready.is(&wanted.shape))) {
            return Step::Discard(ready.remove(index));
        }
        let lacks = |wanted: &&Wanted| {
            let waiting = ready.iter().filter(|ready| ready.is(&wanted.shape)).count();
            wanted.lost < LOST_MAX && waiting < self.most(wanted.shape.tier)
        };
        let Some(Wanted { shape, .. }) = wanted.iter().rev().find(lacks) else { return Step::Rest };
        *number += 1;
        let id = format!("{WAITING_PREFIX}{}-{number}", std::process::id());
        Step::Start(Spec { id, wall_clock: WAIT_MAX, ..shape.clone() })
    }

    fn want(&self, shape: Spec) {
        let mut state = self.state();
        let wanted = &mut state.wanted;
        wanted.retain(|wanted| wanted.shape != shape);
        if wanted.len() >= SHAPES_MAX {
            // Who asks for another kind each time is not to end what others have waiting.
            if wanted[0].asked_at.elapsed() < KEPT_MIN {
                return;
            }
            wanted.remove(0);
        }
        wanted.push(Wanted { shape, asked_at: Instant::now(), lost: 0 });
    }

    fn give_up(&self, shape: &Spec) {
        self.state().wanted.retain(|wanted| wanted.shape != *shape);
    }
}

enum Step {
    Start(Spec),
    Discard(Ready),
    Clear(Vec<Ready>),
    Rest,
}

impl Sandboxes {
    /// A sandbox that waited, now this run's; and the word that such ones are wanted.
    pub(super) async fn waiting(&self, spec: &Spec) -> Option<Sandbox> {
        // A trial is to see a start, and is no sign that runs come.
        if self.inner.pool.most(spec.tier) == 0 || spec.id.starts_with(TRIAL_PREFIX) {
            return None;
        }
        let shape = spec.shape();
        self.want(shape.clone());
        let ready = self.inner.pool.take(&shape)?;
        let control = &self.inner.control;
        control.forget(&ready.spec.id);
        control.watch(&spec.id, ready.loss.clone());
        // The environment is for programs; the launcher has no use for it.
        let wanted = Box::new(Spec { env: Vec::new(), ..spec.clone() });
        let request = Request::Adopt { id: ready.spec.id.clone(), spec: wanted };
        let adopted = control.ask(request, "taking a sandbox that waits", QUESTION_MAX).await;
        if !matches!(adopted, Ok((Answer::Adopted, _))) {
            // It is gone, or the run has a workspace: it gets a sandbox of its own as it would without those that wait.
            control.forget(&spec.id);
            self.discard(ready).await;
            return None;
        }
        self.hold(spec.clone(), ready.grants, ready.channel, ready.loss).ok()
    }

    fn want(&self, shape: Spec) {
        self.inner.pool.want(shape);
        let mut state = self.inner.pool.state();
        if !std::mem::replace(&mut state.is_tended, true) {
            tokio::spawn(tend(Arc::downgrade(&self.inner), Arc::clone(&self.inner.pool.asked)));
        }
        drop(state);
        self.inner.pool.asked.notify_one();
    }

    async fn discard(&self, ready: Ready) {
        let id = ready.spec.id;
        self.inner.control.forget(&id);
        // What does not go now goes with the launcher, which removes its workspace too.
        let _ = self.inner.control.ask(Request::Kill { id }, "ending a sandbox that waits", QUESTION_MAX).await;
    }

    async fn start_waiting(&self, spec: Spec) {
        let (loss, _) = watch::channel::<Option<Lost>>(None);
        // Seen before it is used: one that is exchanged meanwhile is another one then.
        let image = Image::of(&spec.image);
        match self.ask_to_create(&spec, &loss).await {
            Ok((grants, channel)) => self.inner.pool.state().ready.push(Ready { spec, image, grants, channel, loss }),
            Err(error) => {
                tracing::debug!(%error, "a sandbox that was to wait did not start");
                // A run that comes says it better.
                self.inner.pool.give_up(&spec.shape());
            }
        }
    }
}

/// Keeps as many waiting as there are to be, until nobody wants them or all sandboxes are given up.
async fn tend(sandboxes: Weak<Inner>, asked: Arc<Notify>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(inner) = sandboxes.upgrade() else { return };
        let sandboxes = Sandboxes { inner };
        match sandboxes.inner.pool.next() {
            // Where runs wait for their turn to start, this can wait too.
            Step::Start(spec) => {
                if let Ok(_turn) = sandboxes.inner.turns.try_acquire() {
                    sandboxes.start_waiting(spec).await;
                }
            }
            Step::Discard(ready) => sandboxes.discard(ready).await,
            Step::Clear(all) => {
                for ready in all {
                    sandboxes.discard(ready).await;
                }
                return;
            }
            Step::Rest => {
                // Held across the wait, it would keep the launcher alive.
                drop(sandboxes);
                let _ = tokio::time::timeout(LOOK, asked.notified()).await;
            }
        }
    }
}
