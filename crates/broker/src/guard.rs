//! The address guard: which destination may be dialled at all.
//!
//! Three gates, each refusing rather than repairing. [`Target`] parses a URL into one canonical form, and that form is what
//! is sent. [`AddressGuard`] judges an IP address against every range that is not the public internet. `resolve` looks a
//! name up once with a resolver of its own and answers only with addresses that all passed; the transport dials exactly
//! those, so a second, different DNS answer has nowhere to go.
//!
//! What `--allow-upstream CIDR` lifts: loopback (`127/8`, `::1`), private (`10/8`, `172.16/12`, `192.168/16`, `fc00::/7`)
//! and shared (`100.64/10`) space inside that network. It never lifts metadata addresses, link-local, multicast, reserved,
//! documentation or transition ranges, nor Livery's own listeners.
//!
//! Read next: `guard/ranges.rs`.

mod dns;
mod path;
mod ports;
mod ranges;
mod request;
pub(crate) mod resolve;
mod target;

pub use ranges::AddressGuard;
pub use request::{CanonicalRequest, PARAMETERS_MAX, RequestRefused};
pub use target::{Host, Scheme, Target, UrlRefused};

#[cfg(test)]
mod tests;
