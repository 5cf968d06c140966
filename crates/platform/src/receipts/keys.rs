//! The platform's own signing keys: made when the first receipt is asked for, sealed like every secret, rotated by the operator.
//!
//! The newest key signs. Old ones stay listed, because what they signed is checked with them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_broker::ed25519::{SigningKey, VerifyingKey};
use livery_core::{Error, Result, Timestamp, canonical};
use livery_store::ReceiptKeyRow;
use serde::{Deserialize, Serialize};

use crate::{Caller, Platform, Posted, Scope};

/// What the seed is sealed as.
const SEED_FIELD: &str = "seed";
/// Hex digits of a key's name.
const NAME_DIGITS: usize = 16;

/// A public key, as everybody may have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptKeyView {
    /// `rk_` and the first digits of the SHA-256 of the key's bytes.
    pub id: String,
    /// `ed25519`.
    pub algorithm: String,
    /// The 32 bytes, standard base64.
    pub public_key: String,
    /// Whether new receipts are signed with it.
    pub current: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Every key, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptKeys {
    /// Newest first.
    pub data: Vec<ReceiptKeyView>,
}

impl Platform {
    /// Every public key that receipts were signed with, newest first. They are no secret: no key is needed to ask.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn receipt_keys(&self) -> Result<ReceiptKeys> {
        self.receipt_key().await?;
        let rows = self.store.system_list_receipt_keys().await?;
        let view = |(index, row): (usize, ReceiptKeyRow)| ReceiptKeyView { current: index == 0, ..view_of(&row) };
        Ok(ReceiptKeys { data: rows.into_iter().enumerate().map(view).collect() })
    }

    /// Makes a new key, which signs from now on: the operator's right.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `organizations:write`.
    pub async fn rotate_receipt_key(&self, caller: &Caller) -> Result<Posted<ReceiptKeyView>> {
        caller.principal.require(Scope::OrganizationsWrite)?;
        let row = self.new_receipt_key()?;
        self.post(caller, move |tx| {
            Box::pin(async move {
                tx.system_insert_receipt_key(&row).await?;
                Ok(view_of(&row))
            })
        })
        .await
    }

    /// The key that signs, and its name. Read anew each time: another node may have rotated it.
    pub(super) async fn receipt_key(&self) -> Result<(String, SigningKey)> {
        let mut rows = self.store.system_list_receipt_keys().await?;
        if rows.is_empty() {
            let row = self.new_receipt_key()?;
            self.store.write(move |tx| Box::pin(async move { tx.system_insert_first_receipt_key(&row).await })).await?;
            rows = self.store.system_list_receipt_keys().await?;
        }
        let row = rows.into_iter().next().ok_or_else(|| Error::internal("a receipt key was not kept"))?;
        let seed = self.vault.unseal_own(&row.id, SEED_FIELD, &row.wrapped_key, &row.sealed_seed)?;
        Ok((row.id, SigningKey::from_secret(seed).map_err(Error::internal)?))
    }

    fn new_receipt_key(&self) -> Result<ReceiptKeyRow> {
        let key = SigningKey::generate().map_err(Error::internal)?;
        let id = name_of(&key.public());
        let (wrapped_key, sealed_seed) = self.vault.seal_own(&id, SEED_FIELD, key.seed())?;
        let public_key = key.public().to_string();
        Ok(ReceiptKeyRow { id, public_key, wrapped_key, sealed_seed, created_at: self.clock.now() })
    }
}

fn view_of(row: &ReceiptKeyRow) -> ReceiptKeyView {
    ReceiptKeyView {
        id: row.id.clone(),
        algorithm: livery_core::receipt::ALGORITHM.to_owned(),
        public_key: row.public_key.clone(),
        current: true,
        created_at: row.created_at,
    }
}

/// The name of a key: anybody who has the key can make it.
pub fn name_of(key: &VerifyingKey) -> String {
    format!("rk_{}", &canonical::sha256_hex(key.as_bytes())[..NAME_DIGITS])
}

/// A signature as text.
pub(super) fn encode(signature: &[u8]) -> String {
    STANDARD.encode(signature)
}

/// A signature from its text; nothing when it is none.
pub(super) fn decode(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_default()
}
