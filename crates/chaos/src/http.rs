//! A small HTTP/1.1 client for loopback: one request per connection, every size and wait bounded.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest exchange, when nothing else is said; a run is waited for at most 10 s at a time.
pub const EXCHANGE_MAX: Duration = Duration::from_secs(30);
/// Largest answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A server and a key.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where it listens.
    pub address: SocketAddr,
    /// The API key.
    pub key: String,
    /// Longest exchange.
    pub patience: Duration,
}

impl Client {
    /// Sends a request and reads its answer: status and body.
    ///
    /// # Errors
    /// The server cannot be reached, goes away, or is silent for too long.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<(u16, Value)> {
        let exchange = self.exchange(method, path, headers, body);
        tokio::time::timeout(self.patience, exchange).await.context("the server was silent for too long")?
    }

    /// `GET`, and the body of a good answer.
    ///
    /// # Errors
    /// As for [`Client::send`], and any status but 200.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.send("GET", path, &[], b"").await?;
        anyhow::ensure!(status == 200, "GET {path} answered {status}: {body}");
        Ok(body)
    }

    /// `POST` of JSON, and the body of a good answer.
    ///
    /// # Errors
    /// As for [`Client::send`], and any status but success.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> anyhow::Result<Value> {
        let headers = [&[("content-type", "application/json")], headers].concat();
        let (status, answer) = self.send("POST", path, &headers, body.to_string().as_bytes()).await?;
        anyhow::ensure!((200..300).contains(&status), "POST {path} answered {status}: {answer}");
        Ok(answer)
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<(u16, Value)> {
        let mut stream = TcpStream::connect(self.address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {}\r\n",
            self.address, self.key
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if method != "GET" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).await.context("sending")?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.context("reading")?;
        parse(&answer)
    }
}

/// Status and body of a whole answer; one that was cut off is an error.
fn parse(answer: &[u8]) -> anyhow::Result<(u16, Value)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("the answer was cut off in its head")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let body = &answer[end + 4..];
    let status = head.get(9..12).and_then(|code| code.parse().ok()).context("no status line")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    if let Some(length) = length {
        anyhow::ensure!(body.len() >= length, "the answer was cut off in its body");
    }
    Ok((status, serde_json::from_slice(body).unwrap_or(Value::Null)))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn whole_answers_are_taken_and_torn_ones_are_not() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(parse(whole).unwrap().0, 202);
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "{cut}");
        }
    }
}
