//! What happens around every request, whatever the route: its id, its deadline, a panic caught, a problem written out,
//! the security fields.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use futures_util::FutureExt as _;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use livery_platform::traces::{self, Span, SpanKind, TraceContext};
use livery_platform::{Platform, Timestamp};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use crate::app::App;
use crate::context::{Context, REQUEST_ID};
use crate::openapi;
use crate::options::{HEAD_BYTES_MAX, Options, URI_BYTES_MAX};
use crate::problem::Problem;
use crate::routes;

/// The whole HTTP surface as one function from request to answer. Cheap to clone.
#[derive(Clone)]
pub struct Edge {
    app: App,
    router: Router,
}

impl Edge {
    /// The surface over a platform: all of it on a node with the role `api`, what is about the node itself on others.
    /// `draining` is cancelled when the server begins to stop.
    pub fn new(platform: Platform, options: Options, draining: CancellationToken) -> Self {
        let (router, document) = routes::all();
        let document = openapi::complete(document);
        let router = if platform.roles().api {
            router.merge(routes::fixed(&document)).fallback(async || Problem::no_route())
        } else {
            routes::without_api()
        };
        Self::over(App::new(platform, options, &document, draining), router)
    }

    /// The surface of the listener for metrics: those, and whether the node lives and is ready, without a key.
    pub(crate) fn metrics(platform: Platform, options: Options, draining: CancellationToken) -> Self {
        let (_, document) = routes::all();
        let router = routes::metrics().fallback(async || Problem::no_route());
        Self::over(App::new(platform, options, &document, draining), router)
    }

    fn over(app: App, router: Router<App>) -> Self {
        let router = router.route_layer(middleware::from_fn(note_route)).with_state(app.clone());
        Self { app, router }
    }

    /// The limits in force.
    pub(crate) fn options(&self) -> &Options {
        &self.app.options
    }

    /// Makes ids for requests that never became one.
    pub(crate) fn mint(&self) -> impl Fn() -> String + Send + use<> {
        let platform = self.app.platform.clone();
        move || platform.new_request_id().to_string()
    }

    /// Answers one request. Never fails: what goes wrong is a problem document.
    pub async fn answer(&self, request: Request) -> Response {
        let context = Arc::new(Context::of(request.headers(), || self.app.platform.new_request_id()));
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let begun = (Instant::now(), self.app.platform.now());
        let own_trace = self.app.platform.request_trace(context.caller_trace);
        let outcome = match refuse_head(&request) {
            Some(problem) => Err(problem),
            None => traces::within(own_trace.or(context.caller_trace), self.route(request, &context)).await,
        };
        let mut response = match outcome {
            Ok(response) => unwrap_problem(response),
            Err(problem) => Err((problem, HeaderMap::new())),
        }
        .unwrap_or_else(|(problem, headers)| {
            log(&problem, &context, &method, &uri);
            write_out(&problem, headers, &context)
        });
        self.count(&method, &context, response.status(), begun.0.elapsed());
        if let Some(own) = own_trace {
            self.trace(&method, &context, response.status(), own, begun.1);
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, context.shown.clone());
        if let Some(allowance) = context.allowance.get() {
            allowance.write(headers);
        }
        for (name, value) in SECURITY {
            headers.entry(name).or_insert(value);
        }
        response
    }

    /// One line in the debug log, and the metrics.
    fn count(&self, method: &Method, context: &Context, status: StatusCode, took: Duration) {
        let route = context.route().to_owned();
        tracing::debug!(
            request_id = context.shown(),
            trace_id = context.trace_id(),
            %method,
            route,
            status = status.as_u16(),
            took_ms = took.as_millis(),
            "answered"
        );
        self.app.platform.metrics().http_answered(known_method(method), route, status.as_u16(), took);
    }

    /// The span of a request (OpenTelemetry's conventions for HTTP servers). Probes are none.
    fn trace(&self, method: &Method, context: &Context, status: StatusCode, own: TraceContext, begun: Timestamp) {
        let (platform, route) = (&self.app.platform, context.route());
        if UNTRACED.contains(&route) {
            return;
        }
        platform.export_span(Span {
            name: format!("{} {route}", known_method(method)),
            kind: SpanKind::Server,
            context: own,
            parent: context.caller_trace.map(|caller| caller.span_id),
            parent_is_remote: context.caller_trace.is_some(),
            begun,
            ended: platform.now(),
            attributes: vec![
                ("http.request.method", known_method(method).into()),
                ("http.route", route.into()),
                ("http.response.status_code", u64::from(status.as_u16()).into()),
                ("livery.request.id", context.id.to_string().into()),
            ],
            error: status.is_server_error().then(|| status.as_u16().to_string()),
        });
    }

    /// Through the router, in time, with a panic caught.
    async fn route(&self, mut request: Request, context: &Arc<Context>) -> Result<Response, Problem> {
        let deadline = self.deadline(request.headers());
        let span = tracing::debug_span!(
            "request",
            method = %request.method(),
            path = request.uri().path(),
            request_id = context.shown(),
            trace_id = context.trace_id(),
        );
        request.extensions_mut().insert(Arc::clone(context));
        let work = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind().instrument(span);
        match tokio::time::timeout(deadline, work).await {
            Ok(Ok(answer)) => Ok(answer.unwrap_or_else(|never: Infallible| match never {})),
            Ok(Err(panic)) => Err(Problem::panicked(panic_message(panic.as_ref()))),
            Err(_) => Err(Problem::deadline()),
        }
    }

    /// A request that brings much may take longer to do so.
    fn deadline(&self, headers: &HeaderMap) -> Duration {
        let options = &self.app.options;
        let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let chunked = headers.contains_key(http::header::TRANSFER_ENCODING);
        let large = declared.map_or(chunked, |length| length > options.json_bytes_max);
        if large { options.upload_deadline } else { options.request_deadline }
    }
}

/// Asked all day long by machines that look after the server.
const UNTRACED: [&str; 3] = ["/healthz", "/metrics", "/readyz"];

/// Tells the edge which route was taken, by its template.
async fn note_route(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(context), Some(path)) = (extensions.get::<Arc<Context>>(), extensions.get::<MatchedPath>()) {
        // Set once: one request takes one route.
        let _ = context.route.set(path.clone());
    }
    next.run(request).await
}

/// A method as a label: a caller can send any word.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// Heads that are HTTP and too large all the same: the library's own limits are looser.
fn refuse_head(request: &Request) -> Option<Problem> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > URI_BYTES_MAX {
        return Some(Problem::uri_too_long(URI_BYTES_MAX));
    }
    let fields: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (fields > HEAD_BYTES_MAX).then(|| Problem::from_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

/// Takes the problem out of a response; what the framework refused by itself becomes one.
fn unwrap_problem(mut response: Response) -> Result<Response, (Problem, HeaderMap)> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Err((problem, HeaderMap::new()));
    }
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(response);
    }
    let mut kept = HeaderMap::new();
    if let Some(allow) = response.headers_mut().remove(ALLOW) {
        kept.insert(ALLOW, allow);
    }
    Err((Problem::from_status(status), kept))
}

/// The one place where the cause of an error is written down.
fn log(problem: &Problem, context: &Context, method: &Method, uri: &Uri) {
    let parts = problem.parts();
    let (request_id, trace_id) = (context.shown(), context.trace_id());
    let (code, status, path) = (parts.code, parts.status.as_u16(), uri.path());
    match &parts.cause {
        Some(cause) => {
            tracing::error!(request_id, own_id = %context.id, trace_id, %method, path, status, code, cause, "a request failed");
        }
        None => tracing::debug!(request_id, trace_id, %method, path, status, code, "a request was refused"),
    }
}

fn write_out(problem: &Problem, mut headers: HeaderMap, context: &Context) -> Response {
    let parts = problem.parts();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = parts.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if parts.status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    if parts.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"livery\""));
    }
    let mut response = Response::new(Body::from(problem.document(context.shown())));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers;
    response
}

/// On every answer that does not say otherwise. No CORS field is among them: other origins read nothing.
const SECURITY: [(HeaderName, HeaderValue); 5] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (http::header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (http::header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        http::header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox"),
    ),
];

#[cfg(test)]
mod tests;
