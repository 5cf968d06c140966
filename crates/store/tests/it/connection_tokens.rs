//! Tokens and consents: claimed by one at a time, written over what they follow, taken once, and of one tenant alone.

use futures_util::FutureExt;
use livery_core::id::{ConnectionId, KeyId, OrgId};
use livery_store::{
    ConnectionAuthorizationRow, ConnectionChange, ConnectionStatus, ConnectionTokenRow, Error, Json, TokenClaim,
};
use serde_json::json;

use crate::conformance;
use crate::connections::{insert, new_connection};
use crate::world::{World, at};

async fn connection(world: &World) -> (OrgId, ConnectionId) {
    let row = new_connection(&world.one, "crm");
    insert(world, &row).await.unwrap();
    (row.org, row.id)
}

async fn claim(world: &World, (org, id): (OrgId, ConnectionId), from: u32, name: &str, now: i64) -> bool {
    let claim = TokenClaim { id: name.into(), until: at(now + 60) };
    world.write(move |tx| async move { tx.claim_connection_token(org, id, from, &claim, at(now)).await }.boxed()).await
}

fn token(generation: u32) -> ConnectionTokenRow {
    ConnectionTokenRow {
        version: 1,
        generation,
        sealed_access: Some(format!("v1:a{generation}")),
        sealed_refresh: Some(format!("v1:r{generation}")),
        scopes: Json::of(&json!(["read"])).unwrap(),
        expires_at: Some(at(3600)),
        refresh_at: Some(at(3500)),
        claimed_until: None,
    }
}

async fn renew(world: &World, (org, id): (OrgId, ConnectionId), generation: u32) -> bool {
    let row = token(generation);
    world.write(move |tx| async move { tx.renew_connection_token(org, id, &row, at(2)).await }.boxed()).await
}

fn consent(org: OrgId, connection: ConnectionId, id: &str) -> ConnectionAuthorizationRow {
    ConnectionAuthorizationRow {
        id: id.into(),
        org,
        connection,
        version: 1,
        sealed_verifier: "v1:v".into(),
        redirect_uri: "https://example.com/v1/oauth/callback".into(),
        created_by: KeyId::from_bits(1),
        created_at: at(1),
        expires_at: at(600),
    }
}

async fn begin(world: &World, id: &'static str, browser: &'static str, now: i64) -> bool {
    let begun = world.write(move |tx| async move { tx.system_begin_authorization(id, browser, at(now)).await }.boxed());
    begun.await.is_some()
}

async fn take(world: &World, id: &'static str, browser: &'static str, now: i64) -> bool {
    let taken = world.write(move |tx| async move { tx.system_take_authorization(id, browser, at(now)).await }.boxed());
    taken.await.is_some()
}

conformance! {
    async fn one_of_many_claims_the_next_token(world) {
        let con = connection(&world).await;
        let names = ["a", "b", "c", "d", "e", "f"];
        let claimed = futures_util::future::join_all(names.map(|name| claim(&world, con, 0, name, 1))).await;
        assert_eq!(claimed.iter().filter(|taken| **taken).count(), 1);
        assert!(!claim(&world, con, 0, "late", 60).await, "it holds");
        assert!(claim(&world, con, 0, "after", 61).await, "and runs out");
        let (org, id) = con;
        let release = |name: &'static str| world.write(move |tx| async move { tx.release_connection_token(org, id, name).await }.boxed());
        assert!(!release("a").await, "only by whoever has it");
        assert!(release("after").await);
        assert!(claim(&world, con, 0, "again", 61).await);
        assert!(renew(&world, con, 1).await);
        assert_eq!(world.store.get_connection_token(org, id).await.unwrap(), Some(token(1)));
        assert!(!claim(&world, con, 0, "stale", 200).await, "that token is there already");
    }

    async fn a_token_is_written_over_the_one_it_follows(world) {
        let con = connection(&world).await;
        assert!(!renew(&world, con, 1).await, "nobody claimed, so there is no row");
        assert!(claim(&world, con, 0, "a", 1).await);
        let both = futures_util::future::join_all((0..4).map(|_| renew(&world, con, 1))).await;
        assert_eq!(both.iter().filter(|written| **written).count(), 1);
        assert!(!renew(&world, con, 3).await);
        assert!(renew(&world, con, 2).await);
        let (org, id) = con;
        let spoil = |generation, before| world.write(move |tx| async move { tx.spoil_connection_token(org, id, generation, at(before)).await }.boxed());
        assert!(!spoil(1, 9).await && !spoil(2, 1).await);
        assert!(spoil(2, 2).await);
        let spoilt = world.store.get_connection_token(org, id).await.unwrap().unwrap();
        assert_eq!((spoilt.sealed_access, spoilt.sealed_refresh.as_deref()), (None, Some("v1:r2")));
        let replace = |generation, version| {
            let row = ConnectionTokenRow { version, ..token(generation) };
            world.write(move |tx| async move { tx.replace_connection_token(org, id, &row, at(3)).await }.boxed())
        };
        assert!(!replace(2, 1).await && !replace(3, 2).await, "an older token, another version");
        assert!(replace(3, 1).await);
        assert_eq!(world.store.get_connection_token(org, id).await.unwrap(), Some(token(3)));
    }

    async fn tokens_are_of_their_tenant_and_end_with_their_connection(world) {
        let con = connection(&world).await;
        let ((org, id), other) = (con, world.two.org);
        assert!(!claim(&world, (other, id), 0, "x", 1).await);
        assert!(claim(&world, con, 0, "a", 1).await && renew(&world, con, 1).await);
        assert!(!claim(&world, (other, id), 1, "x", 100).await && !renew(&world, (other, id), 2).await);
        assert_eq!(world.store.get_connection_token(other, id).await.unwrap(), None);
        let changed = world.write(move |tx| async move {
            Ok([
                tx.release_connection_token(other, id, "a").await?,
                tx.replace_connection_token(other, id, &token(9), at(2)).await?,
                tx.spoil_connection_token(other, id, 1, at(9)).await?,
                tx.delete_connection_token(other, id).await?,
                tx.need_connection_reauth(other, id, 1, at(2)).await?,
                tx.activate_connection(other, id, 1, at(2)).await?,
            ])
        }.boxed()).await;
        assert_eq!(changed, [false; 6]);
        assert_eq!(world.store.get_connection_token(org, id).await.unwrap(), Some(token(1)));
        world.write(move |tx| async move {
            tx.revoke_connection(org, id, at(3)).await?;
            tx.delete_connection_token(org, id).await
        }.boxed()).await;
        assert!(!claim(&world, con, 0, "b", 9).await, "what is revoked gets no token");
        assert_eq!(world.store.get_connection_token(org, id).await.unwrap(), None);
    }

    async fn a_consent_is_begun_by_one_browser_and_taken_once(world) {
        let (org, id) = connection(&world).await;
        for name in ["first", "second"] {
            let row = consent(org, id, name);
            world.write(move |tx| async move { tx.insert_connection_authorization(&row).await }.boxed()).await;
        }
        assert!(!begin(&world, "first", "b1", 2).await, "the later one replaced it");
        assert!(!take(&world, "second", "b1", 2).await, "nobody began");
        assert!(!begin(&world, "second", "b1", 600).await, "it is over by then");
        assert!(begin(&world, "second", "b1", 2).await);
        assert!(!begin(&world, "second", "b2", 2).await);
        assert!(!take(&world, "second", "b2", 2).await);
        assert!(!take(&world, "second", "b1", 600).await);
        assert!(take(&world, "second", "b1", 2).await);
        assert!(!take(&world, "second", "b1", 2).await);
    }

    async fn a_status_is_of_the_version_it_is_about(world) {
        let (org, id) = connection(&world).await;
        let need = |of| world.write(move |tx| async move { tx.need_connection_reauth(org, id, of, at(5)).await }.boxed());
        let activate = |of| world.write(move |tx| async move { tx.activate_connection(org, id, of, at(6)).await }.boxed());
        assert!(!need(2).await && !activate(1).await);
        assert!(need(1).await && !need(1).await);
        assert_eq!(world.store.get_connection(org, id).await.unwrap().unwrap().status, ConnectionStatus::NeedsReauth);
        assert!(!activate(2).await && activate(1).await);
    }

    async fn of_two_changes_the_second_has_to_look_again(world) {
        let (org, id) = connection(&world).await;
        let other = new_connection(&world.one, "taken");
        insert(&world, &other).await.unwrap();
        let change = |name: &str, from| ConnectionChange { from: at(from), name: name.into(), settings: Json::of(&json!({"methods": ["GET"]})).unwrap(), application: None };
        let write = |org: OrgId, change: ConnectionChange| world.store.write(move |tx| async move { tx.change_connection(org, id, &change, at(9)).await }.boxed());
        assert!(!write(world.two.org, change("mine", 1)).await.unwrap());
        assert!(matches!(write(org, change("taken", 1)).await, Err(Error::Exists { .. })));
        assert!(write(org, change("new", 1)).await.unwrap());
        assert!(!write(org, change("newer", 1)).await.unwrap());
        let row = world.store.get_connection(org, id).await.unwrap().unwrap();
        assert_eq!((row.name.as_str(), row.settings.as_str(), row.updated_at), ("new", r#"{"methods":["GET"]}"#, at(9)));
    }
}
