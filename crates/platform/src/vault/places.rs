//! Where root keys are, and how a node comes by them when it starts.

use std::path::PathBuf;

use livery_broker::keyring::{Keyring, KeyringError};
use livery_broker::seal::{Existing, KekSource};
use livery_broker::{Sealer, Secret};
use livery_core::{Error, Result};
use livery_store::Store;

use super::Transit;
use crate::startup::Startup;

/// Where a root key comes from.
pub enum RootKey {
    /// A file of this node; the first one is created when nothing is sealed yet.
    File(PathBuf),
    /// Text: 64 hex digits or base64 of 32 bytes.
    Text(Secret),
    /// Kept wrapped in the database; only this key of a key management service opens it.
    Transit(Box<Transit>),
    /// An entry in the keyring of this node's user.
    Keyring(Keyring),
}

/// The root keys of a node: one wraps data keys, and all open what they wrapped.
pub struct RootKeys {
    /// The one that wraps.
    pub current: RootKey,
    /// Those before a rotation, and the next one.
    pub others: Vec<RootKey>,
}

impl From<RootKey> for RootKeys {
    fn from(current: RootKey) -> Self {
        Self { current, others: Vec::new() }
    }
}

impl RootKey {
    /// Where this node has it; `None` for one that has to be asked for first ([`RootKeys::fetched`]).
    fn source(&self) -> Option<KekSource> {
        match self {
            Self::File(path) => Some(KekSource::File(path.clone())),
            Self::Text(text) => Some(KekSource::Text(Secret::new(text.expose_secret().to_vec()))),
            Self::Transit(_) | Self::Keyring(_) => None,
        }
    }

    async fn fetched(self, store: &Store, startup: Startup, may_create: bool) -> Result<Self> {
        match self {
            Self::Transit(transit) => Ok(Self::Text(transit.root_key(store, startup, may_create).await?)),
            Self::Keyring(entry) => Ok(Self::Text(from_keyring(&entry, may_create).await?)),
            here => Ok(here),
        }
    }
}

impl RootKeys {
    /// The same keys, with none left that somebody else has to be asked for. `sealed`: whether the database has a root key
    /// already; then a new one makes sense only beside it. A key to come may be made behind a service that all nodes share; a
    /// keyring is one machine's, and among the others it is the one before.
    pub(super) async fn fetched(self, store: &Store, startup: Startup, sealed: bool) -> Result<Self> {
        let may_create = !sealed || !self.others.is_empty();
        let current = self.current.fetched(store, startup, may_create).await?;
        let mut others = Vec::with_capacity(self.others.len());
        for other in self.others {
            let may_create = matches!(other, RootKey::Transit(_));
            others.push(other.fetched(store, startup, may_create).await?);
        }
        Ok(Self { current, others })
    }
}

/// The sealer of a database whose key check says `check`, or why this key is not its key.
pub(super) fn open_sealer(root_keys: &RootKeys, check: Option<&str>) -> Result<Sealer> {
    let unfetched = || Error::internal("a root key was not asked for");
    let others = root_keys.others.iter().filter_map(RootKey::source).collect();
    let current = root_keys.current.source().ok_or_else(unfetched)?;
    Sealer::open(current, others, Existing { check, any_sealed: check.is_some() }).map_err(|error| Error::Unavailable {
        detail: format!(
            "{error} (nodes that share a database share its root key: LIVERY_ROOT_KEY, or the same root.key)"
        ),
        retry_after_s: 0,
    })
}

/// The root key in the keyring's entry, made if there is none and `may_create`.
async fn from_keyring(entry: &Keyring, may_create: bool) -> Result<Secret> {
    let unavailable = |why: String| Error::Unavailable { detail: why, retry_after_s: 0 };
    let said = |error: KeyringError| unavailable(format!("the root key in the keyring's entry {entry}: {error}"));
    match entry.root_key().await.map_err(said)? {
        Some(key) => Ok(key),
        None if may_create => entry.create_root_key().await.map_err(said),
        None => Err(unavailable(format!(
            "the keyring has no entry {entry}, and the database holds values sealed under a root key; put the entry back, or \
             that key into LIVERY_ROOT_KEY_OTHERS until `livery vault rewrap` is done"
        ))),
    }
}
