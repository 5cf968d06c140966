use livery_core::{Error, FieldError};
use serde_json::{Value, json};

use super::{CODES, Problem, title};

fn sent(error: Error) -> (u16, Value) {
    let problem = Problem::from(error);
    let document: Value = serde_json::from_slice(&problem.document("req_x")).unwrap();
    assert_eq!(document["status"], problem.parts().status.as_u16());
    (problem.parts().status.as_u16(), document)
}

#[test]
fn every_kind_of_error_has_its_status() {
    let errors = vec![FieldError::new("/a", "schema", "no")];
    let table = [
        (Error::NotFound { what: "run" }, 404, "not_found"),
        (Error::Malformed { code: "unknown_field", detail: "d".into(), errors: errors.clone() }, 400, "unknown_field"),
        (Error::Invalid { code: "invalid_input", detail: "d".into(), errors }, 422, "invalid_input"),
        (Error::Invalid { code: "invalid_cursor", detail: "d".into(), errors: Vec::new() }, 400, "invalid_cursor"),
        (Error::Unauthenticated { detail: "d" }, 401, "unauthenticated"),
        (Error::Forbidden { detail: "d".into() }, 403, "forbidden"),
        (Error::Conflict { code: "conflict", detail: "d".into() }, 409, "conflict"),
        (Error::IdempotencyMismatch, 422, "idempotency_mismatch"),
        (Error::TooLarge { what: "the body", limit_bytes: 9 }, 413, "too_large"),
        (Error::Limited { code: "rate_limited", detail: "d".into(), retry_after_s: 3 }, 429, "rate_limited"),
        (Error::Unavailable { detail: "d".into(), retry_after_s: 0 }, 503, "unavailable"),
        (Error::LeaseLost, 500, "internal"),
        (Error::internal("secret cause"), 500, "internal"),
    ];
    for (error, status, code) in table {
        let (sent_status, document) = sent(error);
        assert_eq!((sent_status, document["code"].as_str()), (status, Some(code)));
        assert_eq!(document["type"], format!("/docs/errors/{code}"));
        assert_eq!(document["request_id"], "req_x");
        assert!(document["errors"].is_array());
        assert!(!document.to_string().contains("secret"), "{document}");
    }
}

#[test]
fn a_wait_of_zero_seconds_is_never_advised() {
    let (_, document) = sent(Error::Unavailable { detail: "d".into(), retry_after_s: 0 });
    assert_eq!(document["retry_after"], json!(1));
}

#[test]
fn codes_are_sorted_once_each_and_titled() {
    assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(title("not_found"), "There is no such thing");
}
