//! What placeholders are derived from: made once for a database, so that a run's are the same on every node and after every
//! restart, whatever becomes of the root key.
//!
//! It is kept as it is: what it makes is given to sandboxes, and a placeholder is good for nothing but to its own run.

use std::fmt::Write as _;

use livery_broker::Secret;
use livery_core::{Error, Result};

use crate::Platform;

/// Where it is kept.
const META: &str = "placeholder_key";
/// Its length in bytes.
const KEY_BYTES: usize = 32;

/// The key, made now if there is none.
pub(super) async fn placeholder_key(platform: &Platform) -> Result<Secret> {
    if let Some(key) = platform.store.system_get_meta(META).await? {
        return Ok(key.into());
    }
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    let mut made = String::with_capacity(2 * KEY_BYTES);
    for byte in bytes {
        let _ = write!(made, "{byte:02x}");
    }
    platform.store.write(move |tx| Box::pin(async move { tx.system_set_meta_once(META, &made).await })).await?;
    // Another node may have been first: what is there now decides.
    let key = platform.store.system_get_meta(META).await?;
    key.map(Secret::from).ok_or_else(|| Error::internal("the key of placeholders cannot be kept"))
}
