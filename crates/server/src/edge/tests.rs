use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use http_body_util::BodyExt as _;
use livery_platform::{Clock, Config, Parts, Platform, RootKey};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Edge;
use crate::options::Options;
use crate::problem::{Problem, Result};

/// The edge around routes that go wrong.
async fn edge(data: &tempfile::TempDir) -> Edge {
    let parts = Parts {
        config: Config::new(data.path().to_owned(), "test".to_owned()),
        database: livery_platform::Database::in_folder(data.path()),
        clock: Clock::system(),
        broker: Default::default(),
        root_keys: RootKey::File(data.path().join("root.key")).into(),
        environment: Default::default(),
        sandboxes: None,
    };
    let platform = Platform::open(parts).await.unwrap();
    let options = Options { request_deadline: Duration::from_millis(50), ..Options::default() };
    let edge = Edge::new(platform, options, CancellationToken::new());
    let router = Router::new()
        .route("/panics", get(async || -> Result<()> { panic!("the secret is 42") }))
        .route("/fails", get(async || -> Result<()> { Err(livery_core::Error::internal("the secret is 42").into()) }))
        .route("/hangs", get(async || std::future::pending::<Result<()>>().await))
        .route("/refuses", get(async || http::StatusCode::IM_A_TEAPOT))
        .fallback(async || Problem::no_route());
    Edge { router, ..edge }
}

#[tokio::test]
async fn whatever_goes_wrong_is_a_problem_that_tells_no_secret() {
    let data = tempfile::tempdir().unwrap();
    let edge = edge(&data).await;
    for (path, status, code) in [
        ("/panics", 500, "internal"),
        ("/fails", 500, "internal"),
        ("/hangs", 503, "unavailable"),
        ("/refuses", 418, "malformed_request"),
        ("/elsewhere", 404, "not_found"),
    ] {
        let request = Request::builder().uri(path).header("request-id", "mine-1").body(Body::empty()).unwrap();
        let response = edge.answer(request).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["request-id"], "mine-1");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let document: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&document["code"], &document["request_id"]), (&code.into(), &"mine-1".into()), "{path}");
        assert!(!document.to_string().contains("42"), "{document}");
    }
}
