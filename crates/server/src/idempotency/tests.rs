use http::{HeaderMap, HeaderValue};

use super::{FIELD, Request, key};

fn read(fields: &[&[u8]]) -> Result<Option<String>, &'static str> {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append(FIELD, HeaderValue::from_bytes(field).unwrap());
    }
    key(&headers).map_err(|problem| problem.parts().code)
}

#[test]
fn bare_and_quoted_are_the_same_key() {
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[b"abc-1"]), Ok(Some("abc-1".into())));
    assert_eq!(read(&[b"\"abc-1\""]), Ok(Some("abc-1".into())));
    assert_eq!(read(&[br#""a\"b\\c""#]), Ok(Some(r#"a"b\c"#.into())));
    assert_eq!(read(&[&[b'k'; 255]]).map(|key| key.map(|key| key.len())), Ok(Some(255)));
}

#[test]
fn what_is_no_key_is_refused() {
    let long = [b'k'; 256];
    for fields in [
        &[&b""[..]][..],
        &[b"\"\""],
        &[&long],
        &[b"a", b"a"],
        &[b"\"a"],
        &[b"\"a\"b"],
        &[br#""a\n""#],
        &[b"\xff"],
        &[b"a\tb"],
    ] {
        assert_eq!(read(fields), Err("invalid_header"), "{fields:?}");
    }
}

#[test]
fn a_fingerprint_tells_requests_apart() {
    let base = || Request { route: "POST /v1/runs", target: "/v1/runs", on_behalf_of: None, body: [1; 32] };
    let fingerprint = |request: Request<'_>| request.bind("k".into()).fingerprint;
    assert_eq!(fingerprint(base()), fingerprint(base()));
    let others = [
        Request { route: "POST /v1/files", ..base() },
        Request { target: "/v1/runs?a=1", ..base() },
        Request { on_behalf_of: Some("eu_1".into()), ..base() },
        Request { body: [2; 32], ..base() },
    ];
    for other in others {
        assert_ne!(fingerprint(base()), fingerprint(other));
    }
}
