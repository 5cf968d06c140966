use std::time::Duration;

use http::HeaderMap;
use livery_core::id::{KeyId, OrgId};
use livery_platform::Principal;
use tokio::time::Instant;

use super::Buckets;

fn principal(key: u128) -> Principal {
    Principal {
        org: OrgId::from_bits(1),
        app: None,
        key: KeyId::from_bits(key),
        scopes: Vec::new(),
        rate_limited: true,
    }
}

#[test]
fn a_bucket_holds_its_burst_and_refills() {
    let buckets = Buckets::new(100, 200);
    let key = principal(1);
    let start = Instant::now();
    let accepted = (0..300).filter(|_| buckets.take(&key, start).1.is_ok()).count();
    assert_eq!(accepted, 200);
    let later = start + Duration::from_millis(100);
    let accepted = (0..300).filter(|_| buckets.take(&key, later).1.is_ok()).count();
    assert_eq!(accepted, 10, "100 a second");
    assert!(buckets.take(&principal(2), later).1.is_ok(), "another key has its own bucket");
}

#[test]
fn the_fields_say_what_is_left() {
    let buckets = Buckets::new(100, 200);
    let (allowance, _) = buckets.take(&principal(1), Instant::now());
    let mut headers = HeaderMap::new();
    allowance.unwrap().write(&mut headers);
    assert_eq!(headers["ratelimit-policy"], "\"default\";q=200;w=2");
    assert_eq!(headers["ratelimit"], "\"default\";r=199;t=1");
}

#[test]
fn a_key_without_a_rate_is_not_counted() {
    let buckets = Buckets::new(1, 1);
    let operator = Principal { rate_limited: false, ..principal(1) };
    let now = Instant::now();
    assert!((0..100).all(|_| buckets.take(&operator, now).1.is_ok()));
}
