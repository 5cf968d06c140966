//! Every recorded error body becomes the class that its status and words call for.

use livery_core::Timestamp;
use livery_llm::provider::classify;
use livery_llm::stream::ModelErrorClass;

use crate::recordings;

#[test]
fn every_recorded_error() {
    let Some(exchanges) = recordings::all() else { return recordings::skipped("recorded errors of both formats") };
    let mut count = 0;
    for exchange in exchanges.iter().filter(|exchange| exchange.status >= 400) {
        let text = String::from_utf8_lossy(&exchange.body);
        let expected = match exchange.status {
            401 => ModelErrorClass::Unauthorized,
            404 => ModelErrorClass::ModelNotFound,
            429 => ModelErrorClass::RateLimited,
            500 => ModelErrorClass::ServerError,
            400 if text.contains("exceed_context_size_error") => ModelErrorClass::ContextOverflow,
            400 if text.contains("model_not_found") || text.contains("invalid_model") => ModelErrorClass::ModelNotFound,
            400 => ModelErrorClass::InvalidRequest,
            other => panic!("{}: a status that is new here: {other}", exchange.name),
        };
        let error = classify(exchange.status, &exchange.headers, &exchange.body, Timestamp::from_micros(0));
        assert_eq!(error.class, expected, "{}: {text}", exchange.name);
        assert_eq!(error.is_retryable(), matches!(exchange.status, 429 | 500), "{}", exchange.name);
        assert!(!error.message.is_empty() && !error.message.starts_with('{'), "{}: {}", exchange.name, error.message);
        count += 1;
    }
    recordings::say(&format!("classified {count} error bodies"));
}
