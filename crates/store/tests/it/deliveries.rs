//! The outbox: claimed once, retried when due, settled by the attempt that was made, kept as the record.

use futures_util::FutureExt;
use livery_core::id::{DeliveryId, RunId, WebhookEventId, WebhookId};
use livery_store::{
    ClaimedDelivery, DeliveryAttempt, DeliveryClaim, DeliveryFilter, DeliveryStatus, Error, Json, NewDelivery, Page,
    WebhookChange, WebhookRow,
};
use serde_json::json;

use crate::conformance;
use crate::world::{Tenant, World, at, bits};

pub(crate) fn new_webhook(tenant: &Tenant) -> WebhookRow {
    WebhookRow {
        id: WebhookId::from_bits(bits()),
        org: tenant.org,
        application: Some(tenant.app),
        url: "https://example.com/hook".into(),
        events: vec!["run.*".into(), "tool.finished".into()],
        description: None,
        signatures: vec!["v1".into()],
        sealed_secret: "v1:a:b:c".into(),
        sealed_signing_key: None,
        public_key: None,
        old_sealed_secret: None,
        old_sealed_signing_key: None,
        old_until: None,
        disabled_at: None,
        disabled_reason: None,
        created_at: at(0),
    }
}

pub(crate) fn new_delivery(tenant: &Tenant, webhook: Option<WebhookId>, run: RunId) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::from_bits(bits()),
        org: tenant.org,
        webhook,
        run,
        seq: 17,
        event_id: WebhookEventId::from_bits(bits()),
        event_type: "run.succeeded".into(),
        url: "https://example.com/then".into(),
        destination: webhook.map_or_else(|| "https://example.com".to_owned(), |id| id.to_string()),
        sealed_secret: webhook.is_none().then(|| "v1:own".into()),
        body: "{\"type\":\"run.succeeded\"}".into(),
        cancelled: None,
        created_at: at(1),
    }
}

async fn outbox(world: &World, webhook: Option<WebhookRow>) -> NewDelivery {
    let run = world.queued().await;
    let delivery = new_delivery(&world.one, webhook.as_ref().map(|row| row.id), run);
    let stored = delivery.clone();
    world
        .write(move |tx| {
            async move {
                if let Some(webhook) = webhook {
                    tx.insert_webhook(&webhook).await?;
                }
                tx.insert_delivery(&stored).await
            }
            .boxed()
        })
        .await;
    delivery
}

/// Claims what is due everywhere, as a node with room for `max` at each destination does.
pub(crate) async fn claim_max(world: &World, now: i64, max: u32) -> Vec<ClaimedDelivery> {
    let destinations = world.store.system_delivery_destinations().await.unwrap();
    world
        .write(move |tx| {
            async move {
                let mut claimed = Vec::new();
                for place in destinations {
                    let claim = DeliveryClaim { org: place.org, destination: place.destination, max };
                    claimed.extend(tx.system_claim_deliveries("node/1", &claim, at(now), at(now + 30)).await?);
                }
                Ok(claimed)
            }
            .boxed()
        })
        .await
}

pub(crate) async fn claim(world: &World, now: i64) -> Vec<ClaimedDelivery> {
    claim_max(world, now, 10).await
}

pub(crate) async fn settle(world: &World, claimed: &ClaimedDelivery, result: DeliveryAttempt) -> bool {
    settle_at(world, claimed, 0, result).await
}

pub(crate) async fn settle_at(world: &World, claimed: &ClaimedDelivery, now: i64, result: DeliveryAttempt) -> bool {
    let (org, id, attempt) = (claimed.row.org, claimed.row.id, claimed.row.attempt);
    let log = Json::of(&json!([{"number": attempt}])).unwrap();
    world
        .write(move |tx| async move { tx.settle_delivery(org, id, attempt, log, at(now), &result).await }.boxed())
        .await
}

pub(crate) fn retry(seconds: i64, status: Option<u16>, error: &str) -> DeliveryAttempt {
    DeliveryAttempt::Retry { at: at(seconds), status, error: error.into(), probe: false }
}

conformance! {
    async fn a_delivery_is_claimed_once_retried_when_due_and_settled(world) {
        let mut bell = world.store.delivery_doorbell();
        let delivery = outbox(&world, Some(new_webhook(&world.one))).await;
        assert!(bell.rung().now_or_never().is_some());
        let due = world.store.system_delivery_destinations().await.unwrap();
        assert_eq!(due.iter().map(|place| place.due_at).collect::<Vec<_>>(), [at(1)]);
        assert!(claim(&world, 0).await.is_empty(), "not due");
        let first = claim(&world, 2).await;
        assert_eq!(first.len(), 1);
        assert_eq!((first[0].row.id, first[0].row.attempt, &first[0].body), (delivery.id, 1, &delivery.body));
        let endpoint = first[0].webhook.clone().unwrap();
        assert_eq!(endpoint.url, "https://example.com/hook", "the endpoint's own address, as it is now");
        assert_eq!((endpoint.sealed_secret.as_str(), &first[0].sealed_secret), ("v1:a:b:c", &None));
        assert!(claim(&world, 2).await.is_empty(), "claimed");
        let due = world.store.system_delivery_destinations().await.unwrap();
        assert_eq!(due[0].due_at, at(32), "what is claimed is due when the claim ends, and not before");

        assert!(settle(&world, &first[0], retry(60, Some(500), &"x".repeat(600))).await);
        assert!(claim(&world, 59).await.is_empty(), "not due again");
        let second = claim(&world, 60).await;
        assert_eq!((second[0].row.attempt, second[0].row.last_status), (2, Some(500)));
        assert_eq!(second[0].row.last_error.as_ref().map(String::len), Some(500), "cut to its limit");
        assert!(!settle(&world, &first[0], DeliveryAttempt::Failed(None, "late".into())).await, "an older attempt");
        assert!(settle(&world, &second[0], DeliveryAttempt::Delivered(at(61), 204)).await);
        assert!(!settle(&world, &second[0], DeliveryAttempt::Failed(None, "again".into())).await);
        let row = world.store.get_delivery(world.one.org, delivery.id).await.unwrap().unwrap();
        assert_eq!((row.status, row.delivered_at, row.last_status), (DeliveryStatus::Delivered, Some(at(61)), Some(204)));
        assert_eq!((row.last_error, row.attempt), (None, 2));
        assert_eq!(row.attempt_log.unwrap().as_str(), r#"[{"number":2}]"#);
        assert!(claim(&world, 1000).await.is_empty());
        assert_eq!(world.store.system_delivery_destinations().await.unwrap(), []);
    }

    async fn a_claimant_that_died_is_replaced(world) {
        outbox(&world, Some(new_webhook(&world.one))).await;
        assert_eq!(claim(&world, 2).await.len(), 1);
        assert!(claim(&world, 31).await.is_empty());
        assert_eq!(claim(&world, 32).await[0].row.attempt, 2);
        let void = |owner| world.write(move |tx| async move { tx.system_expire_own_delivery_claims(owner).await }.boxed());
        assert_eq!((void("other/2").await, void("node/2").await), (0, 1));
        assert_eq!(claim(&world, 33).await[0].row.attempt, 3, "a new life of the only node need not wait");
    }

    async fn a_run_can_bring_its_own_address(world) {
        outbox(&world, None).await;
        let claimed = claim(&world, 2).await.remove(0);
        assert_eq!(claimed.row.url, "https://example.com/then");
        assert_eq!((claimed.sealed_secret.as_deref(), claimed.webhook), (Some("v1:own"), None));
    }

    async fn redelivery_is_a_new_row_under_the_same_event_id(world) {
        let webhook = new_webhook(&world.one);
        let delivery = outbox(&world, Some(webhook.clone())).await;
        let claimed = claim(&world, 2).await.remove(0);
        settle(&world, &claimed, DeliveryAttempt::Failed(Some(410), "gone".into())).await;
        let (org, other, new) = (world.one.org, world.two.org, DeliveryId::from_bits(bits()));
        for (org, hook) in [(other, webhook.id), (org, WebhookId::from_bits(bits()))] {
            let again = world.store.write(move |tx| async move { tx.redeliver(org, hook, delivery.id, new, at(90)).await }.boxed());
            assert!(matches!(again.await, Err(Error::NotFound { .. })));
        }
        let hook = webhook.id;
        world.write(move |tx| async move { tx.redeliver(org, hook, delivery.id, new, at(90)).await }.boxed()).await;
        let again = claim(&world, 90).await.remove(0);
        assert_eq!((again.row.id, again.row.event_id, again.row.attempt), (new, delivery.event_id, 1));
        let list = async |filter| world.store.list_deliveries(org, webhook.id, filter, &Page::default()).await.unwrap().data;
        let listed = list(DeliveryFilter::default()).await;
        assert_eq!(listed.iter().map(|row| row.id).collect::<Vec<_>>(), [new, delivery.id]);
        assert_eq!((listed[1].status, listed[0].redelivery_of), (DeliveryStatus::Failed, Some(delivery.id)));
        for (status, ids) in [
            (DeliveryStatus::Failed, vec![delivery.id]),
            (DeliveryStatus::Pending, vec![new]),
            (DeliveryStatus::Delivered, vec![]),
        ] {
            for run in [None, Some(delivery.run)] {
                let found = list(DeliveryFilter { status: Some(status), run }).await;
                assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), ids, "{status} {run:?}");
            }
        }
        assert_eq!(list(DeliveryFilter { run: Some(RunId::from_bits(bits())), status: None }).await, []);
        let of_run = world.store.list_run_deliveries(org, delivery.run, &Page::default()).await.unwrap().data;
        assert_eq!(of_run.len(), 2);
    }

    async fn endpoints_match_by_application_event_and_state(world) {
        let (org, app) = (world.one.org, world.one.app);
        let mine = new_webhook(&world.one);
        let everywhere = WebhookRow { application: None, events: vec!["run.failed".into()], ..new_webhook(&world.one) };
        let foreign = new_webhook(&world.two);
        let (stored, stored_too, stored_there) = (mine.clone(), everywhere.clone(), foreign.clone());
        world.write(move |tx| async move {
            tx.insert_webhook(&stored).await?;
            tx.insert_webhook(&stored_too).await?;
            tx.insert_webhook(&stored_there).await
        }.boxed()).await;
        let matching = |app, kind: &'static str| world.write(move |tx| async move {
            Ok(tx.matching_webhooks(org, app, kind).await?.into_iter().map(|row| row.id).collect::<Vec<_>>())
        }.boxed());
        assert_eq!(matching(Some(app), "run.failed").await, [mine.id, everywhere.id]);
        assert_eq!(matching(Some(app), "tool.finished").await, [mine.id]);
        assert_eq!(matching(Some(app), "tool.started").await, []);
        assert_eq!(matching(Some(app), "runs.x").await, [], "a group ends at its dot");
        assert_eq!(matching(None, "run.failed").await, [everywhere.id]);
        let (mine_id, everywhere_id) = (mine.id, everywhere.id);
        world.write(move |tx| async move {
            assert!(tx.disable_webhook(org, mine_id, at(5), "off").await?);
            assert!(!tx.disable_webhook(org, mine_id, at(6), "again").await?);
            tx.rotate_webhook(org, everywhere_id, "v1:new".into(), None, at(60)).await
        }.boxed()).await;
        assert_eq!(matching(Some(app), "run.failed").await, [everywhere.id]);
        let off = world.store.get_webhook(org, mine.id).await.unwrap().unwrap();
        assert_eq!((off.disabled_at, off.disabled_reason.as_deref()), (Some(at(5)), Some("off")));
        let count = world.write(move |tx| async move {
            Ok((tx.count_webhooks(org, None).await?, tx.count_webhooks(org, Some(app)).await?))
        }.boxed()).await;
        assert_eq!(count, (2, 1));
        assert_eq!(world.store.list_webhooks(org, Some(app), &Page::default()).await.unwrap().data.len(), 1);
    }

    async fn deleting_an_endpoint_cancels_what_it_had_not_got(world) {
        let webhook = new_webhook(&world.one);
        let delivery = outbox(&world, Some(webhook.clone())).await;
        let org = world.one.org;
        world.write(move |tx| async move { tx.delete_webhook(org, webhook.id).await }.boxed()).await;
        assert!(claim(&world, 100).await.is_empty());
        let row = world.store.get_delivery(org, delivery.id).await.unwrap().unwrap();
        assert_eq!((row.status, row.last_error.as_deref()), (DeliveryStatus::Cancelled, Some("the webhook was deleted")));
        let again = world.store.write(move |tx| async move { tx.delete_webhook(org, webhook.id).await }.boxed()).await;
        assert!(matches!(again, Err(Error::NotFound { .. })));
    }

    async fn disabling_an_endpoint_cancels_and_enabling_sends_none_of_it(world) {
        let webhook = new_webhook(&world.one);
        let delivery = outbox(&world, Some(webhook.clone())).await;
        let under_way = claim(&world, 2).await.remove(0);
        let org = world.one.org;
        world.write(move |tx| async move { tx.disable_webhook(org, webhook.id, at(5), "gone").await }.boxed()).await;
        assert!(!settle(&world, &under_way, DeliveryAttempt::Delivered(at(6), 200)).await, "cancelled meanwhile");
        world.write(move |tx| async move { tx.enable_webhook(org, webhook.id).await }.boxed()).await;
        assert!(claim(&world, 100).await.is_empty());
        let row = world.store.get_delivery(org, delivery.id).await.unwrap().unwrap();
        assert_eq!((row.status, row.last_error.as_deref()), (DeliveryStatus::Cancelled, Some("the webhook is disabled: gone")));
    }

    async fn a_delivery_to_nobody_is_on_record_and_never_sent(world) {
        let run = world.queued().await;
        let gone = WebhookId::from_bits(bits());
        let delivery = NewDelivery { cancelled: Some("deleted".into()), ..new_delivery(&world.one, Some(gone), run) };
        let id = delivery.id;
        world.write(move |tx| async move { tx.insert_delivery(&delivery).await }.boxed()).await;
        assert!(claim(&world, 100).await.is_empty());
        let row = world.store.get_delivery(world.one.org, id).await.unwrap().unwrap();
        assert_eq!((row.status, row.last_error.as_deref()), (DeliveryStatus::Cancelled, Some("deleted")));
    }

    async fn a_rotation_keeps_the_old_keys_until_their_end(world) {
        let (org, first) = (world.one.org, WebhookRow { sealed_signing_key: Some("k1".into()), ..new_webhook(&world.one) });
        let (id, stored) = (first.id, first.clone());
        let rotated = world.write(move |tx| async move {
            tx.insert_webhook(&stored).await?;
            tx.rotate_webhook(org, id, "s2".into(), Some(("k2".into(), "p2".into())), at(60)).await
        }.boxed()).await;
        let old = |row: &WebhookRow| (row.old_sealed_secret.clone(), row.old_sealed_signing_key.clone(), row.old_until);
        assert_eq!((rotated.sealed_secret.as_str(), rotated.sealed_signing_key.as_deref()), ("s2", Some("k2")));
        assert_eq!(old(&rotated), (Some(first.sealed_secret.clone()), Some("k1".into()), Some(at(60))));
        let forget = async |now| world.write(move |tx| {
            async move { tx.system_forget_rotated_webhook_keys(at(now)).await }.boxed()
        }).await;
        assert_eq!((forget(59).await, forget(60).await), (0, 1));
        let row = world.store.get_webhook(org, id).await.unwrap().unwrap();
        assert_eq!((old(&row), row.sealed_secret.as_str()), ((None, None, None), "s2"));
    }

    async fn a_change_touches_what_it_names(world) {
        let (org, first) = (world.one.org, WebhookRow { description: Some("old".into()), ..new_webhook(&world.one) });
        let (id, stored) = (first.id, first.clone());
        let change = WebhookChange { events: Some(vec!["run.failed".into()]), ..WebhookChange::default() };
        world.write(move |tx| async move {
            tx.insert_webhook(&stored).await?;
            tx.update_webhook(org, id, change).await
        }.boxed()).await;
        let row = async || world.store.get_webhook(org, id).await.unwrap().unwrap();
        assert_eq!(row().await, WebhookRow { events: vec!["run.failed".into()], ..first.clone() });
        let change = WebhookChange {
            url: Some("https://example.com/new".into()),
            description: Some(None),
            signatures: Some(vec!["v1".into(), "v1a".into()]),
            signing_key: Some(("k".into(), "p".into())),
            ..WebhookChange::default()
        };
        world.write(move |tx| async move { tx.update_webhook(org, id, change).await }.boxed()).await;
        let changed = row().await;
        assert_eq!((changed.url.as_str(), changed.description), ("https://example.com/new", None));
        assert_eq!((changed.signatures.len(), changed.sealed_signing_key, changed.public_key), (2, Some("k".into()), Some("p".into())));
        let other = world.two.org;
        let foreign = world.store.write(move |tx| {
            async move { tx.update_webhook(other, id, WebhookChange::default()).await }.boxed()
        }).await;
        assert!(matches!(foreign, Err(Error::NotFound { .. })));
    }
}
