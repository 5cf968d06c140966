//! One line per thing a provider is known to say.

use livery_core::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::retry_after::DELAY_MS_MAX;
use super::{classify, in_answer};
use crate::stream::ModelErrorClass::{self, *};

/// 2026-10-01 12:00:00 UTC.
fn now() -> Timestamp {
    "2026-10-01T12:00:00Z".parse().unwrap()
}

fn class_of(status: u16, body: &str) -> ModelErrorClass {
    classify::<&str, &str>(status, &[], body.as_bytes(), now()).class
}

#[test]
fn statuses_and_bodies() {
    let table = [
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"temperature: range: 0..1"}}"#,
            InvalidRequest,
        ),
        (
            400,
            r#"{"error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
            QuotaExhausted,
        ),
        (400, r#"{"error":{"message":"You have reached your specified API usage limits."}}"#, QuotaExhausted),
        (400, r#"{"error":{"code":"model_not_found","type":"invalid_request_error","message":"no"}}"#, ModelNotFound),
        (400, r#"{"object":"error","type":"invalid_model","code":"1500","message":"Invalid model: x"}"#, ModelNotFound),
        (400, r#"{"error":{"code":"content_filter","message":"filtered"}}"#, ContentFilter),
        (400, r#"{"error":{"type":"rate_limit_error","message":"a 400 is a 400"}}"#, InvalidRequest),
        (401, r#"{"detail":"Unauthorized"}"#, Unauthorized),
        (402, r#"{"error":{"message":"Insufficient Balance"}}"#, QuotaExhausted),
        (403, r#"{"error":{"message":"not allowed"}}"#, Unauthorized),
        (403, r#"{"error":{"code":403,"message":"x requires moderation: your input was flagged"}}"#, ContentFilter),
        (404, r#"{"error":{"type":"not_found_error","message":"model: x"}}"#, ModelNotFound),
        (404, "<html><head><title>404 Not Found</title></head></html>", ModelNotFound),
        (408, "", Timeout),
        (409, "", ServerError),
        (413, "", ContextOverflow),
        (
            413,
            r#"{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
            ContextOverflow,
        ),
        (413, "<html><title>413 Request Entity Too Large</title></html>", TooLarge),
        (422, r#"{"detail":[{"msg":"field required"}]}"#, InvalidRequest),
        (429, r#"{"error":{"type":"rate_limit_error","message":"slow"}}"#, RateLimited),
        (429, r#"{"error":{"code":"insufficient_quota","message":"You exceeded your current quota"}}"#, QuotaExhausted),
        (429, r#"{"error":{"code":"credit_balance_exhausted"}}"#, QuotaExhausted),
        (
            429,
            r#"{"error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
            QuotaExhausted,
        ),
        (429, r#"{"error":{"message":"too many tokens: prompt is too long"}}"#, RateLimited),
        (429, r#"{"error":{"code":"slow_down","message":"x"}}"#, RateLimited),
        (429, "", RateLimited),
        (500, "oops", ServerError),
        (502, "", ServerError),
        (503, r#"{"error":{"code":"server_is_overloaded"}}"#, Overloaded),
        (504, "", Timeout),
        (524, "", ServerError),
        (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Overloaded),
        (301, "", InvalidRequest),
    ];
    for (status, body, expected) in table {
        assert_eq!(class_of(status, body), expected, "{status} {body}");
    }
}

#[test]
fn every_known_way_to_say_that_the_window_is_full() {
    let texts = [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Input is too long for requested model.",
        "Your input exceeds the context window of this model.",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        "Please reduce the length of the messages or completion.",
        "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens",
        "request (2009 tokens) exceeds the available context size (512 tokens), try increasing it",
        "The number of tokens to keep from the initial prompt is greater than the context length",
        "prompt token count of 130000 exceeds the limit of 128000",
        "invalid params, context window exceeds limit",
        "Your request exceeded model token limit: 8192",
    ];
    for text in texts {
        let body = json!({"error": {"message": text}}).to_string();
        assert_eq!(class_of(400, &body), ContextOverflow, "{text}");
        assert_eq!(class_of(429, &body), RateLimited, "a 429 is never an overflow: {text}");
    }
    assert_eq!(class_of(400, r#"{"error":{"code":"context_length_exceeded","message":"x"}}"#), ContextOverflow);
    assert_eq!(class_of(400, ""), ContextOverflow);
    assert_eq!(class_of(400, r#"{"error":{"message":"name exceeds the limit of the field"}}"#), InvalidRequest);
}

#[test]
fn every_way_to_say_when() {
    const LIMITED: &str = r#"{"error":{"message":"Rate limit reached. Please try again in 41.724s. Visit"}}"#;
    const DELAYED: &str = r#"[{"error":{"code":429,"details":[{"x":1},{"retryDelay":"34.4s"}]}}]"#;
    type Row = (&'static [(&'static str, &'static str)], &'static str, Option<u64>);
    let table: Vec<Row> = vec![
        (&[("Retry-After", "7")], "", Some(7_000)),
        (&[("retry-after", "1.5")], "", Some(1_500)),
        (&[("retry-after", "-3")], "", Some(0)),
        (&[("retry-after", "1e30")], "", Some(DELAY_MS_MAX)),
        (&[("retry-after", "inf")], "", None),
        (&[("retry-after", "soon")], LIMITED, Some(41_724)),
        (&[("retry-after", "Thu, 01 Oct 2026 12:00:09 GMT")], "", Some(9_000)),
        (&[("retry-after", "Thursday, 01-Oct-26 12:00:09 GMT")], "", Some(9_000)),
        (&[("retry-after", "Thu Oct  1 12:00:09 2026")], "", Some(9_000)),
        (&[("retry-after", "Thu, 01 Oct 2026 11:00:00 GMT")], "", Some(0)),
        (&[("retry-after", "Thu, 01 Oct 2099 11:00:00 GMT")], "", Some(DELAY_MS_MAX)),
        (&[("retry-after", "60"), ("retry-after-ms", "250")], LIMITED, Some(250)),
        (&[], LIMITED, Some(41_724)),
        (&[], DELAYED, Some(34_400)),
        (&[], r#"{"error":{"message":"try again in 1m2.5s."}}"#, Some(62_500)),
        (&[], r#"{"message":"Retry after 20 seconds."}"#, Some(20_000)),
        (&[], r#"{"message":"try again in a while"}"#, None),
    ];
    for (headers, body, expected) in table {
        let error = classify(429, headers, body.as_bytes(), now());
        assert_eq!(error.retry_after_ms, expected, "{headers:?} {body}");
        assert_eq!(error.class, RateLimited, "{headers:?} {body}");
    }
}

#[test]
fn the_providers_word_on_retrying() {
    let no = classify(503, &[("X-Should-Retry", "false")], b"", now());
    assert!(!no.is_retryable());
    let yes = classify(400, &[("x-should-retry", "true")], b"{}", now());
    assert_eq!((yes.is_retryable(), yes.should_retry), (false, None), "a wrong request stays wrong");
    assert_eq!(classify(503, &[("x-should-retry", "true")], b"", now()).should_retry, Some(true));
    assert!(classify::<&str, &str>(529, &[], b"", now()).is_retryable());
    assert!(!classify::<&str, &str>(501, &[], b"", now()).is_retryable());
    let spent = r#"{"error":{"message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
    assert!(!classify::<&str, &str>(429, &[], spent.as_bytes(), now()).is_retryable());
    assert!(classify(429, &[("retry-after", "3")], spent.as_bytes(), now()).is_retryable());
}

#[test]
fn errors_inside_an_answer() {
    let table = [
        (json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), Overloaded, true),
        (json!({"error": {"code": 502, "message": "Upstream", "metadata": {"raw": "reset"}}}), ServerError, true),
        (json!({"error": {"code": 429, "message": "slow"}}), RateLimited, true),
        (json!({"error": {"type": "invalid_request_error", "message": "bad"}}), InvalidRequest, false),
        (json!({"error": {"code": 400, "message": "maximum context length is 8192 tokens"}}), ContextOverflow, false),
        (json!({"error": {"message": "something"}}), ServerError, true),
        (json!({"error": "model requires more memory"}), ServerError, true),
    ];
    for (body, expected, retryable) in table {
        let error = in_answer(&body);
        assert_eq!((error.class, error.is_retryable()), (expected, retryable), "{body}");
        assert!(!error.message.is_empty());
    }
}

#[test]
fn a_page_is_named_by_its_title_and_long_words_are_cut() {
    let page = "<!doctype html><title>Bad gateway</title>";
    assert_eq!(
        classify::<&str, &str>(502, &[], page.as_bytes(), now()).message,
        "status 502 with an HTML page: Bad gateway"
    );
    let long = classify::<&str, &str>(500, &[], "\u{7}é".repeat(5_000).as_bytes(), now()).message;
    assert_eq!(long, "é".repeat(2_000));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(status in any::<u16>(), header in ".{0,40}", body in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
        let error = classify(status, &[("retry-after", header.as_str())], &body, now());
        prop_assert!(error.retry_after_ms.unwrap_or(0) <= DELAY_MS_MAX);
        let quoted = json!({"error": {"message": format!("try again in {text}")}}).to_string();
        classify::<&str, &str>(status, &[], quoted.as_bytes(), now());
        in_answer(&json!({"error": text}));
    }
}
