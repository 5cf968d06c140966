//! A server with a platform of its own, and callers of it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use livery_platform::{Clock, Config, Parts, Platform, RootKey};
use livery_server::{Edge, Options};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything in a test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A node without sandboxes: agents that only think need none.
pub struct Site {
    pub platform: Platform,
    pub edge: Edge,
    /// The key of the first start.
    pub key: String,
    pub options: Options,
    data: TempDir,
}

impl Site {
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        Self::reaching(options, &[], None).await
    }

    /// One that may dial these private networks, and asks this DNS server alone.
    pub async fn reaching(options: Options, networks: &[&str], resolver: Option<SocketAddr>) -> Self {
        let networks: Vec<_> = networks.iter().map(|network| network.parse().unwrap()).collect();
        Self::changed(options, |parts| {
            parts.broker.allow_upstream = networks;
            parts.broker.resolver = resolver;
        })
        .await
    }

    /// One with other parts.
    pub async fn changed(options: Options, change: impl FnOnce(&mut Parts)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut parts = Parts {
            config: Config::new(data.path().to_owned(), "test".to_owned()),
            database: livery_platform::Database::in_folder(data.path()),
            clock: Clock::system(),
            broker: Default::default(),
            root_keys: RootKey::File(data.path().join("root.key")).into(),
            environment: Default::default(),
            sandboxes: None,
        };
        change(&mut parts);
        let platform = Platform::open(parts).await.unwrap();
        let key = platform.bootstrap(|_| Ok(())).await.unwrap().unwrap().api_key;
        platform.start().await.unwrap();
        let edge = Edge::new(platform.clone(), options.clone(), CancellationToken::new());
        Self { platform, edge, key, options, data }
    }

    /// Where it keeps everything.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// A caller with the key of the first start.
    pub fn operator(&self) -> Actor<'_> {
        Actor { site: self, key: Some(self.key.clone()) }
    }

    pub fn nobody(&self) -> Actor<'_> {
        Actor { site: self, key: None }
    }

    pub fn with_key(&self, key: &str) -> Actor<'_> {
        Actor { site: self, key: Some(key.to_owned()) }
    }

    /// Another organization.
    pub async fn tenant(&self, name: &str) -> Actor<'_> {
        let answer = self.operator().post("/v1/organizations", &json!({"name": name})).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        self.with_key(answer.json()["api_key"].as_str().unwrap())
    }

    /// The same surface on a socket.
    pub async fn listen(&self) -> Listening {
        let listener = livery_server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = livery_server::serve(listener, self.platform.clone(), self.options.clone(), stop.clone());
        Listening { address, stop, server: tokio::spawn(served) }
    }
}

/// A server on a socket.
pub struct Listening {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub server: JoinHandle<std::io::Result<()>>,
}

/// Somebody who calls.
pub struct Actor<'a> {
    site: &'a Site,
    pub key: Option<String>,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Actor<'_> {
    pub fn request(&self, method: Method, target: &str) -> http::request::Builder {
        let builder = Request::builder().method(method).uri(target);
        match &self.key {
            Some(key) => builder.header("authorization", format!("Bearer {key}")),
            None => builder,
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = tokio::time::timeout(PATIENCE, self.site.edge.answer(request)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn patch(&self, target: &str, body: &Value) -> Answer {
        let request = self.request(Method::PATCH, target).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send(self.request(Method::GET, target).body(Body::empty()).unwrap()).await
    }

    pub async fn delete(&self, target: &str) -> Answer {
        self.send(self.request(Method::DELETE, target).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, target: &str, body: &Value) -> Answer {
        self.post_with(target, body, &[]).await
    }

    pub async fn post_with(&self, target: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.request(Method::POST, target).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// A run of an agent that only talks, brought to its end.
    pub async fn finished_run(&self) -> Value {
        let body = json!({"agent": talker(&["one", "two"]), "input": {"topic": "test"}, "metadata": {"ticket": "42"}});
        let answer = self.post_with("/v1/runs", &body, &[("prefer", "wait=30")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["status"], "succeeded", "{}", answer.text());
        answer.json()
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        format!("{} {}", self.status, String::from_utf8_lossy(&self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Whether this is a problem document as promised; its code.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let document = self.json();
        assert_eq!(document["status"], self.status.as_u16(), "{document}");
        assert_eq!(document["request_id"], self.header("request-id"), "{document}");
        let code = document["code"].as_str().unwrap();
        assert_eq!(document["type"], format!("/docs/errors/{code}"));
        for member in ["title", "detail"] {
            assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{document}");
        }
        assert!(document["errors"].is_array(), "{document}");
        code.to_owned()
    }
}

/// An inline agent that says `words`, one text a turn, and finishes with the last.
pub fn talker(words: &[&str]) -> Value {
    slow_talker(words, 0)
}

/// The same with a pause before each turn.
pub fn slow_talker(words: &[&str], delay_ms: u64) -> Value {
    let turn = |word: &&str| {
        format!("  - text: {word}\n    delay_ms: {delay_ms}\n    tools: [{{name: nothing, arguments: {{}}}}]\n")
    };
    let (last, before) = words.split_last().unwrap();
    let mut script = String::from("turns:\n");
    script.extend(before.iter().map(turn));
    script.push_str(&format!("  - delay_ms: {delay_ms}\n    tools: [{{name: finish, arguments: {{text: {last}}}}}]\n"));
    let agent_md = "---\nname: talker\ndescription: Talks.\nmodel: scripted/talk\ntools: []\n---\nTalk.\n";
    json!({"agent_md": agent_md, "files": {"scripts/talk.yaml": base64::engine::general_purpose::STANDARD.encode(script)}})
}
