//! Triggers: what a message is known by starts one run, whoever writes it first, and is forgotten in its time.

use futures_util::FutureExt;
use livery_core::id::{KeyId, RequestId, RunId, TriggerId};
use livery_store::{Error, Json, Page, TriggerDeliveryRow, TriggerOutcome, TriggerRow};
use serde_json::json;

use crate::conformance;
use crate::world::{Tenant, World, at, bits};

fn new_trigger(tenant: &Tenant) -> TriggerRow {
    TriggerRow {
        id: TriggerId::from_bits(bits()),
        org: tenant.org,
        application: Some(tenant.app),
        end_user: None,
        created_by: KeyId::from_bits(1),
        name: "issues".into(),
        verification: Json::of(&json!({"kind": "github"})).unwrap(),
        filter: Json::of(&json!({})).unwrap(),
        template: None,
        request: Json::of(&json!({"agent": "hello"})).unwrap(),
        sealed_secret: "v1:a".into(),
        sealed_previous: None,
        previous_until: None,
        paused_at: None,
        revision: 1,
        created_at: at(1),
        updated_at: at(1),
    }
}

async fn inserted(world: &World) -> TriggerRow {
    let row = new_trigger(&world.one);
    let stored = row.clone();
    world.write(move |tx| async move { tx.insert_trigger(&stored).await }.boxed()).await;
    row
}

fn delivery(trigger: &TriggerRow, key: &str, outcome: TriggerOutcome, second: i64) -> TriggerDeliveryRow {
    TriggerDeliveryRow {
        id: RequestId::from_bits(bits()),
        org: trigger.org,
        trigger: trigger.id,
        delivery_key: key.into(),
        delivery_id: Some("d".into()),
        outcome,
        run: (outcome == TriggerOutcome::Started).then(|| RunId::from_bits(bits())),
        reason: None,
        received_at: at(second),
        expires_at: at(second + 100),
    }
}

async fn remember(world: &World, row: &TriggerDeliveryRow) -> bool {
    let row = row.clone();
    world.write(move |tx| async move { tx.remember_delivery(&row).await }.boxed()).await
}

conformance! {
    async fn a_trigger_is_what_was_written_and_its_secret_rotates(world) {
        let row = inserted(&world).await;
        assert_eq!(world.store.get_trigger(row.org, row.id).await.unwrap(), Some(row.clone()));
        assert_eq!(world.store.system_find_trigger(row.id).await.unwrap(), Some(row.clone()));
        assert_eq!(world.store.get_trigger(world.two.org, row.id).await.unwrap(), None, "of its tenant alone");
        assert_eq!(world.store.list_triggers(world.two.org, None, &Page::default()).await.unwrap().data, []);
        let (org, id, other) = (row.org, row.id, world.two.org);
        let foreign = world.store.write(move |tx| async move { tx.delete_trigger(other, id).await }.boxed()).await;
        assert!(matches!(foreign, Err(Error::NotFound { .. })));
        world.write(move |tx| async move { tx.rotate_trigger_secret(org, id, "v1:b", at(50), at(9)).await }.boxed()).await;
        let rotated = world.store.get_trigger(org, id).await.unwrap().unwrap();
        assert_eq!((rotated.sealed_secret.as_str(), rotated.sealed_previous.as_deref()), ("v1:b", Some("v1:a")));
        assert_eq!((rotated.previous_until, rotated.updated_at), (Some(at(50)), at(9)));
        let changed = TriggerRow { name: "other".into(), paused_at: Some(at(10)), ..rotated };
        let update = || {
            let changed = changed.clone();
            world.write(move |tx| async move { tx.update_trigger(&changed).await }.boxed())
        };
        assert!(update().await);
        assert!(!update().await, "of two changes, the second has to look again");
        world.write(move |tx| async move { tx.delete_trigger(org, id).await }.boxed()).await;
        assert_eq!(world.store.system_find_trigger(id).await.unwrap(), None);
    }

    async fn a_delivery_that_started_a_run_is_never_written_again(world) {
        let trigger = inserted(&world).await;
        let ignored = delivery(&trigger, "id:1", TriggerOutcome::Ignored, 1);
        assert!(remember(&world, &ignored).await && remember(&world, &ignored).await, "it may come again");
        let started: Vec<_> = (0..6).map(|second| delivery(&trigger, "id:1", TriggerOutcome::Started, 2 + second)).collect();
        let written = futures_util::future::join_all(started.iter().map(|row| remember(&world, row))).await;
        assert_eq!(written.iter().filter(|written| **written).count(), 1);
        let first = &started[written.iter().position(|written| *written).unwrap()];
        assert!(!remember(&world, &delivery(&trigger, "id:1", TriggerOutcome::Rejected, 30)).await);
        let kept = world.store.recall_delivery(trigger.org, trigger.id, "id:1").await.unwrap().unwrap();
        assert_eq!(&kept, first);
        assert_eq!(world.store.recall_delivery(world.two.org, trigger.id, "id:1").await.unwrap(), None);
        assert!(remember(&world, &delivery(&trigger, "id:2", TriggerOutcome::Rejected, 31)).await);
        let listed = world.store.list_trigger_deliveries(trigger.org, trigger.id, &Page::default()).await.unwrap().data;
        assert_eq!(listed.iter().map(|row| row.delivery_key.as_str()).collect::<Vec<_>>(), ["id:2", "id:1"]);
        assert_eq!(world.store.list_trigger_deliveries(world.two.org, trigger.id, &Page::default()).await.unwrap().data, []);
    }

    async fn what_is_undone_with_its_run_is_not_remembered(world) {
        let trigger = inserted(&world).await;
        let row = delivery(&trigger, "id:1", TriggerOutcome::Started, 1);
        let stored = row.clone();
        let undone: Result<(), Error> = world.store.write(move |tx| async move {
            assert!(tx.remember_delivery(&stored).await?);
            Err(Error::NotFound { what: "agent" })
        }.boxed()).await;
        undone.unwrap_err();
        assert!(remember(&world, &row).await);
    }

    async fn deliveries_are_forgotten_in_their_time(world) {
        let trigger = inserted(&world).await;
        for (key, second) in [("id:1", 1), ("id:2", 50)] {
            assert!(remember(&world, &delivery(&trigger, key, TriggerOutcome::Started, second)).await);
        }
        let purge = |now: i64| world.write(move |tx| async move { tx.system_purge_trigger_deliveries(at(now)).await }.boxed());
        assert_eq!((purge(100).await, purge(101).await, purge(101).await), (0, 1, 0));
        assert!(world.store.recall_delivery(trigger.org, trigger.id, "id:2").await.unwrap().is_some());
    }
}
