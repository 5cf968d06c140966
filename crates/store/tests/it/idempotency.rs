//! One answer per key: replayed, refused, reserved, freed.

use futures_util::FutureExt;
use livery_store::{Answer, IdempotencyKey, Reservation};

use crate::conformance;
use crate::world::{World, at};

fn key(world: &World, fingerprint: &str) -> IdempotencyKey {
    IdempotencyKey {
        org: world.one.org,
        scope: "key_1 POST /v1/runs".into(),
        key: "k".into(),
        fingerprint: fingerprint.into(),
    }
}

fn answer() -> Answer {
    Answer { status: 202, headers: vec![("location".into(), "/v1/runs/1".into())], body: b"{\"id\":1}".to_vec() }
}

async fn reserve(world: &World, key: &IdempotencyKey, now: i64) -> Reservation {
    let key = key.clone();
    world.write(move |tx| async move { tx.idempotency_reserve(&key, at(now), at(now + 60)).await }.boxed()).await
}

async fn store(world: &World, key: &IdempotencyKey, now: i64) -> bool {
    let key = key.clone();
    world
        .write(move |tx| async move { tx.idempotency_store(&key, &answer(), at(now), at(now + 86_400)).await }.boxed())
        .await
}

conformance! {
    async fn a_stored_answer_is_replayed_for_the_same_request_only(world) {
        let (same, other) = (key(&world, "a"), key(&world, "b"));
        assert_eq!(world.store.idempotency_find(&same, at(0)).await.unwrap(), Reservation::Free);
        assert!(store(&world, &same, 0).await);
        let world = world.reopened().await;
        assert_eq!(world.store.idempotency_find(&same, at(1)).await.unwrap(), Reservation::Answered(answer()));
        assert_eq!(world.store.idempotency_find(&other, at(1)).await.unwrap(), Reservation::Mismatch);
        assert!(!store(&world, &same, 1).await && !store(&world, &other, 1).await, "answered once");
        let elsewhere = IdempotencyKey { org: world.two.org, ..same.clone() };
        assert_eq!(world.store.idempotency_find(&elsewhere, at(1)).await.unwrap(), Reservation::Free);
        let scope = IdempotencyKey { scope: "key_2 POST /v1/runs".into(), ..same.clone() };
        assert_eq!(world.store.idempotency_find(&scope, at(1)).await.unwrap(), Reservation::Free);
        assert_eq!(world.store.idempotency_find(&same, at(86_400)).await.unwrap(), Reservation::Free, "expired");
        assert!(store(&world, &other, 86_400).await, "an expired key is free for any request");
    }

    async fn a_reservation_keeps_a_second_request_out_until_it_is_answered(world) {
        let (same, other) = (key(&world, "a"), key(&world, "b"));
        assert_eq!(reserve(&world, &same, 0).await, Reservation::Free);
        assert_eq!(reserve(&world, &same, 1).await, Reservation::InProgress);
        assert_eq!(reserve(&world, &other, 1).await, Reservation::Mismatch);
        assert!(!store(&world, &other, 1).await);
        assert!(store(&world, &same, 2).await);
        assert_eq!(reserve(&world, &same, 3).await, Reservation::Answered(answer()));
    }

    async fn a_reservation_ends_by_release_by_time_and_with_its_process(world) {
        let same = key(&world, "a");
        reserve(&world, &same, 0).await;
        assert_eq!(reserve(&world, &same, 60).await, Reservation::Free, "its holder died");
        let released = same.clone();
        world.write(move |tx| async move { tx.idempotency_release(&released).await }.boxed()).await;
        assert_eq!(reserve(&world, &same, 61).await, Reservation::Free);
        let void = world.write(|tx| async move { tx.system_void_reservations().await }.boxed()).await;
        assert_eq!(void, 1);
        assert_eq!(reserve(&world, &same, 62).await, Reservation::Free);
        assert!(store(&world, &same, 63).await);
        let answered = same.clone();
        let void = world.write(move |tx| async move {
            tx.idempotency_release(&answered).await?;
            tx.system_void_reservations().await
        }.boxed()).await;
        assert_eq!(void, 0, "an answer is no reservation");
        assert_eq!(world.store.idempotency_find(&same, at(64)).await.unwrap(), Reservation::Answered(answer()));
    }

    async fn the_purge_takes_what_ended_and_nothing_else(world) {
        for index in 0..5 {
            let key = IdempotencyKey { key: format!("k{index}"), ..key(&world, "a") };
            store(&world, &key, index * 100_000).await;
        }
        let purged = world.write(|tx| async move { tx.system_purge_idempotency(at(300_000)).await }.boxed()).await;
        assert_eq!(purged, 3);
        let kept = IdempotencyKey { key: "k3".into(), ..key(&world, "a") };
        assert_eq!(world.store.idempotency_find(&kept, at(300_001)).await.unwrap(), Reservation::Answered(answer()));
    }
}
