//! What everybody gets: pages, ids, the fields that keep browsers safe.

use axum::body::Body;
use http::Method;

use crate::site::Site;

#[tokio::test]
async fn pages_are_whole_and_closed() {
    let site = Site::new().await;
    let nobody = site.nobody();
    for (target, media) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/style.css", "text/css; charset=utf-8"),
        ("/docs/script.js", "text/javascript; charset=utf-8"),
        ("/docs/errors", "text/html; charset=utf-8"),
        ("/docs/errors/unknown_field", "text/html; charset=utf-8"),
        ("/v1/openapi.json", "application/json"),
    ] {
        let answer = nobody.get(target).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, media), "{target}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{target}");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    for target in ["/docs/errors/nothing", "/docs/errors/..%2F..%2FCargo", "/docs/errors/unknown_field.md"] {
        assert_eq!(nobody.get(target).await.problem(), "not_found", "{target}");
    }
    assert_eq!(nobody.get("/").await.header("location"), "/docs");
    assert_eq!(nobody.get("/v1/openapi.json").await.body, livery_server::document());
}

#[tokio::test]
async fn a_request_has_an_id_on_every_answer() {
    let site = Site::new().await;
    let nobody = site.nobody();
    let minted = nobody.get("/healthz").await;
    assert!(minted.header("request-id").starts_with("req_"));
    for (sent, taken) in [("checkout-42", true), ("has space", false), ("<script>", false)] {
        let request = nobody.request(Method::GET, "/v1/runs").header("request-id", sent).body(Body::empty()).unwrap();
        let answer = nobody.send(request).await;
        answer.problem();
        assert_eq!(answer.header("request-id") == sent, taken, "{sent}");
    }
}

#[tokio::test]
async fn what_is_not_ready_says_why() {
    let site = Site::new().await;
    let answer = site.nobody().get("/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "unavailable"));
    assert_eq!(answer.json()["errors"][0]["pointer"], "sandbox", "this node has none");
    assert_eq!(answer.header("retry-after"), "1");
}
