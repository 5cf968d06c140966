//! A person's browser, in the middle of a consent: no API key, one cookie of ours.

use axum::extract::{FromRequestParts, RawQuery};
use http::header::COOKIE;
use http::request::Parts;
use tokio::time::Instant;

use crate::app::App;
use crate::inbound::Peer;
use crate::problem::{Problem, Result};

/// What a browser is known by between its two visits.
pub(crate) const COOKIE_NAME: &str = "livery_oauth";
/// Longest cookie field, in bytes.
const COOKIE_BYTES_MAX: usize = 8 * 1024;

/// A browser that came.
pub(crate) struct Visitor {
    /// The query of the address, as it came.
    pub(crate) query: String,
    /// Its cookie, if it has exactly one.
    pub(crate) browser: Option<String>,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        if let Some(Peer(address)) = parts.extensions.get() {
            app.sender_buckets.draw(*address, "one network address may send", Instant::now())?;
        }
        let RawQuery(query) = match RawQuery::from_request_parts(parts, app).await {
            Ok(query) => query,
            Err(never) => match never {},
        };
        Ok(Self { query: query.unwrap_or_default(), browser: browser_of(parts) })
    }
}

/// Two cookies of the name are two readings: then there is none.
fn browser_of(parts: &Parts) -> Option<String> {
    let fields = parts.headers.get_all(COOKIE).iter().filter(|field| field.len() <= COOKIE_BYTES_MAX);
    let pairs = fields.filter_map(|field| field.to_str().ok()).flat_map(|text| text.split(';'));
    let mut values = pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='));
    let value = values.next().filter(|value| value.bytes().all(|byte| byte.is_ascii_graphic()))?.to_owned();
    values.next().is_none().then_some(value)
}
