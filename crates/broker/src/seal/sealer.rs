//! [`Sealer`]: the root keys in hand, and what they do: wrap, unwrap, re-wrap data keys, and prove themselves by a check
//! value. [`TenantKeys`]: a tenant's data keys, several readable and one writable.

use livery_core::id::OrgId;

use super::key::{Dek, Kek, Key};
use super::root::{Existing, KekSource, KeyError};
use super::{Aad, SealError, domain, format, push_part};
use crate::Secret;

const CHECK_TEXT: &[u8] = b"livery root key check";

/// The root keys: the first one writes, all of them read.
pub struct Sealer {
    writable: Kek,
    older: Vec<Kek>,
}

impl Sealer {
    /// Loads the root key and checks it against what the database holds. `older` are root keys still needed for reading
    /// while a rotation is under way; they are never created.
    ///
    /// Only a source [`KekSource::File`] that does not exist, with nothing sealed yet, makes a new key.
    ///
    /// # Errors
    /// Every [`KeyError`] is a reason not to start.
    pub fn open(source: KekSource, older: Vec<KekSource>, existing: Existing<'_>) -> Result<Self, KeyError> {
        if existing.check.is_none() && existing.any_sealed {
            return Err(KeyError::CheckMissing);
        }
        let writable = source.load(existing.check.is_none())?;
        let older = older.into_iter().map(|source| source.load(false)).collect::<Result<_, _>>()?;
        let sealer = Self { writable, older };
        if let Some(check) = existing.check {
            sealer.verify_check(check)?;
        }
        Ok(sealer)
    }

    /// A value to record once at first start (and again after a root rotation): proof of which root key is in use.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn check_value(&self) -> Result<String, SealError> {
        self.writable.0.seal(&check_aad(), CHECK_TEXT)
    }

    fn verify_check(&self, check: &str) -> Result<(), KeyError> {
        let need = format::sealed_kid(check)?;
        let Some(kek) = self.root(need) else {
            return Err(KeyError::Wrong { have: self.writable.kid().to_owned(), need: need.to_owned() });
        };
        let text = kek.open(&check_aad(), check)?;
        if text.ct_eq(CHECK_TEXT) { Ok(()) } else { Err(KeyError::CheckDamaged) }
    }

    /// Id of the root key that wraps from now on.
    pub fn kid(&self) -> &str {
        self.writable.kid()
    }

    /// Ids of all root keys that open what they wrapped, the wrapping one first.
    pub fn kids(&self) -> Vec<&str> {
        std::iter::once(&self.writable).chain(&self.older).map(Kek::kid).collect()
    }

    /// A new data key for this tenant, and its wrapped form to store.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn new_dek(&self, tenant: OrgId) -> Result<(Dek, String), SealError> {
        let dek = Dek(Key::generate()?);
        let wrapped = self.wrap(tenant, &dek)?;
        Ok((dek, wrapped))
    }

    /// Unwraps a stored data key of this tenant.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`] when its root key is not loaded, [`SealError::Tampered`] for another tenant's key.
    pub fn open_dek(&self, tenant: OrgId, wrapped: &str) -> Result<Dek, SealError> {
        let kid = format::sealed_kid(wrapped)?;
        let root = self.root(kid).ok_or_else(|| SealError::UnknownKey { kid: kid.to_owned() })?;
        Key::from_bytes(root.open(&dek_aad(tenant), wrapped)?).map(Dek)
    }

    /// The same data key wrapped under the writable root key, or `None` when it already is. Sealed fields stay as they are.
    ///
    /// # Errors
    /// Those of [`Self::open_dek`].
    pub fn rewrap(&self, tenant: OrgId, wrapped: &str) -> Result<Option<String>, SealError> {
        if format::sealed_kid(wrapped)? == self.writable.kid() {
            return Ok(None);
        }
        let dek = self.open_dek(tenant, wrapped)?;
        self.wrap(tenant, &dek).map(Some)
    }

    fn wrap(&self, tenant: OrgId, dek: &Dek) -> Result<String, SealError> {
        self.writable.0.seal(&dek_aad(tenant), dek.0.material().expose_secret())
    }

    fn root(&self, kid: &str) -> Option<&Key> {
        std::iter::once(&self.writable).chain(&self.older).map(|kek| &kek.0).find(|key| key.kid() == kid)
    }
}

/// A tenant's data keys: new values are sealed under the first, older values still open.
pub struct TenantKeys {
    writable: Dek,
    older: Vec<Dek>,
}

impl TenantKeys {
    /// From the writable key and the ones still needed for reading.
    pub fn new(writable: Dek, older: Vec<Dek>) -> Self {
        Self { writable, older }
    }

    /// Seals under the writable key.
    ///
    /// # Errors
    /// Those of [`Dek::seal`].
    pub fn seal(&self, aad: &Aad<'_>, plaintext: &Secret) -> Result<String, SealError> {
        self.writable.seal(aad, plaintext)
    }

    /// Opens under whichever key the text names.
    ///
    /// # Errors
    /// Those of [`Dek::open`].
    pub fn open(&self, aad: &Aad<'_>, sealed: &str) -> Result<Secret, SealError> {
        let kid = format::sealed_kid(sealed)?;
        std::iter::once(&self.writable)
            .chain(&self.older)
            .find(|dek| dek.kid() == kid)
            .ok_or_else(|| SealError::UnknownKey { kid: kid.to_owned() })?
            .open(aad, sealed)
    }

    /// Whether a sealed text is already under the writable key; a rotation re-seals those that are not.
    ///
    /// # Errors
    /// [`SealError::Malformed`].
    pub fn is_current(&self, sealed: &str) -> Result<bool, SealError> {
        Ok(format::sealed_kid(sealed)? == self.writable.kid())
    }
}

fn check_aad() -> Vec<u8> {
    domain("livery.seal.check.v1")
}

fn dek_aad(tenant: OrgId) -> Vec<u8> {
    let mut out = domain("livery.seal.dek.v1");
    push_part(&mut out, tenant.to_string().as_bytes());
    out
}
