//! A mail server for tests: it keeps what it is given, wants a user name and a password, and breaks in every way a hostile one
//! might. TLS is the caller's: [`FakeSmtp::serve`] says when it begins.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Largest message that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evil {
    /// Nothing.
    #[default]
    None,
    /// It does not offer `STARTTLS`.
    Strip,
    /// It goes on in plain text behind its yes to `STARTTLS`.
    Inject,
    /// It says what it was told at login, as it was told and decoded, and lets nobody in.
    EchoRefusing,
    /// The same, and lets everybody in; and again in its last word.
    EchoAccepting,
    /// A reply without an end, of so many bytes.
    Endless(usize),
    /// A reply of very many lines.
    ManyLines,
    /// It says nothing, from the greeting on.
    Silent,
    /// It says nothing after the whole message.
    SilentAtEnd,
    /// It hangs up after the whole message.
    CutAtEnd,
    /// It takes the whole message and asks for more.
    NeitherAtEnd,
    /// It refuses the whole message for now.
    Busy,
    /// It refuses the last recipient.
    RefuseLast,
    /// It answers before it is asked.
    Unasked,
    /// It speaks HTTP.
    Http,
    /// It takes no login.
    NoLogin,
    /// It knows `LOGIN` alone.
    LoginOnly,
    /// It takes no message larger than a hundred bytes.
    Small,
}

/// A message it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The path of `MAIL FROM`.
    pub from: String,
    /// The paths of `RCPT TO`.
    pub recipients: Vec<String>,
    /// The message, its dots unstuffed.
    pub data: String,
}

/// What all sessions of a server share.
#[derive(Debug, Clone, Default)]
pub struct FakeSmtp {
    evil: Evil,
    login: (String, String),
    mails: Arc<Mutex<Vec<Mail>>>,
    commands: Arc<Mutex<Vec<String>>>,
}

/// Where a session stands when it comes back.
#[derive(Debug)]
pub enum Ended<S> {
    /// It is over.
    Over,
    /// TLS begins now.
    Tls(S),
}

impl FakeSmtp {
    /// One that lets this user in.
    pub fn new(evil: Evil, user: &str, password: &str) -> Self {
        Self { evil, login: (user.to_owned(), password.to_owned()), ..Self::default() }
    }

    /// The messages it took, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The commands it was given.
    pub fn commands(&self) -> Vec<String> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Listens without TLS until the set is dropped.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn listen(&self) -> std::io::Result<(std::net::SocketAddr, JoinSet<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mut tasks, server) = (JoinSet::new(), self.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // What becomes of one session is the client's to tell.
                let _ = server.serve(stream, Tls::Never).await;
            }
        });
        Ok((address, tasks))
    }

    /// One session.
    ///
    /// # Errors
    /// The client hung up.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, tls: Tls) -> std::io::Result<Ended<S>> {
        let mut session = Session { server: self, stream: BufReader::new(stream), tls, mail: None };
        match session.run().await? {
            true => Ok(Ended::Tls(session.stream.into_inner())),
            false => Ok(Ended::Over),
        }
    }
}

/// What a session has of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// None, and none to come.
    Never,
    /// None yet.
    Offered,
    /// It began with `STARTTLS`, so there is no greeting.
    Begun,
    /// From the first byte.
    Implicit,
}

struct Session<'a, S> {
    server: &'a FakeSmtp,
    stream: BufReader<S>,
    tls: Tls,
    mail: Option<Mail>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    /// Whether it ended where TLS begins.
    async fn run(&mut self) -> std::io::Result<bool> {
        let evil = self.server.evil;
        match evil {
            Evil::Silent => return self.hang().await,
            Evil::Http => self.say("HTTP/1.1 400 Bad Request").await?,
            Evil::Endless(bytes) => {
                let piece = vec![b'a'; 64 * 1024];
                self.stream.write_all(b"220-").await?;
                for _ in 0..bytes / piece.len() {
                    self.stream.write_all(&piece).await?;
                }
                return self.hang().await;
            }
            Evil::ManyLines => {
                for _ in 0..10_000 {
                    self.say("220-hello").await?;
                }
            }
            _ if self.tls != Tls::Begun => self.say("220 fake ESMTP").await?,
            _ => {}
        }
        while let Some(line) = self.line().await? {
            self.server.commands.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => self.offer().await?,
                "STARTTLS" if evil == Evil::Inject => {
                    self.stream.write_all(b"220 go\r\n250-evil\r\n250 AUTH PLAIN LOGIN\r\n").await?;
                    return Ok(true);
                }
                "STARTTLS" => {
                    self.say("220 go").await?;
                    return Ok(true);
                }
                "AUTH" => self.log_in(&line).await?,
                "MAIL" => {
                    self.mail = Some(Mail { from: path(&line), recipients: Vec::new(), data: String::new() });
                    self.say(if evil == Evil::Unasked { "250 ok\r\n250 and also" } else { "250 ok" }).await?;
                }
                "RCPT" => self.recipient(&line).await?,
                "DATA" => {
                    if self.data().await? {
                        return Ok(false);
                    }
                }
                "QUIT" => {
                    self.say("221 bye").await?;
                    return Ok(false);
                }
                _ => self.say("500 what").await?,
            }
        }
        Ok(false)
    }

    async fn offer(&mut self) -> std::io::Result<()> {
        let evil = self.server.evil;
        let mut lines = vec!["fake"];
        if self.tls == Tls::Offered && evil != Evil::Strip {
            lines.push("STARTTLS");
        }
        // Before TLS it offers logins too: nobody may use them.
        lines.push(match evil {
            Evil::NoLogin => "AUTH CRAM-MD5",
            Evil::LoginOnly => "AUTH LOGIN",
            _ => "AUTH LOGIN PLAIN",
        });
        lines.push(if evil == Evil::Small { "SIZE 100" } else { "SIZE 33554432" });
        for line in lines {
            self.say(&format!("250-{line}")).await?;
        }
        self.say("250 8BITMIME").await
    }

    async fn log_in(&mut self, line: &str) -> std::io::Result<()> {
        let decoded = |text: &str| STANDARD.decode(text).map(|it| String::from_utf8_lossy(&it).into_owned());
        let (told, user, password) = match line.strip_prefix("AUTH PLAIN ") {
            Some(told) => {
                let plain = decoded(told).unwrap_or_default();
                let mut parts = plain.split('\0').skip(1).map(str::to_owned);
                (told.to_owned(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
            }
            None => {
                self.say("334 VXNlcm5hbWU6").await?;
                let user = self.line().await?.unwrap_or_default();
                self.say("334 UGFzc3dvcmQ6").await?;
                let password = self.line().await?.unwrap_or_default();
                (password.clone(), decoded(&user).unwrap_or_default(), decoded(&password).unwrap_or_default())
            }
        };
        let is_right = (&user, &password) == (&self.server.login.0, &self.server.login.1);
        let echo = format!("you said {told}, which is {password}");
        match self.server.evil {
            Evil::EchoRefusing => self.say(&format!("535 {echo}")).await,
            Evil::EchoAccepting => self.say(&format!("235 {echo}")).await,
            _ if is_right => self.say("235 welcome").await,
            _ => self.say("535 no").await,
        }
    }

    async fn recipient(&mut self, line: &str) -> std::io::Result<()> {
        let path = path(line);
        if self.server.evil == Evil::RefuseLast && path.starts_with("zoe@") {
            return self.say("550 5.1.1 no such user").await;
        }
        if let Some(mail) = &mut self.mail {
            mail.recipients.push(path);
        }
        self.say("250 ok").await
    }

    /// Whether the session is over.
    async fn data(&mut self) -> std::io::Result<bool> {
        self.say("354 go on").await?;
        let mut data = String::new();
        loop {
            // A message that breaks off is none.
            let Some(line) = self.line().await? else { return Ok(true) };
            if line == "." {
                break;
            }
            data.push_str(line.strip_prefix('.').unwrap_or(&line));
            data.push_str("\r\n");
            if data.len() > MESSAGE_BYTES_MAX {
                return Ok(true);
            }
        }
        let Some(mut mail) = self.mail.take() else { return Ok(true) };
        mail.data = data;
        match self.server.evil {
            Evil::Busy => return self.say("451 later").await.map(|()| false),
            Evil::SilentAtEnd => {
                self.keep(mail);
                return self.hang().await.map(|_| true);
            }
            Evil::CutAtEnd => {
                self.keep(mail);
                return Ok(true);
            }
            _ => self.keep(mail),
        }
        let said = match self.server.evil {
            Evil::EchoAccepting => format!("250 queued for {}", self.server.login.1),
            Evil::NeitherAtEnd => "354 and further".to_owned(),
            _ => "250 queued as 1".to_owned(),
        };
        self.say(&said).await.map(|()| false)
    }

    fn keep(&self, mail: Mail) {
        self.server.mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
    }

    async fn hang(&mut self) -> std::io::Result<bool> {
        self.stream.flush().await?;
        tokio::time::sleep(Duration::from_secs(600)).await;
        Ok(false)
    }

    async fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.stream.write_all(line.as_bytes()).await?;
        self.stream.write_all(b"\r\n").await?;
        self.stream.flush().await
    }

    /// The next line; a bare line feed ends none, as it should be.
    async fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            if self.stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(None);
            }
            if line.ends_with(b"\r\n") || line.len() > LINE_BYTES_MAX {
                line.truncate(line.len().saturating_sub(2));
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
        }
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    line.split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'))
        .map_or_else(String::new, |(path, _)| path.to_owned())
}
