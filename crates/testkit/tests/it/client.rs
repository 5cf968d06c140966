//! The smallest client that can talk to the fakes: one connection a request, decoded as it arrives.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use livery_core::Timestamp;
use livery_llm::message::Message;
use livery_llm::provider::{Decoder, Dialect, Options, classify};
use livery_llm::request::{ModelRequest, ToolChoice, ToolSpec};
use livery_llm::stream::{ModelError, ModelErrorClass, ModelResponse};
use livery_testkit::FakeModel;
use serde_json::json;

/// Longer than anything here takes, shorter than a person's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const KEY: &str = "sk-right";

pub(crate) fn dialects() -> [Dialect; 2] {
    [Dialect::Anthropic, Dialect::of("openai", None).unwrap()]
}

pub(crate) fn request(messages: Vec<Message>) -> ModelRequest {
    let schema = json!({"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]});
    let tool = |name: &str| ToolSpec {
        name: name.to_owned(),
        description: "A tool.".to_owned(),
        input_schema: schema.clone(),
    };
    ModelRequest {
        model: "fake-1".to_owned(),
        system: "Be a horse.".to_owned(),
        messages,
        tools: vec![tool("finish"), tool("shell")],
        tool_choice: ToolChoice::Auto,
        max_output_tokens: 1000,
    }
}

/// Sends and reads to the end, with the key where the format wants it.
pub(crate) async fn ask(
    server: &FakeModel,
    dialect: &Dialect,
    request: &ModelRequest,
    stream: bool,
) -> Result<ModelResponse, ModelError> {
    ask_with(server, dialect, request, stream, Some(KEY)).await
}

pub(crate) async fn ask_with(
    server: &FakeModel,
    dialect: &Dialect,
    request: &ModelRequest,
    stream: bool,
    key: Option<&str>,
) -> Result<ModelResponse, ModelError> {
    let encoded = dialect.encode(request, &Options { stream, ..Options::default() });
    let path = if *dialect == Dialect::Anthropic { encoded.path.to_owned() } else { format!("/v1{}", encoded.path) };
    let mut headers: Vec<(String, String)> =
        encoded.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    if let Some(key) = key {
        headers.push((encoded.key.header.to_owned(), format!("{}{key}", encoded.key.prefix)));
    }
    let timeout = |_| ModelError::new(ModelErrorClass::Timeout, "no answer in time");
    let exchange = exchange(server.address(), &path, headers, encoded.body, Decoder::new(dialect, request, "call_9"));
    tokio::time::timeout(PATIENCE, exchange).await.map_err(timeout)?
}

async fn exchange(
    address: SocketAddr,
    path: &str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    mut decoder: Decoder,
) -> Result<ModelResponse, ModelError> {
    let broken = |error: &dyn std::fmt::Display| ModelError::new(ModelErrorClass::StreamCut, error.to_string());
    let mut response = post(address, path, headers, body).await.map_err(|error| broken(&error))?;
    if response.status() != 200 {
        let (parts, body) = response.into_parts();
        let headers: Vec<(&str, &str)> =
            parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let body = body.collect().await.map_err(|error| broken(&error))?.to_bytes();
        return Err(classify(parts.status.as_u16(), &headers, &body, now()));
    }
    while let Some(frame) = response.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        decoder.push(frame.data_ref().unwrap(), &mut |_| {})?;
    }
    decoder.finish()
}

pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
) -> Result<hyper::Response<hyper::body::Incoming>, hyper::Error> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = hyper::Request::post(path).header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    sender.send_request(request.body(Full::new(bytes::Bytes::from(body))).unwrap()).await
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}
