//! [`Secret`]: the one type plaintext credentials live in. Zeroed on drop, and without any trait that would print, serialise,
//! copy or compare it by accident. `expose_secret` is the only way in, so `grep expose_secret` lists every use.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes nobody may see. Deliberately no `Debug`, `Display`, `Serialize`, `Clone`, `PartialEq`, `AsRef` or `Deref`.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; the buffer given is the buffer that is zeroed later.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The plaintext. Keep the borrow short and put it nowhere.
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    /// For decrypting in place: the plaintext never exists in another buffer.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Equality in time that depends on the lengths alone.
    pub fn ct_eq(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

#[cfg(test)]
mod tests;
