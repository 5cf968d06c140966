use super::{BACKOFF_MS_FIRST, BACKOFF_MS_MAX, backoff_ms, class_name};
use livery_llm::stream::ModelErrorClass;

#[test]
fn delays_double_up_to_the_cap() {
    let delays: Vec<u64> = (1..=9).map(|failures| backoff_ms(failures, 0)).collect();
    assert_eq!(delays, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    assert_eq!(backoff_ms(0, 0), BACKOFF_MS_FIRST);
    assert_eq!(backoff_ms(u32::MAX, 0), BACKOFF_MS_MAX);
    assert_eq!(backoff_ms(u32::MAX, u16::MAX), 45_000);
}

#[test]
fn classes_are_named_like_everywhere() {
    assert_eq!(class_name(ModelErrorClass::RateLimited), "rate_limited");
}
