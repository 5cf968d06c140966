//! [`Broker`]: the walk of one call.

use std::sync::Arc;

use super::{BrokerConfig, ConfigError, Inbound, Outbound};
use crate::guard::{AddressGuard, Target, UrlRefused};
use crate::{Error, Result};

/// The way out. Cheap to clone; all clones share one pool.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Shared>,
}

struct Shared {
    guard: AddressGuard,
    config: BrokerConfig,
}

impl Broker {
    /// Reads the operator's roots and prepares the resolver; opens no connection.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting to mend.
    pub fn new(config: BrokerConfig) -> Result<Self, ConfigError> {
        let guard = AddressGuard::new(config.allow_upstream.clone(), config.own_addresses.clone());
        Ok(Self { inner: Arc::new(Shared { guard, config }) })
    }

    /// Whether a URL could be dialled as far as can be told without a look-up: for refusing it when it is saved.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub fn check(&self, target: &Target) -> Result<()> {
        let _ = (&self.inner.guard, &self.inner.config, target);
        Ok(())
    }

    /// Sends one call and returns when the head of the answer is there.
    ///
    /// # Errors
    /// Every [`Error`]; see [`Error::retryable`] and [`Error::nothing_sent`].
    pub async fn send(&self, call: Outbound) -> Result<Inbound> {
        self.check(&call.target)?;
        Err(Error::ConnectFailed)
    }
}

impl From<UrlRefused> for Error {
    fn from(_: UrlRefused) -> Self {
        Self::BadRequest { why: "the URL or path is not in a form that can be sent" }
    }
}
