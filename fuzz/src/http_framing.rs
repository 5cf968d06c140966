//! What a program in a sandbox writes to its proxy, and where one request ends and the next begins.
//!
//! The proxy's own reading is held against a second reader, [`Wire`]. It takes every head that could be one, and only a
//! length that can be read in one way (RFC 9112, section 6.3): what a request is must not depend on who reads it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Empty};
use livery_broker::guard::Target;
use livery_broker::proxy::placeholder::Placeholders;
use livery_broker::proxy::{Answered, Asked, Finding, Gate, Lifetime, Proxy, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Everything in memory is there at once: a connection that takes longer hangs.
const CONNECTION_MAX: Duration = Duration::from_secs(20);
/// Bytes in flight.
const PIPE_BYTES: usize = 64 * 1024;
/// Turns that the proxy gets for what was said, besides one for each eight bytes of it.
const TURNS: usize = 32;

/// One request, as one of the two readers saw it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    target: Target,
    body: Vec<u8>,
    is_whole: bool,
}

/// Lets everything pass, and keeps what it was asked.
struct Recorder(Arc<Mutex<Vec<Seen>>>);

impl Gate for Recorder {
    fn admits(&self, _: &Target) -> bool {
        true
    }

    fn base(&self, _: &str) -> Option<Target> {
        None
    }

    async fn pass(&self, mut asked: Asked) -> Result<Answered, Refusal> {
        let mut body = Vec::new();
        let end = loop {
            match asked.body.next().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break Ok(()),
                Err(refusal) => break Err(refusal),
            }
        };
        let seen = Seen { method: asked.method.to_string(), target: asked.target, body, is_whole: end.is_ok() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        end?;
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Ok(Answered { status: StatusCode::OK, headers: HeaderMap::new(), body, socket: None })
    }

    fn found(&self, _: Finding) {}

    async fn revoked(&self, _: Option<&Target>) {
        std::future::pending().await
    }
}

/// Every request that the proxy passes on is one that stands there for any reader, in the same order; the rest is refused.
pub fn http_framing(bytes: &[u8]) {
    let Some((first, rest)) = super::cut(bytes) else { return };
    let whole = [first, rest].concat();
    let wire = Wire::read(&whole);
    let mut left = wire.iter();
    for seen in proxied(first, rest) {
        let same = |read: &&Seen| {
            let is_same_start = read.method == seen.method && read.target == seen.target;
            let is_same_body =
                if seen.is_whole { read.is_whole && read.body == seen.body } else { read.body.starts_with(&seen.body) };
            is_same_start && is_same_body
        };
        assert!(left.any(|read| same(&read)), "{seen:?} is no request of {wire:?}");
    }
}

/// What the proxy's gate is asked by a connection that says this and then no more.
fn proxied(first: &[u8], rest: &[u8]) -> Vec<Seen> {
    let seen = Arc::default();
    let lifetime = Lifetime { now_s: 0, left: CONNECTION_MAX };
    let proxy = Proxy::new(Recorder(Arc::clone(&seen)), Vec::new(), Placeholders::default(), lifetime);
    let proxy = proxy.expect("no name needs a certificate");
    let mut sink = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (program, stream) = tokio::io::duplex(PIPE_BYTES);
        let (mut answers, mut requests) = tokio::io::split(program);
        let say = async {
            // Whoever is refused may find the door closed in the middle of a word.
            let _ = requests.write_all(first).await;
            tokio::task::yield_now().await;
            let _ = requests.write_all(rest).await;
            // Whoever hangs up is answered no more: first, what was said is heard.
            for _ in 0..TURNS + (first.len() + rest.len()) / 8 {
                tokio::task::yield_now().await;
            }
            let _ = requests.shutdown().await;
        };

        let all = async { tokio::join!(proxy.serve(stream), say, answers.read_to_end(&mut sink)) };
        let ended = tokio::time::timeout(CONNECTION_MAX, all).await;
        assert!(ended.is_ok(), "a connection has an end");
    });
    drop(runtime);
    drop(proxy);
    std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The second reader: a position in what was said.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    /// Every request up to the first whose end is not certain.
    fn read(bytes: &'a [u8]) -> Vec<Seen> {
        let mut wire = Self(bytes);
        let mut all = Vec::new();
        while let Some((seen, is_last)) = wire.request() {
            let is_end = is_last || !seen.is_whole;
            all.push(seen);
            if is_end {
                break;
            }
        }
        all
    }

    /// A line without its end.
    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let line = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The next request, and whether nothing can follow it.
    fn request(&mut self) -> Option<(Seen, bool)> {
        let start = loop {
            match self.line()? {
                [] => {}
                line => break std::str::from_utf8(line).ok()?,
            }
        };
        let mut words = start.split(' ').filter(|word| !word.is_empty());
        let (method, target, version) = (words.next()?.to_owned(), words.next()?, words.next()?);
        let target = Target::full_url(target).ok()?;
        let (mut lengths, mut codings, mut is_last) = (Vec::new(), Vec::new(), version != "HTTP/1.1");
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
            match name.as_slice() {
                b"content-length" => lengths.push(value),
                b"transfer-encoding" => codings.push(value),
                b"connection" => is_last |= value.to_ascii_lowercase().windows(5).any(|part| part == b"close"),
                _ => {}
            }
        }
        let (body, is_whole) = match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => (Vec::new(), true),
            ([length], []) => self.counted(number(length, 10)?),
            // Chunks override a length beside them (RFC 9112, section 6.3).
            (_, [coding]) if coding.eq_ignore_ascii_case(b"chunked") => self.chunks(),
            _ => return None,
        };
        Some((Seen { method, target, body, is_whole }, is_last))
    }

    fn counted(&mut self, length: usize) -> (Vec<u8>, bool) {
        let there = length.min(self.0.len());
        let (body, rest) = self.0.split_at(there);
        self.0 = rest;
        (body.to_vec(), there == length)
    }

    fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        let is_whole = self.chunks_into(&mut body).is_some();
        (body, is_whole)
    }

    fn chunks_into(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let line = self.line()?;
            let size = line.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next()?;
            let size = number(size, 16)?;
            if size == 0 {
                break;
            }
            let (piece, is_whole) = self.counted(size);
            body.extend(piece);
            (is_whole && self.line()?.is_empty()).then_some(())?;
        }
        while !self.line()?.is_empty() {}
        Some(())
    }
}

/// Digits and nothing else.
fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    (!text.is_empty() && text.chars().all(|c| c.is_digit(radix))).then(|| usize::from_str_radix(text, radix).ok())?
}

#[cfg(test)]
mod tests {
    use livery_broker::guard::Target;

    use super::{Seen, Wire, proxied};

    #[test]
    fn both_readers_see_requests() {
        let said = b"POST http://api.example/x HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET http://api.example/y HTTP/1.1\r\nHost: api.example\r\n\r\n";
        let one = |method: &str, path: &str, body: &[u8]| {
            let target = Target::full_url(&format!("http://api.example{path}")).unwrap();
            Seen { method: method.to_owned(), target, body: body.to_vec(), is_whole: true }
        };
        let two = [one("POST", "/x", b"abc"), one("GET", "/y", b"")];
        assert_eq!(proxied(&said[..9], &said[9..]), two);
        assert_eq!(Wire::read(said), two);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_read_by_neither() {
        let said = b"POST http://api.example/x HTTP/1.1\r\nHost: api.example\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd";
        assert_eq!((proxied(said, b""), Wire::read(said)), (Vec::new(), Vec::new()));
    }
}
