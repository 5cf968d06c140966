//! A node that starts while the database restarts waits for it, for a while: both may have been started together, and a node
//! joins without ceremony.

use std::time::Duration;

use tokio::time::Instant;

use crate::patience::{MayPass, Pauses};

/// How long a start waits for the database in all; a supervisor sees the refusal after that.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The first pause.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// One deadline for every step of a start.
#[derive(Clone, Copy)]
pub(crate) struct Startup {
    until: Option<Instant>,
}

impl Startup {
    /// Begins now. An embedded database does not come by itself: for it nothing is tried twice.
    pub(crate) fn begin(is_embedded: bool) -> Self {
        Self { until: (!is_embedded).then(|| Instant::now() + WAIT_MAX) }
    }

    /// Calls `step` until it succeeds, fails for good, or the deadline has passed.
    ///
    /// # Errors
    /// What `step` said last.
    pub(crate) async fn step<T, E: MayPass, F: Future<Output = Result<T, E>>>(
        self,
        mut step: impl FnMut() -> F,
    ) -> Result<T, E> {
        let mut pauses = Pauses::between(PAUSE_FIRST, PAUSE_MAX);
        loop {
            let fits = || self.until.is_some_and(|until| Instant::now() + pauses.next() < until);
            match step().await {
                Err(error) if error.may_pass_at_start() && fits() => {
                    tracing::warn!(%error, "the start waits for the database");
                    pauses.pause().await;
                }
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use livery_core::Error;
    use tokio::time::Instant;

    use super::{MayPass as _, Startup};

    fn away() -> Error {
        Error::Unavailable { detail: "the database restarts".into(), retry_after_s: 1 }
    }

    fn lasting(wait: Duration) -> Startup {
        Startup { until: Some(Instant::now() + wait) }
    }

    #[tokio::test]
    async fn a_start_waits_for_what_comes_back() {
        let tries = Cell::new(0);
        let step = || {
            tries.set(tries.get() + 1);
            std::future::ready(if tries.get() < 3 { Err(away()) } else { Ok(tries.get()) })
        };
        assert_eq!(lasting(Duration::from_secs(3600)).step(step).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_user_who_is_refused_is_said_at_once_at_a_start_and_waited_for_at_work() {
        let tries = Cell::new(0);
        let refused = || livery_store::Error::Refused { reason: "password authentication failed".into() };
        let step = || {
            tries.set(tries.get() + 1);
            std::future::ready(Err::<(), _>(refused()))
        };
        assert!(lasting(Duration::from_secs(3600)).step(step).await.is_err());
        assert!(tries.get() == 1 && refused().may_pass());
    }

    #[tokio::test]
    async fn it_does_not_wait_for_ever() {
        let tries = Cell::new(0);
        let step = || {
            tries.set(tries.get() + 1);
            std::future::ready(Err::<(), _>(away()))
        };
        assert!(lasting(Duration::from_millis(350)).step(step).await.is_err());
        assert!((1..=3).contains(&tries.get()), "{}", tries.get());
    }

    #[tokio::test]
    async fn what_does_not_pass_is_said_at_once() {
        let tries = Cell::new(0);
        let step = |error: fn() -> Error| {
            tries.set(tries.get() + 1);
            std::future::ready(Err::<(), _>(error()))
        };
        let wrong = || Error::invalid_field("/database", "no");
        assert!(lasting(Duration::from_secs(3600)).step(|| step(wrong)).await.is_err());
        assert!(Startup::begin(true).step(|| step(away)).await.is_err());
        assert_eq!(tries.get(), 2);
    }
}
