use http::{HeaderMap, HeaderValue};
use livery_core::id::RequestId;

use super::{Context, REQUEST_ID};

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
