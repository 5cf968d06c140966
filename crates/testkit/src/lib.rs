//! Fakes with teeth: a model server that plays scripts, obeys every instruction it reads or breaks in every known way,
//! a webhook receiver that checks signatures, an API that counts what it did, a strict authorization server, an S3 server, a
//! mail server and a key management service that are as unwell as a test wants them. And one real thing: a Postgres server of
//! the tests' own.
//!
//! Refused: outbound calls. Everything here only listens, on 127.0.0.1 and a port of the kernel's choice unless told otherwise.
//!
//! Walk on: [`fake_model`], then [`webhook_sink`], [`fake_api`], [`fake_oauth`], [`fake_s3`], [`fake_smtp`], [`fake_transit`] and
//! [`postgres`].
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod capture;
pub mod fake_api;
pub mod fake_model;
pub mod fake_oauth;
pub mod fake_registry;
pub mod fake_s3;
pub mod fake_smtp;
pub mod fake_transit;
mod listener;
pub mod postgres;
pub mod webhook_sink;

use std::path::PathBuf;

pub use fake_api::FakeApi;
pub use fake_model::{Config, FakeModel};
pub use fake_oauth::FakeOauth;
pub use fake_s3::FakeS3;
pub use fake_smtp::FakeSmtp;
pub use fake_transit::FakeTransit;
pub use postgres::Postgres;
pub use webhook_sink::WebhookSink;

/// The recorded traffic and packages tests read: `LIVERY_FIXTURES`, or `shared/fixtures` beside the checkout. `None` when
/// absent; the caller then prints `SKIPPED:` with the reason.
pub fn fixtures_dir() -> Option<PathBuf> {
    let folder = std::env::var_os("LIVERY_FIXTURES")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures")), PathBuf::from);
    folder.is_dir().then_some(folder)
}
