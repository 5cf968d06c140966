//! The only way out for a run: address guard, injection at the last moment, scrubbing on the way back, sealing of secrets.
//!
//! Absent on purpose: persistence. What has to be kept (wrapped keys, sealed values) leaves as text and comes back as text;
//! `platform` keeps it. Nothing outside this crate builds an HTTP client, and nothing in it hands a plaintext secret to
//! anything but the one header of the one request it was sealed for.
//!
//! One call walks the rooms in this order: [`guard`] (is this address allowed?) → [`transport`] (dial exactly that address,
//! strip, inject, send) → [`scrub`] (the answer without the key). [`engine`] walks them for one call through a connection.
//! [`mail`] is the same way out for a message.
//! [`seal`] and [`secret`] are what the key is kept in, [`keyring`] one place of the key above it; [`oauth`] and [`jwt`] exchange one for a token. [`proxy`] is where code
//! in a sandbox knocks, and [`ws`] what it may speak besides requests.
//! [`policy`] says whether a tenant lets a request go.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod ed25519;
pub mod engine;
pub mod error;
pub mod grpc;
pub mod guard;
pub mod jwt;
pub mod keyring;
pub mod mail;
pub mod oauth;
pub mod policy;
pub mod postgres;
pub mod proxy;
pub mod registry;
pub mod scrub;
pub mod seal;
pub mod secret;
pub mod sql;
pub mod transport;
pub mod ws;

pub use error::{Error, Result};
pub use guard::{Target, UrlRefused};
pub use seal::{Aad, Dek, Sealer};
pub use secret::Secret;
pub use transport::{
    Body, Broker, BrokerConfig, ConfigError, Credential, Inbound, Limits, OperatorAnswer, OperatorBody, OperatorClient,
    Outbound, Relayed, Slot, Timeouts, Upload,
};
