//! A program that speaks the protocol by hand, and a gate that lets everything through and writes it down.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use livery_broker::postgres::{BackendKey, End, Frames, Gate, Relay, Statement};
use livery_broker::sql::{Class, Refused, Rules};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::Site;

const LONG: Duration = Duration::from_secs(60);

/// What a gate was told.
#[derive(Default)]
pub(super) struct Notes {
    begun: Mutex<Vec<Class>>,
    ended: Mutex<Vec<&'static str>>,
}

impl Notes {
    /// The classes of the statements that were let run, in order.
    pub(super) fn begun(&self) -> Vec<Class> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How they ended.
    pub(super) fn ended(&self) -> Vec<&'static str> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Gate for Notes {
    type Ticket = ();

    async fn may(&self, _: &Statement) -> Result<(), String> {
        Ok(())
    }

    async fn begin(&self, statement: &Statement) -> Result<(), String> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(statement.judged.class);
        Ok(())
    }

    async fn stopped(&self, _: &Refused) {}

    async fn end(&self, (): (), end: End) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(end.outcome);
        true
    }

    fn takes_in(&self, _: usize) -> bool {
        true
    }
}

/// One side of a session that is relayed.
pub(super) struct Program(DuplexStream);

impl Program {
    /// Sends messages in one piece.
    pub(super) async fn say(&mut self, messages: &[Vec<u8>]) {
        // One that was cut off hears it when it listens.
        let _ = self.0.write_all(&messages.concat()).await;
    }

    /// Letters and bodies up to so many "ready"s, or to the end.
    pub(super) async fn hear(&mut self, readies: usize) -> Vec<(u8, String)> {
        let (mut heard, mut left) = (Vec::new(), readies);
        while left > 0 {
            let Ok(tag) = timeout(LONG, self.0.read_u8()).await.expect("an answer or an end") else { break };
            let Ok(length) = self.0.read_u32().await else { break };
            let mut body = vec![0; length as usize - 4];
            self.0.read_exact(&mut body).await.unwrap();
            left -= usize::from(tag == b'Z');
            heard.push((tag, String::from_utf8_lossy(&body).into_owned()));
        }
        heard
    }

    /// Asks and hears.
    pub(super) async fn ask(&mut self, messages: &[Vec<u8>]) -> Vec<(u8, String)> {
        self.say(messages).await;
        self.hear(messages.iter().filter(|message| matches!(message[0], b'Q' | b'S')).count()).await
    }
}

/// What a program does that is welcome in a session of the site, and what its gate was told.
pub(super) async fn relayed(
    site: &Site,
    read_only: bool,
    settings: &[(String, String)],
    acts: impl AsyncFnOnce(&mut Program),
) -> Notes {
    let (notes, session) = (Notes::default(), site.session(read_only).await);
    let (inner, outer) = duplex(64 * 1024);
    let relay = Relay::new(inner, Frames::of_client(), session, &notes, (Rules { read_only }, 1000));
    let run = relay.run(BackendKey::new(1, 2), settings, std::future::pending());
    let acted = async {
        let mut program = Program(outer);
        program.hear(1).await;
        acts(&mut program).await;
        program.say(&[message(b'X', &[])]).await;
    };
    timeout(LONG * 2, async { tokio::join!(run, acted) }).await.expect("a session has an end");
    notes
}

pub(super) fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[tag][..], &length_of(&body).to_be_bytes(), &body].concat()
}

/// What a message says of its length: the body's, and its own.
pub(super) fn length_of(body: &[u8]) -> u32 {
    u32::try_from(body.len()).unwrap() + 4
}

pub(super) fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), &[0]])
}

pub(super) fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), &[0], text.as_bytes(), &[0, 0, 0]])
}

pub(super) fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', &[portal.as_bytes(), &[0], statement.as_bytes(), &[0, 0, 0, 0, 0, 0, 0]])
}

pub(super) fn execute(portal: &str) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), &[0; 5]])
}

pub(super) fn sync() -> Vec<u8> {
    message(b'S', &[])
}
