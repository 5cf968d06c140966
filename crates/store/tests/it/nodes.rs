//! Nodes and duties: a life replaces the one before it, and one node at a time does a chore.

use futures_util::FutureExt;
use futures_util::future::join_all;
use livery_core::id::NodeId;
use livery_store::NodeRow;

use crate::conformance;
use crate::world::{at, bits};

fn node(id: NodeId, life: &str, now: i64) -> NodeRow {
    NodeRow {
        id,
        name: "blue".into(),
        life: life.into(),
        roles: "api,worker".into(),
        address: Some("127.0.0.1:7400".into()),
        version: "0.1.0".into(),
        draining: false,
        started_at: at(now),
        seen_at: at(now),
    }
}

conformance! {
    async fn a_later_life_takes_the_place_of_the_earlier_one(world) {
        let id = NodeId::from_bits(bits());
        let (first, second) = (node(id, "1", 0), node(id, "2", 5));
        let row = second.clone();
        let seen = world.write(move |tx| async move {
            tx.system_register_node(&first).await?;
            let before = tx.system_node_seen(id, "1", at(1), false).await?;
            tx.system_register_node(&row).await?;
            Ok((before, tx.system_node_seen(id, "1", at(6), false).await?))
        }.boxed()).await;
        assert_eq!(seen, (true, false), "the earlier life is told");
        assert_eq!(world.store.system_nodes().await.unwrap(), std::slice::from_ref(&second));
        world.write(move |tx| async move { tx.system_node_seen(id, "2", at(9), true).await }.boxed()).await;
        let listed = world.store.system_nodes().await.unwrap();
        assert_eq!(listed, [NodeRow { draining: true, seen_at: at(9), ..second }]);
        let swept = world.write(|tx| async move {
            Ok((tx.system_sweep_nodes(at(9)).await?, tx.system_sweep_nodes(at(10)).await?))
        }.boxed()).await;
        assert_eq!(swept, (0, 1));
    }

    async fn a_node_that_leaves_is_gone_and_a_successor_stays(world) {
        let id = NodeId::from_bits(bits());
        let row = node(id, "2", 5);
        world.write(move |tx| async move {
            tx.system_register_node(&row).await?;
            tx.system_node_left(id, "1").await
        }.boxed()).await;
        assert_eq!(world.store.system_nodes().await.unwrap().len(), 1, "an earlier life cannot take it away");
        world.write(move |tx| async move { tx.system_node_left(id, "2").await }.boxed()).await;
        assert!(world.store.system_nodes().await.unwrap().is_empty());
    }

    async fn one_node_at_a_time_has_a_duty(world) {
        for (now, due) in [(0, true), (4, false), (5, true)] {
            let nodes = ["a", "b", "c", "d"].map(|owner| {
                let store = world.store.clone();
                async move {
                    let take = store.write(move |tx| {
                        async move { tx.system_take_duty("purge", owner, at(now), at(now + 5)).await }.boxed()
                    });
                    take.await.unwrap()
                }
            });
            let taken: Vec<bool> = join_all(nodes.map(tokio::spawn)).await.into_iter().map(Result::unwrap).collect();
            assert_eq!(taken.iter().filter(|taken| **taken).count(), usize::from(due), "at second {now}: {taken:?}");
        }
    }
}
