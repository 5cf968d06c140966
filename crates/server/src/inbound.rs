//! Messages to triggers: the one POST without a key. What it says is believed by `platform` alone, after its signature.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::HeaderMap;
use http::request::Parts;
use livery_core::id::TriggerId;
use livery_platform::triggers::{BODY_BYTES_MAX, Inbound};
use tokio::time::Instant;

use crate::app::App;
use crate::auth::context;
use crate::body::{collect, refuse_encoding};
use crate::path::Id;
use crate::problem::{Problem, Result};

/// The network address at the other end of a connection, put into its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The same as text, for the log: who decides something says where from.
pub(crate) struct From(pub(crate) Option<String>);

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Infallible> {
        Ok(Self(parts.extensions.get().map(|Peer(address)| address.to_string())))
    }
}

/// A message, read and not yet believed.
pub(crate) struct PostEvent {
    pub(crate) id: TriggerId,
    pub(crate) inbound: Inbound,
}

impl FromRequest<App> for PostEvent {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let now = Instant::now();
        if let Some(Peer(address)) = parts.extensions.get() {
            app.sender_buckets.draw(*address, "one network address may send", now)?;
        }
        let Id(id) = Id::from_request_parts(&mut parts, app).await?;
        app.trigger_buckets.draw(id, "a trigger takes", now)?;
        refuse_encoding(&parts.headers)?;
        let (body, _share) = collect(body, &parts.headers, BODY_BYTES_MAX, app).await?;
        let inbound = Inbound {
            headers: fields(&parts.headers),
            query: parts.uri.query().unwrap_or("").to_owned(),
            body,
            request_id: context(&parts)?.id,
        };
        Ok(Self { id, inbound })
    }
}

/// Header fields as text; those of one name in one text, as HTTP joins them.
fn fields(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match fields.get_mut(name.as_str()) {
            None => drop(fields.insert(name.as_str().to_owned(), value.into_owned())),
            Some(joined) => {
                joined.push_str(", ");
                joined.push_str(&value);
            }
        }
    }
    fields
}
