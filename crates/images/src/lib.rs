//! Images for sandboxes: archives in, unpacked roots out, every byte checked before it is used.
//!
//! A [`Store`] is a folder. Blobs (manifests, configurations, layers) lie in it under their SHA-256, once each; an image is
//! unpacked once into a root that all its sandboxes share, read-only. What comes in is hostile: [`layer`] reads archives within
//! [`Limits`], and `tree` writes by open folders that no path leads out of.
//!
//! Refused here: networks, tenants, programs, clocks. Who may use an image and who fetches one is decided by others.
//! Read next: `store.rs`, then `layer.rs`.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod blobs;
mod build;
mod digest;
mod error;
mod index;
pub mod layer;
mod limits;
pub mod manifest;
mod offer;
mod pull;
mod source;
mod store;
mod tree;
mod unpack;

pub use build::pack;
pub use digest::Digest;
pub use error::{Error, Result};
pub use index::{Image, Layer};
pub use limits::Limits;
pub use pull::Wanted;
pub use source::Source;
pub use store::{Change, Collected, Found, Lease, Store};
