//! A session between a program and its server: every statement judged before it goes, every answer counted and scrubbed.
//!
//! What the server owes is kept in order ([`Owed`]): so each answer is known to belong to a statement, and an answer that nobody
//! asked for ends the session. A statement that is refused goes to the server as one that cannot be run, and the server's error is
//! exchanged for the refusal: the transaction it stood in fails, and everything behind it is skipped, as after any error.
//!
//! Names of prepared statements and portals are known from the messages that made them. One whose making failed is forgotten, and
//! one that was made in any other way is not run. Whether one was made is known before anything is read that could use it and
//! would not be skipped with it.

mod owed;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use livery_core::canonical::sha256_hex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use self::owed::{Ended, Owed, Queue};
use super::answer::{error, scrubbed};
use super::front::Refusal;
use super::message::{Frame, Frames, FromClient, put};
use super::{BackendKey, Failure, Session};
use crate::Error;
use crate::scrub::Variants;
use crate::sql::{self, Judged, Refused, Rules};

/// How long either side may take to read what it is sent.
const WRITE_MAX: Duration = Duration::from_secs(60);
/// Most names of prepared statements, and of portals.
const NAMES_MAX: usize = 1_000;
/// A statement no server runs: it stands in place of one that was refused.
const UNRUNNABLE: &[u8] = b"refused by livery\0";

/// A statement on its way. Its text stays in its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it does.
    pub judged: Judged,
    /// Of its text.
    pub sha256: String,
    /// Its length.
    pub bytes: usize,
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// `answered`, `sql_error`, `skipped`, `row_limit`, `cut`.
    pub outcome: &'static str,
    /// The server's code, when it answered with an error.
    pub code: Option<String>,
    /// `SELECT 3`
    pub command: String,
    /// Rows that came back.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How often the password was taken out since the last end, and in which spellings.
    pub redactions: (u64, Variants),
}

/// Who decides about a session's statements and writes down what becomes of them.
pub trait Gate: Sync {
    /// A statement that was let through.
    type Ticket: Send;

    /// Whether a statement may be prepared: it is asked about again each time it is run.
    fn may(&self, statement: &Statement) -> impl Future<Output = Result<(), String>> + Send;

    /// Lets a statement run, and has its intent written down first where it may change something.
    fn begin(&self, statement: &Statement) -> impl Future<Output = Result<Self::Ticket, String>> + Send;

    /// Is told of one that the wall stopped.
    fn stopped(&self, refused: &Refused) -> impl Future<Output = ()> + Send;

    /// Is told how one ended. `false`: the run is over.
    fn end(&self, ticket: Self::Ticket, end: End) -> impl Future<Output = bool> + Send;

    /// Whether the run may take in so much more.
    fn takes_in(&self, bytes: usize) -> bool;
}

/// A session and the program it is for.
pub struct Relay<'g, S, G: Gate> {
    client: S,
    from_client: Frames,
    session: Session,
    gate: &'g G,
    rules: Rules,
    row_limit: u64,
    queue: Queue<G::Ticket>,
    statements: HashMap<String, Arc<Statement>>,
    portals: HashMap<String, Arc<Statement>>,
    /// An error came: what the program sends up to its next `Sync` is dropped, as the server would.
    skipping: bool,
    /// `COPY … FROM STDIN` is under way.
    copying: bool,
    to_client: BytesMut,
}

/// Why a relay ended: what the program is told last, if anything.
type Stop = Option<Refusal>;

enum Event {
    Client(Option<Frame>),
    Server(Frame),
}

impl<'g, S: AsyncRead + AsyncWrite + Send + Unpin, G: Gate> Relay<'g, S, G> {
    /// Of a program that showed its stand-in; what came behind it is in `from_client`.
    pub fn new(
        client: S,
        from_client: Frames,
        session: Session,
        gate: &'g G,
        (rules, row_limit): (Rules, u64),
    ) -> Self {
        Self {
            client,
            from_client,
            session,
            gate,
            rules,
            row_limit,
            queue: Queue::default(),
            statements: HashMap::new(),
            portals: HashMap::new(),
            skipping: false,
            copying: false,
            to_client: BytesMut::new(),
        }
    }

    /// Tells the program that it is in, with a key of ours, and relays until one side goes or `cut` resolves, which is the last
    /// word: every statement that is under way has its end told. With the key of a session whose statement still ran.
    pub async fn run(
        mut self,
        key: BackendKey,
        settings: &[(String, String)],
        cut: impl Future<Output = Refusal>,
    ) -> Option<BackendKey> {
        let stop = {
            let mut cut = std::pin::pin!(cut);
            let relayed = async {
                if let Err(stop) = self.welcome(key, settings).await {
                    return stop;
                }
                loop {
                    if let Err(stop) = self.step().await {
                        return stop;
                    }
                }
            };
            tokio::select! {
                biased;
                refusal = &mut cut => Some(refusal),
                stop = relayed => stop,
            }
        };
        self.finish(stop).await
    }

    async fn finish(mut self, stop: Stop) -> Option<BackendKey> {
        let redactions = self.session.redactions();
        let key = self.session.key().filter(|_| self.queue.is_busy());
        for (index, ended) in self.queue.drain("cut").into_iter().enumerate() {
            let told = if index == 0 { redactions } else { Default::default() };
            let end = ended.end_of(told);
            self.gate.end(ended.ticket, end).await;
        }
        if let Some(refusal) = stop {
            super::front::refuse(&mut self.client, &refusal).await;
        } else {
            let _ = timeout(Duration::from_secs(5), self.client.shutdown()).await;
        }
        self.session.leave().await;
        key
    }

    async fn welcome(&mut self, key: BackendKey, settings: &[(String, String)]) -> Result<(), Stop> {
        for (name, value) in settings {
            self.session.set(name, value).await.map_err(|failure| told(&failure))?;
        }
        let mut out = BytesMut::new();
        put(&mut out, b'R', &[&[0; 4]]);
        for (name, value) in &self.session.parameters {
            put(&mut out, b'S', &[name.as_bytes(), &[0], value.as_bytes(), &[0]]);
        }
        put(&mut out, b'K', &[&key.process.to_be_bytes(), &key.secret.to_be_bytes()]);
        put(&mut out, b'Z', &[b"I"]);
        self.to_client = out;
        self.flush().await
    }

    /// One message of either side.
    async fn step(&mut self) -> Result<(), Stop> {
        let event = {
            let Self { client, from_client, session, queue, .. } = self;
            tokio::select! {
                frame = session.receive() => Event::Server(frame.map_err(|failure| told(&failure))?),
                frame = receive(client, from_client), if queue.takes_more() => Event::Client(frame?),
            }
        };
        match event {
            Event::Client(None) => Err(None),
            Event::Client(Some(frame)) => self.hear_program(frame).await,
            Event::Server(frame) => {
                self.hear_server(frame).await?;
                // As many as came together leave together.
                while let Some(frame) = self.session.frames.take().map_err(|malformed| told(&malformed.into()))? {
                    self.hear_server(frame).await?;
                }
                self.flush().await
            }
        }
    }

    async fn hear_program(&mut self, frame: Frame) -> Result<(), Stop> {
        let violation = |words: &str| Some(Refusal::new("08P01", words));
        let said = FromClient::read(&frame).map_err(|malformed| violation(malformed.0))?;
        if self.skipping && !matches!(said, FromClient::Sync | FromClient::Terminate) {
            return Ok(());
        }
        let in_copy = matches!(said, FromClient::Copy | FromClient::Sync | FromClient::Flush | FromClient::Terminate);
        if self.copying && !in_copy {
            return Err(violation("in the middle of COPY nothing else is said"));
        }
        match said {
            FromClient::Terminate => return Err(None),
            // In the middle of COPY a server takes neither for what it is.
            FromClient::Sync | FromClient::Flush if self.copying => return Ok(()),
            FromClient::Sync => {
                self.skipping = false;
                self.queue.push(Owed::Sync);
            }
            FromClient::Flush => {}
            FromClient::Copy => {
                if !self.copying {
                    return Ok(());
                }
                self.copying = frame.tag == b'd';
            }
            FromClient::Query(text) => match self.begin(text).await {
                Ok(ticket) => self.queue.push(Owed::Query(Ended::new(ticket))),
                Err(words) => {
                    self.queue.push(Owed::RefusedQuery(words));
                    let mut out = BytesMut::new();
                    put(&mut out, b'Q', &[UNRUNNABLE]);
                    return self.send_server(&out).await;
                }
            },
            FromClient::Parse { name, text } => match self.prepare(name, text).await {
                Ok(statement) => {
                    self.statements.insert(name.to_owned(), statement);
                    self.queue.push(Owed::Parse(name.to_owned()));
                }
                Err(words) => return self.refuse(words).await,
            },
            FromClient::Bind { portal, statement } => match self.statements.get(statement) {
                Some(found) if self.portals.len() < NAMES_MAX || self.portals.contains_key(portal) => {
                    self.portals.insert(portal.to_owned(), Arc::clone(found));
                    self.queue.push(Owed::Bind(portal.to_owned()));
                }
                Some(_) => return self.refuse("this session has too many portals".to_owned()).await,
                None => return self.refuse("there is no prepared statement of this name".to_owned()).await,
            },
            FromClient::Describe { statement } => self.queue.push(Owed::Describe { statement }),
            FromClient::Execute { portal } => {
                let Some(statement) = self.portals.get(portal).cloned() else {
                    return self.refuse("there is no portal of this name".to_owned()).await;
                };
                match self.gate.begin(&statement).await {
                    Ok(ticket) => {
                        self.forget_prepared(&statement);
                        self.queue.push(Owed::Execute(Ended::new(ticket)));
                    }
                    Err(words) => return self.refuse(words).await,
                }
            }
            FromClient::Close { statement, name } => {
                if statement {
                    self.statements.remove(name)
                } else {
                    self.portals.remove(name)
                };
                self.queue.push(Owed::Close);
            }
        }
        let mut out = BytesMut::new();
        frame.write(&mut out);
        self.send_server(&out).await
    }

    /// In place of a message that is refused: one that the server cannot do, whatever names the program has made there. With it
    /// goes the server's statement without a name.
    async fn refuse(&mut self, words: String) -> Result<(), Stop> {
        self.queue.push(Owed::Refused(words));
        self.statements.remove("");
        let mut out = BytesMut::new();
        put(&mut out, b'P', &[&[0], UNRUNNABLE, &[0, 0]]);
        put(&mut out, b'H', &[]);
        self.skipping = true;
        self.send_server(&out).await
    }

    /// Judges a text and lets it run.
    async fn begin(&mut self, text: &str) -> Result<G::Ticket, String> {
        let statement = self.judge(text).await?;
        let ticket = self.gate.begin(&statement).await?;
        self.forget_prepared(&statement);
        Ok(ticket)
    }

    async fn prepare(&self, name: &str, text: &str) -> Result<Arc<Statement>, String> {
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err("there is a prepared statement of this name already".to_owned());
        }
        if self.statements.len() >= NAMES_MAX {
            return Err("this session has too many prepared statements".to_owned());
        }
        let statement = self.judge(text).await?;
        self.gate.may(&statement).await?;
        Ok(Arc::new(statement))
    }

    async fn judge(&self, text: &str) -> Result<Statement, String> {
        match sql::judge(text, self.rules) {
            Ok(judged) => Ok(Statement { judged, sha256: sha256_hex(text), bytes: text.len() }),
            Err(refused) => {
                self.gate.stopped(&refused).await;
                Err(refused.to_string())
            }
        }
    }

    /// `PREPARE` and `DECLARE` in SQL give names that were judged as something else: afterwards none of them is known.
    fn forget_prepared(&mut self, statement: &Statement) {
        let begins = |word: &str| statement.judged.verbs.iter().any(|verb| verb == word);
        if begins("PREPARE") {
            self.statements.clear();
        }
        if begins("DECLARE") {
            self.portals.clear();
        }
    }

    async fn hear_server(&mut self, frame: Frame) -> Result<(), Stop> {
        if !self.gate.takes_in(frame.body.len()) {
            return Err(Some(Refusal::new("53400", "the run has received as much as it may")));
        }
        let odd = || told(&Failure::Protocol("an answer that nobody asked for"));
        let frame = scrubbed(frame, &mut self.session.scrub).map_err(|malformed| told(&malformed.into()))?;
        match frame.tag {
            // Other sessions have nothing to say here.
            b'A' => return Ok(()),
            b'N' => {}
            b'S' => self.check_parameter(&frame)?,
            b'1' => self.queue.take_parse().then_some(()).ok_or_else(odd)?,
            b'2' => self.queue.take_bind().then_some(()).ok_or_else(odd)?,
            b'3' => self.queue.take_close().then_some(()).ok_or_else(odd)?,
            b't' | b'n' | b'T' => self.queue.described(frame.tag).then_some(()).ok_or_else(odd)?,
            b'D' | b'd' => {
                let running = self.queue.running().ok_or_else(odd)?;
                running.rows += 1;
                running.bytes += frame.body.len() as u64;
                if running.rows > self.row_limit {
                    running.outcome = Some("row_limit");
                    let words =
                        format!("more than {} rows: this connection gives no more for one statement", self.row_limit);
                    self.flush().await?;
                    return Err(Some(Refusal::new("54000", words)));
                }
            }
            b'G' => {
                self.queue.running().ok_or_else(odd)?;
                // What was sent behind it is eaten by it: it is nobody's statement, and has no answer.
                if !self.queue.only_syncs_follow() {
                    return Err(Some(Refusal::new("08P01", "in the middle of COPY nothing else is said")));
                }
                self.queue.drop_syncs();
                self.copying = true;
            }
            b'H' | b'c' => drop(self.queue.running().ok_or_else(odd)?),
            b'C' | b'I' | b's' => {
                let command = if frame.tag == b'C' { super::tag_of(&frame.body) } else { String::new() };
                if let Some(ended) = self.queue.completed(command).ok_or_else(odd)? {
                    self.end(ended).await?;
                }
            }
            b'E' => return self.failed(frame).await,
            b'Z' => {
                let ended = self.queue.ready().ok_or_else(odd)?;
                if let Some(ended) = ended {
                    self.end(ended).await?;
                }
                // Between two transactions there is no portal.
                if &*frame.body == b"I" && self.queue.is_empty() {
                    self.portals.clear();
                }
            }
            _ => return Err(told(&Failure::Protocol("a message that belongs to no session"))),
        }
        frame.write(&mut self.to_client);
        Ok(())
    }

    /// An error: of a statement, of what was put in place of a refused one, or of the server itself.
    async fn failed(&mut self, frame: Frame) -> Result<(), Stop> {
        self.copying = false;
        let code = super::answer::code_of(&frame.body);
        let failed = self.queue.failed(code);
        for name in failed.statements {
            self.statements.remove(&name);
        }
        for name in failed.portals {
            self.portals.remove(&name);
        }
        self.skipping |= failed.skipping;
        match failed.refused {
            Some(words) => error("ERROR", "42501", &words).write(&mut self.to_client),
            None => frame.write(&mut self.to_client),
        }
        for ended in failed.ended {
            self.end(ended).await?;
        }
        Ok(())
    }

    async fn end(&mut self, ended: Ended<G::Ticket>) -> Result<(), Stop> {
        let redactions = std::mem::take(&mut self.session.scrub.redactions);
        let variants = std::mem::take(&mut self.session.scrub.variants);
        let end = ended.end_of((redactions, variants));
        match self.gate.end(ended.ticket, end).await {
            true => Ok(()),
            false => Err(Some(Refusal::new("57P01", "the run is over"))),
        }
    }

    /// What the wall relies on may not change while it stands.
    fn check_parameter(&self, frame: &Frame) -> Result<(), Stop> {
        let mut parts = frame.body.split(|byte| *byte == 0);
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let holds = match name {
            b"client_encoding" => value == b"UTF8",
            b"standard_conforming_strings" => value == b"on",
            b"default_transaction_read_only" => !self.rules.read_only || value == b"on",
            _ => true,
        };
        if holds {
            Ok(())
        } else {
            Err(Some(Refusal::new("57P01", "the session does not keep what was said at its beginning")))
        }
    }

    async fn send_server(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        match timeout(WRITE_MAX, self.session.send(bytes)).await {
            Ok(sent) => sent.map_err(|failure| told(&failure)),
            Err(_) => Err(told(&Error::Cut.into())),
        }
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        let bytes = self.to_client.split();
        let written = async {
            self.client.write_all(&bytes).await?;
            self.client.flush().await
        };
        match timeout(WRITE_MAX, written).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(None),
        }
    }
}

/// The next message of a program; `None`: it went. Nothing is lost when the future is dropped.
async fn receive<S: AsyncRead + Unpin>(client: &mut S, frames: &mut Frames) -> Result<Option<Frame>, Stop> {
    loop {
        if let Some(frame) = frames.take().map_err(|malformed| Some(Refusal::new("08P01", malformed.0)))? {
            return Ok(Some(frame));
        }
        match client.read_buf(&mut frames.bytes).await {
            Ok(count) if count > 0 => {}
            _ => return Ok(None),
        }
    }
}

fn told(failure: &Failure) -> Stop {
    Some(Refusal::new("08006", failure.to_string()))
}
