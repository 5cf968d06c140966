//! [`Session`]: one connection to a mail server, from its greeting to its word on the message. One command at a time: what is
//! in the buffer when a command goes out was said unasked, and ends the session.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_core::connector::MailTls;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::message::Message;
use super::reply::{BYTES_MAX, Reply};
use super::{Mailing, Why, plain};
use crate::error::Phase;
use crate::scrub::Matcher;
use crate::transport::{Broker, Finding, Permit, Place, Timeouts};
use crate::{Error, Target};

/// Longest text of a server that is shown, in characters.
const SAID_CHARS_MAX: usize = 300;
/// Pieces of a message that are written at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// How long a server may take over a good-bye.
const QUIT_PATIENCE: Duration = Duration::from_secs(2);
/// Who we say we are: an address of nobody's, so that mails tell nothing about this host.
const EHLO: &str = "EHLO [127.0.0.1]";

/// What carries the words, with TLS or without.
trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// A session with a server that was greeted.
pub(super) struct Session {
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
    offers: Vec<String>,
    matcher: Option<Matcher>,
    timeouts: Timeouts,
    /// Where the credential was found in what it said.
    pub(super) findings: Vec<Finding>,
    /// Whether the end of the message was written, or begun to be.
    pub(super) is_ended: bool,
    pub(super) dialled: SocketAddr,
    pub(super) deadline: Instant,
    _permit: Permit,
}

impl Session {
    /// Greets, and has TLS before anything else where it has to be.
    pub(super) async fn open(
        broker: &Broker,
        stream: TcpStream,
        dialled: SocketAddr,
        (target, mailing): (&Target, &Mailing<'_>),
        matcher: Option<Matcher>,
        permit: Permit,
        deadline: Instant,
    ) -> Result<Self, Why> {
        let timeouts = mailing.timeouts;
        let tls = mailing.server.tls;
        let stream = match tls {
            MailTls::Implicit => Box::new(broker.secure(stream, target, &timeouts).await?) as Box<dyn Wire>,
            MailTls::None => Box::new(stream),
            MailTls::Starttls => {
                let stream =
                    Talk { wire: stream, buffer: Vec::new(), patience: timeouts.first_byte }.starttls().await?;
                Box::new(broker.secure(stream, target, &timeouts).await?)
            }
        };
        let mut session = Self {
            wire: stream,
            buffer: Vec::new(),
            offers: Vec::new(),
            matcher,
            timeouts,
            findings: Vec::new(),
            is_ended: false,
            dialled,
            deadline,
            _permit: permit,
        };
        if tls != MailTls::Starttls {
            let greeting = session.reply(timeouts.first_byte).await?;
            session.expect(greeting, "the session")?;
        }
        // What was offered before TLS counts for nothing.
        let offered = session.ask(EHLO).await?;
        let offered = session.expect(offered, "the greeting")?;
        session.offers = offered.offers().collect();
        Ok(session)
    }

    /// Logs in with `user:password`.
    pub(super) async fn log_in(&mut self, secret: &[u8]) -> Result<(), Why> {
        let reply = if self.offers_login("PLAIN") {
            let line = Zeroizing::new(format!("AUTH PLAIN {}", plain(secret).as_str()));
            self.ask(&line).await?
        } else if self.offers_login("LOGIN") {
            let at = secret.iter().position(|byte| *byte == b':').unwrap_or(secret.len());
            let mut reply = self.ask("AUTH LOGIN").await?;
            for part in [&secret[..at], secret.get(at + 1..).unwrap_or_default()] {
                if reply.code != 334 {
                    break;
                }
                reply = self.ask(&Zeroizing::new(STANDARD.encode(part))).await?;
            }
            reply
        } else {
            return Err(Why::NoLogin);
        };
        // Its words are looked at for the credential and shown to nobody.
        self.said(&reply);
        if reply.code == 235 { Ok(()) } else { Err(Why::Login(reply.code)) }
    }

    /// Hands a message over, and answers with the server's last word.
    pub(super) async fn hand_over(&mut self, message: &Message, bytes: &[u8]) -> Result<String, Why> {
        if let Some(max) = self.bytes_max().filter(|max| bytes.len() as u64 > *max) {
            return Err(Why::TooLarge(max));
        }
        let reply = self.ask(&format!("MAIL FROM:<{}>", message.from().address)).await?;
        self.expect(reply, "the sender")?;
        for address in message.recipients() {
            let reply = self.ask(&format!("RCPT TO:<{address}>")).await?;
            if !reply.is_good() {
                let said = self.said(&reply);
                self.quit().await;
                return Err(Why::Recipient { address, said });
            }
        }
        let reply = self.ask("DATA").await?;
        if reply.code != 354 {
            let said = self.said(&reply);
            return Err(Why::Refused { step: "the message", said });
        }
        self.silent()?;
        let stuffed = stuffed(bytes);
        for piece in stuffed.chunks(PIECE_BYTES) {
            self.write(piece).await?;
        }
        self.is_ended = true;
        self.write(b".\r\n").await?;
        let reply = self.reply(self.timeouts.idle).await?;
        if reply.code / 100 == 3 {
            return Err(Why::Garbled("neither a yes nor a no to the message"));
        }
        let reply = self.expect(reply, "the message")?;
        Ok(self.said(&reply))
    }

    /// Says good-bye, and waits a little for the answer.
    pub(super) async fn quit(&mut self) {
        // What it answers changes nothing any more.
        let _ = timeout(QUIT_PATIENCE, async {
            let _ = self.write(b"QUIT\r\n").await;
            let _ = self.reply(QUIT_PATIENCE).await;
        })
        .await;
    }

    fn offers_login(&self, mechanism: &str) -> bool {
        let words = |offer: &String| offer.split([' ', '=']).map(str::to_owned).collect::<Vec<_>>();
        self.offers.iter().map(words).any(|words| {
            words.first().is_some_and(|first| first == "AUTH") && words.iter().skip(1).any(|word| word == mechanism)
        })
    }

    /// The largest message it takes; zero means it does not say.
    fn bytes_max(&self) -> Option<u64> {
        let size = self.offers.iter().find_map(|offer| offer.strip_prefix("SIZE "))?;
        size.trim().parse().ok().filter(|max| *max > 0)
    }

    fn expect(&mut self, reply: Reply, step: &'static str) -> Result<Reply, Why> {
        if reply.is_good() {
            return Ok(reply);
        }
        Err(Why::Refused { step, said: self.said(&reply) })
    }

    async fn ask(&mut self, command: &str) -> Result<Reply, Why> {
        self.silent()?;
        self.write(command.as_bytes()).await?;
        self.write(b"\r\n").await?;
        self.reply(self.timeouts.first_byte).await
    }

    /// Nothing may lie there that nobody asked for: it would be taken for the answer to what comes next.
    fn silent(&self) -> Result<(), Why> {
        if self.buffer.is_empty() { Ok(()) } else { Err(Why::Garbled("replies that nobody asked for")) }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Why> {
        write(&mut self.wire, bytes, self.timeouts.first_byte).await
    }

    async fn reply(&mut self, patience: Duration) -> Result<Reply, Why> {
        read(&mut self.wire, &mut self.buffer, patience).await
    }

    /// Code and words of a reply for people and models: without the credential, short, on one line. Where the lines hold it
    /// together, they are shown together.
    fn said(&mut self, reply: &Reply) -> String {
        let whole = reply.lines.concat();
        let scrubbed = self.matcher.as_ref().and_then(|matcher| matcher.scrub_noting(&whole));
        let text = match scrubbed {
            Some((text, variants)) => {
                self.findings.push(Finding { place: Place::Reply, variants });
                text
            }
            None => reply.lines.join(&b' '),
        };
        let text: String = String::from_utf8_lossy(&text)
            .chars()
            .map(|one| if one.is_control() { ' ' } else { one })
            .take(SAID_CHARS_MAX)
            .collect();
        format!("{} {}", reply.code, text.trim())
    }
}

/// A session before TLS.
struct Talk {
    wire: TcpStream,
    buffer: Vec<u8>,
    patience: Duration,
}

impl Talk {
    /// Up to where TLS begins. A server that goes on in plain text behind its yes, or somebody in between, is not listened to:
    /// those words would be read as if they had come through TLS.
    async fn starttls(mut self) -> Result<TcpStream, Why> {
        let refused = |step| Why::Refused { step, said: "no".to_owned() };
        let greeting = read(&mut self.wire, &mut self.buffer, self.patience).await?;
        if !greeting.is_good() {
            return Err(refused("the session"));
        }
        let offered = self.ask(EHLO).await?;
        if !offered.is_good() {
            return Err(refused("the greeting"));
        }
        if !offered.offers().any(|offer| offer.trim() == "STARTTLS") {
            return Err(Why::NoTls);
        }
        let reply = self.ask("STARTTLS").await?;
        match (reply.code, self.buffer.is_empty()) {
            (220, true) => Ok(self.wire),
            (220, false) => Err(Why::Injected),
            _ => Err(Why::NoTls),
        }
    }

    async fn ask(&mut self, command: &str) -> Result<Reply, Why> {
        if !self.buffer.is_empty() {
            return Err(Why::Garbled("replies that nobody asked for"));
        }
        write(&mut self.wire, format!("{command}\r\n").as_bytes(), self.patience).await?;
        read(&mut self.wire, &mut self.buffer, self.patience).await
    }
}

async fn write(wire: &mut (impl AsyncWrite + Unpin + ?Sized), bytes: &[u8], patience: Duration) -> Result<(), Why> {
    let written = timeout(patience, async {
        wire.write_all(bytes).await?;
        wire.flush().await
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Error::Cut.into()),
        Err(_) => Err(Error::Timeout { phase: Phase::FirstByte }.into()),
    }
}

/// The next reply, `patience` for all of it.
async fn read(
    wire: &mut (impl AsyncRead + Unpin + ?Sized),
    buffer: &mut Vec<u8>,
    patience: Duration,
) -> Result<Reply, Why> {
    let whole = timeout(patience, async {
        let mut piece = [0; 2048];
        loop {
            match Reply::parse(buffer).map_err(|bad| Why::Garbled(bad.text()))? {
                Some((reply, end)) => {
                    buffer.drain(..end);
                    return Ok(reply);
                }
                None if buffer.len() > BYTES_MAX => return Err(Why::Garbled("a reply that is too long")),
                None => {}
            }
            match wire.read(&mut piece).await {
                Ok(0) | Err(_) => return Err(Error::Cut.into()),
                Ok(count) => buffer.extend_from_slice(&piece[..count]),
            }
        }
    });
    whole.await.unwrap_or_else(|_| Err(Error::Timeout { phase: Phase::FirstByte }.into()))
}

/// The message with a second dot before each line that begins with one, and CRLF at its end: no line of it is a dot alone.
fn stuffed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut begins = true;
    for byte in bytes {
        if begins && *byte == b'.' {
            out.push(b'.');
        }
        out.push(*byte);
        begins = *byte == b'\n';
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}
