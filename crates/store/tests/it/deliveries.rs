//! The outbox: claimed once, retried when due, settled by the attempt that was made, kept as the record.

use futures_util::FutureExt;
use livery_core::id::{DeliveryId, RunId, WebhookEventId, WebhookId};
use livery_store::{ClaimedDelivery, DeliveryAttempt, DeliveryStatus, Error, NewDelivery, Page, WebhookRow};

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
        sealed_secret: "v1:a:b:c".into(),
        disabled_at: None,
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
        sealed_secret: webhook.is_none().then(|| "v1:own".into()),
        body: "{\"type\":\"run.succeeded\"}".into(),
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

async fn claim(world: &World, now: i64) -> Vec<ClaimedDelivery> {
    world
        .write(move |tx| async move { tx.system_claim_deliveries("node/1", at(now), at(now + 30), 10).await }.boxed())
        .await
}

async fn settle(world: &World, claimed: &ClaimedDelivery, result: DeliveryAttempt) -> bool {
    let (org, id, attempt) = (claimed.row.org, claimed.row.id, claimed.row.attempt);
    world.write(move |tx| async move { tx.settle_delivery(org, id, attempt, &result).await }.boxed()).await
}

conformance! {
    async fn a_delivery_is_claimed_once_retried_when_due_and_settled(world) {
        let mut bell = world.store.delivery_doorbell();
        let delivery = outbox(&world, Some(new_webhook(&world.one))).await;
        assert!(bell.rung().now_or_never().is_some());
        assert_eq!(world.store.system_next_delivery_at().await.unwrap(), Some(at(1)));
        assert!(claim(&world, 0).await.is_empty(), "not due");
        let first = claim(&world, 2).await;
        assert_eq!(first.len(), 1);
        assert_eq!((first[0].row.id, first[0].row.attempt, &first[0].body), (delivery.id, 1, &delivery.body));
        assert_eq!(first[0].url, "https://example.com/hook", "the endpoint's own address, as it is now");
        assert_eq!(first[0].sealed_secret.as_deref(), Some("v1:a:b:c"));
        assert_eq!(first[0].application, Some(world.one.app));
        assert!(claim(&world, 2).await.is_empty(), "claimed");

        assert!(settle(&world, &first[0], DeliveryAttempt::Retry(at(60), Some(500), "x".repeat(600))).await);
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
        assert!(claim(&world, 1000).await.is_empty());
        assert_eq!(world.store.system_next_delivery_at().await.unwrap(), None);
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
        assert_eq!((claimed.url.as_str(), claimed.sealed_secret.as_deref()), ("https://example.com/then", Some("v1:own")));
    }

    async fn redelivery_is_a_new_row_under_the_same_event_id(world) {
        let webhook = new_webhook(&world.one);
        let delivery = outbox(&world, Some(webhook.clone())).await;
        let claimed = claim(&world, 2).await.remove(0);
        settle(&world, &claimed, DeliveryAttempt::Failed(Some(410), "gone".into())).await;
        let (org, other, new) = (world.one.org, world.two.org, DeliveryId::from_bits(bits()));
        let foreign = world.store.write(move |tx| async move { tx.redeliver(other, delivery.id, new, at(90)).await }.boxed());
        assert!(matches!(foreign.await, Err(Error::NotFound { .. })));
        world.write(move |tx| async move { tx.redeliver(org, delivery.id, new, at(90)).await }.boxed()).await;
        let again = claim(&world, 90).await.remove(0);
        assert_eq!((again.row.id, again.row.event_id, again.row.attempt), (new, delivery.event_id, 1));
        let listed = world.store.list_deliveries(org, webhook.id, &Page::default()).await.unwrap().data;
        assert_eq!(listed.iter().map(|row| row.id).collect::<Vec<_>>(), [new, delivery.id]);
        assert_eq!(listed[1].status, DeliveryStatus::Failed);
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
            tx.set_webhook_disabled(org, mine_id, Some(at(5))).await?;
            tx.rotate_webhook_secret(org, everywhere_id, "v1:new").await
        }.boxed()).await;
        assert_eq!(matching(Some(app), "run.failed").await, [everywhere.id]);
        assert_eq!(world.store.get_webhook(org, everywhere.id).await.unwrap().unwrap().sealed_secret, "v1:new");
        let count = world.write(move |tx| async move {
            Ok((tx.count_webhooks(org, None).await?, tx.count_webhooks(org, Some(app)).await?))
        }.boxed()).await;
        assert_eq!(count, (2, 1));
        assert_eq!(world.store.list_webhooks(org, Some(app), &Page::default()).await.unwrap().data.len(), 1);
    }

    async fn deleting_an_endpoint_fails_what_it_had_not_got(world) {
        let webhook = new_webhook(&world.one);
        let delivery = outbox(&world, Some(webhook.clone())).await;
        let org = world.one.org;
        world.write(move |tx| async move { tx.delete_webhook(org, webhook.id).await }.boxed()).await;
        assert!(claim(&world, 100).await.is_empty());
        let row = world.store.get_delivery(org, delivery.id).await.unwrap().unwrap();
        assert_eq!((row.status, row.last_error.as_deref()), (DeliveryStatus::Failed, Some("the webhook was deleted")));
        let again = world.store.write(move |tx| async move { tx.delete_webhook(org, webhook.id).await }.boxed()).await;
        assert!(matches!(again, Err(Error::NotFound { .. })));
    }
}
