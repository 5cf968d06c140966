//! HTTP/2 on both legs: one request, one judgement, for each stream; and what a client that does not play fair gets for it.

use std::future::Future;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::*;
use crate::upstream::answer;

/// An upstream in HTTP/2 that answers by the path, with the key it was sent.
pub(super) struct Peer {
    port: u16,
    seen: Arc<Mutex<Vec<Request<()>>>>,
    connections: Arc<Mutex<usize>>,
    heard: Arc<Mutex<Vec<Bytes>>>,
    _tasks: JoinSet<()>,
}

impl Peer {
    async fn start(authority: &Authority) -> Self {
        let tls = authority.acceptor_of(&[HOST], &[b"h2", b"http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, seen, connections) =
            (listener.local_addr().unwrap().port(), Arc::default(), Arc::<Mutex<usize>>::default());
        let (all, counted) = (Arc::clone(&seen), Arc::clone(&connections));
        let heard = Arc::<Mutex<Vec<Bytes>>>::default();
        let hearing = Arc::clone(&heard);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *counted.lock().unwrap() += 1;
                let (tls, all, heard) = (tls.clone(), Arc::clone(&all), Arc::clone(&hearing));
                serving.spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let is_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    server.max_header_list_size(1 << 20);
                    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                        let (all, heard) = (Arc::clone(&all), Arc::clone(&heard));
                        async move {
                            if !request.uri().path().starts_with("/grpc/") {
                                return answered(request, &all).await;
                            }
                            let head = Request::get(request.uri()).version(request.version()).body(());
                            let mut head = head.unwrap();
                            *head.headers_mut() = request.headers().clone();
                            all.lock().unwrap().push(head);
                            Ok(called(request, heard))
                        }
                    });
                    let stream = TokioIo::new(stream);
                    if is_two {
                        let _ = server.serve_connection(stream, service).await;
                    } else {
                        let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
                    }
                });
            }
        });
        Self { port, seen, connections, heard, _tasks: tasks }
    }
}

impl Peer {
    pub(super) fn seen(&self) -> Vec<Request<()>> {
        self.seen.lock().unwrap().clone()
    }

    /// What each request came in.
    pub(super) fn versions(&self) -> Vec<Version> {
        self.seen().iter().map(Request::version).collect()
    }

    /// Every piece of a gRPC call's body.
    pub(super) fn heard(&self) -> Vec<Bytes> {
        self.heard.lock().unwrap().clone()
    }
}

/// Answers each piece as it comes: with itself, or with what its message holds; and the key behind them all.
fn called(request: Request<Incoming>, heard: Arc<Mutex<Vec<Bytes>>>) -> Response<Body> {
    let key = request.headers()["authorization"].to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    let is_raw = request.uri().path() == "/grpc/raw";
    let pieces = futures_util::stream::unfold(Some(request.into_body()), move |body| {
        let (heard, key) = (Arc::clone(&heard), key.clone());
        async move {
            let mut body = body?;
            match body.frame().await {
                Some(Ok(frame)) => {
                    let piece = frame.into_data().unwrap_or_default();
                    heard.lock().unwrap().push(piece.clone());
                    let piece = if is_raw { piece.slice(5..) } else { piece };
                    Some((Ok(Frame::data(piece)), Some(body)))
                }
                _ => {
                    let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", "7".parse().unwrap());
                    trailers.insert("grpc-message", format!("not {encoded}").parse().unwrap());
                    Some((Ok(Frame::trailers(trailers)), None))
                }
            }
        }
    });
    let head = Response::builder().header("content-type", "application/grpc").header("grpc-encoding", "gzip");
    head.body(StreamBody::new(pieces).boxed_unsync()).unwrap()
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

async fn answered(request: Request<Incoming>, seen: &Mutex<Vec<Request<()>>>) -> std::io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    seen.lock().unwrap().push(Request::from_parts(parts.clone(), ()));
    let key = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned();
    let key = key.strip_prefix("Bearer ").unwrap_or(&key).to_owned();
    if parts.uri.path() == "/refused" {
        return Err(std::io::Error::other("the stream is reset"));
    }
    let frames: Vec<Frame<Bytes>> = match parts.uri.path() {
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-after", key.parse().unwrap());
            trailers.insert("x-plain", "plain".parse().unwrap());
            vec![Frame::data(Bytes::from_static(b"body")), Frame::trailers(trailers)]
        }
        "/echo" => vec![Frame::data(body)],
        _ => vec![Frame::data(Bytes::from(format!("key {key}")))],
    };
    let frames = futures_util::stream::iter(frames.into_iter().map(Ok));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    if parts.uri.path() == "/large-head" {
        // More than fits in one frame, so it comes over CONTINUATION frames.
        for n in 0..40 {
            response.headers_mut().append("x-pad", format!("{n}{}", "p".repeat(1000)).parse().unwrap());
        }
        response.headers_mut().insert("x-echo", key.parse().unwrap());
    }
    if parts.uri.path() == "/huge-head" {
        response.headers_mut().insert("x-pad", "p".repeat(80 * 1024).parse().unwrap());
    }
    Ok(response)
}

/// A proxy whose upstream speaks HTTP/2 alone.
pub(super) async fn between() -> (Peer, Scene) {
    let authority = Authority::new();
    let peer = Peer::start(&authority).await;
    let mut scene =
        Scene::with(vec![vec![answer("{}")]], authority.acceptor(&[HOST], |_| {}), Some(&authority.pem)).await;
    scene.aim(peer.port, Some(&authority.pem));
    (peer, scene)
}

type Client = SendRequest<Full<Bytes>>;

/// A client in HTTP/2 inside a tunnel.
async fn client(scene: &Scene) -> (Client, JoinSet<()>) {
    let stream = scene.tls_as(HOST, &[b"h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = client.max_header_list_size(1 << 20).handshake(TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    (sender, tasks)
}

fn request(scene: &Scene, path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("https://{}{path}", scene.authority())).body(Full::default()).unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it takes too long")
}

async fn text(response: Response<Incoming>) -> (String, Option<HeaderMap>) {
    let collected = soon(response.into_body().collect()).await.unwrap();
    let trailers = collected.trailers().cloned();
    (String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailers)
}

/// R6, R16: many streams at a time, each judged; one connection to the upstream carries them.
#[tokio::test]
async fn streams_go_out_with_the_key_and_come_back_without() {
    let (peer, scene) = between().await;
    let (mut sender, _tasks) = client(&scene).await;
    let first = soon(sender.send_request(request(&scene, "/v1?a=1"))).await.unwrap();
    assert_eq!((first.status(), first.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(text(first).await.0, "key [REDACTED:prv_1]");
    let many = (0..20).map(|n| sender.clone().send_request(request(&scene, &format!("/{n}")))).collect::<Vec<_>>();
    for response in soon(futures_util::future::join_all(many)).await {
        assert_eq!(text(response.unwrap()).await.0, "key [REDACTED:prv_1]");
    }
    let refused = soon(sender.send_request(request(&scene, "/a/../%2e%2e/b"))).await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "the others go on");
    let mut posted = request(&scene, "/echo");
    *posted.method_mut() = http::Method::POST;
    *posted.body_mut() = Full::from(vec![b'b'; 1 << 20]);
    assert_eq!(text(soon(sender.send_request(posted)).await.unwrap()).await.0.len(), 1 << 20);
    let seen = peer.seen.lock().unwrap();
    assert_eq!((seen.len(), *peer.connections.lock().unwrap()), (22, 1));
    assert_eq!(seen[0].uri().to_string(), format!("https://{}/v1?a=1", scene.authority()));
    assert!(seen.iter().all(|one| one.headers()["authorization"] == format!("Bearer {KEY}")), "{seen:?}");
    assert!(seen.iter().all(|one| !one.headers().contains_key("host") && !one.headers().contains_key("connection")));
}

/// A5: what follows a body is searched like what stands before it; from an upstream in HTTP/1.1, too.
#[tokio::test]
async fn a5_the_key_is_in_no_trailer() {
    let (_peer, scene) = between().await;
    let (mut sender, _tasks) = client(&scene).await;
    let (body, trailers) = text(soon(sender.send_request(request(&scene, "/trailers"))).await.unwrap()).await;
    let trailers = trailers.unwrap();
    assert_eq!(
        (body.as_str(), &trailers["x-plain"], &trailers["x-after"]),
        ("body", &"plain".parse().unwrap(), &"[REDACTED:prv_1]".parse().unwrap())
    );
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-after\r\n\r\n1\r\nb\r\n0\r\nx-after: {KEY}\r\n\r\n"
    );
    let scene = Scene::new(vec![vec![Step::Write(chunked.into_bytes())]]).await;
    let (mut sender, _tasks) = client(&scene).await;
    let (body, trailers) = text(soon(sender.send_request(request(&scene, "/"))).await.unwrap()).await;
    assert_eq!((body.as_str(), &trailers.unwrap()["x-after"]), ("b", &"[REDACTED:prv_1]".parse().unwrap()));
}

/// C3: what is refused on a connection that stays open is asked once more on another, and not for as long as the run lasts.
#[tokio::test]
async fn c3_a_stream_that_is_reset_is_asked_once_more_and_no_more() {
    let (peer, scene) = between().await;
    let (mut sender, _tasks) = client(&scene).await;
    assert_eq!(soon(sender.send_request(request(&scene, "/"))).await.unwrap().status(), StatusCode::OK);
    let response = soon(sender.send_request(request(&scene, "/refused"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let asked = peer.seen().iter().filter(|one| one.uri().path() == "/refused").count();
    assert_eq!(asked, 2);
}

/// A21: a head that comes in several frames is searched whole.
#[tokio::test]
async fn a21_the_key_in_a_head_over_several_frames_is_taken_out() {
    let (_peer, scene) = between().await;
    let (mut sender, _tasks) = client(&scene).await;
    let response = soon(sender.send_request(request(&scene, "/large-head"))).await.unwrap();
    assert_eq!(response.headers()["x-echo"], "[REDACTED:prv_1]");
    assert_eq!(response.headers().get_all("x-pad").iter().count(), 40);
}

/// What an upstream says in HTTP/1.1 is said in HTTP/2, and the other way around.
#[tokio::test]
async fn the_two_legs_need_not_speak_the_same() {
    let (_peer, scene) = between().await;
    let text = scene.ask(get(&scene, "/v1", "")).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("key [REDACTED:prv_1]"), "{text}");
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let (mut sender, _tasks) = client(&scene).await;
    for _ in 0..2 {
        let response = soon(sender.send_request(request(&scene, "/v1?a=1"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert!(scene.requests()[0].starts_with("GET /v1?a=1 HTTP/1.1\r\n"), "{:?}", scene.requests());
    assert!(scene.requests()[0].contains(&format!("\r\nhost: {}\r\n", scene.authority())));
}

/// B5: the stream's own idea of its host is the tunnel's, or it is refused; the connection goes on.
#[tokio::test]
async fn b5_another_authority_or_host_is_refused() {
    let (peer, scene) = between().await;
    let (mut sender, _tasks) = client(&scene).await;
    let port = peer.port;
    for (authority, host) in [
        (format!("evil.localhost:{port}"), None),
        (HOST.to_owned(), None),
        (format!("user@{HOST}:{port}"), None),
        (scene.authority(), Some("evil.localhost".to_owned())),
        (format!("evil.localhost:{port}"), Some(scene.authority())),
    ] {
        let mut asked = Request::get(format!("https://{authority}/")).body(Full::default()).unwrap();
        if let Some(host) = &host {
            asked.headers_mut().insert("host", host.parse().unwrap());
        }
        let status = soon(sender.send_request(asked)).await.map(|response| response.status());
        assert!(!matches!(status, Ok(status) if status.is_success()), "{authority} {host:?}: {status:?}");
    }
    let plain = Request::get(format!("http://{}/", scene.authority())).body(Full::default()).unwrap();
    assert_eq!(soon(sender.send_request(plain)).await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
    assert!(peer.seen.lock().unwrap().is_empty() && scene.findings().contains(&"name_mismatch"));
    let mut same = request(&scene, "/");
    same.headers_mut().insert("host", scene.authority().parse().unwrap());
    assert_eq!(soon(sender.send_request(same)).await.unwrap().status(), StatusCode::OK);
}

/// A placeholder in its slot makes room for the key; in another place the stream is refused.
#[tokio::test]
async fn a24_a_placeholder_in_a_stream_is_judged_like_any_other() {
    let (peer, scene) = between().await;
    let (mut sender, _tasks) = client(&scene).await;
    for (name, status) in [("authorization", StatusCode::OK), ("x-other", StatusCode::FORBIDDEN)] {
        let mut asked = request(&scene, "/");
        asked.headers_mut().insert(name, format!("Bearer {}", scene.placeholder.as_str()).parse().unwrap());
        assert_eq!(soon(sender.send_request(asked)).await.unwrap().status(), status);
    }
    assert_eq!(peer.seen.lock().unwrap().len(), 1);
}

/// Frames as they stand, for what no library sends.
mod raw {
    pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// A field as a literal that nobody remembers.
    pub(super) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
        let text = |text: &[u8]| {
            let mut out = vec![u8::try_from(text.len().min(127)).unwrap()];
            if text.len() >= 127 {
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    out.push(u8::try_from(rest % 128).unwrap() | 0x80);
                    rest /= 128;
                }
                out.push(u8::try_from(rest).unwrap());
            }
            [&out, text].concat()
        };
        [vec![0], text(name), text(value)].concat()
    }

    pub(super) fn head(authority: &str, more: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out: Vec<u8> = [
            field(b":method", b"GET"),
            field(b":scheme", b"https"),
            field(b":authority", authority.as_bytes()),
            field(b":path", b"/"),
        ]
        .concat();
        more.iter().for_each(|(name, value)| out.extend(field(name, value)));
        out
    }
}

/// Sends these frames and waits for the connection to end or fall silent; the kinds of the frames that came back.
async fn thrown_at(scene: &Scene, frames: &[u8]) -> Vec<u8> {
    let mut stream = scene.tls_as(HOST, &[b"h2"]).await.unwrap();
    send(&mut stream, raw::PREFACE).await;
    send(&mut stream, frames).await;
    let (mut bytes, mut kinds) = (Vec::new(), Vec::new());
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(Duration::from_secs(2), stream.read_buf(&mut bytes)).await {
        let _ = count;
    }
    let mut rest = bytes.as_slice();
    while let [a, b, c, kind, tail @ ..] = rest {
        kinds.push(*kind);
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        rest = tail.get(5 + length..).unwrap_or_default();
    }
    kinds
}

/// E3: what no head of HTTP/1.1 could hold is not made into one.
#[tokio::test]
async fn e3_a_head_that_would_be_two_is_refused() {
    for (name, value) in [
        (b"x-a".as_slice(), b"b\r\nx-smuggled: 1".as_slice()),
        (b"x-a", b"b\nx-smuggled: 1"),
        (b"x-a", b"b\0"),
        (b"x-a\r\nx-smuggled", b"1"),
        (b"X-Smuggled", b"1"),
        (b"x-smuggled:", b"1"),
        (b"x smuggled", b"1"),
        (b"", b"smuggled"),
        (b":smuggled", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"smuggled"),
        (b":path", b"/smuggled"),
    ] {
        let scene = Scene::new(vec![vec![answer("{}")]]).await;
        let head = raw::head(&scene.authority(), &[(name, value)]);
        thrown_at(&scene, &raw::frame(1, 5, 1, &head)).await;
        assert_eq!(scene.requests(), Vec::<String>::new(), "{:?}", String::from_utf8_lossy(name));
    }
    // The method and the path make a line, too.
    for (at, name, value) in
        [(0, b":method".as_slice(), b"GET / HTTP/1.1\r\nx".as_slice()), (3, b":path", b"/ HTTP/1.1\r\nx-smuggled: 1")]
    {
        let scene = Scene::new(vec![vec![answer("{}")]]).await;
        let authority = scene.authority();
        let mut fields = [
            raw::field(b":method", b"GET"),
            raw::field(b":scheme", b"https"),
            raw::field(b":authority", authority.as_bytes()),
            raw::field(b":path", b"/"),
        ];
        fields[at] = raw::field(name, value);
        thrown_at(&scene, &raw::frame(1, 5, 1, &fields.concat())).await;
        assert_eq!(scene.requests(), Vec::<String>::new());
    }
}

/// E5: heads without end, in however many frames, and streams that are opened to be given up, end the connection or the stream.
#[tokio::test]
async fn e5_floods_of_heads_and_resets_are_cut_off() {
    const GOAWAY: u8 = 7;
    let scene = Scene::new(vec![vec![Step::Stall]]).await;
    let head = raw::head(&scene.authority(), &[]);
    // A head that never ends, in frames that hold nothing, or something.
    for piece in [Vec::new(), raw::field(b"x-a", &[b'a'; 1000])] {
        let mut frames = raw::frame(1, 1, 1, &head);
        (0..2000).for_each(|_| frames.extend(raw::frame(9, 0, 1, &piece)));
        let kinds = thrown_at(&scene, &frames).await;
        assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    }
    // One byte for each of many references to a large field.
    let mut bomb = head.clone();
    bomb.extend([vec![0x40], raw::field(b"x-bomb", &[b'a'; 4000])[1..].to_vec(), vec![0xbe; 12_000]].concat());
    thrown_at(&scene, &raw::frame(1, 5, 1, &bomb)).await;
    let many: Vec<(&[u8], &[u8])> = vec![(b"x-a", b"1"); 500];
    thrown_at(&scene, &raw::frame(1, 5, 1, &raw::head(&scene.authority(), &many))).await;
    assert_eq!(scene.upstream.seen().connections, 0, "none of them was a request");
    // Opened and given up, again and again.
    let mut frames = Vec::new();
    for stream in (1..4000).step_by(2) {
        frames.extend(raw::frame(1, 5, stream, &head));
        frames.extend(raw::frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let kinds = thrown_at(&scene, &frames).await;
    assert!(kinds.contains(&GOAWAY) || kinds.is_empty(), "{kinds:?}");
    assert!(scene.upstream.seen().connections < 200, "{}", scene.upstream.seen().connections);
}

/// E5: given up while the upstream is asked already: a client cannot make it work without end either.
#[tokio::test]
async fn e5_streams_given_up_one_by_one_end_the_connection() {
    let scene = Scene::new(vec![vec![Step::Stall]]).await;
    let (sender, _tasks) = client(&scene).await;
    let mut given_up = 0;
    while given_up < 400 && !sender.is_closed() {
        let mut sender = sender.clone();
        let _ = tokio::time::timeout(Duration::from_millis(20), sender.send_request(request(&scene, "/"))).await;
        given_up += 1;
    }
    assert!((100..400).contains(&given_up), "{given_up}");
}

/// E5: an upstream's head beyond the limit is an error, not a larger buffer.
#[tokio::test]
async fn e5_an_upstreams_head_has_a_limit_too() {
    let (_peer, scene) = between().await;
    let (mut sender, _tasks) = client(&scene).await;
    let response = soon(sender.send_request(request(&scene, "/huge-head"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let response = soon(sender.send_request(request(&scene, "/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
