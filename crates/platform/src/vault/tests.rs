//! Both rotations over a real database: what was sealed opens before, during and after, and the old keys can go.

use livery_broker::Secret;
use livery_core::{Error, Timestamp};
use livery_store::SealedColumn;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{RootKey, RootKeys, RotateDataKey, Vault, VaultView};
use crate::startup::Startup;
use crate::testing::{self, Node};
use crate::{Caller, Clock, Platform, Posted};

const VALUE: &str = "sk_test_0123456789abcdef";
const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn text_key(byte: u8) -> RootKey {
    RootKey::Text(Secret::from(format!("{byte:02x}").repeat(32)))
}

fn keys(current: u8, others: &[u8]) -> RootKeys {
    RootKeys { current: text_key(current), others: others.iter().map(|byte| text_key(*byte)).collect() }
}

async fn reopen(data: &TempDir, keys: RootKeys) -> Result<Platform, Error> {
    let mut parts = testing::parts(data, &Clock::held_at(NOW));
    parts.root_keys = keys;
    Platform::open(parts).await
}

fn fresh(posted: Posted<VaultView>) -> VaultView {
    match posted {
        Posted::Fresh(view) => view,
        Posted::Replayed(_) => panic!("nothing was sent twice"),
    }
}

/// One of each kind of value that outlives a rotation.
async fn seal_some(platform: &Platform, caller: &Caller) {
    let read = |value: Value| serde_json::from_value(value).unwrap();
    let connection = json!({"name": "pay", "connector": "stripe", "credential": {"value": VALUE}});
    platform.create_connection(caller, read(connection)).await.unwrap();
    let provider = json!({"name": "mine", "kind": "openai", "api_key": VALUE});
    platform.create_model_provider(caller, serde_json::from_value(provider).unwrap()).await.unwrap();
    let webhook = json!({"url": "https://example.com/hook", "events": ["run.succeeded"], "signatures": ["v1", "v1a"]});
    platform.create_webhook(caller, serde_json::from_value(webhook).unwrap()).await.unwrap();
    platform.receipt_keys().await.unwrap();
}

/// The connection's value, opened.
async fn value(platform: &Platform, caller: &Caller) -> String {
    let org = caller.principal.org;
    let id = platform.store.usable_connections(org, "stripe", caller.principal.app, None).await.unwrap()[0].id;
    let opened = platform.materialise(org, id).await.unwrap();
    String::from_utf8(opened.secret.expose_secret().to_vec()).unwrap()
}

#[tokio::test]
async fn a_root_key_is_exchanged_and_the_old_one_can_go() {
    let Node { platform, caller, data, .. } = Node::with(NOW, |parts| parts.root_keys = keys(1, &[])).await;
    seal_some(&platform, &caller).await;
    let before = platform.vault(&caller.principal).await.unwrap();
    assert_eq!((before.keys_pending, before.root_keys.len(), before.root_keys[0].keys), (0, 1, 2), "{before:?}");
    platform.shutdown().await;

    assert!(reopen(&data, keys(2, &[])).await.is_err(), "a key that never sealed anything opens nothing");
    let platform = reopen(&data, keys(2, &[1])).await.unwrap();
    assert_eq!(value(&platform, &caller).await, VALUE, "the new node reads what the old key wraps");
    let told = platform.vault(&caller.principal).await.unwrap();
    assert_eq!((told.root_key.clone(), told.keys_pending), (before.root_key.clone(), 0), "nobody has said so yet");
    assert_ne!(told.node_root_key, told.root_key);
    super::keep_up(&platform).await;
    assert_eq!(platform.vault(&caller.principal).await.unwrap(), told, "the chores begin no rotation");

    let wrong = super::Rewrap { root_key: told.root_key.clone() };
    assert!(matches!(platform.rewrap(&caller, wrong).await, Err(Error::Conflict { .. })), "another node was meant");
    let after = fresh(platform.rewrap(&caller, super::Rewrap { root_key: told.node_root_key.clone() }).await.unwrap());
    assert_eq!(after.replaced, std::slice::from_ref(&told.root_key));
    assert_eq!((after.root_key.as_str(), after.keys_pending), (told.node_root_key.as_str(), 0), "{after:?}");
    assert_eq!(after.root_keys, [super::RootKeyUse { id: told.node_root_key, keys: 2 }]);
    assert_eq!(value(&platform, &caller).await, VALUE);
    platform.shutdown().await;

    assert!(reopen(&data, keys(1, &[])).await.is_err(), "the old key alone is not the key any more");
    // A node that was forgotten with the old key as its own takes nothing back, and wraps nothing with it.
    let late = reopen(&data, keys(1, &[2])).await.unwrap();
    let back = super::Rewrap { root_key: told.root_key };
    assert!(matches!(late.rewrap(&caller, back).await, Err(Error::Conflict { .. })));
    let order = RotateDataKey { organization: caller.principal.org };
    assert!(matches!(late.rotate_data_key(&caller, order).await, Err(Error::Conflict { .. })));
    late.shutdown().await;
    let platform = reopen(&data, keys(2, &[])).await.unwrap();
    assert_eq!(value(&platform, &caller).await, VALUE);
    let own = platform.store.system_list_receipt_keys().await.unwrap().remove(0);
    platform.vault.unseal_own(&own.id, "seed", &own.wrapped_key, &own.sealed_seed).unwrap();
}

/// A node that has the old key as its own makes a data key after the rotation was said: another one's chores wrap it anew.
#[tokio::test]
async fn what_a_late_node_wraps_is_wrapped_anew() {
    let Node { platform, caller, data, .. } = Node::with(NOW, |parts| parts.root_keys = keys(2, &[1])).await;
    seal_some(&platform, &caller).await;
    let late = Vault::open(&platform.store, keys(1, &[2]), Startup::begin(true)).await.unwrap();
    let (dek, wrapped) = late.sealer.new_dek(caller.principal.org).unwrap();
    let row = livery_store::DataKeyRow {
        org: caller.principal.org,
        kid: dek.kid().to_owned(),
        wrapped,
        created_at: NOW.plus_millis(5),
    };
    platform.store.write(move |tx| Box::pin(async move { tx.insert_data_key(&row).await })).await.unwrap();
    assert_eq!(platform.vault(&caller.principal).await.unwrap().keys_pending, 1);
    let without = Vault::open(&platform.store, keys(2, &[]), Startup::begin(true)).await;
    assert!(without.is_err_and(|error| error.to_string().contains("still wrapped under")), "a key is missing");
    super::keep_up(&platform).await;
    let view = platform.vault(&caller.principal).await.unwrap();
    assert_eq!((view.keys_pending, view.values_pending), (0, 0), "{view:?}");
    platform.shutdown().await;
    let platform = reopen(&data, keys(2, &[])).await.unwrap();
    assert_eq!(value(&platform, &caller).await, VALUE);
}

#[tokio::test]
async fn a_data_key_is_exchanged_under_readers_and_writers() {
    let Node { platform, caller, data: _data, .. } = Node::at(NOW).await;
    let org = caller.principal.org;
    seal_some(&platform, &caller).await;
    // Another node, with the data key it read before.
    let root = RootKey::File(platform.config.data_dir.join("root.key"));
    let other = Vault::open(&platform.store, root.into(), Startup::begin(true)).await.unwrap();
    let secret = Secret::from("whsec_sealed-by-another-node".to_owned());
    let early = other.seal(&platform.store, org, "con_x", "value", &secret, NOW).await.unwrap();

    let view = fresh(platform.rotate_data_key(&caller, RotateDataKey { organization: org }).await.unwrap());
    assert_eq!((view.values_pending, view.root_keys[0].keys), (0, 3), "{view:?}");
    let newest = platform.store.list_data_keys(org).await.unwrap()[0].kid.clone();
    let all = [SealedColumn::Connection, SealedColumn::Provider, SealedColumn::WebhookSecret, SealedColumn::WebhookKey];
    for column in all {
        let under_none = platform.store.values_under_other_keys(org, column, "none", "").await.unwrap();
        assert_eq!(under_none.len(), 1, "{column:?}");
        assert!(under_none[0].sealed.starts_with(&format!("v1:{newest}:")), "{column:?}");
    }
    assert_eq!(value(&platform, &caller).await, VALUE);
    let late = platform.vault.seal(&platform.store, org, "con_y", "value", &secret, NOW).await.unwrap();
    for (owner, sealed) in [("con_x", early), ("con_y", late)] {
        for vault in [&other, &platform.vault] {
            let opened = vault.unseal(&platform.store, org, owner, "value", &sealed, NOW).await.unwrap();
            assert!(opened.ct_eq(secret.expose_secret()), "{owner}");
        }
    }
    let again = fresh(platform.rotate_data_key(&caller, RotateDataKey { organization: org }).await.unwrap());
    assert_eq!((again.values_pending, again.root_keys[0].keys), (0, 4), "a clock that stands still makes no older key");
    assert_ne!(platform.store.list_data_keys(org).await.unwrap()[0].kid, newest);
}

/// One that does not open is left as it is and holds nothing up.
#[tokio::test]
async fn a_damaged_value_stops_no_rotation() {
    let Node { platform, caller, data: _data, .. } = Node::at(NOW).await;
    let org = caller.principal.org;
    seal_some(&platform, &caller).await;
    let before =
        platform.store.values_under_other_keys(org, SealedColumn::Provider, "none", "").await.unwrap().remove(0);
    let damaged = format!("{}AAAA", &before.sealed[..before.sealed.len() - 4]);
    let exchanged = damaged.clone();
    platform
        .store
        .write(move |tx| {
            Box::pin(async move { tx.exchange_sealed_value(org, SealedColumn::Provider, &before, &exchanged).await })
        })
        .await
        .unwrap();
    let view = fresh(platform.rotate_data_key(&caller, RotateDataKey { organization: org }).await.unwrap());
    assert_eq!(view.values_pending, 1);
    let left = platform.store.values_under_other_keys(org, SealedColumn::Provider, "none", "").await.unwrap();
    assert_eq!(left[0].sealed, damaged);
    assert_eq!(value(&platform, &caller).await, VALUE);
}

#[tokio::test]
async fn the_vault_is_the_operators() {
    let Node { platform, mut caller, .. } = Node::at(NOW).await;
    caller.principal.scopes.retain(|scope| *scope != crate::principal::Scope::OrganizationsWrite);
    let order = RotateDataKey { organization: caller.principal.org };
    let answers = [
        platform.vault(&caller.principal).await.map(drop),
        platform.rewrap(&caller, super::Rewrap { root_key: String::new() }).await.map(drop),
        platform.rotate_data_key(&caller, order).await.map(drop),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(Error::Forbidden { .. })), "{answer:?}");
    }
}
