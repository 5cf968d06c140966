//! What every handler can reach.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use livery_core::id::TriggerId;
use livery_platform::Platform;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;

use crate::openapi;
use crate::options::{Options, SENDER_RATE, TRIGGER_RATE};
use crate::params::Known;
use crate::rate::Buckets;
use crate::streams::Streams;

/// Shared by all requests; a clone is a pointer.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) platform: Platform,
    pub(crate) options: Options,
    /// The OpenAPI document, as sent.
    pub(crate) document: Bytes,
    /// Which query parameters each operation knows, from the published document.
    pub(crate) known: Known,
    pub(crate) buckets: Buckets,
    /// Of each trigger, and of each network address that posts to triggers.
    pub(crate) trigger_buckets: Buckets<TriggerId>,
    pub(crate) sender_buckets: Buckets<IpAddr>,
    pub(crate) streams: Arc<Streams>,
    /// What larger bodies may still take, in KiB.
    pub(crate) body_budget: Arc<Semaphore>,
    /// Cancelled when the server begins to drain: event streams end, `/readyz` says no.
    pub(crate) draining: CancellationToken,
}

impl App {
    pub(crate) fn new(platform: Platform, options: Options, document: &OpenApi, draining: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            platform,
            document: openapi::json(document).into(),
            known: Known::of(document),
            buckets: Buckets::new(options.rate_per_s, options.rate_burst),
            trigger_buckets: Buckets::new(TRIGGER_RATE.0, TRIGGER_RATE.1),
            sender_buckets: Buckets::new(SENDER_RATE.0, SENDER_RATE.1),
            streams: Arc::new(Streams::new(options.event_streams_per_org_max)),
            body_budget: Arc::new(Semaphore::new((options.body_budget_bytes / 1024).min(Semaphore::MAX_PERMITS))),
            draining,
            options,
        }))
    }
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
