//! A request in a provider's words. The same request gives the same bytes; what is stable stands first.

mod anthropic;
mod chat;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::{Dialect, Options};
use crate::request::ModelRequest;

/// A request in a provider's words, without any key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRequest {
    /// Appended to the base URL.
    pub path: &'static str,
    /// Headers, names in lower case; no key among them.
    pub headers: Vec<(&'static str, String)>,
    /// Where `broker` puts the key.
    pub key: KeySlot,
    /// JSON.
    pub body: Vec<u8>,
}

/// The header a provider's key travels in: `header: {prefix}{key}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySlot {
    /// Lower case.
    pub header: &'static str,
    /// Before the key: empty or `Bearer `.
    pub prefix: &'static str,
}

impl Dialect {
    /// Translates a request. The same request gives the same bytes, and a longer conversation keeps the prefix.
    pub fn encode(&self, request: &ModelRequest, options: &Options) -> EncodedRequest {
        let accept = if options.stream { "text/event-stream" } else { "application/json" };
        let mut headers = vec![("content-type", "application/json".to_owned()), ("accept", accept.to_owned())];
        match self {
            Self::Anthropic => {
                headers.push(("anthropic-version", anthropic::VERSION.to_owned()));
                EncodedRequest {
                    path: "/v1/messages",
                    headers,
                    key: self.key(),
                    body: bytes(&anthropic::body(request, options)),
                }
            }
            Self::OpenAiChat(compat) => EncodedRequest {
                path: "/chat/completions",
                headers,
                key: self.key(),
                body: bytes(&chat::body(request, options, compat)),
            },
        }
    }

    /// Where the key of a request goes.
    pub const fn key(&self) -> KeySlot {
        match self {
            Self::Anthropic => KeySlot { header: "x-api-key", prefix: "" },
            Self::OpenAiChat(_) => KeySlot { header: "authorization", prefix: "Bearer " },
        }
    }
}

fn bytes(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("strings, numbers and maps with string keys always serialise")
}
