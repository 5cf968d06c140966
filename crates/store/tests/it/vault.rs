//! Rotation of the vault's keys: each value is exchanged for what it was read as, or not at all, in its tenant alone.

use futures_util::FutureExt;
use livery_core::id::OrgId;
use livery_store::{DataKeyRow, SealedColumn};

use crate::conformance;
use crate::connections::{insert, new_connection};
use crate::world::{World, at};

const OLD: &str = "0123456789abcdef";
const NEW: &str = "fedcba9876543210";

async fn add_key(world: &World, org: OrgId, kid: &'static str, root: &str, second: i64) {
    let row = DataKeyRow { org, kid: kid.into(), wrapped: format!("v1:{root}:n:c"), created_at: at(second) };
    assert!(world.write(move |tx| async move { tx.insert_data_key(&row).await }.boxed()).await);
}

conformance! {
    async fn data_keys_under_another_root_are_found_and_wrapped_once(world) {
        let (one, two) = (world.one.org, world.two.org);
        add_key(&world, one, OLD, OLD, 1).await;
        add_key(&world, two, OLD, NEW, 1).await;
        let by_root = world.store.system_data_keys_by_root().await.unwrap();
        assert_eq!(by_root, [(OLD.to_owned(), 1), (NEW.to_owned(), 1)]);
        let found = world.store.system_data_keys_under_other_roots(NEW).await.unwrap();
        assert_eq!(found.iter().map(|row| row.org).collect::<Vec<_>>(), [one]);
        let before = found[0].wrapped.clone();
        let again = before.clone();
        let done = world.write(move |tx| async move {
            Ok([
                tx.rewrap_data_key(two, OLD, &before, "v1:x").await?,
                tx.rewrap_data_key(one, OLD, &before, &format!("v1:{NEW}:n:d")).await?,
                tx.rewrap_data_key(one, OLD, &again, "v1:late").await?,
            ])
        }.boxed()).await;
        assert_eq!(done, [false, true, false], "another tenant's, its own, and one that came too late");
        assert_eq!(world.store.system_data_keys_under_other_roots(NEW).await.unwrap(), []);
        assert_eq!(world.store.system_rotated_organizations().await.unwrap(), []);
        add_key(&world, one, NEW, NEW, 2).await;
        assert_eq!(world.store.system_rotated_organizations().await.unwrap(), [one]);
        assert_eq!(world.store.list_data_keys(one).await.unwrap()[0].kid, NEW, "the newest seals");
    }

    async fn a_sealed_value_is_exchanged_for_what_it_was_read_as(world) {
        let (org, other) = (world.one.org, world.two.org);
        for name in ["a", "b", "c"] {
            let mut row = new_connection(&world.one, name);
            row.sealed_value = Some(format!("v1:{OLD}:n:{name}"));
            row.version = 4;
            insert(&world, &row).await.unwrap();
        }
        let column = SealedColumn::Connection;
        let found = world.store.values_under_other_keys(org, column, NEW, "").await.unwrap();
        assert_eq!((found.len(), found[0].version), (3, 4));
        assert!(world.store.values_under_other_keys(org, column, OLD, "").await.unwrap().is_empty());
        assert!(world.store.values_under_other_keys(other, column, NEW, "").await.unwrap().is_empty());
        let rest = world.store.values_under_other_keys(org, column, NEW, &found[1].owner).await.unwrap();
        assert!(rest == found[2..], "the walk goes on behind a row");
        for column in SealedColumn::ALL.into_iter().filter(|other| *other != column) {
            assert!(world.store.values_under_other_keys(org, column, NEW, "").await.unwrap().is_empty(), "{column:?}");
        }
        let value = found[0].clone();
        let mut stale = value.clone();
        stale.sealed.push('x');
        let done = world.write(move |tx| async move {
            Ok([
                tx.exchange_sealed_value(other, column, &value, "v1:x").await?,
                tx.exchange_sealed_value(org, column, &stale, "v1:x").await?,
                tx.exchange_sealed_value(org, column, &value, &format!("v1:{NEW}:n:a")).await?,
            ])
        }.boxed()).await;
        assert_eq!(done, [false, false, true]);
        assert_eq!(world.store.values_under_other_keys(org, column, NEW, "").await.unwrap().len(), 2);
    }
}
