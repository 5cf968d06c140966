//! What only a real socket shows: heads that are no HTTP, bodies that are too large or never end, readers that take
//! nothing, a server that stops.

use std::time::Duration;

use livery_server::Options;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::site::{Listening, PATIENCE, Site, slow_talker};

/// Sends bytes and reads until the server closes.
async fn exchange(server: &Listening, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(request).await.unwrap();
    read_all(&mut socket).await
}

async fn read_all(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    let so_far = String::from_utf8_lossy(&answer);
    read.unwrap_or_else(|_| panic!("the server does not close after {so_far:?}")).unwrap();
    String::from_utf8(answer).unwrap()
}

/// The last answer of a connection, checked as a problem document: status and code.
fn problem(text: &str) -> (u16, String) {
    let start = text.rfind("HTTP/1.1 ").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let (head, body) = text[start..].split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(head.contains("content-type: application/problem+json"), "{text}");
    let document: Value = serde_json::from_str(body).unwrap();
    let status: u16 = head[9..12].parse().unwrap();
    assert_eq!(document["status"], status);
    assert!(head.contains(&format!("request-id: {}", document["request_id"].as_str().unwrap())), "{text}");
    (status, document["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn heads_that_are_no_http_get_a_problem_too() {
    let site = Site::new().await;
    let server = site.listen().await;
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let cases = [
        ("GET /healthz HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET /healthz HTTP/9.9\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), 400, "malformed_request"),
        (format!("GET /healthz HTTP/1.1\r\n{many}\r\n"), 431, "headers_too_large"),
        (
            format!("GET /healthz HTTP/1.1\r\nconnection: close\r\nx: {}\r\n\r\n", "y".repeat(66_000)),
            431,
            "headers_too_large",
        ),
        (format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1_000_000)), 431, "headers_too_large"),
        (format!("GET /{} HTTP/1.1\r\nconnection: close\r\n\r\n", "a".repeat(9_000)), 414, "uri_too_long"),
        ("POST /v1/runs HTTP/1.1\r\ncontent-length: x\r\n\r\n".to_owned(), 400, "malformed_request"),
    ];
    for (request, status, code) in cases {
        let answer = exchange(&server, request.as_bytes()).await;
        assert_eq!(problem(&answer), (status, code.to_owned()), "{:?}", request.chars().take(60).collect::<String>());
    }
    // The second request of a connection, after a good one.
    let answer = exchange(&server, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\nrubbish\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(problem(&answer).0, 400);
}

#[tokio::test]
async fn who_sends_too_much_gets_to_read_why() {
    let site = Site::new().await;
    let server = site.listen().await;
    let size = 6 * 1024 * 1024;
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\nconnection: close\r\n",
        site.key
    );
    let mut declared = format!("{head}content-length: {size}\r\n\r\n").into_bytes();
    declared.resize(declared.len() + size, b' ');
    assert_eq!(problem(&exchange(&server, &declared).await), (413, "too_large".to_owned()));

    // A stranger's body is not read at all, and the stranger is told so.
    let stranger = String::from_utf8(declared).unwrap().replace(&site.key, "lvk_nobody");
    assert_eq!(problem(&exchange(&server, stranger.as_bytes()).await), (401, "unauthenticated".to_owned()));

    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{size:x}\r\n").into_bytes();
    chunked.resize(chunked.len() + size, b' ');
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    assert_eq!(problem(&exchange(&server, &chunked).await), (413, "too_large".to_owned()));
}

#[tokio::test]
async fn who_sends_too_slowly_is_not_waited_for() {
    let options = Options {
        body_idle: Duration::from_millis(100),
        head_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let site = Site::with(options).await;
    let server = site.listen().await;
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{{\"a",
        site.key
    );
    assert_eq!(problem(&exchange(&server, head.as_bytes()).await), (408, "request_timeout".to_owned()));
    assert_eq!(exchange(&server, b"GET /healthz HT").await, "", "half a head is not answered");
    assert_eq!(exchange(&server, b"").await, "", "nor is none");
}

#[tokio::test]
async fn a_reader_who_takes_nothing_is_let_go() {
    let options = Options { write_stall: Duration::from_millis(200), ..Options::default() };
    let site = Site::with(options).await;
    let server = site.listen().await;
    let size = 32 * 1024 * 1024;
    let actor = site.operator();
    let upload = actor.request(http::Method::POST, "/v1/files?name=large").body(vec![b'x'; size].into()).unwrap();
    let file = actor.send(upload).await.json()["id"].as_str().unwrap().to_owned();
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let request =
        format!("GET /v1/files/{file}/content HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", site.key);
    socket.write_all(request.as_bytes()).await.unwrap();
    server.stop.cancel();
    // The server may stop only once the connection is gone; nobody reads it.
    tokio::time::timeout(Duration::from_secs(8), server.server)
        .await
        .expect("the stalled connection ends")
        .unwrap()
        .unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() < size, "it was cut");
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_it_began() {
    let site = Site::new().await;
    let server = site.listen().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    // A caller who waits for a run that never ends gets the run as it is.
    let body = json!({"agent": slow_talker(&["one", "two"], 600_000)}).to_string();
    let request = format!(
        "POST /v1/runs HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\nprefer: wait=55\r\n\
         content-length: {}\r\n\r\n{body}",
        site.key,
        body.len()
    );
    let mut waiting = TcpStream::connect(server.address).await.unwrap();
    waiting.write_all(request.as_bytes()).await.unwrap();
    while site.operator().get("/v1/runs").await.json()["data"].as_array().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    server.stop.cancel();
    assert!(read_all(&mut waiting).await.starts_with("HTTP/1.1 202 Accepted\r\n"));
    read_all(&mut idle).await;
    tokio::time::timeout(PATIENCE, server.server).await.expect("the server drains").unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

/// Readers that lost their server come back all at once, before the new one has accepted any.
#[tokio::test]
async fn hundreds_may_wait_to_be_accepted() {
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let many = allowed.trim().parse::<usize>().unwrap().min(600);
    let listener = livery_server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for number in 0..many {
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        waiting.push(connected.unwrap_or_else(|_| panic!("connection {number} waits for room")).unwrap());
    }
    for number in 0..many {
        tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap_or_else(|_| panic!("{number} is lost")).unwrap();
    }
}
