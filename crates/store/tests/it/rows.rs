//! The small tables: what goes in comes out, unique names are unique.

use futures_util::FutureExt;
use livery_core::id::{EndUserId, FileId, KeyId, ProviderId};
use livery_store::{DataKeyRow, EndUserRow, Error, FileRole, FileRow, Json, NewApiKey, Page, ProviderRow};
use serde_json::json;

use crate::conformance;
use crate::world::{Tenant, at, bits};

pub(crate) fn new_key(tenant: &Tenant, hash: u8) -> NewApiKey {
    NewApiKey {
        id: KeyId::from_bits(bits()),
        org: tenant.org,
        application: Some(tenant.app),
        name: "ci".into(),
        prefix: "lvk_abcd".into(),
        hash: [hash; 32],
        scopes: Json::of(&json!(["runs:write"])).unwrap(),
        rate_limited: true,
        created_at: at(1),
        expires_at: Some(at(1000)),
    }
}

pub(crate) fn new_provider(tenant: &Tenant) -> ProviderRow {
    ProviderRow {
        id: ProviderId::from_bits(bits()),
        org: tenant.org,
        name: "openai".into(),
        kind: "openai".into(),
        base_url: None,
        sealed_key: Some("v1:k:n:c".into()),
        created_at: at(1),
        updated_at: at(1),
    }
}

pub(crate) fn new_file(tenant: &Tenant) -> FileRow {
    FileRow {
        id: FileId::from_bits(bits()),
        org: tenant.org,
        application: Some(tenant.app),
        name: "invoices.csv".into(),
        content_type: "text/csv".into(),
        bytes: 812,
        sha256: "00".into(),
        storage_path: "fi/le".into(),
        created_at: at(1),
    }
}

conformance! {
    async fn keys_are_found_by_hash_revoked_and_touched_once_a_minute(world) {
        let (org, key) = (world.one.org, new_key(&world.one, 7));
        let (stored, id) = (key.clone(), key.id);
        world.write(move |tx| async move { tx.insert_api_key(&stored).await }.boxed()).await;
        let row = world.store.system_find_api_key(&[7; 32]).await.unwrap().unwrap();
        assert_eq!((row.id, row.org, row.application, &row.scopes), (id, org, key.application, &key.scopes));
        assert_eq!((row.rate_limited, row.expires_at, row.revoked_at), (true, key.expires_at, None));
        assert!(world.store.system_find_api_key(&[8; 32]).await.unwrap().is_none());
        let twin = new_key(&world.two, 7);
        let refused = world.store.write(move |tx| async move { tx.insert_api_key(&twin).await }.boxed()).await;
        assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");

        world.store.touch_api_key(org, id, at(100));
        world.store.touch_api_key(org, id, at(130));
        let world = world.reopened().await;
        let used = world.store.get_api_key(org, id).await.unwrap().unwrap().last_used_at;
        assert_eq!(used, Some(at(100)), "written once a minute");
        let world = { world.store.touch_api_key(org, id, at(160)); world.reopened().await };
        assert_eq!(world.store.get_api_key(org, id).await.unwrap().unwrap().last_used_at, Some(at(160)));

        world.write(move |tx| async move { tx.revoke_api_key(org, id, at(200)).await }.boxed()).await;
        world.write(move |tx| async move { tx.revoke_api_key(org, id, at(300)).await }.boxed()).await;
        let listed = world.store.list_api_keys(org, key.application, &Page::default()).await.unwrap().data;
        assert_eq!(listed.iter().map(|row| row.revoked_at).collect::<Vec<_>>(), [Some(at(200))]);
    }

    async fn providers_are_unique_by_name_in_their_tenant(world) {
        let (org, row) = (world.one.org, new_provider(&world.one));
        let (stored, there) = (row.clone(), new_provider(&world.two));
        world.write(move |tx| async move {
            tx.insert_provider(&stored).await?;
            tx.insert_provider(&there).await
        }.boxed()).await;
        assert_eq!(world.store.find_provider(org, "openai").await.unwrap(), Some(row.clone()));
        let twin = new_provider(&world.one);
        let refused = world.store.write(move |tx| async move { tx.insert_provider(&twin).await }.boxed()).await;
        assert!(matches!(refused, Err(Error::Exists { .. })));
        let changed = ProviderRow { base_url: Some("http://127.0.0.1:1/v1".into()), sealed_key: None, updated_at: at(2), ..row };
        let stored = changed.clone();
        world.write(move |tx| async move { tx.update_provider(&stored).await }.boxed()).await;
        assert_eq!(world.store.list_providers(org).await.unwrap(), std::slice::from_ref(&changed));
        world.write(move |tx| async move { tx.delete_provider(org, changed.id).await }.boxed()).await;
        assert_eq!(world.store.get_provider(org, changed.id).await.unwrap(), None);
    }

    async fn files_belong_to_runs_by_role_and_path(world) {
        let (org, run) = (world.one.org, world.queued().await);
        let (first, second) = (new_file(&world.one), new_file(&world.one));
        let (a, b) = (first.clone(), second.clone());
        world.write(move |tx| async move {
            tx.insert_file(&a).await?;
            tx.insert_file(&b).await?;
            tx.attach_file(org, run, FileRole::Input, "in.csv", a.id).await?;
            tx.attach_file(org, run, FileRole::Artifact, "report.md", a.id).await?;
            tx.attach_file(org, run, FileRole::Artifact, "report.md", b.id).await
        }.boxed()).await;
        let inputs = world.store.run_files(org, run, FileRole::Input).await.unwrap();
        assert_eq!((inputs.len(), inputs[0].path.as_str(), &inputs[0].file), (1, "in.csv", &first));
        let artifacts = world.store.run_files(org, run, FileRole::Artifact).await.unwrap();
        assert_eq!((artifacts.len(), artifacts[0].file.id), (1, second.id), "the same path again replaces");
        let in_use = world.store.write(move |tx| async move { tx.delete_file(org, first.id).await }.boxed()).await;
        assert!(matches!(in_use, Err(Error::NotFound { .. })), "{in_use:?}");
        assert_eq!(world.store.list_files(org, None, &Page::default()).await.unwrap().data.len(), 2);
    }

    async fn end_users_are_found_by_what_their_application_calls_them(world) {
        let (org, app) = (world.one.org, world.one.app);
        let user = EndUserRow {
            id: EndUserId::from_bits(bits()),
            org,
            application: app,
            external_id: "customer-9".into(),
            name: Some("Ada".into()),
            created_at: at(3),
        };
        let stored = user.clone();
        world.write(move |tx| async move { tx.insert_end_user(&stored).await }.boxed()).await;
        assert_eq!(world.store.find_end_user(org, app, "customer-9").await.unwrap(), Some(user.clone()));
        assert_eq!(world.store.list_end_users(org, Some(app), &Page::default()).await.unwrap().data, std::slice::from_ref(&user));
        let twin = EndUserRow { id: EndUserId::from_bits(bits()), ..user };
        let refused = world.store.write(move |tx| async move { tx.insert_end_user(&twin).await }.boxed()).await;
        assert!(matches!(refused, Err(Error::Exists { .. })));
        assert_eq!(world.store.list_applications(org).await.unwrap().len(), 1);
        assert_eq!(world.store.system_count_organizations().await.unwrap(), 2);
        assert_eq!(world.store.system_list_organizations(&Page::default()).await.unwrap().data.len(), 2);
    }

    async fn data_keys_and_facts_are_set_once(world) {
        let org = world.one.org;
        let key = |wrapped: &str| DataKeyRow { org, kid: "k1".into(), wrapped: wrapped.into(), created_at: at(1) };
        let (first, second) = (key("a"), key("b"));
        let inserted = world.write(move |tx| async move {
            Ok((
                tx.insert_data_key(&first).await?,
                tx.insert_data_key(&second).await?,
                tx.rewrap_data_key(org, "k1", "b", "c").await?,
                tx.rewrap_data_key(org, "k1", "a", "c").await?,
                tx.list_data_keys(org).await?,
            ))
        }.boxed()).await;
        assert_eq!(inserted, (true, false, false, true, vec![key("c")]));
        assert_eq!(world.store.list_data_keys(org).await.unwrap(), [key("c")]);
        let once = world.write(|tx| async move {
            Ok((tx.system_set_meta_once("check", "1").await?, tx.system_set_meta_once("check", "2").await?))
        }.boxed()).await;
        assert_eq!(once, (true, false));
        world.write(|tx| async move { tx.system_set_meta("check", "3").await }.boxed()).await;
        assert_eq!(world.store.system_get_meta("check").await.unwrap().as_deref(), Some("3"));
        let exchange = |before: &'static str| {
            world.write(move |tx| async move { tx.system_exchange_meta("check", before, "4").await }.boxed())
        };
        assert!(!exchange("2").await && exchange("3").await && !exchange("3").await, "only what is there is exchanged");
        assert_eq!(world.store.system_get_meta("check").await.unwrap().as_deref(), Some("4"));
        assert_eq!(world.store.system_get_meta("other").await.unwrap(), None);
    }
}
