//! The smallest client of `livery.shell.v1`: the frames are those of `livery_broker::ws`, the rest is by hand.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use livery_broker::ws::{Event, Inlet, Kind, Sender, accept, encoded};
use serde_json::Value;

use crate::support::{PATIENCE, Server, text};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What the server says.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Control(Value),
    Shown(Vec<u8>),
    Close(Option<u16>),
}

pub(super) struct Shell {
    stream: TcpStream,
    inlet: Inlet,
    shown: String,
}

impl Shell {
    /// Opens one, or answers status and problem.
    pub(super) fn open(server: &Server, key: &str, run: &str, query: &str) -> Result<Self, (u16, Value)> {
        let host = server.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "GET /v1/runs/{run}/shell?{query} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\
             sec-websocket-protocol: livery.shell.v1\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let head = text(&answer);
        let status: u16 = head[9..12].parse().unwrap();
        if status != 101 {
            let length =
                head.to_lowercase().split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse();
            let mut body = vec![0; length.unwrap()];
            stream.read_exact(&mut body).unwrap();
            return Err((status, serde_json::from_slice(&body).unwrap()));
        }
        assert!(head.contains(accept(KEY).unwrap().to_str().unwrap()), "{head}");
        Ok(Self { stream, inlet: Inlet::new(Sender::Upstream), shown: String::new() })
    }

    fn send(&mut self, event: &Event) {
        // One that was closed meanwhile is read to its end.
        let _ = self.stream.write_all(&encoded(event, Sender::Program).unwrap());
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Goes without a word.
    pub(super) fn cut(self) {}

    pub(super) fn types(&mut self, keys: &str) {
        self.send(&Event::Message(Kind::Binary, keys.as_bytes().to_vec()));
    }

    pub(super) fn says(&mut self, message: &Value) {
        self.send(&Event::Message(Kind::Text, message.to_string().into_bytes()));
    }

    pub(super) fn next(&mut self) -> Message {
        loop {
            match self.inlet.take().unwrap() {
                Some(Event::Message(Kind::Binary, bytes)) => return Message::Shown(bytes),
                Some(Event::Message(Kind::Text, text)) => {
                    return Message::Control(serde_json::from_slice(&text).unwrap());
                }
                Some(Event::Close(code, _)) => return Message::Close(code),
                Some(Event::Ping(payload)) => self.send(&Event::Pong(payload)),
                Some(Event::Pong(_)) => {}
                None => {
                    let mut room = [0; 4096];
                    let count = self.stream.read(&mut room).unwrap();
                    assert!(count > 0, "it broke off after {:?}", self.shown);
                    self.inlet.push(&room[..count]);
                }
            }
        }
    }

    /// What is shown until this is, with it.
    pub(super) fn until(&mut self, wanted: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.shown.find(wanted) {
                let rest = self.shown.split_off(at + wanted.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            assert!(begun.elapsed() < PATIENCE, "no {wanted:?} in {:?}", self.shown);
            match self.next() {
                // It is text by promise, and a message is whole.
                Message::Shown(bytes) => self.shown.push_str(std::str::from_utf8(&bytes).unwrap()),
                Message::Control(_) => {}
                Message::Close(code) => panic!("closed with {code:?} before {wanted:?}: {:?}", self.shown),
            }
        }
    }

    /// The last message and the code of the close.
    pub(super) fn closed(&mut self) -> (Value, u16) {
        let mut last = Value::Null;
        loop {
            match self.next() {
                Message::Shown(_) => {}
                Message::Control(message) => last = message,
                Message::Close(code) => return (last, code.unwrap()),
            }
        }
    }
}
