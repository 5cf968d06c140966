//! The queue: nothing is taken twice, limits hold, tenants take turns, expired leases come back.

use std::collections::HashSet;

use futures_util::FutureExt;
use futures_util::future::join_all;
use livery_core::RunStatus;
use livery_core::event::EventType;
use livery_core::id::RunId;
use livery_core::run::{Cost, Usage};
use livery_store::{Holder, Progress};

use crate::conformance;
use crate::world::{append, at, event, finish, new_run, queued};

conformance! {
    async fn six_workers_take_every_run_exactly_once(world) {
        let mut expected = HashSet::new();
        for _ in 0..120 {
            expected.insert(world.queued().await);
        }
        let workers = ["a", "b", "c", "d", "e", "f"].map(|owner| {
            let store = world.store.clone();
            async move {
                let mut taken = Vec::new();
                loop {
                    let claim = store.write(move |tx| {
                        async move { tx.system_claim_runs(owner, at(10), at(40), 7).await }.boxed()
                    });
                    match claim.await.unwrap() {
                        claimed if claimed.is_empty() => return taken,
                        claimed => taken.extend(claimed.into_iter().map(|claimed| claimed.run.id)),
                    }
                }
            }
        });
        let taken: Vec<RunId> = join_all(workers.map(tokio::spawn)).await.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(taken.len(), expected.len());
        assert_eq!(taken.into_iter().collect::<HashSet<_>>(), expected);
        assert_eq!(world.store.system_count_queued().await.unwrap(), 0);
    }

    async fn a_claim_starts_the_run(world) {
        let id = world.queued().await;
        assert!(world.claim("worker", -1, 10).await.is_empty(), "not due yet");
        let claimed = world.claim("worker", 10, 10).await;
        assert_eq!(claimed.len(), 1);
        let claim = &claimed[0];
        assert_eq!((claim.lease.run, claim.lease.org, claim.lease.epoch), (id, world.one.org, 1));
        assert_eq!((claim.run.status, claim.run.started_at), (RunStatus::Running, Some(at(10))));
        assert!(!claim.resumed && !claim.recovered);
        assert!(world.claim("worker", 10, 10).await.is_empty());
    }

    async fn a_tenant_at_its_limit_queues_and_others_do_not_wait_for_it(world) {
        let org = world.one.org;
        world.write(move |tx| async move { tx.update_max_concurrent_runs(org, Some(2)).await }.boxed()).await;
        for _ in 0..5 {
            world.queued().await;
        }
        let other = queued(&world.store, new_run(&world.two)).await;
        let claimed = world.claim("worker", 10, 100).await;
        let of_one: Vec<_> = claimed.iter().filter(|claim| claim.run.org == org).collect();
        assert_eq!((of_one.len(), claimed.len()), (2, 3));
        assert!(claimed.iter().any(|claim| claim.run.id == other));
        let later = queued(&world.store, new_run(&world.two)).await;
        let claimed = world.claim("worker", 10, 100).await;
        assert_eq!(claimed.iter().map(|claim| claim.run.id).collect::<Vec<_>>(), [later], "only the tenant with room");
        finish(&world.store, of_one[0].lease, RunStatus::Succeeded).await.unwrap();
        assert_eq!(world.claim("worker", 10, 100).await.len(), 1, "room for one more");
    }

    async fn tenants_take_turns_and_each_is_served_oldest_first(world) {
        let mut first = Vec::new();
        for _ in 0..20 {
            first.push(world.queued().await);
        }
        let second = queued(&world.store, new_run(&world.two)).await;
        let ids: Vec<RunId> = world.claim("worker", 10, 4).await.into_iter().map(|claim| claim.run.id).collect();
        assert_eq!(ids.len(), 4, "a share nobody uses goes to who can");
        assert!(ids.contains(&second), "twenty of another tenant's do not go before one");
        assert!(first[..3].iter().all(|id| ids.contains(id)), "{ids:?}");
    }

    async fn an_expired_lease_is_taken_over_and_counts(world) {
        let lease = world.running().await;
        assert!(world.claim("other", 39, 10).await.is_empty(), "the lease still holds");
        world.write(move |tx| async move { tx.heartbeat(&[lease], at(60)).await }.boxed()).await;
        assert!(world.claim("other", 41, 10).await.is_empty(), "the heartbeat extended it");
        let claimed = world.claim("other", 61, 10).await;
        assert_eq!(claimed.len(), 1);
        assert!(claimed[0].resumed && claimed[0].recovered);
        assert_eq!((claimed[0].run.recoveries, claimed[0].lease.epoch), (1, 2));
        assert_eq!(claimed[0].run.started_at, Some(at(10)), "it started only once");
    }

    async fn a_lease_that_its_holder_lets_run_out_is_taken_at_once_and_counts(world) {
        let lease = world.running().await;
        world.write(move |tx| async move { tx.expire_run(&lease, at(11)).await }.boxed()).await;
        let claimed = world.claim("worker", 11, 10).await;
        assert_eq!((claimed[0].run.recoveries, claimed[0].lease.epoch), (1, lease.epoch + 1));
        let again = world.store.write(move |tx| async move { tx.expire_run(&lease, at(12)).await }.boxed()).await;
        assert!(again.is_err(), "it is not its own any more");
    }

    async fn it_is_known_who_has_a_run(world) {
        let run = world.queued().await;
        let org = world.one.org;
        assert_eq!(world.store.run_holder(org, run).await.unwrap(), Holder::Nobody);
        let lease = world.claim("nod_a/1", 10, 1).await[0].lease;
        assert_eq!(world.store.run_holder(org, run).await.unwrap(), Holder::Node("nod_a/1".into()));
        assert_eq!(world.store.run_holder(world.two.org, run).await.unwrap(), Holder::Over, "nothing of another tenant");
        world.write(move |tx| async move { tx.release_run(&lease, at(11)).await }.boxed()).await;
        assert_eq!(world.store.run_holder(org, run).await.unwrap(), Holder::Nobody);
        let lease = world.claim("nod_b/1", 12, 1).await[0].lease;
        assert_eq!(world.store.run_holder(org, run).await.unwrap(), Holder::Node("nod_b/1".into()));
        finish(&world.store, lease, RunStatus::Succeeded).await.unwrap();
        assert_eq!(world.store.run_holder(org, run).await.unwrap(), Holder::Over);
    }

    async fn a_later_life_of_a_node_takes_what_the_earlier_one_held_and_nothing_else(world) {
        let (own, foreign) = (world.queued().await, world.queued().await);
        assert_eq!(world.claim("nod_a/1", 10, 1).await[0].run.id, own);
        assert_eq!(world.claim("nod_ab/1", 10, 1).await[0].run.id, foreign);
        let world = world.reopened().await;
        assert!(world.claim("nod_a/2", 11, 10).await.is_empty(), "both leases still hold");
        let take = || world.write(|tx| async move { tx.system_claim_own_runs("nod_a/2", at(41), 10).await }.boxed());
        let claimed = take().await;
        assert_eq!(claimed.iter().map(|claim| (claim.run.id, claim.run.recoveries)).collect::<Vec<_>>(), [(own, 1)]);
        assert!(claimed[0].resumed && claimed[0].recovered && claimed[0].lease.epoch == 2);
        assert!(take().await.is_empty(), "this life's own are not taken again");
        let void = world.write(|tx| async move { tx.system_expire_own_leases("nod_ab/2").await }.boxed()).await;
        assert_eq!(void, 1);
        assert_eq!(world.claim("nod_a/2", 12, 10).await[0].run.id, foreign, "a node that works no more lets go at once");
    }

    async fn many_leases_are_renewed_together_and_each_lost_one_is_named(world) {
        for _ in 0..120 {
            world.queued().await;
        }
        let held: Vec<_> = world.claim("worker", 10, 120).await.into_iter().map(|claim| claim.lease).collect();
        assert_eq!(held.len(), 120);
        let (gone, stale) = (held[7], held[110]);
        finish(&world.store, gone, RunStatus::Succeeded).await.unwrap();
        world.write(move |tx| async move { tx.release_run(&stale, at(11)).await }.boxed()).await;
        assert_eq!(world.claim("other", 11, 1).await.len(), 1);
        let leases = held.clone();
        let beat = world.write(move |tx| async move { tx.heartbeat(&leases, at(60)).await }.boxed()).await;
        assert_eq!((beat.lost, beat.cancel_requested), (vec![gone.run, stale.run], vec![]));
        let taken = world.claim("third", 45, 200).await;
        assert_eq!(taken.iter().map(|claim| claim.run.id).collect::<Vec<_>>(), [stale.run], "the others are renewed");
    }

    async fn a_run_that_was_put_off_comes_back_at_its_time_and_is_no_recovery(world) {
        let lease = world.running().await;
        world.write(move |tx| async move { tx.postpone_run(&lease, at(20)).await }.boxed()).await;
        assert!(append(&world.store, lease, 1).await.is_err());
        assert!(!world.store.system_has_expired_lease(at(19)).await.unwrap());
        assert!(world.claim("other", 19, 10).await.is_empty());
        assert!(world.store.system_has_expired_lease(at(20)).await.unwrap());
        let claimed = world.claim("other", 20, 10).await;
        assert_eq!((claimed[0].run.id, claimed[0].run.recoveries), (lease.run, 0));
        let (org, run, lease) = (lease.org, lease.run, claimed[0].lease);
        assert_eq!(world.store.postponements(org, run).await.unwrap(), 1);
        append(&world.store, lease, 2).await.unwrap();
        assert_eq!(world.store.postponements(org, run).await.unwrap(), 1, "a line in the log is no progress");
        let progress = Progress { usage: Usage::default(), cost: Cost::default() };
        world.write(move |tx| async move { tx.update_run_progress(&lease, &progress, &[]).await }.boxed()).await;
        assert_eq!(world.store.postponements(org, run).await.unwrap(), 0);
    }

    async fn a_node_finds_which_of_its_runs_somebody_asked_to_stop(world) {
        let lease = world.running().await;
        assert!(world.store.system_cancel_requests("worker").await.unwrap().is_empty());
        world.write(move |tx| async move { tx.request_cancel(lease.org, lease.run, at(11)).await }.boxed()).await;
        assert_eq!(world.store.system_cancel_requests("worker").await.unwrap(), [lease.run]);
        assert!(world.store.system_cancel_requests("other").await.unwrap().is_empty());
        finish(&world.store, lease, RunStatus::Cancelled).await.unwrap();
        assert!(world.store.system_cancel_requests("worker").await.unwrap().is_empty());
    }

    async fn a_released_run_is_taken_at_once_and_is_no_recovery(world) {
        let lease = world.running().await;
        let mut bell = world.store.queue_doorbell();
        world.write(move |tx| async move { tx.release_run(&lease, at(12)).await }.boxed()).await;
        assert!(bell.rung().now_or_never().is_some());
        assert!(append(&world.store, lease, 1).await.is_err(), "given back is given back, also before anybody takes it");
        let claimed = world.claim("other", 12, 10).await;
        assert_eq!((claimed[0].run.id, claimed[0].run.recoveries, claimed[0].resumed), (lease.run, 0, true));
    }

    async fn a_waiting_run_holds_no_worker_and_goes_on_when_queued_again(world) {
        let lease = world.running().await;
        world.write(move |tx| async move { tx.wait_run(&lease, &[event(EventType::RunWaiting, 0)]).await }.boxed()).await;
        assert!(world.claim("other", 1000, 10).await.is_empty(), "it waits");
        let seq = world.write(move |tx| async move {
            let seq = tx.append_unleased(lease.org, lease.run, &[event(EventType::ApprovalDecided, 0)]).await?;
            tx.enqueue(lease.org, lease.run, at(0)).await?;
            tx.enqueue(lease.org, lease.run, at(0)).await?;
            Ok(seq)
        }.boxed()).await;
        assert_eq!(seq, Some(3));
        let claimed = world.claim("other", 1000, 10).await;
        assert_eq!(claimed.len(), 1);
        assert!(claimed[0].resumed && !claimed[0].recovered);
        assert_eq!(claimed[0].run.status, RunStatus::Running);
        let seq = world.write(move |tx| async move { tx.append_unleased(lease.org, lease.run, &[]).await }.boxed()).await;
        assert_eq!(seq, None, "a worker holds it now");
    }

    async fn only_a_run_that_may_go_on_enters_the_queue(world) {
        let lease = world.running().await;
        world.write(move |tx| async move { tx.enqueue(lease.org, lease.run, at(0)).await }.boxed()).await;
        finish(&world.store, lease, RunStatus::Succeeded).await.unwrap();
        world.write(move |tx| async move { tx.enqueue(lease.org, lease.run, at(0)).await }.boxed()).await;
        assert_eq!(world.store.system_count_queued().await.unwrap(), 0);
        assert!(world.claim("worker", 1000, 10).await.is_empty());
    }
}
