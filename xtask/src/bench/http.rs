//! A small HTTP/1.1 client for loopback: one connection kept alive, one request at a time, every size bounded.
//!
//! It measures, so it does as little as it can: no redirects, no compression, no TLS, bodies by length or in chunks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Largest body of an answer.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest silence of the server; a run is waited for at most 55 s at a time.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// A server and a key.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// The API key; empty: none is sent.
    pub api_key: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("status {} without JSON", self.status))
    }

    /// The body as JSON, if the status is one of success.
    pub fn success(&self) -> anyhow::Result<serde_json::Value> {
        let text = String::from_utf8_lossy(&self.body);
        anyhow::ensure!((200..300).contains(&self.status), "the server answered {}: {text}", self.status);
        self.json()
    }
}

/// A connection that is opened when it is needed and kept as long as the server keeps it.
#[derive(Debug)]
pub struct Connection {
    target: Target,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// A connection that is not open yet.
    pub fn new(target: Target) -> Self {
        Self { target, stream: None, buffer: Vec::with_capacity(CHUNK_BYTES) }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the server cannot be reached, goes silent, or answers what is not HTTP.
    pub fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<Answer> {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}", self.target.address).into_bytes();
        if !self.target.api_key.is_empty() {
            write!(request, "authorization: Bearer {}\r\n", self.target.api_key)?;
        }
        if method != "GET" {
            write!(request, "content-type: application/json\r\ncontent-length: {}\r\n", body.len())?;
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        let answer = self.exchange(&request);
        if answer.is_err() {
            // Nobody knows what is still under way on it.
            self.stream = None;
        }
        answer
    }

    fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream()?.write_all(request).context("sending a request")?;
        self.answer()
    }

    fn stream(&mut self) -> anyhow::Result<&mut TcpStream> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.target.address).context("connecting to the server")?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            stream.set_write_timeout(Some(SILENCE_MAX))?;
            self.buffer.clear();
            self.stream = Some(stream);
        }
        self.stream.as_mut().context("the connection is open")
    }

    fn answer(&mut self) -> anyhow::Result<Answer> {
        let head_end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            anyhow::ensure!(self.buffer.len() <= HEAD_BYTES_MAX, "the head of the answer is too large");
            self.fill()?;
        };
        let head = Head::read(&String::from_utf8_lossy(&self.buffer[..head_end]))?;
        self.buffer.drain(..head_end + 4);
        let body = match head.length {
            Length::Known(length) => self.take(length)?,
            Length::Chunked => self.chunks()?,
        };
        if head.close {
            self.stream = None;
        }
        Ok(Answer { status: head.status, body })
    }

    fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                if let Some(at) = find(&self.buffer, b"\r\n") {
                    break at;
                }
                anyhow::ensure!(self.buffer.len() <= HEAD_BYTES_MAX, "the head of a chunk is too large");
                self.fill()?;
            };
            let line = String::from_utf8_lossy(&self.buffer[..line_end]).into_owned();
            self.buffer.drain(..line_end + 2);
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).with_context(|| format!("a chunk of size {size:?}"))?;
            anyhow::ensure!(body.len() + size <= BODY_BYTES_MAX, "the answer is too large");
            body.extend_from_slice(&self.take(size)?);
            anyhow::ensure!(self.take(2)? == b"\r\n", "a chunk without its end");
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn take(&mut self, length: usize) -> anyhow::Result<Vec<u8>> {
        anyhow::ensure!(length <= BODY_BYTES_MAX, "the answer is too large");
        while self.buffer.len() < length {
            self.fill()?;
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let mut chunk = [0u8; CHUNK_BYTES];
        let stream = self.stream.as_mut().context("the connection is open")?;
        let read = stream.read(&mut chunk).context("reading an answer")?;
        anyhow::ensure!(read > 0, "the server closed the connection in the middle of an answer");
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[derive(Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Length,
    close: bool,
}

impl Head {
    fn read(text: &str) -> anyhow::Result<Self> {
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("{first:?} is no status line"))?;
        let mut head = Self { status, length: Length::Known(0), close: false };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = Length::Known(value.parse().context("content-length")?),
                "transfer-encoding" => head.length = Length::Chunked,
                "connection" => head.close = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests;
