//! OAuth 2.0 as a client speaks it: discovery, the authorization request and its answer, and the exchanges that give tokens.
//!
//! Every server here is hostile until its words are checked: its documents and answers are read with limits, its error texts
//! are mapped to a closed list and never shown, its tokens go into a [`crate::Secret`] and nowhere else. All of it goes through
//! the guard like any other call. An answer of a token endpoint ends here: no front end can see one.
//!
//! Read next: `oauth/exchange.rs`, then `oauth/authorization.rs`.

mod answer;
mod authorization;
mod exchange;
mod metadata;

pub use answer::{DeviceCode, OauthError, TokenAnswer, Unreadable, read_device, read_token};
pub use authorization::{AuthorizationRequest, Callback, CallbackRefused, Pkce, random_word};
pub use exchange::{Client, Exchange, ExchangeFailed, Payload};
pub use metadata::{MetadataRefused, read_metadata};

#[cfg(test)]
mod tests;
