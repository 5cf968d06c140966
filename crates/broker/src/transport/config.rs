//! What an operator sets once, and what a caller may set per call.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Set once at start-up.
#[derive(Debug, Clone, Default)]
pub struct BrokerConfig {
    /// `--allow-upstream`: private networks that may be dialled (see [`crate::guard`] for what it lifts).
    pub allow_upstream: Vec<IpNet>,
    /// `--upstream-ca`: a PEM file of further roots, beside the system's.
    pub upstream_ca: Option<PathBuf>,
    /// `--resolver`: the only DNS server to ask; otherwise those of `/etc/resolv.conf`.
    pub resolver: Option<SocketAddr>,
    /// Every address Livery listens on: never dialled, whatever else is allowed.
    pub own_addresses: Vec<SocketAddr>,
    /// Every name Livery answers to, lower case: never looked up.
    pub own_names: Vec<String>,
    /// Sizes and counts.
    pub limits: Limits,
}

/// Sizes and counts that hold for every call.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest request body in bytes.
    pub request_body_bytes_max: usize,
    /// Largest head of an answer in bytes.
    pub response_head_bytes_max: usize,
    /// Most headers of an answer.
    pub response_headers_max: usize,
    /// Most headers a caller may give.
    pub request_headers_max: usize,
    /// Largest request head in bytes.
    pub request_head_bytes_max: usize,
    /// Most calls of one tenant at once; more are [`crate::Error::Busy`].
    pub in_flight_per_tenant_max: usize,
    /// Idle connections kept for one (tenant, credential, origin).
    pub idle_per_origin_max: usize,
    /// Idle connections kept altogether.
    pub idle_total_max: usize,
    /// How long an idle connection is kept.
    pub idle_connection: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body_bytes_max: 64 * 1024 * 1024,
            response_head_bytes_max: 64 * 1024,
            response_headers_max: 100,
            request_headers_max: 100,
            request_head_bytes_max: 16 * 1024,
            in_flight_per_tenant_max: 512,
            idle_per_origin_max: 8,
            idle_total_max: 256,
            idle_connection: Duration::from_secs(60),
        }
    }
}

/// Waits of one call. All of them end in [`crate::Error::Timeout`] with their phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Looking up the name.
    pub resolve: Duration,
    /// TCP connect, all addresses together.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// From the first byte of the request sent to the head of the answer.
    pub first_byte: Duration,
    /// Between two pieces of the answer's body.
    pub idle: Duration,
    /// The whole call, to the last byte of the answer.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            resolve: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            tls: Duration::from_secs(10),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(300),
            total: Duration::from_secs(3600),
        }
    }
}

/// Why the broker cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of `--upstream-ca` cannot be read.
    #[error("--upstream-ca {}: {source}", path.display())]
    UpstreamCaUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of `--upstream-ca` holds no usable certificate.
    #[error("--upstream-ca {}: no PEM certificate that can serve as a root", path.display())]
    UpstreamCaInvalid {
        /// The file.
        path: PathBuf,
    },
}
