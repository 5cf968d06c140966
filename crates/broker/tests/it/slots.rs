//! The other slots of a credential, and encoded answers: what goes out, and what of it comes back.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_broker::transport::{Place, Relayed};
use livery_broker::{Error, Outbound, Slot};

use crate::call::{KEY, broker, credential, post, text};
use crate::upstream::{Step, Upstream, answer, write};

const USER: &str = "somebody.with.a.long.name@example.com";

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// One uncompressed meta-block (RFC 7932, 9.2) and an empty last one.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    let head = (u32::try_from(bytes.len() - 1).unwrap() << 4 | 1 << 20).to_le_bytes();
    [&head[..3], bytes, &[3]].concat()
}

fn encoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn call(upstream: &Upstream, path: &str, slot: Slot, secret: &str) -> Outbound {
    let mut call = post(&format!("{}{path}", upstream.url()));
    call.credential = Some(credential(secret));
    call.credential.as_mut().unwrap().slot = slot;
    call.credential.as_mut().unwrap().owner = "con_1/jira".to_owned();
    call.relayed = Relayed::Api;
    call
}

#[tokio::test]
async fn basic_is_sent_and_its_password_alone_is_taken_out() {
    let pair = format!("{USER}:{KEY}");
    let sent = STANDARD.encode(&pair);
    let upstream =
        Upstream::start(vec![vec![answer(&format!("{{\"you\":\"{USER}\",\"pair\":\"{pair}\",\"head\":\"{sent}\"}}"))]])
            .await;
    let mut with_basic = call(&upstream, "/rest/myself", Slot::Basic, &pair);
    with_basic.headers = vec![("authorization".into(), "Basic dGhlaXJz".into())];
    assert!(with_basic.credential.as_ref().unwrap().is_scrubbable());
    let inbound = broker().send(with_basic).await.unwrap();
    let body = text(inbound).await.unwrap();
    assert!(upstream.seen().requests[0].contains(&format!("\r\nauthorization: Basic {sent}\r\n")));
    assert!(body.contains(&format!("\"you\":\"{USER}\"")), "{body}");
    assert!(body.contains(&format!("\"pair\":\"{USER}:[REDACTED:jira]\"")), "{body}");
    let rest = &sent[(USER.len() + 1) * 8 / 6..];
    assert!(!body.contains(rest) && !body.contains(KEY), "{body}");
    assert!(!call(&upstream, "/", Slot::Basic, &format!("{USER}:short")).credential.unwrap().is_scrubbable());
}

#[tokio::test]
async fn a_key_in_the_query_replaces_every_spelling_of_its_parameter() {
    let key = "key+with/specials=0123456789";
    let wire = "key%2Bwith%2Fspecials%3D0123456789";
    let upstream = Upstream::start(vec![vec![answer(&format!("{{\"url\":\"/v1?appid={wire}&q={key}\"}}"))]]).await;
    let slot = Slot::Query { name: "appid".to_owned() };
    let inbound =
        broker().send(call(&upstream, "/v1?q=1&appid=theirs&%61ppid=theirs&APPID=theirs&token=x", slot, key)).await;
    let body = text(inbound.unwrap()).await.unwrap();
    let request = upstream.seen().requests[0].clone();
    assert!(request.starts_with(&format!("POST /v1?q=1&appid={wire} HTTP/1.1\r\n")), "{request}");
    assert_eq!(body, "{\"url\":\"/v1?appid=[REDACTED:jira]&q=[REDACTED:jira]\"}");
}

/// A6, A7, A8: encoded echoes are decoded and redacted. A9: what cannot be decoded is not relayed.
#[tokio::test]
async fn a6_to_a9_encoded_echoes_are_searched_or_refused() {
    let echo = format!("{{\"key\":\"{KEY}\"}}");
    let zstd = zstd::encode_all(echo.as_bytes(), 3).unwrap();
    for (coding, body) in
        [("gzip", gzip(&echo)), ("br", brotli(echo.as_bytes())), ("zstd", zstd), ("gzip, br", brotli(&gzip(&echo)))]
    {
        let upstream = Upstream::start(vec![vec![write(encoded(coding, &body))]]).await;
        let mut inbound = broker().send(call(&upstream, "/", Slot::bearer(), KEY)).await.unwrap();
        let mut out = Vec::new();
        while let Some(piece) = inbound.body.next().await {
            out.extend(piece.unwrap());
        }
        assert_eq!(String::from_utf8(out).unwrap(), "{\"key\":\"[REDACTED:jira]\"}", "{coding}");
        let finding = inbound.body.findings().remove(0);
        assert_eq!((finding.place, finding.variants.to_string().as_str()), (Place::Body, "raw"), "{coding}");
        assert!(inbound.headers.get("content-encoding").is_none());
    }
    let unknown = Upstream::start(vec![vec![write(encoded("compress", echo.as_bytes())), Step::Close]]).await;
    let refused = broker().send(call(&unknown, "/", Slot::bearer(), KEY)).await.unwrap_err();
    assert!(matches!(refused, Error::BadGateway { .. }), "{refused}");
}

/// E7: what a head says about the length of encoded bytes is not said about those that come out; nothing is cut off for it.
#[tokio::test]
async fn e7_a_decoded_answer_is_whole_without_a_credential_too() {
    let body = "all of it ".repeat(100);
    let upstream = Upstream::start(vec![vec![write(encoded("gzip", &gzip(&body)))]]).await;
    let mut asked = call(&upstream, "/", Slot::bearer(), KEY);
    (asked.credential, asked.relayed) = (None, livery_broker::Relayed::All);
    let inbound = broker().send(asked).await.unwrap();
    assert!(!inbound.headers.contains_key("content-length") && !inbound.headers.contains_key("content-encoding"));
    assert_eq!(text(inbound).await.unwrap(), body);
}

/// A20: messages compressed one by one come in the clothes of gRPC alone; in others nobody can search them.
#[tokio::test]
async fn a20_messages_that_cannot_be_searched_are_not_relayed() {
    let message = [&b"\x01\0\0\0"[..], &[u8::try_from(gzip(KEY).len()).unwrap()], &gzip(KEY)].concat();
    let answer = |headers: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\ncontent-length: {}\r\n\r\n", message.len());
        write([head.as_bytes(), &message].concat())
    };
    for headers in [
        "content-type: application/grpc-web+proto\r\ngrpc-encoding: gzip",
        "content-type: application/connect+proto\r\nconnect-content-encoding: gzip",
        "content-type: application/grpc\r\ncontent-type: text/plain\r\ngrpc-encoding: gzip",
    ] {
        let upstream = Upstream::start(vec![vec![answer(headers)]]).await;
        let refused = broker().send(call(&upstream, "/", Slot::bearer(), KEY)).await.unwrap_err();
        assert!(matches!(refused, Error::BadGateway { .. }), "{headers}: {refused}");
    }
    let upstream = Upstream::start(vec![vec![answer("content-type: application/grpc\r\ngrpc-encoding: gzip")]]).await;
    let inbound = broker().send(call(&upstream, "/", Slot::bearer(), KEY)).await.unwrap();
    assert_eq!(text(inbound).await.unwrap(), "\0\0\0\0\u{f}[REDACTED:jira]");
}

/// A4: the target of a redirect comes back scrubbed, and nobody goes there. A22: an answer without a body has headers.
#[tokio::test]
async fn a4_a22_heads_without_bodies_are_searched() {
    for status in ["302 Found", "204 No Content", "304 Not Modified"] {
        let head =
            format!("HTTP/1.1 {status}\r\nlocation: https://evil.example/?k={KEY}\r\nset-cookie: k={KEY}\r\n\r\n");
        let upstream = Upstream::start(vec![vec![write(head), Step::Close]]).await;
        let inbound = broker().send(call(&upstream, "/", Slot::bearer(), KEY)).await.unwrap();
        assert_eq!(inbound.headers["location"], "https://evil.example/?k=[REDACTED:jira]", "{status}");
        assert!(inbound.headers.get("set-cookie").is_none());
        assert_eq!(inbound.findings.len(), 1, "{status}");
        assert_eq!(inbound.findings[0].place.to_string(), "header:location");
        assert_eq!(inbound.dialled, upstream.address);
        assert_eq!(upstream.seen().requests.len(), 1);
    }
}

/// A18: nobody gets a part of an answer that was asked for in parts, and one that comes in parts is searched across them.
#[tokio::test]
async fn a18_no_part_of_an_answer_can_be_asked_for_and_parts_are_searched() {
    let (half, other) = KEY.split_at(KEY.len() / 2);
    let parts = format!(
        "--cut\r\ncontent-range: bytes 0-9/99\r\n\r\n{KEY}\r\n--cut\r\ncontent-range: bytes 20-29/99\r\n\r\n{half}{other}\r\n--cut--\r\n"
    );
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-type: multipart/byteranges; boundary=cut\r\ncontent-length: {}\r\n\r\n",
        parts.len()
    );
    let upstream = Upstream::start(vec![vec![write(head + &parts)]]).await;
    let mut asked = call(&upstream, "/", Slot::bearer(), KEY);
    asked
        .headers
        .extend([("range", "bytes=0-9,20-29"), ("if-range", "\"x\"")].map(|(name, value)| (name.into(), value.into())));
    let mut inbound = broker().send(asked).await.unwrap();
    let mut out = Vec::new();
    while let Some(piece) = inbound.body.next().await {
        out.extend(piece.unwrap());
    }
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.matches("[REDACTED:jira]").count(), 2, "{out}");
    assert!(!out.contains(half) && !out.contains(other), "{out}");
    let request = upstream.seen().requests.pop().unwrap().to_lowercase();
    assert!(!request.contains("range"), "{request}");
}
