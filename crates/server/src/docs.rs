//! `/docs`: the API on one page, and a page for every error code. Made at the start from what is embedded; nothing is
//! fetched from anywhere, and nothing on a page may run or load but its own two files.

mod markdown;
mod page;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use include_dir::{Dir, include_dir};
use utoipa::openapi::OpenApi;

use crate::app::App;
use crate::problem::{CODES, Problem, title};
use page::{escape, shell};

static PAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../docs/errors");
const STYLE: &str = include_str!("docs/style.css");
const SCRIPT: &str = include_str!("docs/script.js");

/// Its own style and script, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// The routes of the pages.
pub(crate) fn routes(document: &OpenApi) -> Router<App> {
    let reference = Bytes::from(page::reference(&serde_json::to_value(document).unwrap_or_default()));
    let index = Bytes::from(errors_index());
    Router::new()
        .route("/docs", get(async move || html(reference.clone())))
        .route("/docs/style.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .route("/docs/script.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/docs/errors", get(async move || html(index.clone())))
        .route("/docs/errors/{code}", get(error))
}

async fn error(Path(code): Path<String>) -> Response {
    match PAGES.get_file(format!("{code}.md")).and_then(|file| file.contents_utf8()) {
        Some(text) => {
            let body = format!("<main class=\"article\">{}{}</main>", ERRORS_BACK, markdown::html(text));
            html(Bytes::from(shell(&format!("{code} · Livery"), &body)))
        }
        None => Problem::no_route().into_response(),
    }
}

const ERRORS_BACK: &str = "<p><a href=\"/docs\">API</a> · <a href=\"/docs/errors\">all codes</a></p>";

fn errors_index() -> String {
    let mut codes: Vec<&str> = PAGES.files().filter_map(|file| file.path().file_stem()?.to_str()).collect();
    codes.sort_unstable();
    let row = |code: &str| {
        let known = CODES.iter().any(|(known, _)| *known == code);
        let words = if known { title(code) } else { "Of a run" };
        format!(
            "<tr><td><a href=\"/docs/errors/{0}\"><code>{0}</code></a></td><td>{1}</td></tr>",
            escape(code),
            escape(words)
        )
    };
    let rows: String = codes.into_iter().map(row).collect();
    let body = format!(
        "<main class=\"article\"><p><a href=\"/docs\">API</a></p><h1>Error codes</h1><p>The <code>code</code> of a problem \
         document, or of a run's <code>error</code>.</p><table>{rows}</table></main>"
    );
    shell("Error codes · Livery", &body)
}

fn html(text: Bytes) -> Response {
    page_of("text/html; charset=utf-8", text)
}

fn asset(media: &'static str, text: &'static str) -> Response {
    page_of(media, Bytes::from_static(text.as_bytes()))
}

fn page_of(media: &'static str, text: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media)),
        (CONTENT_SECURITY_POLICY, POLICY),
        // The same for everybody; a new version of the server shows at the next look.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests;
