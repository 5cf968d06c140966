//! What tests of this crate's own modules share: a node without sandboxes, its tasks not started, its clock held.

use livery_core::Timestamp;
use tempfile::TempDir;

use crate::{Caller, Clock, Config, Database, Parts, Platform, RootKey};

/// Such a node, and who holds its first key.
pub(crate) struct Node {
    pub(crate) platform: Platform,
    pub(crate) caller: Caller,
    pub(crate) clock: Clock,
    pub(crate) data: TempDir,
}

/// What a node is made of whose data directory is `data`.
pub(crate) fn parts(data: &TempDir, clock: &Clock) -> Parts {
    Parts {
        config: Config::new(data.path().to_owned(), "test".to_owned()),
        database: Database::in_folder(data.path()),
        clock: clock.clone(),
        broker: Default::default(),
        root_keys: RootKey::File(data.path().join("root.key")).into(),
        environment: Default::default(),
        sandboxes: None,
    }
}

impl Node {
    /// A new node at this time.
    pub(crate) async fn at(now: Timestamp) -> Self {
        Self::with(now, |_| {}).await
    }

    /// The same, its parts changed before it is opened.
    pub(crate) async fn with(now: Timestamp, change: impl FnOnce(&mut Parts)) -> Self {
        let (data, clock) = (tempfile::tempdir().unwrap(), Clock::held_at(now));
        let mut parts = parts(&data, &clock);
        change(&mut parts);
        let platform = Platform::open(parts).await.unwrap();
        let key = platform.bootstrap(|_| Ok(())).await.unwrap().unwrap().api_key;
        let principal = platform.authenticate(&key).await.unwrap();
        let caller = Caller { principal, request_id: platform.new_request_id(), on_behalf_of: None, idempotency: None };
        Self { platform, caller, clock, data }
    }
}
