//! What a connection's sealed value is made of, for the kinds that have parts. `secret` wrote the lines that are read here.

use livery_broker::Secret;
use livery_core::{Error, Result};

/// An OAuth client: its id, and its secret if it has one.
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<Secret>,
}

/// A service account: who it is, which key this is, and the key in PEM.
pub(super) struct Account {
    pub(super) email: String,
    pub(super) key_id: String,
    pub(super) key: Secret,
}

impl Client {
    pub(super) fn read(value: &Secret) -> Result<Self> {
        let [id, secret] = lines(value)?;
        Ok(Self { id: text(id)?, secret: (!secret.is_empty()).then(|| Secret::new(secret.to_vec())) })
    }
}

impl Account {
    pub(super) fn read(value: &Secret) -> Result<Self> {
        let [email, key_id, key] = lines(value)?;
        Ok(Self { email: text(email)?, key_id: text(key_id)?, key: Secret::new(key.to_vec()) })
    }
}

/// So many lines; the last one is all the rest.
fn lines<const N: usize>(value: &Secret) -> Result<[&[u8]; N]> {
    let parts: Vec<&[u8]> = value.expose_secret().splitn(N, |byte| *byte == b'\n').collect();
    parts.try_into().map_err(|_| Error::internal("a sealed credential of another kind than its connection says"))
}

fn text(bytes: &[u8]) -> Result<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(Error::internal)
}
