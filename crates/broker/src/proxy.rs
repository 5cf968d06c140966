//! A transparent proxy for the code in one run's sandbox: HTTP/1.1 `CONNECT` with TLS ended here, HTTP/2 or HTTP/1.1 inside, and
//! plain absolute URLs.
//!
//! Each connection that leaves a sandbox is one stream, handed to [`Proxy::serve`]. Every byte of it is hostile. A client proves
//! three times whom it talks to: the tunnel's target, the name in its first TLS message and each request's `Host` must be one, or
//! the connection closes. A request that passes goes to the [`Gate`], as one plain value with a canonical [`Target`]; what leaves
//! is written anew by the transport and never copied through. There is no tunnel that is not looked into, and no rule that allows all.
//!
//! WebSockets are ended on both sides ([`crate::ws`]); every stream of HTTP/2 is a request of its own. What a client sends is never believed
//! to authenticate it: the stream it came on is the run.
//!
//! Read next: `proxy/serve.rs`, then `proxy/request.rs` for what is refused, `proxy/placeholder.rs`.
//!
//! [`Target`]: crate::guard::Target

mod authority;
mod body;
mod direct;
mod gate;
pub mod hello;
mod http2;
pub mod placeholder;
mod refusal;
mod request;
mod rewound;
mod serve;

pub use authority::{AuthorityFailed, Lifetime, NAMES_MAX};
pub use body::{Account, AskedBody, LOOKED_INTO_BYTES, REQUEST_BYTES_MAX};
pub use direct::{Direct, Leaving, Reach};
pub use gate::{Answered, Asked, Finding, FindingKind, Gate, Spoken};
pub use refusal::Refusal;
pub use rewound::Rewound;

use authority::Authority;
use placeholder::Placeholders;

/// The proxy of one run. No `Debug`: it holds the keys of the run's certificates.
pub struct Proxy<G> {
    gate: G,
    /// `None`: there is no name to speak for, and every tunnel is refused before TLS.
    authority: Option<Authority>,
    placeholders: Placeholders,
}

impl<G: Gate> Proxy<G> {
    /// A proxy that can speak for these names, at most [`NAMES_MAX`], during the run.
    ///
    /// # Errors
    /// The run's certificates cannot be made.
    pub fn new(
        gate: G,
        names: Vec<String>,
        placeholders: Placeholders,
        lifetime: Lifetime,
    ) -> Result<Self, AuthorityFailed> {
        let authority = if names.is_empty() { None } else { Some(Authority::new(names, lifetime)?) };
        Ok(Self { gate, authority, placeholders })
    }

    /// The certificate the sandbox must trust, as PEM; `None` when there is nothing to trust.
    pub fn authority_pem(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::pem)
    }

    /// Who decides.
    pub const fn gate(&self) -> &G {
        &self.gate
    }
}
