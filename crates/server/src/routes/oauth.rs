//! `/v1/oauth`: where a person's browser passes on its way to an authorization server and back. Asked without a key: the state
//! in the address and the cookie of the first visit are what counts.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE};
use livery_core::Error;
use livery_platform::connections::Consent;

use crate::app::App;
use crate::problem::Result;
use crate::schemas;
use crate::visitor::{COOKIE_NAME, Visitor};

/// How long the cookie lives, in seconds: as long as a consent may take.
const COOKIE_S: u32 = 600;
/// Longest state, in bytes.
const STATE_BYTES_MAX: usize = 128;

/// Begin a person's consent
///
/// The address that `POST /v1/connections/{id}/authorize` answers. The first browser that opens it is sent on to the
/// authorization server, and is the only one whose answer counts.
#[utoipa::path(
    get, path = "/v1/oauth/authorize", operation_id = "begin_authorization", tag = "system",
    params(("state" = String, Query, description = "As it was answered")),
    responses(
        (status = 303, description = "On to the authorization server", headers(("Location" = String, description = "Its page"))),
        (status = 404, description = "Nobody waits for it, or a browser opened it before", body = schemas::Problem, content_type = "application/problem+json"),
    ),
    security(())
)]
pub(super) async fn authorize(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let unknown = Error::NotFound { what: "authorization" };
    let state = visitor.query.strip_prefix("state=").filter(|state| is_state(state)).ok_or(unknown)?;
    let begun = app.platform.begin_authorization(state).await?;
    let secure = if begun.secure { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE_NAME}={}; Path=/v1/oauth; Max-Age={COOKIE_S}; HttpOnly; SameSite=Lax{secure}", begun.browser);
    let headers = [
        (LOCATION, begun.url.as_str()),
        (SET_COOKIE, cookie.as_str()),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// End a person's consent
///
/// Where the authorization server sends the browser back. The answer is a sentence for the person; nobody is sent on.
#[utoipa::path(
    get, path = "/v1/oauth/callback", operation_id = "finish_authorization", tag = "system",
    params(
        ("state" = Option<String>, Query, description = "What the browser was sent with"),
        ("code" = Option<String>, Query, description = "What is exchanged for tokens"),
        ("iss" = Option<String>, Query, description = "Who answers (RFC 9207)"),
        ("error" = Option<String>, Query, description = "Why there is no code"),
    ),
    responses(
        (status = 200, description = "The connection is active", body = String, content_type = "text/plain"),
        (status = 403, description = "The server, or the person, said no", body = schemas::Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nobody waits for it from this browser", body = schemas::Problem, content_type = "application/problem+json"),
        (status = 422, description = "It is no answer", body = schemas::Problem, content_type = "application/problem+json"),
    ),
    security(())
)]
pub(super) async fn callback(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let consent = app.platform.finish_authorization(&visitor.query, visitor.browser.as_deref()).await?;
    if let Consent::Refused(reason) = consent {
        return Err(Error::Forbidden { detail: format!("there is no consent: {reason}") }.into());
    }
    let over = format!("{COOKIE_NAME}=; Path=/v1/oauth; Max-Age=0; HttpOnly; SameSite=Lax");
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (SET_COOKIE, over.as_str()),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    Ok((StatusCode::OK, headers, "The connection is active. You can close this window.\n").into_response())
}

fn is_state(text: &str) -> bool {
    (1..=STATE_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
