//! [`Session`]: from the dialled line to a server that is ready for a statement and keeps what was said to it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use livery_core::connector::PostgresServer;
use livery_core::id::OrgId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::{Complaint, Scrub, code_of};
use super::message::{Frame, Frames, Malformed, Reader, put};
use super::scram::Scram;
use super::{Failure, target_of};
use crate::error::Phase;
use crate::scrub::Matcher;
use crate::transport::{Line, Stream};
use crate::{Broker, Credential, Error, Secret, Slot, Timeouts};

/// Protocol 3.0.
const PROTOCOL: u32 = 3 << 16;
/// How long a login may take, the look-up of what was said included.
const LOGIN_MAX: Duration = Duration::from_secs(20);
/// How long a session may sit in a transaction and hold its locks, in milliseconds.
const IDLE_IN_TRANSACTION_MS: u32 = 300_000;
/// Most parameters that a server tells at the login.
const PARAMETERS_MAX: usize = 64;

/// What cancels a session's statement. Never shown to a run.
#[derive(Clone, Copy)]
pub struct BackendKey {
    pub(super) process: i32,
    pub(super) secret: i32,
}

impl BackendKey {
    /// A key of ours, to be told to a program.
    pub const fn new(process: i32, secret: i32) -> Self {
        Self { process, secret }
    }
}

/// A session that is logged in. Dropping it closes it.
pub struct Session {
    pub(super) stream: Box<dyn Stream>,
    pub(super) frames: Frames,
    pub(super) scrub: Scrub,
    /// What the server told of itself, clean.
    pub(super) parameters: Vec<(String, String)>,
    key: Option<BackendKey>,
    peer: SocketAddr,
    version: u32,
    _permit: Option<Box<dyn Send + Sync>>,
}

impl Broker {
    /// Logs in to a connection's database for a tenant.
    ///
    /// # Errors
    /// Every [`Failure`] but that of a statement.
    pub async fn log_in(
        &self,
        tenant: OrgId,
        server: &PostgresServer,
        credential: Credential,
    ) -> Result<Session, Failure> {
        if credential.slot != Slot::Postgres {
            return Err(Error::BadRequest { why: "the credential is not that of a database" }.into());
        }
        let target = target_of(server).map_err(Error::from)?;
        let Credential { secret, owner, version, .. } = credential;
        let (user, password) = parts(&secret).ok_or(Error::BadRequest { why: "the credential has no user name" })?;
        let matcher = Matcher::new(&[&password], crate::scrub::shown(&owner)).map(std::sync::Arc::new);
        if matcher.is_none() {
            return Err(Error::BadRequest { why: "the password is too short to be searched for" }.into());
        }
        let Line { stream, peer, certificate, permit } = self.line(tenant, &target, &Timeouts::default()).await?;
        let mut session = Session {
            stream,
            frames: Frames::of_server(),
            scrub: Scrub::new(matcher),
            parameters: Vec::new(),
            key: None,
            peer,
            version,
            _permit: permit,
        };
        let login = async {
            session.start(server, &user).await?;
            session.authenticate(certificate.as_deref(), password).await?;
            session.get_ready().await?;
            session.check_kept(server).await
        };
        match timeout(LOGIN_MAX, login).await.map_err(|_| Error::Timeout { phase: Phase::FirstByte })? {
            Ok(()) => Ok(session),
            // No statement was sent yet.
            Err(Failure::Protocol(what)) => Err(Failure::Unsafe(what)),
            Err(failure) => Err(failure),
        }
    }

    /// Asks a server to stop what a session does. Whether it does, nobody says.
    ///
    /// # Errors
    /// Those of a way.
    pub async fn cancel_statement(&self, server: &PostgresServer, key: BackendKey) -> Result<(), Failure> {
        let target = target_of(server).map_err(Error::from)?;
        let mut line = self.line_in_place(&target, &Timeouts::default()).await?;
        let mut request = [0, 0, 0, 16, 4, 210, 22, 46].to_vec();
        request.extend_from_slice(&key.process.to_be_bytes());
        request.extend_from_slice(&key.secret.to_be_bytes());
        let sent = async {
            line.stream.write_all(&request).await?;
            line.stream.flush().await?;
            // The server closes once it has passed it on.
            line.stream.read_u8().await
        };
        // It answers with nothing, so nothing is learnt from how it ends.
        let _ = timeout(Duration::from_secs(5), sent).await;
        Ok(())
    }
}

/// User name and password of `user:password`.
fn parts(secret: &Secret) -> Option<(String, Secret)> {
    let bytes = secret.expose_secret();
    let at = bytes.iter().position(|byte| *byte == b':')?;
    let user = std::str::from_utf8(&bytes[..at]).ok()?.to_owned();
    Some((user, Secret::new(bytes[at + 1..].to_vec())))
}

impl Session {
    /// The checked address of the server.
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The version of the credential it logged in with.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// What cancels its statement.
    pub const fn key(&self) -> Option<BackendKey> {
        self.key
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.map_err(|_| Error::Cut)?;
        Ok(self.stream.flush().await.map_err(|_| Error::Cut)?)
    }

    /// The next message of the server. Nothing is lost when the future is dropped.
    pub(super) async fn receive(&mut self) -> Result<Frame, Failure> {
        loop {
            if let Some(frame) = self.frames.take()? {
                return Ok(frame);
            }
            let count = self.stream.read_buf(&mut self.frames.bytes).await.map_err(|_| Error::Cut)?;
            if count == 0 {
                return Err(Error::Cut.into());
            }
        }
    }

    /// The first message. What a session may do stands in it, so that it is what a reset gives back.
    async fn start(&mut self, server: &PostgresServer, user: &str) -> Result<(), Failure> {
        let timeout_ms = u64::from(server.statement_timeout_s) * 1000;
        let mut pairs = vec![
            ("user", user.to_owned()),
            ("database", server.database.clone()),
            ("application_name", "livery".to_owned()),
            ("client_encoding", "UTF8".to_owned()),
            ("standard_conforming_strings", "on".to_owned()),
            ("default_transaction_read_only", on(server.read_only).to_owned()),
            ("statement_timeout", timeout_ms.to_string()),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS.to_string()),
        ];
        pairs.extend(server.search_path.clone().map(|path| ("search_path", path)));
        pairs.extend(server.role.clone().map(|role| ("role", role)));
        let mut body = BytesMut::from(&PROTOCOL.to_be_bytes()[..]);
        for (name, value) in pairs {
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(&[0]);
            body.extend_from_slice(value.as_bytes());
            body.extend_from_slice(&[0]);
        }
        body.extend_from_slice(&[0]);
        let length = u32::try_from(body.len() + 4).map_err(|_| Malformed("a startup message is too long"))?;
        let whole = [&length.to_be_bytes()[..], &body].concat();
        self.send(&whole).await
    }

    /// SCRAM and nothing else. Whoever asks for the password itself does not get it; who asks for nothing is not believed.
    async fn authenticate(&mut self, certificate: Option<&[u8]>, password: Secret) -> Result<(), Failure> {
        let offer = self.authentication(10).await?;
        let mechanisms: Vec<&str> =
            offer.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()).collect();
        let scram = Scram::begin(&mechanisms, certificate)?;
        let first = scram.first();
        let length = u32::try_from(first.len()).map_err(|_| Malformed("a message is too long"))?;
        let mut out = BytesMut::new();
        put(&mut out, b'p', &[scram.mechanism.as_bytes(), &[0], &length.to_be_bytes(), first.as_bytes()]);
        self.send(&out).await?;
        let challenge = self.authentication(11).await?;
        let derived = tokio::task::spawn_blocking(move || scram.last(&challenge, &password)).await;
        let (last, expected) = derived.map_err(|_| Failure::Unsafe("the answer could not be worked out"))??;
        let mut out = BytesMut::new();
        put(&mut out, b'p', &[last.as_bytes()]);
        self.send(&out).await?;
        expected.check(&self.authentication(12).await?)?;
        self.authentication(0).await.map(drop)
    }

    /// The rest of an `Authentication…` message of this kind.
    async fn authentication(&mut self, expected: i32) -> Result<bytes::Bytes, Failure> {
        loop {
            let frame = self.receive().await?;
            match frame.tag {
                b'R' => {
                    let mut body = Reader(&frame.body);
                    let kind = body.i32()?;
                    if kind == expected {
                        return Ok(frame.body.slice(4..));
                    }
                    return Err(Failure::Unsafe(match kind {
                        0 => "the server asks for no password, or for no proof of its own",
                        3 => "the server asks for the password in clear",
                        5 => "the server asks for the password as MD5; let it use scram-sha-256",
                        _ => "the server asks for a login other than SCRAM-SHA-256",
                    }));
                }
                b'E' => return Err(Failure::Login(code_of(&frame.body))),
                b'N' => {}
                _ => return Err(Failure::Protocol("a message that belongs behind the login")),
            }
        }
    }

    /// Parameters and the key, up to the first "ready".
    async fn get_ready(&mut self) -> Result<(), Failure> {
        loop {
            let frame = self.receive().await?;
            let mut body = Reader(&frame.body);
            match frame.tag {
                b'S' => {
                    let pair = (body.text()?.to_owned(), body.text()?.to_owned());
                    if self.parameters.len() >= PARAMETERS_MAX {
                        return Err(Failure::Protocol("too many parameters"));
                    }
                    self.keep_parameter(pair);
                }
                b'K' => self.key = Some(BackendKey { process: body.i32()?, secret: body.i32()? }),
                b'Z' => return Ok(()),
                b'E' => return Err(Failure::Login(code_of(&frame.body))),
                b'N' => {}
                _ => return Err(Failure::Protocol("a message that belongs behind the login")),
            }
        }
    }

    fn keep_parameter(&mut self, (name, value): (String, String)) {
        // One with the password in it says nothing that anybody needs.
        if self.scrub.clean(name.as_bytes()).is_none() && self.scrub.clean(value.as_bytes()).is_none() {
            self.parameters.push((name, value));
        }
    }

    /// Looks up what was said: a pooler may have dropped it.
    async fn check_kept(&mut self, server: &PostgresServer) -> Result<(), Failure> {
        let mut wanted = vec![
            ("default_transaction_read_only", on(server.read_only).to_owned()),
            ("transaction_read_only", on(server.read_only).to_owned()),
            ("statement_timeout", shown_seconds(server.statement_timeout_s)),
            ("idle_in_transaction_session_timeout", shown_seconds(IDLE_IN_TRANSACTION_MS / 1000)),
            ("standard_conforming_strings", "on".to_owned()),
            ("client_encoding", "UTF8".to_owned()),
        ];
        wanted.extend(server.role.clone().map(|role| ("role", role)));
        wanted.extend(server.search_path.clone().map(|path| ("search_path", path)));
        for (name, value) in wanted {
            let shown = self.show(name).await?;
            // A standby or a database may be read-only by itself.
            let is_stricter = name.ends_with("transaction_read_only") && shown == "on";
            if shown != value && !is_stricter {
                return Err(Failure::Unkept(name));
            }
        }
        Ok(())
    }

    /// Sets what a program may set: how values are written.
    pub(super) async fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        // It stands in the statement as it is.
        if !crate::sql::is_settable(name) || value.contains('\0') {
            return Err(Error::BadRequest { why: "this setting is not a session's to change" }.into());
        }
        // In a session with standard strings a quote is all there is to double.
        let quoted = value.replace('\'', "''");
        let mut out = BytesMut::new();
        put(&mut out, b'Q', &[b"SET ", name.as_bytes(), b" TO '", quoted.as_bytes(), b"'\0"]);
        self.send(&out).await?;
        let mut complaint = None;
        loop {
            let frame = self.receive().await?;
            match frame.tag {
                b'S' => {
                    let mut body = Reader(&frame.body);
                    let pair = (body.text()?.to_owned(), body.text()?.to_owned());
                    self.parameters.retain(|(known, _)| *known != pair.0);
                    self.keep_parameter(pair);
                }
                b'E' => complaint = Some(Complaint::read(&frame.body, &mut self.scrub)?),
                b'Z' => return complaint.map_or(Ok(()), |complaint| Err(Failure::Refused(complaint))),
                b'C' | b'N' => {}
                _ => return Err(Failure::Protocol("a message that belongs to no setting")),
            }
        }
    }

    /// What a setting is.
    async fn show(&mut self, name: &str) -> Result<String, Failure> {
        let mut out = BytesMut::new();
        put(&mut out, b'Q', &[b"SHOW ", name.as_bytes(), &[0]]);
        self.send(&out).await?;
        let mut shown = String::new();
        loop {
            let frame = self.receive().await?;
            match frame.tag {
                b'D' => {
                    let mut body = Reader(&frame.body);
                    if body.u16()? != 1 {
                        return Err(Failure::Protocol("a setting with several values"));
                    }
                    shown = String::from_utf8_lossy(body.value()?.unwrap_or_default()).into_owned();
                }
                b'E' => return Err(Failure::Login(code_of(&frame.body))),
                b'Z' => return Ok(shown),
                b'T' | b'C' | b'N' | b'S' => {}
                _ => return Err(Failure::Protocol("a message that belongs to no setting")),
            }
        }
    }
}

const fn on(yes: bool) -> &'static str {
    if yes { "on" } else { "off" }
}

/// As the server shows it: in the largest unit that holds it.
fn shown_seconds(seconds: u32) -> String {
    match seconds {
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}min", seconds / 60),
        _ => format!("{seconds}s"),
    }
}
