//! Order within a run, shares, circuits: what keeps one receiver from being everybody's trouble.

use futures_util::FutureExt;
use livery_core::id::RunId;
use livery_store::{CircuitFailure, CircuitRow, DeliveryAttempt, DeliveryStatus, Json, NewDelivery, WebhookRow};
use tokio::sync::oneshot;

use crate::conformance;
use crate::deliveries::{claim, claim_max, new_delivery, new_webhook, retry, settle_at};
use crate::world::{Tenant, World, at};

async fn endpoint(world: &World, tenant: &Tenant) -> WebhookRow {
    let row = new_webhook(tenant);
    let stored = row.clone();
    world.write(move |tx| async move { tx.insert_webhook(&stored).await }.boxed()).await;
    row
}

/// Deliveries of events 1 to `count` of a run, all due at second 1.
async fn tell(world: &World, tenant: &Tenant, hook: &WebhookRow, run: RunId, count: u64) {
    let deliveries: Vec<NewDelivery> =
        (1..=count).map(|seq| NewDelivery { seq, ..new_delivery(tenant, Some(hook.id), run) }).collect();
    world
        .write(move |tx| {
            async move {
                for delivery in &deliveries {
                    tx.insert_delivery(delivery).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await;
}

fn failure(now: i64, probe: bool) -> CircuitFailure {
    CircuitFailure {
        at: at(now),
        probe,
        pause_until: None,
        threshold: 3,
        probe_wait_ms: 10_000,
        probe_wait_max_ms: 25_000,
    }
}

async fn fail(world: &World, hook: &WebhookRow, failure: CircuitFailure) -> CircuitRow {
    let (org, destination) = (hook.org, hook.id.to_string());
    world.write(move |tx| async move { tx.fail_circuit(org, &destination, failure).await }.boxed()).await
}

conformance! {
    async fn a_runs_deliveries_go_out_in_the_order_of_its_log(world) {
        let hook = endpoint(&world, &world.one).await;
        let (run, other) = (world.queued().await, world.queued().await);
        tell(&world, &world.one, &hook, run, 3).await;
        tell(&world, &world.one, &hook, other, 1).await;
        let first = claim(&world, 2).await;
        let told = |claimed: &[livery_store::ClaimedDelivery]| {
            let mut told: Vec<_> = claimed.iter().map(|delivery| (delivery.row.run, delivery.row.seq)).collect();
            told.sort_unstable();
            told
        };
        assert_eq!(told(&first), [(run, 1), (other, 1)], "another run's does not wait");
        assert!(claim(&world, 3).await.is_empty());
        let one = first.into_iter().find(|delivery| delivery.row.run == run).unwrap();
        assert!(settle_at(&world, &one, 4, retry(60, Some(500), "no")).await);
        assert!(claim(&world, 31).await.iter().all(|delivery| delivery.row.run == other), "the earlier one is pending");
        let again = claim(&world, 61).await.into_iter().find(|delivery| delivery.row.run == run).unwrap();
        assert_eq!(again.row.seq, 1);
        assert!(settle_at(&world, &again, 62, DeliveryAttempt::Delivered(at(62), 200)).await);
        let second = claim(&world, 62).await.into_iter().find(|delivery| delivery.row.run == run).unwrap();
        assert_eq!(second.row.seq, 2, "called at once");
        assert!(settle_at(&world, &second, 63, DeliveryAttempt::Failed(Some(500), "for good".into())).await);
        let third = claim(&world, 63).await.into_iter().find(|delivery| delivery.row.run == run).unwrap();
        assert_eq!(third.row.seq, 3, "one that failed for good holds up nobody");
    }

    async fn a_redelivery_neither_waits_nor_is_waited_for(world) {
        let hook = endpoint(&world, &world.one).await;
        let run = world.queued().await;
        tell(&world, &world.one, &hook, run, 2).await;
        let first = claim(&world, 2).await.remove(0);
        settle_at(&world, &first, 3, DeliveryAttempt::Delivered(at(3), 200)).await;
        let (org, old, new) = (world.one.org, first.row.id, livery_core::id::DeliveryId::from_bits(crate::world::bits()));
        world.write(move |tx| async move { tx.redeliver(org, hook.id, old, new, at(3)).await }.boxed()).await;
        let mut both = claim(&world, 4).await;
        both.sort_unstable_by_key(|delivery| delivery.row.seq);
        assert_eq!(both.iter().map(|delivery| delivery.row.seq).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(both[0].row.redelivery_of, Some(old));
    }

    async fn a_claim_takes_its_share_and_others_find_theirs(world) {
        let (busy, quiet) = (endpoint(&world, &world.one).await, endpoint(&world, &world.two).await);
        for _ in 0..20 {
            let run = world.queued().await;
            tell(&world, &world.one, &busy, run, 1).await;
        }
        let run = world.queued().await;
        tell(&world, &world.two, &quiet, run, 1).await;
        let claimed = claim_max(&world, 2, 4).await;
        let of = |hook: &WebhookRow| claimed.iter().filter(|delivery| delivery.row.webhook == Some(hook.id)).count();
        assert_eq!((of(&busy), of(&quiet)), (4, 1));
        let places = world.store.system_delivery_destinations().await.unwrap();
        let due = |hook: &WebhookRow| places.iter().find(|place| place.destination == hook.id.to_string()).unwrap().due_at;
        assert_eq!((due(&busy), due(&quiet)), (at(1), at(32)), "sixteen are still due; the other is only claimed");
    }

    async fn a_circuit_opens_after_failures_in_a_row_and_lets_one_probe_through(world) {
        let hook = endpoint(&world, &world.one).await;
        for _ in 0..3 {
            let run = world.queued().await;
            tell(&world, &world.one, &hook, run, 1).await;
        }
        assert_eq!(fail(&world, &hook, failure(10, false)).await.opened_at, None);
        assert_eq!(fail(&world, &hook, failure(11, false)).await.failures, 2);
        let open = fail(&world, &hook, failure(12, false)).await;
        assert_eq!((open.failing_since, open.opened_at, open.next_probe_at), (at(10), Some(at(12)), Some(at(22))));
        let late = fail(&world, &hook, failure(13, false)).await;
        assert_eq!((late.failures, late.next_probe_at), (4, Some(at(22))), "an attempt begun before does not count as a probe");

        assert!(claim(&world, 21).await.is_empty());
        let probe = claim(&world, 22).await;
        assert_eq!((probe.len(), probe[0].probe), (1, true));
        assert!(claim(&world, 23).await.is_empty(), "one at a time");
        let waits = async |now| fail(&world, &hook, failure(now, true)).await.next_probe_at.unwrap();
        assert_eq!((waits(30).await, waits(60).await, waits(90).await), (at(50), at(85), at(115)), "20 s, then the longest");
        let put_off = DeliveryAttempt::Retry { at: at(115), status: None, error: "no".into(), probe: true };
        assert!(settle_at(&world, &probe[0], 90, put_off).await);
        let row = world.store.get_delivery(world.one.org, probe[0].row.id).await.unwrap().unwrap();
        assert_eq!((row.attempt, row.probes), (1, 1));

        let next = claim(&world, 115).await;
        assert_eq!((next.len(), next[0].probe), (1, true));
        let (org, destination) = (hook.org, hook.id.to_string());
        let opened = world.write(move |tx| async move {
            let opened = tx.close_circuit(org, &destination).await?;
            Ok((opened, tx.close_circuit(org, &destination).await?))
        }.boxed()).await;
        assert_eq!(opened, (true, false));
        assert_eq!(world.store.get_circuit(hook.org, &hook.id.to_string()).await.unwrap(), None);
        assert_eq!(claim(&world, 116).await.len(), 2, "the others catch up");
    }

    async fn what_is_over_is_let_go_of_and_what_is_pending_never(world) {
        let hook = endpoint(&world, &world.one).await;
        let mut results = vec![
            DeliveryAttempt::Delivered(at(2), 200),
            DeliveryAttempt::Failed(Some(500), "for good".into()),
            DeliveryAttempt::Cancelled("switched off".into()),
            retry(60, Some(500), "no"),
        ];
        for _ in 0..results.len() {
            let run = world.queued().await;
            tell(&world, &world.one, &hook, run, 1).await;
        }
        for claimed in claim(&world, 2).await {
            assert!(settle_at(&world, &claimed, 2, results.remove(0)).await);
        }
        assert!(results.is_empty());
        let purge = |before: i64| {
            world.write(move |tx| async move { tx.system_purge_deliveries(at(before)).await }.boxed())
        };
        assert_eq!(purge(1).await, 0, "they were made at second 1");
        assert_eq!(purge(2).await, 3, "delivered, failed and cancelled");
        assert_eq!(purge(1_000_000).await, 0);
        assert_eq!(claim(&world, 61).await.len(), 1, "what is pending is still sent");
    }

    async fn a_probe_that_died_is_replaced(world) {
        let hook = endpoint(&world, &world.one).await;
        let run = world.queued().await;
        tell(&world, &world.one, &hook, run, 1).await;
        for now in 1..=3 {
            fail(&world, &hook, failure(now, false)).await;
        }
        assert_eq!(claim(&world, 13).await.len(), 1);
        assert!(claim(&world, 42).await.is_empty());
        let again = claim(&world, 43).await;
        assert_eq!((again[0].probe, again[0].row.attempt), (true, 2));
    }

    async fn a_pause_is_kept_by_everybody(world) {
        let hook = endpoint(&world, &world.one).await;
        let run = world.queued().await;
        tell(&world, &world.one, &hook, run, 1).await;
        fail(&world, &hook, CircuitFailure { pause_until: Some(at(50)), ..failure(10, false) }).await;
        assert!(claim(&world, 49).await.is_empty());
        assert_eq!(claim(&world, 50).await.len(), 1);
    }

    async fn what_failed_while_a_circuit_was_closed_catches_up_when_asked(world) {
        let hook = endpoint(&world, &world.one).await;
        let run = world.queued().await;
        tell(&world, &world.one, &hook, run, 2).await;
        let first = claim(&world, 2).await.remove(0);
        settle_at(&world, &first, 3, retry(50_000, None, "no")).await;
        let (org, destination) = (hook.org, hook.id.to_string());
        let caught = world.write(move |tx| async move { tx.catch_up_deliveries(org, &destination, at(9)).await }.boxed()).await;
        assert_eq!(caught, 1);
        let now = claim(&world, 9).await;
        assert_eq!(now.iter().map(|delivery| delivery.row.seq).collect::<Vec<_>>(), [1], "and still in order");
    }

    async fn giving_a_destination_up_cancels_everything_for_it_and_nothing_else(world) {
        let (dead, alive) = (endpoint(&world, &world.one).await, endpoint(&world, &world.one).await);
        let run = world.queued().await;
        tell(&world, &world.one, &dead, run, 2).await;
        tell(&world, &world.one, &alive, run, 1).await;
        fail(&world, &dead, failure(1, false)).await;
        let (org, destination) = (dead.org, dead.id.to_string());
        let cancelled = world.write(move |tx| async move { tx.cancel_deliveries(org, &destination, "dead").await }.boxed()).await;
        assert_eq!(cancelled, 2);
        let left = claim(&world, 5).await;
        assert_eq!(left.iter().map(|delivery| delivery.row.webhook).collect::<Vec<_>>(), [Some(alive.id)]);
        let page = livery_store::Page::default();
        let rows = world.store.list_deliveries(org, dead.id, livery_store::DeliveryFilter::default(), &page).await.unwrap().data;
        assert!(rows.iter().all(|row| row.status == DeliveryStatus::Cancelled && row.last_error.as_deref() == Some("dead")));
        assert_eq!(world.store.get_circuit(org, &dead.id.to_string()).await.unwrap(), None);
    }
}

/// While the end of one is being committed the next is written down, and a node that cannot see that end yet puts it off.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_put_off_behind_an_end_nobody_could_see_is_called() {
    let Some(world) = World::postgres().await else { return };
    let other = world.other_node().await;
    let hook = endpoint(&world, &world.one).await;
    let run = world.queued().await;
    tell(&world, &world.one, &hook, run, 1).await;
    let first = claim(&world, 2).await.remove(0);
    let (settled, settling) = oneshot::channel();
    let (commit, committing) = oneshot::channel::<()>();
    let (org, id) = (first.row.org, first.row.id);
    let end = tokio::spawn(async move {
        other
            .write(move |tx| {
                async move {
                    let result = DeliveryAttempt::Delivered(at(3), 200);
                    let log = Json::of(&Vec::<u8>::new())?;
                    assert!(tx.settle_delivery(org, id, 1, log, at(3), &result).await?);
                    settled.send(()).unwrap();
                    committing.await.unwrap();
                    Ok(())
                }
                .boxed()
            })
            .await
            .unwrap();
        other
    });
    settling.await.unwrap();
    let next = NewDelivery { seq: 2, ..new_delivery(&world.one, Some(hook.id), run) };
    world.write(move |tx| async move { tx.insert_delivery(&next).await }.boxed()).await;
    assert!(claim(&world, 4).await.is_empty(), "it waits behind the first");
    commit.send(()).unwrap();
    let other = end.await.unwrap();
    assert!(claim(&world, 5).await.is_empty(), "and would wait on, though there is nothing before it any more");
    let webhook = hook.id;
    let call = other.write(move |tx| async move { tx.call_next_delivery(org, webhook, run, at(5)).await }.boxed());
    assert!(call.await.unwrap());
    assert_eq!(claim(&world, 5).await.remove(0).row.seq, 2);
}
