//! Who asks. A handler that takes one of these arguments cannot run without a valid API key.
//!
//! The key comes in `Authorization: Bearer lvk_…` and nowhere else. The same extractors refuse query parameters that the
//! published document does not list and count the key's rate, so that no handler can forget either.

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use livery_core::Error;
use livery_core::id::{EndUserId, RequestId};
use livery_platform::{Caller, Principal, Scope};
use tokio::time::Instant;

use crate::app::App;
use crate::context::Context;
use crate::idempotency;
use crate::options::BEARER_BYTES_MAX;
use crate::problem::{Problem, Result};

/// The field that names the end user a call is for.
const ON_BEHALF_OF: &str = "livery-on-behalf-of";

/// A caller who looks at something.
pub(crate) struct Reader(pub(crate) Principal);

/// A caller who changes something without a body (DELETE): no idempotency key is needed to repeat it.
pub(crate) struct Acting(pub(crate) Caller);

impl FromRequestParts<App> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let principal = authenticate(parts, app).await?;
        if parts.headers.contains_key(ON_BEHALF_OF) {
            // Narrowing what is seen to one end user is not built: to ignore the field would show too much.
            return Err(Problem::invalid_header(
                "Livery-On-Behalf-Of",
                "is understood by calls that change something only",
            ));
        }
        Ok(Self(principal))
    }
}

impl FromRequestParts<App> for Acting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let opening = Opening::of(parts, app).await?;
        Ok(Self(Caller {
            principal: opening.principal,
            request_id: opening.request_id,
            on_behalf_of: opening.on_behalf_of,
            idempotency: None,
        }))
    }
}

/// A POST before its body is read: who asks is known, what for is not.
pub(crate) struct Opening {
    pub(crate) principal: Principal,
    request_id: RequestId,
    on_behalf_of: Option<EndUserId>,
    key: Option<String>,
    route: &'static str,
    target: String,
}

impl Opening {
    /// Reads the head of a request.
    ///
    /// # Errors
    /// No valid key, no right to act for an end user, a bad `Idempotency-Key`.
    pub(crate) async fn of(parts: &Parts, app: &App) -> Result<Self> {
        let principal = authenticate(parts, app).await?;
        let on_behalf_of = on_behalf_of(&parts.headers, &principal)?;
        // A change by PATCH or DELETE is the same when it is made twice: nothing has to be remembered for it.
        let key = idempotency::key(&parts.headers)?.filter(|_| parts.method == Method::POST);
        let route = match (&key, parts.extensions.get::<MatchedPath>()) {
            (Some(_), Some(path)) => route_name(path.as_str())?,
            _ => "",
        };
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { principal, request_id: context(parts)?.id, on_behalf_of, key, route, target })
    }

    /// The caller, once the body is known. `digest` is asked only when there is an idempotency key.
    pub(crate) fn caller(self, digest: impl FnOnce() -> [u8; 32]) -> Caller {
        let Self { principal, request_id, on_behalf_of, key, route, target } = self;
        let bind = |key| {
            let on_behalf_of = on_behalf_of.map(|id| id.to_string());
            idempotency::Request { route, target: &target, on_behalf_of, body: digest() }.bind(key)
        };
        let idempotency = key.map(bind);
        Caller { principal, request_id, on_behalf_of, idempotency }
    }
}

/// Every POST that changes something. An `Idempotency-Key` is scoped to one of these names.
pub(crate) const POSTS: &[(&str, &str)] = &[
    ("/v1/runs", "POST /v1/runs"),
    ("/v1/runs/{id}/cancel", "POST /v1/runs/{id}/cancel"),
    ("/v1/runs/{id}/fork", "POST /v1/runs/{id}/fork"),
    ("/v1/runs/{id}/replay", "POST /v1/runs/{id}/replay"),
    ("/v1/agents", "POST /v1/agents"),
    ("/v1/agents/validate", "POST /v1/agents/validate"),
    ("/v1/api_keys", "POST /v1/api_keys"),
    ("/v1/webhooks", "POST /v1/webhooks"),
    ("/v1/webhooks/{id}/rotate", "POST /v1/webhooks/{id}/rotate"),
    ("/v1/webhooks/{id}/test", "POST /v1/webhooks/{id}/test"),
    ("/v1/webhooks/{id}/deliveries/{delivery}/redeliver", "POST /v1/webhooks/{id}/deliveries/{delivery}/redeliver"),
    ("/v1/schedules", "POST /v1/schedules"),
    ("/v1/schedules/{id}/run", "POST /v1/schedules/{id}/run"),
    ("/v1/triggers", "POST /v1/triggers"),
    ("/v1/triggers/{id}/rotate", "POST /v1/triggers/{id}/rotate"),
    ("/v1/connections", "POST /v1/connections"),
    ("/v1/connections/{id}/authorize", "POST /v1/connections/{id}/authorize"),
    ("/v1/connections/{id}/rotate", "POST /v1/connections/{id}/rotate"),
    ("/v1/connections/{id}/test", "POST /v1/connections/{id}/test"),
    ("/v1/policies", "POST /v1/policies"),
    ("/v1/policies/validate", "POST /v1/policies/validate"),
    ("/v1/approvals/{id}", "POST /v1/approvals/{id}"),
    ("/v1/end_users", "POST /v1/end_users"),
    ("/v1/workspaces/{id}/restore", "POST /v1/workspaces/{id}/restore"),
    ("/v1/workspaces/{id}/snapshots", "POST /v1/workspaces/{id}/snapshots"),
    ("/v1/model_providers", "POST /v1/model_providers"),
    ("/v1/files", "POST /v1/files"),
    ("/v1/organizations", "POST /v1/organizations"),
    ("/v1/receipt_keys", "POST /v1/receipt_keys"),
];

fn route_name(path: &str) -> Result<&'static str> {
    POSTS
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(_, name)| *name)
        // A test compares the list with the document, so this is a bug that no caller meets.
        .ok_or_else(|| Error::internal(format!("{path} is missing in the list of POST routes")).into())
}

/// The request's context, which the edge put there.
pub(crate) fn context(parts: &Parts) -> Result<&Arc<Context>> {
    let missing = || Problem::from(Error::internal("a request came past the edge"));
    parts.extensions.get::<Arc<Context>>().ok_or_else(missing)
}

async fn authenticate(parts: &Parts, app: &App) -> Result<Principal> {
    let principal = app.platform.authenticate(bearer(&parts.headers)?).await?;
    let (allowance, taken) = app.buckets.take(&principal, Instant::now());
    if let Some(allowance) = allowance {
        // Set once: one request authenticates once.
        let _ = context(parts)?.allowance.set(allowance);
    }
    taken?;
    app.known.check(parts)?;
    Ok(principal)
}

/// The API key of a request.
///
/// # Errors
/// None, more than one, or one that cannot be a key.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(Error::Unauthenticated { detail: "send one API key as Authorization: Bearer lvk_…" });
    };
    let token = field.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        Some(token) if !token.is_empty() && token.len() <= BEARER_BYTES_MAX => Ok(token),
        _ => Err(Error::Unauthenticated { detail: "the Authorization field has no usable Bearer API key" }),
    }
}

fn on_behalf_of(headers: &HeaderMap, principal: &Principal) -> Result<Option<EndUserId>> {
    let Some(field) = headers.get(ON_BEHALF_OF) else { return Ok(None) };
    principal.require(Scope::EndUsersAct)?;
    // An id that does not parse is an id nobody has.
    let id = field.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| Error::NotFound { what: "end user" }.into())
}
