//! The group-commit writer seen from outside: neighbours, durability across a reopen, one process per file.

use futures_util::FutureExt;
use futures_util::future::join_all;
use livery_core::event::EventType;
use livery_store::{Error, Options, Store};

use crate::conformance;
use crate::world::{World, accepted, event, new_run};

conformance! {
    /// Every third write fails after it has written; the others are there, the failed ones are not, not even in part.
    async fn failing_writes_do_not_hurt_their_neighbours(world) {
        let writes = (0..90).map(|index| {
            let run = new_run(&world.one);
            let id = run.id;
            let write = world.store.write(move |tx| async move {
                tx.insert_run(&run, &[event(EventType::RunQueued, 1)]).await?;
                if index % 3 == 0 { Err(Error::NotFound { what: "luck" }) } else { Ok(()) }
            }.boxed());
            async move { (id, index, write.await) }
        });
        let results = join_all(writes).await;
        let world = world.reopened().await;
        for (id, index, result) in results {
            let row = world.store.get_run(world.one.org, id).await.unwrap();
            let events = world.store.system_events_of(id).await.unwrap();
            let failed = index % 3 == 0;
            assert_eq!((result.is_err(), row.is_none(), events.is_empty()), (failed, failed, failed), "{index}");
        }
    }

    async fn a_domain_decision_comes_out_as_it_went_in(world) {
        let refused = world.store.write(|_| async move {
            Err::<(), _>(Error::Domain(livery_core::Error::IdempotencyMismatch))
        }.boxed()).await;
        assert_eq!(livery_core::Error::from(refused.unwrap_err()), livery_core::Error::IdempotencyMismatch);
    }

    async fn a_failed_write_rings_no_bell(world) {
        let lease = world.running().await;
        let mut bell = world.store.subscribe_run(lease.run);
        let failed = world.store.write(move |tx| async move {
            tx.append_run_events(&lease, &[event(EventType::LogWritten, 0)]).await?;
            Err::<(), _>(Error::NotFound { what: "luck" })
        }.boxed()).await;
        assert!(failed.is_err());
        assert!(bell.rung().now_or_never().is_none());
    }

    async fn a_closed_store_answers_closed(world) {
        let store = world.store.clone();
        world.store.close().await;
        assert!(matches!(store.system_count_queued().await, Err(Error::Closed)));
        assert!(matches!(store.write(|_| async { Ok(()) }.boxed()).await, Err(Error::Closed)));
    }
}

/// An embedded store alone has a file.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_and_a_later_one_is_not() {
    let world = World::sqlite().await;
    let path = world.path();
    let second = Store::open(&path, Options::default()).await;
    assert!(matches!(second.err(), Some(Error::Unavailable { .. })));
    let id = accepted(&world.store, new_run(&world.one)).await;
    let world = world.reopened().await;
    assert!(world.store.get_run(world.one.org, id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_can_read_the_database() {
    let world = World::sqlite().await;
    use std::os::unix::fs::PermissionsExt;
    accepted(&world.store, new_run(&world.one)).await;
    let folder = world.path().parent().unwrap().to_owned();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.file_name());
    }
}
