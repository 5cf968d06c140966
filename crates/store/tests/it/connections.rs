//! Connections: of one tenant and one level alone, rotated from the version that was read, gone with their value.

use futures_util::FutureExt;
use livery_core::id::{AppId, ConnectionId, EndUserId, KeyId, OrgId};
use livery_store::{ApplicationRow, ConnectionRow, ConnectionStatus, EndUserRow, Error, Json, Page};
use serde_json::json;

use crate::conformance;
use crate::world::{Tenant, World, at, bits};

pub(crate) fn new_connection(tenant: &Tenant, name: &str) -> ConnectionRow {
    ConnectionRow {
        id: ConnectionId::from_bits(bits()),
        org: tenant.org,
        application: None,
        end_user: None,
        name: name.into(),
        connector: "stripe".into(),
        auth: "bearer".into(),
        settings: Json::of(&json!({})).unwrap(),
        sealed_value: Some("v1:a".into()),
        version: 1,
        status: ConnectionStatus::Active,
        created_by: KeyId::from_bits(1),
        created_at: at(1),
        updated_at: at(1),
        last_used_at: None,
        tested_at: None,
        test_outcome: None,
        test_reason: None,
    }
}

pub(crate) async fn insert(world: &World, row: &ConnectionRow) -> Result<(), Error> {
    let row = row.clone();
    world.store.write(move |tx| async move { tx.insert_connection(&row).await }.boxed()).await
}

async fn end_user(world: &World, org: OrgId, application: AppId) -> EndUserId {
    let id = EndUserId::from_bits(bits());
    let row = EndUserRow { id, org, application, external_id: id.to_string(), name: None, created_at: at(0) };
    world.write(move |tx| async move { tx.insert_end_user(&row).await }.boxed()).await;
    id
}

async fn rotate(world: &World, row: &ConnectionRow, from: u32, sealed: &'static str) -> bool {
    let (org, id) = (row.org, row.id);
    world.write(move |tx| async move { tx.rotate_connection(org, id, from, sealed, at(9)).await }.boxed()).await
}

async fn usable(world: &World, app: Option<AppId>, user: Option<EndUserId>) -> Vec<ConnectionId> {
    let rows = world.store.usable_connections(world.one.org, "stripe", app, user).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

conformance! {
    async fn a_connection_is_of_its_tenant_alone(world) {
        let row = new_connection(&world.one, "stripe");
        insert(&world, &row).await.unwrap();
        let (org, id, other) = (row.org, row.id, world.two.org);
        assert_eq!(world.store.get_connection(org, id).await.unwrap(), Some(row.clone()));
        assert_eq!(world.store.get_connection(other, id).await.unwrap(), None);
        assert_eq!(world.store.list_connections(other, None, None, &Page::default()).await.unwrap().data, []);
        assert_eq!(world.store.usable_connections(other, "stripe", None, None).await.unwrap(), []);
        let changed = world.write(move |tx| async move {
            Ok([
                tx.rotate_connection(other, id, 1, "v1:z", at(2)).await?,
                tx.revoke_connection(other, id, at(2)).await?,
                tx.note_connection_test(other, id, 1, at(2), None).await?,
                tx.count_connections(other).await? > 0,
            ])
        }.boxed()).await;
        assert_eq!(changed, [false; 4]);
        world.store.touch_connection(other, id, at(3));
        assert_eq!(world.store.get_connection(org, id).await.unwrap(), Some(row));
        for (app, user) in [(Some(world.two.app), None), (None, Some(end_user(&world, other, world.two.app).await))] {
            let foreign = ConnectionRow { application: app, end_user: user, ..new_connection(&world.one, "foreign") };
            assert!(matches!(insert(&world, &foreign).await, Err(Error::NotFound { .. })));
        }
    }

    async fn of_two_rotations_the_second_has_to_look_again(world) {
        let row = new_connection(&world.one, "stripe");
        insert(&world, &row).await.unwrap();
        let (org, id) = (row.org, row.id);
        world.write(move |tx| async move { tx.note_connection_test(org, id, 1, at(3), Some("401")).await }.boxed()).await;
        let tested = world.store.get_connection(org, id).await.unwrap().unwrap();
        assert_eq!((tested.tested_at, tested.test_outcome.as_deref(), tested.test_reason.as_deref()), (Some(at(3)), Some("refused"), Some("401")));
        let rotated = futures_util::future::join_all((0..6).map(|_| rotate(&world, &row, 1, "v1:b"))).await;
        assert_eq!(rotated.iter().filter(|done| **done).count(), 1);
        let now = world.store.get_connection(org, id).await.unwrap().unwrap();
        assert_eq!((now.version, now.sealed_value.as_deref(), now.updated_at, now.tested_at), (2, Some("v1:b"), at(9), None));
        assert!(!rotate(&world, &row, 1, "v1:c").await);
        let stale = world.write(move |tx| async move { tx.note_connection_test(org, id, 1, at(9), None).await }.boxed()).await;
        assert!(!stale, "a test of a version that is gone says nothing of the present one");
    }

    async fn what_is_revoked_has_no_value_and_never_comes_back(world) {
        let row = new_connection(&world.one, "stripe");
        insert(&world, &row).await.unwrap();
        let (org, id) = (row.org, row.id);
        let revoke = || world.write(move |tx| async move { tx.revoke_connection(org, id, at(5)).await }.boxed());
        assert!(revoke().await);
        assert!(!revoke().await);
        assert!(!rotate(&world, &row, 1, "v1:b").await);
        let row = world.store.get_connection(org, id).await.unwrap().unwrap();
        assert_eq!((row.status, row.sealed_value, row.version), (ConnectionStatus::Revoked, None, 1));
        assert_eq!(usable(&world, None, None).await, []);
        assert_eq!(world.write(move |tx| async move { tx.count_connections(org).await }.boxed()).await, 0);
        insert(&world, &new_connection(&world.one, "stripe")).await.unwrap();
    }

    async fn a_name_is_used_once_on_each_level(world) {
        let (org, app) = (world.one.org, world.one.app);
        let user = end_user(&world, org, app).await;
        let levels = [(None, None), (Some(app), None), (Some(app), Some(user))];
        for (application, end_user) in levels {
            let row = || ConnectionRow { application, end_user, ..new_connection(&world.one, "stripe") };
            insert(&world, &row()).await.unwrap();
            assert!(matches!(insert(&world, &row()).await, Err(Error::Exists { .. })));
        }
        insert(&world, &new_connection(&world.two, "stripe")).await.unwrap();
    }

    async fn a_run_is_offered_its_own_levels_only(world) {
        let (org, app) = (world.one.org, world.one.app);
        let other_app = AppId::from_bits(bits());
        let row = ApplicationRow { id: other_app, org, name: "other".into(), created_at: at(0), minimum_tier: None };
        world.write(move |tx| async move { tx.insert_application(&row).await }.boxed()).await;
        let (mine, theirs) = (end_user(&world, org, app).await, end_user(&world, org, app).await);
        let mut ids = Vec::new();
        for (application, end_user) in [(None, None), (Some(app), None), (Some(app), Some(mine)), (Some(app), Some(theirs)), (Some(other_app), None)] {
            let row = ConnectionRow { application, end_user, ..new_connection(&world.one, "stripe") };
            insert(&world, &row).await.unwrap();
            ids.push(row.id);
        }
        insert(&world, &ConnectionRow { connector: "github".into(), ..new_connection(&world.one, "github") }).await.unwrap();
        assert_eq!(usable(&world, Some(app), Some(mine)).await, ids[..3]);
        assert_eq!(usable(&world, Some(app), None).await, ids[..2], "nobody's end user");
        assert_eq!(usable(&world, None, None).await, ids[..1]);
        assert_eq!(usable(&world, Some(other_app), None).await, [ids[0], ids[4]]);
        let store = &world.store;
        let listed = |app, user| async move {
            store.list_connections(org, app, user, &Page::default()).await.unwrap().data.len()
        };
        assert_eq!((listed(None, None).await, listed(Some(app), None).await, listed(None, Some(theirs)).await), (6, 5, 1));
        assert_eq!(world.write(move |tx| async move { tx.count_connections(org).await }.boxed()).await, 6);
    }
}
