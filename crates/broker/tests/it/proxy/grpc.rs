//! gRPC on both legs (A20): messages in both directions at once, each searched by itself, and what follows them.

use std::io::Write as _;

use bytes::Bytes;
use http::Request;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::http2::between;
use super::*;

fn message(said: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    livery_broker::grpc::write(&mut out, said).unwrap();
    out
}

fn compressed(said: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(said).unwrap();
    let mut out = message(&encoder.finish().unwrap());
    out[0] = 1;
    out
}

/// A call under way.
struct Call {
    requests: mpsc::Sender<Bytes>,
    response: http::Response<hyper::body::Incoming>,
    _tasks: JoinSet<()>,
}

impl Call {
    /// Opens one that begins with these bytes.
    async fn open(scene: &Scene, path: &str, first: Vec<u8>) -> Result<Self, hyper::Error> {
        let stream = scene.tls_as(HOST, &[b"h2"]).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        let (requests, body) = mpsc::channel(4);
        requests.send(first.into()).await.unwrap();
        let pieces = futures_util::stream::unfold(body, |mut body| async {
            body.recv().await.map(|piece: Bytes| (Ok::<_, std::io::Error>(Frame::data(piece)), body))
        });
        let body = StreamBody::new(pieces).boxed_unsync();
        let request = Request::post(format!("https://{}{path}", scene.authority()))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .header("grpc-encoding", "gzip")
            .header("grpc-accept-encoding", "gzip, deflate")
            .body(body)
            .unwrap();
        let response = timeout(SOON, sender.send_request(request)).await.expect("no head comes")?;
        Ok(Self { requests, response, _tasks: tasks })
    }

    async fn next(&mut self) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        timeout(SOON, self.response.body_mut().frame()).await.expect("nothing comes")
    }
}

/// Each side speaks when the other has spoken: nothing is waited for, and every message is searched.
#[tokio::test]
async fn a20_messages_go_both_ways_at_once_and_hold_no_key() {
    let (peer, scene) = between().await;
    let mut call = Call::open(&scene, "/grpc/echo", message(b"one")).await.unwrap();
    for said in ["two", "three"] {
        assert!(call.next().await.unwrap().unwrap().is_data());
        call.requests.send(message(said.as_bytes()).into()).await.unwrap();
    }
    assert!(call.next().await.unwrap().unwrap().is_data());
    call.requests.send(compressed(KEY.as_bytes()).into()).await.unwrap();
    let answer = call.next().await.unwrap().unwrap().into_data().unwrap();
    // The upstream gives it back as it came, compressed; it goes on as what it stands for.
    assert_eq!(answer, message(b"[REDACTED:prv_1]"));
    drop(call.requests);
    let trailers = timeout(SOON, call.response.body_mut().frame()).await.unwrap().unwrap().unwrap();
    let trailers = trailers.into_trailers().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["grpc-message"]),
        (&"7".parse().unwrap(), &"not [REDACTED:prv_1]".parse().unwrap())
    );
    assert!(!call.response.headers().contains_key("grpc-encoding"));
    let seen = peer.seen();
    assert_eq!(
        (&seen[0].headers()["te"], &seen[0].headers()["grpc-accept-encoding"]),
        (&"trailers".parse().unwrap(), &"identity".parse().unwrap())
    );
}

/// A24, R4: a placeholder in a message, compressed or not, ends the call, and goes no further.
#[tokio::test]
async fn a20_a24_a_placeholder_in_a_message_goes_no_further() {
    let (peer, scene) = between().await;
    let token = scene.placeholder.as_str().as_bytes();
    for stored in [message(token), compressed(token)] {
        let mut call = Call::open(&scene, "/grpc/echo", message(b"one")).await.unwrap();
        assert!(call.next().await.unwrap().unwrap().is_data());
        let _ = call.requests.send(stored.into()).await;
        let end = call.next().await;
        assert!(matches!(&end, Some(Err(_))), "{end:?}");
    }
    assert!(peer.heard().iter().all(|heard| heard == &message(b"one")), "{:?}", peer.heard());
}

/// A20: an upstream that goes by the content type alone answers a program in HTTP/1.1 in gRPC, too; it is searched all the same.
#[tokio::test]
async fn a20_messages_are_searched_whatever_the_program_speaks() {
    let (peer, scene) = between().await;
    let body = compressed(KEY.as_bytes());
    let head = format!(
        "POST /grpc/echo HTTP/1.1\r\nhost: {}\r\ncontent-type: application/grpc\r\ngrpc-accept-encoding: gzip\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        scene.authority(),
        body.len()
    );
    let answer = scene.ask([head.as_bytes(), &body].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\u{10}[REDACTED:prv_1]"), "{answer}");
    assert!(!answer.contains("grpc-encoding") && !peer.seen()[0].headers().contains_key("grpc-accept-encoding"));
}

/// A connection in HTTP/1.1 that a tool left in the pool is no reason to refuse what takes HTTP/2.
#[tokio::test]
async fn a_call_finds_its_own_connection_beside_a_tools() {
    let (peer, scene) = between().await;
    let mut tools = crate::call::post(&format!("https://{}/v1", scene.authority()));
    tools.target = Target::full_url(&format!("https://{}/v1", scene.authority())).unwrap();
    let inbound = scene.proxy.gate().broker.send(tools).await.unwrap();
    assert_eq!(crate::call::text(inbound).await.unwrap(), "key [REDACTED:prv_1]");
    let mut call = Call::open(&scene, "/grpc/echo", message(b"one")).await.unwrap();
    assert!(call.next().await.unwrap().unwrap().is_data());
    assert_eq!(peer.versions(), [http::Version::HTTP_11, http::Version::HTTP_2]);
}

/// A message in a coding that nobody knows, one that never ends and one beyond the limit are none.
#[tokio::test]
async fn a20_what_cannot_be_searched_does_not_arrive() {
    let (_peer, scene) = between().await;
    for broken in [&b"\x01\0\0\0\x03abc"[..], b"\0\0\0\0\x09abc", b"\x02\0\0\0\x01a", b"\0\xff\0\0\0"] {
        // Broken off before its head or after.
        let Ok(mut call) = Call::open(&scene, "/grpc/raw", message(broken)).await else { continue };
        let requests = std::mem::replace(&mut call.requests, mpsc::channel(1).0);
        drop(requests);
        let end = call.next().await;
        assert!(matches!(end, Some(Err(_))), "{broken:02x?}: {end:?}");
    }
}
