//! What waiting is made of: which errors may pass by themselves, and how long to pause between two tries.
//!
//! Who waits, for how long and for what is said where it is done: [`crate::startup`] for a node's start, `worker::patience` for
//! runs.

use std::time::Duration;

use livery_core::Error;

/// Errors that say whether trying again can help.
pub(crate) trait MayPass: std::fmt::Display {
    /// Whether it can.
    fn may_pass(&self) -> bool;

    /// Whether it can while a node starts: a password that is wrong then is the operator's to mend, and waiting only hides it.
    /// Once a node is at work, somebody may be changing the password just now.
    fn may_pass_at_start(&self) -> bool {
        self.may_pass()
    }
}

impl MayPass for livery_store::Error {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unavailable { .. } | Self::Refused { .. } | Self::Unknown { .. })
            || matches!(self, Self::Domain(error) if error.may_pass())
    }

    fn may_pass_at_start(&self) -> bool {
        self.may_pass() && !matches!(self, Self::Refused { .. })
    }
}

impl MayPass for Error {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Pauses between tries, each twice as long as the one before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// From `first` up to `longest`.
    pub(crate) const fn between(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// How long the next one is.
    pub(crate) const fn next(&self) -> Duration {
        self.next
    }

    /// Makes it.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pauses;

    #[tokio::test]
    async fn each_pause_is_twice_as_long_up_to_the_longest() {
        let mut pauses = Pauses::between(Duration::from_millis(1), Duration::from_millis(3));
        for next in [1, 2, 3, 3] {
            assert_eq!(pauses.next(), Duration::from_millis(next));
            pauses.pause().await;
        }
    }
}
