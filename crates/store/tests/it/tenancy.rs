//! Another tenant's ids give nothing: not to a read, not to a write, not as a reference.

use futures_util::FutureExt;
use livery_core::RunStatus;
use livery_core::id::{AgentId, EndUserId};
use livery_store::{AgentSelector, EndUserRow, Error, FileRole, Lease, Page, RunFilter, Tx};

use crate::conformance;
use crate::deliveries::{new_delivery, new_webhook};
use crate::rows::{new_file, new_key, new_provider};
use crate::world::{at, bits, ended, new_agent, new_run};

conformance! {
    async fn reads_of_another_tenants_ids_are_empty(world) {
        let run = world.queued().await;
        let (key, webhook, provider, file) =
            (new_key(&world.one, 1), new_webhook(&world.one), new_provider(&world.one), new_file(&world.one));
        let delivery = new_delivery(&world.one, Some(webhook.id), run);
        let user = EndUserRow {
            id: EndUserId::from_bits(bits()), org: world.one.org, application: world.one.app,
            external_id: "u".into(), name: None, created_at: at(0),
        };
        let ids = (key.id, webhook.id, provider.id, file.id, delivery.id, user.id);
        let mine = world.one.org;
        world.write(move |tx| async move {
            tx.insert_api_key(&key).await?;
            tx.insert_webhook(&webhook).await?;
            tx.insert_provider(&provider).await?;
            tx.insert_file(&file).await?;
            tx.insert_delivery(&delivery).await?;
            tx.insert_end_user(&user).await?;
            tx.attach_file(mine, run, FileRole::Input, "in", file.id).await
        }.boxed()).await;

        let (store, agent, app) = (&world.store, world.one.agent.id, world.one.app);
        for (org, there) in [(mine, true), (world.two.org, false)] {
            let (key, webhook, provider, file, delivery, user) = ids;
            let found = [
                store.get_run(org, run).await.unwrap().is_some(),
                !store.events_after(org, run, 0, 10).await.unwrap().is_empty(),
                !store.run_files(org, run, FileRole::Input).await.unwrap().is_empty(),
                store.get_agent(org, agent).await.unwrap().is_some(),
                !store.agent_files(org, agent).await.unwrap().is_empty(),
                store.get_application(org, app).await.unwrap().is_some(),
                store.get_end_user(org, user).await.unwrap().is_some(),
                store.find_end_user(org, app, "u").await.unwrap().is_some(),
                store.get_api_key(org, key).await.unwrap().is_some(),
                store.get_webhook(org, webhook).await.unwrap().is_some(),
                store.get_delivery(org, delivery).await.unwrap().is_some(),
                !store.list_deliveries(org, webhook, livery_store::DeliveryFilter::default(), &Page::default()).await.unwrap().data.is_empty(),
                !store.list_run_deliveries(org, run, &Page::default()).await.unwrap().data.is_empty(),
                store.get_provider(org, provider).await.unwrap().is_some(),
                store.find_provider(org, "openai").await.unwrap().is_some(),
                store.get_file(org, file).await.unwrap().is_some(),
                !store.list_runs(org, &RunFilter::default(), &Page::default()).await.unwrap().data.is_empty(),
                !store.list_files(org, None, &Page::default()).await.unwrap().data.is_empty(),
                !store.list_api_keys(org, None, &Page::default()).await.unwrap().data.is_empty(),
                !store.list_webhooks(org, None, &Page::default()).await.unwrap().data.is_empty(),
                !store.list_providers(org).await.unwrap().is_empty(),
                !store.list_end_users(org, None, &Page::default()).await.unwrap().data.is_empty(),
            ];
            assert_eq!(found, [there; 22], "of {org}");
        }
        let theirs = store.find_agent(world.two.org, "hello", &AgentSelector::Latest).await.unwrap().unwrap();
        assert_ne!(theirs.id, agent, "a name is found in its own tenant");
    }

    async fn writes_to_another_tenants_ids_change_nothing(world) {
        let lease = world.running().await;
        let queued = world.queued().await;
        let (key, webhook, provider, file) =
            (new_key(&world.one, 1), new_webhook(&world.one), new_provider(&world.one), new_file(&world.one));
        let ids = (key.id, webhook.id, file.id);
        let stolen = livery_store::ProviderRow { org: world.two.org, ..provider.clone() };
        world.write(move |tx| async move {
            tx.insert_api_key(&key).await?;
            tx.insert_webhook(&webhook).await?;
            tx.insert_provider(&provider).await?;
            tx.insert_file(&file).await
        }.boxed()).await;
        let org = world.two.org;
        let forged = Lease { org, ..lease };
        let refused = world.write(move |tx| async move {
            let (key, webhook, file) = ids;
            Ok([
                lost(tx.append_run_events(&forged, &[]).await),
                lost(tx.finish_run(&forged, &ended(RunStatus::Failed), &[]).await),
                lost(tx.wait_run(&forged, &[]).await),
                lost(tx.release_run(&forged, at(0)).await),
                tx.heartbeat(&[forged], at(99)).await?.lost.len() == 1,
                missing(tx.request_cancel(org, lease.run, at(0)).await),
                tx.finish_unleased(org, queued, &ended(RunStatus::Cancelled), &[]).await?.is_none(),
                tx.append_unleased(org, queued, &[]).await?.is_none(),
                missing(tx.revoke_api_key(org, key, at(0)).await),
                missing(tx.delete_webhook(org, webhook).await),
                missing(tx.rotate_webhook(org, webhook, "x".into(), None, at(9)).await),
                missing(tx.update_webhook(org, webhook, livery_store::WebhookChange::default()).await),
                !tx.disable_webhook(org, webhook, at(0), "x").await?,
                tx.webhook(org, webhook).await?.is_none(),
                missing(tx.update_provider(&stolen).await),
                missing(tx.delete_provider(org, stolen.id).await),
                missing(tx.delete_file(org, file).await),
                missing(tx.attach_file(org, lease.run, FileRole::Input, "x", file).await),
            ])
        }.boxed()).await;
        assert_eq!(refused, [true; 18]);
        let row = world.store.get_run(lease.org, lease.run).await.unwrap().unwrap();
        assert_eq!((row.status, row.cancel_requested_at), (RunStatus::Running, None));
        assert_eq!(world.store.get_run(lease.org, queued).await.unwrap().unwrap().status, RunStatus::Queued);
    }

    /// The schema itself refuses a row that points into another tenant.
    async fn references_into_another_tenant_are_refused(world) {
        let (one, two) = (world.one.clone(), world.two.clone());
        let refused = |operation: Write| world.store.write(operation);
        let mut run = new_run(&one);
        run.agent_id = two.agent.id;
        assert!(missing(refused(Box::new(move |tx| async move { tx.insert_run(&run, &[]).await }.boxed())).await));
        let mut run = new_run(&one);
        run.application = Some(two.app);
        assert!(missing(refused(Box::new(move |tx| async move { tx.insert_run(&run, &[]).await }.boxed())).await));
        let agent = new_agent(one.org, two.app, AgentId::from_bits(bits()), "x", "x");
        assert!(missing(refused(Box::new(move |tx| async move { tx.insert_agent_version(&agent).await.map(drop) }.boxed())).await));
        let mut key = new_key(&one, 3);
        key.application = Some(two.app);
        assert!(missing(refused(Box::new(move |tx| async move { tx.insert_api_key(&key).await }.boxed())).await));
        let mut file = new_file(&one);
        file.application = Some(two.app);
        assert!(missing(refused(Box::new(move |tx| async move { tx.insert_file(&file).await }.boxed())).await));
        let mut webhook = new_webhook(&one);
        webhook.application = Some(two.app);
        assert!(missing(refused(Box::new(move |tx| async move { tx.insert_webhook(&webhook).await }.boxed())).await));
        let user = EndUserRow {
            id: EndUserId::from_bits(bits()), org: one.org, application: two.app,
            external_id: "u".into(), name: None, created_at: at(0),
        };
        assert!(missing(refused(Box::new(move |tx| async move { tx.insert_end_user(&user).await }.boxed())).await));
    }
}

type Write =
    Box<dyn for<'t> FnOnce(&'t mut Tx) -> futures_util::future::BoxFuture<'t, livery_store::Result<()>> + Send>;

fn missing<T>(result: livery_store::Result<T>) -> bool {
    matches!(result, Err(Error::NotFound { .. }))
}

fn lost<T>(result: livery_store::Result<T>) -> bool {
    matches!(result, Err(Error::LeaseLost))
}
