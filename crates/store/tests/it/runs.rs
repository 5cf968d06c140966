//! A run's life: accepted, taken, progressed, ended once; a lost lease writes nothing.

use futures_util::FutureExt;
use livery_core::event::EventType;
use livery_core::run::{Cost, Pricing, Usage};
use livery_core::{RunStatus, Usd};
use livery_store::{CancelRequest, Error, Json, Progress};
use serde_json::json;

use crate::conformance;
use crate::world::{accepted, append, at, ended, event, finish, new_run};

conformance! {
    async fn a_run_is_stored_as_it_was_accepted(world) {
        let mut run = new_run(&world.one);
        run.metadata = Json::of(&json!({"ticket": "42", "urgent": true})).unwrap();
        run.webhook = Some(Json::of(&json!({"url": "https://example.com"})).unwrap());
        let id = accepted(&world.store, run.clone()).await;
        let world = world.reopened().await;
        let row = world.store.get_run(world.one.org, id).await.unwrap().unwrap();
        assert_eq!((row.id, row.org, row.application, row.agent_id), (id, run.org, run.application, run.agent_id));
        assert_eq!((row.agent_name.as_str(), row.agent_version), ("hello", Some(1)));
        assert_eq!((row.status, row.last_seq, row.lease_epoch, row.recoveries), (RunStatus::Queued, 1, 0, 0));
        assert_eq!((&row.input, &row.metadata, &row.webhook), (&run.input, &run.metadata, &run.webhook));
        assert_eq!((row.limits, row.usage, row.cost.pricing), (run.limits, Usage::default(), Pricing::Free));
        assert_eq!((row.output, row.error, row.started_at, row.finished_at), (None, None, None, None));
        let events = world.store.events_after(world.one.org, id, 0, 10).await.unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].seq, events[0].event_type, events[0].run_id), (1, EventType::RunQueued, id));
    }

    async fn progress_and_the_end_are_written_with_their_events(world) {
        let lease = world.running().await;
        let progress = Progress {
            usage: Usage { input_tokens: 10, turns: 1, ..Usage::default() },
            cost: Cost { usd: Usd::from_micros(12_300), pricing: Pricing::Priced },
        };
        let first = world.write(move |tx| async move {
            tx.update_run_progress(&lease, &progress, &[event(EventType::ModelResponded, 1)]).await
        }.boxed()).await;
        assert_eq!(first, 2);
        let row = world.store.get_run(lease.org, lease.run).await.unwrap().unwrap();
        assert_eq!((row.usage, row.cost, row.last_seq), (progress.usage, progress.cost, 2));
        assert_eq!(append(&world.store, lease, 2).await.unwrap(), 3);
        let row = world.store.get_run(lease.org, lease.run).await.unwrap().unwrap();
        assert_eq!(row.usage, progress.usage, "an append alone leaves the usage");
        finish(&world.store, lease, RunStatus::Succeeded).await.unwrap();
        let row = world.store.get_run(lease.org, lease.run).await.unwrap().unwrap();
        let end = ended(RunStatus::Succeeded);
        assert_eq!((row.status, row.output, row.usage), (end.status, end.output, end.usage));
        assert_eq!((row.finished_at, row.last_seq), (Some(end.finished_at), 4));
    }

    async fn a_terminal_state_is_written_once(world) {
        let lease = world.running().await;
        finish(&world.store, lease, RunStatus::Succeeded).await.unwrap();
        assert!(matches!(finish(&world.store, lease, RunStatus::Failed).await, Err(Error::LeaseLost)));
        assert!(matches!(append(&world.store, lease, 1).await, Err(Error::LeaseLost)));
        let row = world.store.get_run(lease.org, lease.run).await.unwrap().unwrap();
        assert_eq!((row.status, row.last_seq), (RunStatus::Succeeded, 2));
        assert_eq!(world.store.events_after(lease.org, lease.run, 0, 10).await.unwrap().len(), 2);
    }

    async fn a_state_that_is_no_end_cannot_end_a_run(world) {
        let lease = world.running().await;
        assert!(finish(&world.store, lease, RunStatus::Waiting).await.is_err());
        assert_eq!(world.store.get_run(lease.org, lease.run).await.unwrap().unwrap().status, RunStatus::Running);
    }

    /// The old holder is alive but slow: every one of its writes is refused, the new holder's stand.
    async fn a_holder_whose_lease_ran_out_writes_nothing(world) {
        let old = world.running().await;
        let taken = world.claim("other", 100, 10).await;
        assert_eq!(taken.len(), 1);
        let new = taken[0].lease;
        assert_eq!((new.run, new.epoch), (old.run, old.epoch + 1));
        let progress = Progress { usage: Usage::default(), cost: Cost::default() };
        assert!(matches!(append(&world.store, old, 1).await, Err(Error::LeaseLost)));
        assert!(matches!(finish(&world.store, old, RunStatus::Succeeded).await, Err(Error::LeaseLost)));
        let refused = world.write(move |tx| async move {
            Ok((
                tx.update_run_progress(&old, &progress, &[]).await.is_err(),
                tx.wait_run(&old, &[]).await.is_err(),
                tx.release_run(&old, at(0)).await.is_err(),
                tx.heartbeat(&[old], at(500)).await?.lost,
            ))
        }.boxed()).await;
        assert_eq!(refused, (true, true, true, vec![old.run]));
        assert_eq!(append(&world.store, new, 2).await.unwrap(), 2);
        finish(&world.store, new, RunStatus::Failed).await.unwrap();
        assert_eq!(world.store.get_run(new.org, new.run).await.unwrap().unwrap().status, RunStatus::Failed);
    }

    async fn cancelling_tells_who_has_to_end_the_run(world) {
        let org = world.one.org;
        let running = world.running().await;
        let queued = world.queued().await;
        let mut bell = world.store.subscribe_run(running.run);
        let cancel = |run| world.store.write(move |tx| async move { tx.request_cancel(org, run, at(30)).await }.boxed());
        assert_eq!(cancel(running.run).await.unwrap(), CancelRequest::Running);
        assert!(bell.rung().now_or_never().is_some(), "the worker hears of it");
        assert_eq!(cancel(queued).await.unwrap(), CancelRequest::Idle);
        let heartbeat = world.write(move |tx| async move { tx.heartbeat(&[running], at(99)).await }.boxed()).await;
        assert_eq!((heartbeat.lost, heartbeat.cancel_requested), (vec![], vec![running.run]));
        let seq = world.write(move |tx| async move {
            tx.finish_unleased(org, queued, &ended(RunStatus::Cancelled), &[event(EventType::RunCancelled, 0)]).await
        }.boxed()).await;
        assert_eq!(seq, Some(2));
        assert!(world.claim("worker", 20, 10).await.is_empty(), "a cancelled run has left the queue");
        assert_eq!(cancel(queued).await.unwrap(), CancelRequest::Terminal(RunStatus::Cancelled));
        let again = world.write(move |tx| async move {
            Ok((
                tx.finish_unleased(org, queued, &ended(RunStatus::Failed), &[]).await?,
                tx.finish_unleased(org, running.run, &ended(RunStatus::Cancelled), &[]).await?,
            ))
        }.boxed()).await;
        assert_eq!(again, (None, None), "over, and held by a worker");
    }

    async fn what_is_too_large_is_refused_whole(world) {
        let mut run = new_run(&world.one);
        let id = run.id;
        run.metadata = Json::of(&json!({"k": "v".repeat(17_000)})).unwrap();
        let refused = world.store.write(move |tx| async move { tx.insert_run(&run, &[]).await }.boxed()).await;
        assert!(matches!(refused, Err(Error::TooLarge { what: "metadata", .. })), "{refused:?}");
        assert_eq!(world.store.get_run(world.one.org, id).await.unwrap(), None);
        let lease = world.running().await;
        let refused = world.store.write(move |tx| async move {
            let mut large = event(EventType::LogWritten, 1);
            large.data = Json::of(&"x".repeat(256 * 1024)).unwrap();
            tx.append_run_events(&lease, &[event(EventType::LogWritten, 0), large]).await
        }.boxed()).await;
        assert!(matches!(refused, Err(Error::TooLarge { what: "event payload", .. })), "{refused:?}");
        assert_eq!(world.store.get_run(lease.org, lease.run).await.unwrap().unwrap().last_seq, 1);
    }
}
