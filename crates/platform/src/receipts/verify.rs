//! Checking a receipt without a server: the signature, and an export of the log against the head.

use livery_broker::ed25519::VerifyingKey;
use livery_core::receipt::log::{EventsChecked, parse_events};
use livery_core::receipt::{Receipt, ReceiptRefused, Statement};
use serde::Serialize;

use super::keys::{decode, name_of};

/// Why a receipt is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It is no receipt.
    #[error(transparent)]
    Refused(#[from] ReceiptRefused),
    /// The key it names is not among those given.
    #[error("the receipt is signed with the key {key_id}, which is not among the keys given")]
    UnknownKey {
        /// The key.
        key_id: String,
    },
    /// Something in it was changed, or it was signed with another key.
    #[error(
        "the signature is not one of this statement under the key {key_id}: the receipt was changed, or another key signed it"
    )]
    Signature {
        /// The key.
        key_id: String,
    },
    /// The exported events cannot be read.
    #[error("the events cannot be read: {0}")]
    Events(String),
}

/// A receipt that holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    /// What was signed.
    pub receipt: Statement,
    /// With which key.
    pub key_id: String,
    /// What the exported events are, when some were given.
    pub events: Option<EventsChecked>,
}

/// Checks a receipt against keys one trusts, and exported events against the receipt. Findings about events are in the
/// answer; a receipt that does not hold is an error.
///
/// # Errors
/// [`Untrusted`].
pub fn verify(text: &str, keys: &[VerifyingKey], events: Option<&str>) -> Result<Verified, Untrusted> {
    let Receipt { receipt, signature } = Receipt::parse(text)?;
    let key_id = signature.key_id;
    let Some(key) = keys.iter().find(|key| name_of(key) == key_id) else {
        return Err(Untrusted::UnknownKey { key_id });
    };
    if key.verify(&receipt.signed_bytes(), &decode(&signature.value)).is_err() {
        return Err(Untrusted::Signature { key_id });
    }
    let events = match events {
        Some(text) => Some(receipt.log.check(receipt.run, &parse_events(text).map_err(Untrusted::Events)?)),
        None => None,
    };
    Ok(Verified { receipt, key_id, events })
}
