//! What Postgres alone can show: several nodes on one database, their news, races SQLite's one writer never has.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use livery_core::RunStatus;
use livery_core::event::EventType;
use livery_core::id::AgentId;
use livery_store::{Error, IdempotencyKey, Reservation, Saved, Store};
use tokio::time::timeout;

use crate::world::{World, accepted, append, at, bits, event, finish, new_agent, new_run, queued};

/// News from another node come within this; generous, because machines are slow.
const NEWS_TIME_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_bell_rings_on_every_node() {
    let Some(world) = World::postgres().await else { return };
    let other = world.other_node().await;
    let lease = world.running().await;
    let (mut run, mut queue, mut deliveries) =
        (other.subscribe_run(lease.run), other.queue_doorbell(), other.delivery_doorbell());
    append(&world.store, lease, 1).await.unwrap();
    timeout(NEWS_TIME_MAX, run.rung()).await.unwrap();
    world.queued().await;
    timeout(NEWS_TIME_MAX, queue.rung()).await.unwrap();
    world.write(|tx| async move { tx.system_expire_own_delivery_claims("node/1").await }.boxed()).await;
    timeout(NEWS_TIME_MAX, deliveries.rung()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_a_refusal_and_no_absence() {
    let Some(server) = crate::server::server(livery_testkit::postgres::Options::default()).await else { return };
    let right = server.tcp_url("postgres");
    let (scheme, rest) = right.split_once("://").unwrap();
    let (user, rest) = rest.split_once(':').unwrap();
    let wrong = format!("{scheme}://{user}:wrong@{}", rest.split_once('@').unwrap().1);
    for url in [wrong, right.replacen(&format!("://{user}:"), "://nobody:", 1)] {
        let refused = Store::connect(&crate::server::options(&url)).await.err();
        assert!(matches!(refused, Some(Error::Refused { .. })), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_take_every_run_exactly_once() {
    let Some(world) = World::postgres().await else { return };
    let mut expected = HashSet::new();
    for _ in 0..100 {
        expected.insert(world.queued().await);
    }
    let stores = [world.store.clone(), world.other_node().await];
    let workers = (0..6).map(|worker| {
        let store = stores[worker % 2].clone();
        tokio::spawn(async move {
            let mut taken = Vec::new();
            loop {
                let claim = store.write(|tx| async move { tx.system_claim_runs("w", at(10), at(40), 5).await }.boxed());
                let claimed = claim.await.unwrap();
                if claimed.is_empty() {
                    return taken;
                }
                taken.extend(claimed.into_iter().map(|claimed| claimed.run.id));
            }
        })
    });
    let taken: Vec<_> = join_all(workers).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(taken.len(), 100, "no claim comes back empty while there is work");
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), expected);
}

/// The limit is counted under a lock: nodes that claim at the same moment do not start more together than one may.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_over_all_nodes() {
    let Some(world) = World::postgres().await else { return };
    let org = world.one.org;
    world.write(move |tx| async move { tx.update_max_concurrent_runs(org, Some(3)).await }.boxed()).await;
    for _ in 0..30 {
        world.queued().await;
    }
    let stores = [world.store.clone(), world.other_node().await];
    for _ in 0..5 {
        let claims = (0..8).map(|worker| {
            let store = stores[worker % 2].clone();
            async move {
                store
                    .write(|tx| async move { tx.system_claim_runs("w", at(10), at(40), 5).await }.boxed())
                    .await
                    .unwrap()
            }
        });
        let claimed: Vec<_> = join_all(claims).await.into_iter().flatten().collect();
        let running = world.write(move |tx| async move { tx.count_runs(org, RunStatus::Running).await }.boxed()).await;
        assert!((1..=3).contains(&running), "{running} run at once");
        for claim in claimed {
            finish(&world.store, claim.lease, RunStatus::Succeeded).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn saves_on_two_nodes_get_different_versions_and_inline_agents_one_row() {
    let Some(world) = World::postgres().await else { return };
    let (org, app) = (world.one.org, world.one.app);
    let stores = [world.store.clone(), world.other_node().await];
    let saves = (0..24).map(|index| {
        stores[index % 2].write(move |tx| {
            async move {
                let agent = new_agent(org, app, AgentId::from_bits(bits()), "busy", &format!("d{index}"));
                Ok(tx.insert_agent_version(&agent).await?.0.version)
            }
            .boxed()
        })
    });
    let versions: BTreeSet<_> = join_all(saves).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(versions, (1..=24).map(Some).collect());

    let saves = (0..24).map(|index| {
        stores[index % 2].write(move |tx| {
            async move {
        tx.insert_inline_agent(&new_agent(org, app, AgentId::from_bits(bits()), "inline", "same")).await
    }.boxed()
        })
    });
    let saved: Vec<_> = join_all(saves).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(saved.iter().filter(|(_, saved)| *saved == Saved::Created).count(), 1);
    assert_eq!(saved.iter().map(|(row, _)| row.id).collect::<HashSet<_>>().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_reserved_once_however_many_nodes_want_it() {
    let Some(world) = World::postgres().await else { return };
    let stores = [world.store.clone(), world.other_node().await];
    for round in 0..10 {
        let key =
            IdempotencyKey { org: world.one.org, scope: "s".into(), key: format!("k{round}"), fingerprint: "f".into() };
        let wants = (0..8).map(|index| {
            let key = key.clone();
            stores[index % 2].write(move |tx| async move { tx.idempotency_reserve(&key, at(0), at(60)).await }.boxed())
        });
        let met: Vec<_> = join_all(wants).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(met.iter().filter(|met| **met == Reservation::Free).count(), 1, "{met:?}");
        assert_eq!(met.iter().filter(|met| **met == Reservation::InProgress).count(), 7, "{met:?}");
    }
}

/// A claim and a wish to go on meet: whichever comes first, no entry for a running run stays in the queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_taken_meanwhile_is_not_queued_again() {
    let Some(world) = World::postgres().await else { return };
    let org = world.one.org;
    for _ in 0..40 {
        let run = queued(&world.store, new_run(&world.one)).await;
        let again = world.store.write(move |tx| async move { tx.enqueue(org, run, at(0)).await }.boxed());
        let claim = world.store.write(|tx| async move { tx.system_claim_runs("w", at(10), at(40), 5).await }.boxed());
        let (again, claimed) = tokio::join!(again, claim);
        again.unwrap();
        let mut claimed = claimed.unwrap();
        if claimed.is_empty() {
            claimed = world.claim("w", 10, 5).await;
        }
        assert_eq!(claimed.iter().map(|claim| claim.run.id).collect::<Vec<_>>(), [run]);
        assert_eq!(world.store.system_count_queued().await.unwrap(), 0);
        finish(&world.store, claimed[0].lease, RunStatus::Succeeded).await.unwrap();
    }
}

/// An operation that swallows an error of the database cannot commit what came before it.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_is_caught_undoes_the_write_all_the_same() {
    let Some(world) = World::postgres().await else { return };
    let (first, twin) = (new_run(&world.one), new_run(&world.one));
    let (id, mut again) = (first.id, twin.clone());
    accepted(&world.store, twin).await;
    again.created_at = at(1);
    let answer = world
        .store
        .write(move |tx| {
            async move {
                tx.insert_run(&first, &[event(EventType::RunQueued, 1)]).await?;
                // Sent ahead or not, it fails.
                drop(tx.insert_run(&again, &[event(EventType::RunQueued, 1)]).await);
                drop(tx.get_run(again.org, again.id).await);
                Ok(())
            }
            .boxed()
        })
        .await;
    assert!(matches!(answer, Err(Error::Exists { .. })), "{answer:?}");
    assert!(world.store.get_run(world.one.org, id).await.unwrap().is_none());
}

/// The caller goes away in the middle: the write ends as if it were still there, and the connection is as good as new.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_leaves_no_transaction_open() {
    let Some(world) = World::postgres().await else { return };
    for _ in 0..30 {
        let run = new_run(&world.one);
        let write = world.store.write(move |tx| {
            async move {
                tx.insert_run(&run, &[event(EventType::RunQueued, 1)]).await?;
                tx.get_run(run.org, run.id).await
            }
            .boxed()
        });
        drop(timeout(Duration::from_micros(500), write).await);
    }
    accepted(&world.store, new_run(&world.one)).await;
    let panicking = world
        .store
        .write(|tx| {
            async move {
                tx.system_set_meta("half", "written").await?;
                if tx.system_set_meta_once("half", "x").await? { Ok(()) } else { panic!("a bug in an operation") }
            }
            .boxed()
        })
        .await;
    assert!(matches!(panicking, Err(Error::Database(_))), "{panicking:?}");
    assert_eq!(world.store.system_get_meta("half").await.unwrap(), None);
    world.store.clone().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_with_a_nul_is_refused_with_its_reason() {
    let Some(world) = World::postgres().await else { return };
    let mut run = new_run(&world.one);
    run.agent_name = "a\0b".into();
    let refused = world.store.write(move |tx| async move { tx.insert_run(&run, &[]).await }.boxed()).await;
    let refused = livery_core::Error::from(refused.unwrap_err());
    assert_eq!(refused.code(), "invalid_value", "{refused:?}");
}
