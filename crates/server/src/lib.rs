//! The HTTP edge: routes, who asks, problem documents, event streams, the OpenAPI document and its page.
//!
//! Translates and decides nothing: no SQL, no business rule, no row of another tenant within reach. What arrives is
//! hostile, so every size, wait and count has a named limit in [`options`].
//!
//! Walk on: `serve` accepts connections, `edge` wraps every request, `routes` is the table of contents, `problem` the only
//! place that knows which error has which status.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod accept;
mod answer;
mod app;
mod auth;
mod body;
mod context;
mod docs;
mod edge;
mod events;
mod guarded;
mod idempotency;
mod inbound;
mod json;
mod openapi;
pub mod options;
mod params;
mod path;
mod phase;
mod problem;
mod rate;
mod routes;
mod schemas;
mod serve;
mod shell;
mod streams;
mod upgrade;
mod visitor;

pub use edge::Edge;
pub use openapi::document;
pub use options::Options;
pub use problem::CODES;
pub use serve::{listen, serve, serve_metrics};
