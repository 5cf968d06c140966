//! The platform's own keys: the first is made once, the newest comes first, none goes.

use livery_store::ReceiptKeyRow;

use crate::conformance;
use crate::world::at;

fn key(id: &str, seconds: i64) -> ReceiptKeyRow {
    ReceiptKeyRow {
        id: id.to_owned(),
        public_key: format!("public {id}"),
        wrapped_key: "wrapped".into(),
        sealed_seed: "sealed".into(),
        created_at: at(seconds),
    }
}

conformance! {
    async fn the_first_key_is_made_once_and_the_newest_signs(world) {
        assert_eq!(world.store.system_list_receipt_keys().await.unwrap().len(), 0);
        for id in ["rk_1", "rk_2"] {
            let row = key(id, 1);
            world.store.write(move |tx| Box::pin(async move { tx.system_insert_first_receipt_key(&row).await })).await.unwrap();
        }
        let row = key("rk_3", 2);
        world.store.write(move |tx| Box::pin(async move { tx.system_insert_receipt_key(&row).await })).await.unwrap();
        let keys = world.store.system_list_receipt_keys().await.unwrap();
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        assert_eq!(ids, ["rk_3", "rk_1"]);
        assert!(keys[1] == key("rk_1", 1));
    }
}
