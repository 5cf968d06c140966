//! Event streams over real sockets: every event exactly once and in order, from wherever a reader takes up again.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use livery_server::Options;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::site::{Listening, PATIENCE, Site, slow_talker};

/// One block of a stream.
#[derive(Debug, Default, PartialEq)]
struct Block {
    id: Option<u64>,
    event: Option<String>,
    data: Option<Value>,
    retry: Option<u64>,
    comment: bool,
}

/// An open stream as a client library reads it. Dropping it closes the connection.
struct Stream {
    status: u16,
    headers: http::HeaderMap,
    body: Incoming,
    text: String,
    connection: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Stream {
    async fn open(address: SocketAddr, key: &str, target: &str, last: Option<&str>) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut request = http::Request::builder()
            .uri(target)
            .header("host", "livery.test")
            .header("authorization", format!("Bearer {key}"))
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response =
            tokio::time::timeout(PATIENCE, sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()));
        let (parts, body) = response.await.unwrap().unwrap().into_parts();
        Self { status: parts.status.as_u16(), headers: parts.headers, body, text: String::new(), connection }
    }

    /// The next block; `None` at the end. A block without its blank line is none, as the standard has it.
    async fn next(&mut self) -> Option<Block> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = parse(block);
                self.text = rest.to_owned();
                return Some(block);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("the stream stands still")?;
            let data = frame.ok()?.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next stored event.
    async fn event(&mut self) -> Option<Value> {
        loop {
            let block = self.next().await?;
            if let (Some(id), Some(data)) = (block.id, block.data) {
                assert_eq!((data["seq"].as_u64(), data["type"].as_str()), (Some(id), block.event.as_deref()));
                return Some(data);
            }
        }
    }

    async fn rest(mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }
}

fn parse(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.split('\n') {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("id", id) => block.id = Some(id.parse().unwrap()),
            ("event", name) => block.event = Some(name.to_owned()),
            ("data", data) => block.data = Some(serde_json::from_str(data).unwrap()),
            ("retry", wait) => block.retry = Some(wait.parse().unwrap()),
            ("" | ":", _) => block.comment = true,
            other => panic!("no field of an event stream: {other:?}"),
        }
    }
    block
}

struct Running {
    site: Site,
    server: Listening,
    target: String,
    run: String,
}

/// A run under way, on a server with these options.
async fn running(options: Options, words: &[&str], delay_ms: u64) -> Running {
    let site = Site::with(options).await;
    let server = site.listen().await;
    let body = json!({"agent": slow_talker(words, delay_ms)});
    let answer = site.operator().post("/v1/runs", &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let run = answer.json()["id"].as_str().unwrap().to_owned();
    Running { target: format!("/v1/runs/{run}/events"), run, site, server }
}

impl Running {
    async fn open(&self, last: Option<&str>) -> Stream {
        Stream::open(self.server.address, &self.site.key, &self.target, last).await
    }

    /// The log as JSON pages show it.
    async fn log(&self) -> Vec<Value> {
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let page = self.site.operator().get(&format!("{}?after={after}&limit=3", self.target)).await.json();
            events.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["next_after"].as_u64() {
                Some(next) => after = next,
                None => return events,
            }
        }
    }

    async fn ended(&self) {
        let answer = self.site.operator().get(&format!("/v1/runs/{}?wait=30", self.run)).await;
        assert_eq!(answer.json()["status"], "succeeded", "{}", answer.text());
    }
}

const WORDS: &[&str] = &["one", "two", "three", "four"];

#[tokio::test]
async fn a_finished_run_is_read_from_every_point() {
    let running = running(Options::default(), WORDS, 0).await;
    running.ended().await;
    let log = running.log().await;
    assert!(log.len() >= 10, "{log:#?}");
    assert!(log.iter().zip(1..).all(|(event, seq)| event["seq"] == seq), "without gaps");
    assert_eq!(running.open(None).await.rest().await, log);
    for point in 0..=log.len() {
        let events = running.open(Some(&point.to_string())).await.rest().await;
        assert_eq!(events, log[point..], "after {point}");
    }
    let beyond = running.open(Some("4000")).await;
    assert_eq!(beyond.status, 200);
    assert_eq!(beyond.rest().await, Vec::<Value>::new(), "beyond the end of a finished run there is nothing");
}

#[tokio::test]
async fn a_reader_that_breaks_off_at_every_point_misses_nothing() {
    let running = running(Options::default(), WORDS, 60).await;
    // One reader that takes a single event at a time, each with a connection of its own, while the run goes on.
    let mut seen: Vec<Value> = Vec::new();
    loop {
        let last = seen.last().map(|event| event["seq"].to_string());
        match running.open(last.as_deref()).await.event().await {
            Some(event) => seen.push(event),
            None => break,
        }
    }
    assert_eq!(seen, running.log().await);
    assert_eq!(seen.last().unwrap()["type"], "run.succeeded");
}

#[tokio::test]
async fn readers_that_break_off_once_each_at_another_point_all_see_the_same() {
    let running = running(Options::default(), WORDS, 60).await;
    let readers = (0..16).map(|cut| {
        let running = &running;
        async move {
            let (mut stream, mut seen) = (running.open(None).await, Vec::new());
            for _ in 0..cut {
                seen.extend(stream.event().await);
            }
            drop(stream);
            let last = seen.last().map(|event: &Value| event["seq"].to_string());
            seen.extend(running.open(last.as_deref()).await.rest().await);
            seen
        }
    });
    let all = futures_util::future::join_all(readers).await;
    let log = running.log().await;
    for (cut, seen) in all.iter().enumerate() {
        assert_eq!(*seen, log, "cut after {cut}");
    }
}

#[tokio::test]
async fn a_stream_looks_like_one() {
    let running = running(Options::default(), &["one"], 0).await;
    let mut stream = running.open(None).await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(stream.headers["cache-control"], "no-store");
    assert_eq!(stream.headers["x-accel-buffering"], "no");
    assert_eq!(stream.next().await.unwrap(), Block { retry: Some(1000), ..Block::default() }, "first of all");
    for last in ["x", "-1", "1.5", "99999999999999999999"] {
        assert_eq!(running.open(Some(last)).await.status, 400, "{last}");
    }
    let by_query =
        Stream::open(running.server.address, &running.site.key, &format!("{}?after=1", running.target), None).await;
    assert_eq!(by_query.rest().await[0]["seq"], 2);
}

#[tokio::test]
async fn a_quiet_stream_shows_that_it_lives_and_ends_with_its_key() {
    let options = Options { heartbeat: Duration::from_millis(20), ..Options::default() };
    let running = running(options, &["one", "two"], 600_000).await;
    let operator = running.site.operator();
    let created = operator.post("/v1/api_keys", &json!({"name": "reader", "scopes": ["runs:read"]})).await.json();
    let mut stream =
        Stream::open(running.server.address, created["api_key"].as_str().unwrap(), &running.target, None).await;
    while !stream.next().await.unwrap().comment {}
    operator.delete(&format!("/v1/api_keys/{}", created["id"].as_str().unwrap())).await;
    while stream.next().await.is_some() {}
    let cancelled = operator.post(&format!("/v1/runs/{}/cancel", running.run), &json!({})).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    let rest = running.open(None).await.rest().await;
    assert_eq!(rest.last().unwrap()["type"], "run.cancelled", "the run went on without its reader");
}

#[tokio::test]
async fn an_organization_has_so_many_streams_and_gets_them_back() {
    let options = Options { event_streams_per_org_max: 2, heartbeat: Duration::from_millis(20), ..Options::default() };
    let running = running(options, &["one", "two"], 600_000).await;
    let first = running.open(None).await;
    let _second = running.open(None).await;
    let refused = running.open(None).await;
    assert_eq!((refused.status, &refused.headers["content-type"]), (429, &"application/problem+json".parse().unwrap()));
    drop(first);
    let again = async {
        while running.open(None).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("a closed stream gives its seat back");
    running.site.operator().post(&format!("/v1/runs/{}/cancel", running.run), &json!({})).await;
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let running = running(Options::default(), &["one", "two"], 600_000).await;
    let mut stream = running.open(None).await;
    assert_eq!(stream.event().await.unwrap()["type"], "run.queued");
    running.server.stop.cancel();
    while stream.next().await.is_some() {}
    let Running { server, .. } = running;
    tokio::time::timeout(PATIENCE, server.server).await.expect("the server drains").unwrap().unwrap();
}
