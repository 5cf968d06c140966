use http::{HeaderMap, HeaderValue};
use livery_core::id::RequestId;

use super::{Context, REQUEST_ID, trace_id};

const OURS: &str = "req_00000000000000000000000007";

fn context(request_id: &[u8]) -> Context {
    let mut headers = HeaderMap::new();
    headers.insert(REQUEST_ID, HeaderValue::from_bytes(request_id).unwrap());
    Context::of(&headers, || RequestId::from_bits(1))
}

#[test]
fn a_sane_id_is_taken_over_and_another_is_not() {
    assert_eq!(context(OURS.as_bytes()).shown(), OURS);
    assert_eq!(context(OURS.as_bytes()).id, RequestId::from_bits(7));

    let foreign = context(b"checkout-42:retry.1");
    assert_eq!((foreign.shown(), foreign.id), ("checkout-42:retry.1", RequestId::from_bits(1)));

    for insane in [&b""[..], b"a b", b"a\xffb", b"\"x\"", &[b'a'; 129]] {
        let context = context(insane);
        assert_eq!(context.shown(), RequestId::from_bits(1).to_string());
    }
}

#[test]
fn a_trace_id_is_read_from_valid_parents_only() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    assert_eq!(trace_id(parent.as_bytes()), Some(trace));
    assert_eq!(trace_id(format!("cc-{trace}-b7ad6b7169203331-01-later").as_bytes()), Some(trace));
    for bad in [
        format!("ff-{trace}-b7ad6b7169203331-01"),
        format!("00-{trace}-b7ad6b7169203331-01-more"),
        format!("cc-{trace}-b7ad6b7169203331-01more"),
        format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
        format!("00-{trace}-0000000000000000-01"),
        format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
        format!("00-{trace}-b7ad6b7169203331-0"),
        format!("00-{trace}é-b7ad6b7169203331-01"),
        String::new(),
    ] {
        assert_eq!(trace_id(bad.as_bytes()), None, "{bad}");
    }
}
