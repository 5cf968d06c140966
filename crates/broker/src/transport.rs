//! One call out, in HTTP/1.1 or HTTP/2: dial the checked address, strip what the caller may not send, inject the key, stream the answer
//! back scrubbed.
//!
//! [`Broker::send`] is the only way out. Refused: redirects (the 3xx is the answer), codings nobody knows, upgrades,
//! trailers, a destination the guard did not pass. Dropping the returned future or [`Body`] closes the connection.
//!
//! A limit of what is claimed: the key is zeroed in everything of ours, but the HTTP library's header value and write buffer
//! are only freed.
//!
//! Read next: `transport/send.rs` for the walk, `transport/headers.rs` for what is stripped and what comes back.

mod body;
mod coding;
mod config;
mod database;
mod dial;
mod headers;
mod identity;
mod operator;
mod outbound;
mod pool;
mod send;
mod sigv4;
mod socket;
mod tls;
mod upload;
mod wire;

pub use body::Body;
pub use config::{BrokerConfig, ConfigError, Limits, Timeouts};
pub use identity::{IdentityRefused, check_identity};
pub use operator::{OperatorAnswer, OperatorBody, OperatorClient};
pub use outbound::{Credential, Finding, Inbound, Outbound, Place, Relayed, Slot, Speech, Took};
pub use send::Broker;
pub use socket::Socket;
pub use upload::Upload;

pub(crate) use database::{Line, Stream};
pub(crate) use pool::Permit;

pub(crate) use coding::{Decoding, decoded};
pub(crate) use headers::{folded, is_authentication_parameter, taken};
pub(crate) use sigv4::BODY_BYTES_MAX as SIGNED_BYTES_MAX;

#[cfg(test)]
mod tests;
