//! Properties of the header policies, and the waits of dialling that need no upstream.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use livery_core::id::OrgId;
use proptest::prelude::*;

use super::{Credential, Limits, Outbound, Slot, dial, headers};
use crate::error::Phase;
use crate::guard::Target;
use crate::scrub::Matcher;
use crate::{Error, Secret};

const KEY: &str = "sk-live-4fGh7Kq2Zx9WmB3nVt8RpL6yD1cJ5sA0";

fn call() -> Outbound {
    let target = Target::base_url("https://a.example/v1").unwrap();
    let mut call = Outbound::post(OrgId::from_bits(1), target, Bytes::new());
    let secret = Secret::from(KEY.to_owned());
    call.credential = Some(Credential {
        slot: Slot::bearer(),
        secret,
        owner: "prv_1".to_owned(),
        version: 1,
        at: livery_core::Timestamp::from_micros(1_440_938_160_000_000),
    });
    call
}

/// Header names near those that matter, and arbitrary ones.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "(?i)(x[-_])?(authorization|api[-_]key|host|cookie|connection|content-length|transfer-encoding|te|x-ok)",
        "[a-zA-Z0-9_-]{1,12}",
        ".{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_a_caller_says_one_key_goes_out_and_it_is_ours(given in prop::collection::vec((name(), ".{0,12}"), 0..8)) {
        let mut call = call();
        call.headers = given;
        if let Ok(request) = headers::request(&mut call, &Limits::default()) {
            let sent = request.0.headers();
            prop_assert_eq!(sent.get_all("authorization").iter().count(), 1);
            prop_assert_eq!(sent["authorization"].as_bytes(), [b"Bearer ".as_slice(), KEY.as_bytes()].concat());
            prop_assert!(sent["authorization"].is_sensitive());
            prop_assert_eq!(sent.get_all("host").iter().map(HeaderValue::as_bytes).collect::<Vec<_>>(), [b"a.example"]);
            for forbidden in ["x-api-key", "x_api_key", "api-key", "cookie", "connection", "content-length", "transfer-encoding", "te"] {
                prop_assert!(!sent.contains_key(forbidden), "{}", forbidden);
            }
            for (name, value) in sent {
                prop_assert!(!value.as_bytes().iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{}", name);
            }
        }
    }

    #[test]
    fn whatever_an_upstream_says_its_head_brings_no_key(
        received in prop::collection::vec(("[a-z-]{1,16}|content-type|link|location|x-request-id", prop::collection::vec(any::<u8>(), 0..20), any::<bool>()), 0..12),
        relay in prop_oneof![Just(super::Relayed::Projected), Just(super::Relayed::Api), Just(super::Relayed::All)],
    ) {
        let matcher = Matcher::new(&[&Secret::from(KEY.to_owned())], "prv_1").unwrap();
        let mut map = HeaderMap::new();
        for (name, mut bytes, with_key) in received {
            if with_key {
                bytes.extend_from_slice(KEY.as_bytes());
            }
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&bytes)) {
                map.append(name, value);
            }
        }
        let _ = headers::check_head(StatusCode::OK, &map, 1000);
        let (projected, findings) = headers::project(&map, relay, Some(&matcher));
        let clean = |value: &HeaderValue| !value.as_bytes().windows(16).any(|window| window == &KEY.as_bytes()[..16]);
        prop_assert!(projected.values().all(clean));
        let echoes = projected.values().filter(|value| value.as_bytes().ends_with(b"[REDACTED:prv_1]")).count();
        prop_assert_eq!(echoes, findings.len());
    }
}

/// A listener whose queue is full: it answers no further connection, and refuses none.
async fn black_hole() -> (tokio::net::TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 16, "the queue never fills");
    }
    (listener, waiting)
}

#[tokio::test]
async fn connecting_ends_with_its_time_and_passes_over_what_does_not_answer() {
    let (hole, _waiting) = black_hole().await;
    let hole = hole.local_addr().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap();
    let closed = {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        gone.local_addr().unwrap()
    };
    let dial = async |addresses: &[SocketAddr]| {
        dial::connect(addresses, Duration::from_millis(300)).await.map(|(stream, peer)| {
            assert_eq!(stream.peer_addr().unwrap(), peer);
            peer
        })
    };
    assert_eq!(dial(&[hole]).await, Err(Error::Timeout { phase: Phase::Connect }));
    assert_eq!(dial(&[closed]).await, Err(Error::ConnectFailed));
    assert_eq!(dial(&[]).await, Err(Error::ConnectFailed));
    assert_eq!(dial(&[closed, hole, open]).await, Ok(open));
}
