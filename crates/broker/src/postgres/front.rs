//! The beginning of a program's connection: what it wants, and the stand-in that it shows for a password.
//!
//! There is no TLS on the sandbox's own loopback and none is spoken, whatever `sslmode` the program has; the way to the server is
//! the broker's. Replication is refused, and so is every parameter that would change what a session may do.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::{error, message};
use super::message::{Frames, Malformed, Reader};

/// How long a program may take to say what it wants, and again for its password.
const HELLO_MAX: Duration = Duration::from_secs(30);
/// Longest first message, in bytes: what PostgreSQL takes.
const STARTUP_BYTES_MAX: usize = 10_000;
/// Most parameters of it.
const PARAMETERS_MAX: usize = 64;
/// How often it may ask for encryption.
const ENCRYPTIONS_MAX: usize = 2;
const CANCEL: i32 = 80_877_102;
const SSL: i32 = 80_877_103;
const GSS: i32 = 80_877_104;

/// What a program wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Hello {
    /// A session.
    Start(Start),
    /// To stop the statement of another one, by the key it was told.
    Cancel {
        /// The process it was told.
        process: i32,
        /// The key it was told.
        secret: i32,
    },
}

/// A session that is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Who it says it is: the name of a slot.
    pub user: String,
    /// Which database it wants.
    pub database: String,
    /// Settings it may have, checked: how values are written.
    pub settings: Vec<(String, String)>,
}

/// Why a connection is not served: what a program is told, in the form it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Five letters and digits.
    pub code: &'static str,
    /// In words.
    pub words: String,
}

impl Refusal {
    /// A refusal of these words.
    pub fn new(code: &'static str, words: impl Into<String>) -> Self {
        Self { code, words: words.into() }
    }

    /// Whatever is wrong with a user, a stand-in or a run: one answer for all of it.
    pub fn login(user: &str) -> Self {
        let shown: String = user.chars().filter(char::is_ascii_graphic).take(64).collect();
        Self::new("28P01", format!("password authentication failed for user \"{shown}\""))
    }
}

/// Reads what a program wants. `None`: it went, or does not speak this protocol.
///
/// # Errors
/// [`Refusal`]: what to tell it before the connection is closed.
pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Option<Hello>, Refusal> {
    match timeout(HELLO_MAX, hello(stream)).await {
        Ok(said) => said,
        Err(_) => Ok(None),
    }
}

async fn hello<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Option<Hello>, Refusal> {
    for _ in 0..=ENCRYPTIONS_MAX {
        let Ok(length) = stream.read_u32().await else { return Ok(None) };
        let length = (length as usize).checked_sub(4).filter(|length| (4..=STARTUP_BYTES_MAX).contains(length));
        let Some(length) = length else { return Ok(None) };
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return Ok(None);
        }
        match read_hello(&body)? {
            Read::Encryption => {
                if stream.write_all(b"N").await.is_err() || stream.flush().await.is_err() {
                    return Ok(None);
                }
            }
            Read::Hello(hello) => return Ok(Some(hello)),
            Read::Newer(hello, options) => {
                let (count, names) = (u32::try_from(options.len()).unwrap_or(u32::MAX), options.join("\0"));
                let end: &[u8] = if options.is_empty() { &[] } else { &[0] };
                let answer =
                    message(b'v', &[&(3_u32 << 16).to_be_bytes(), &count.to_be_bytes(), names.as_bytes(), end]);
                if stream.write_all(&answer).await.is_err() {
                    return Ok(None);
                }
                return Ok(Some(hello));
            }
        }
    }
    Ok(None)
}

/// A first message, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// It asks for TLS or GSSAPI.
    Encryption,
    /// What it wants.
    Hello(Hello),
    /// The same, in a newer minor version and with options that nobody here knows.
    Newer(Hello, Vec<String>),
}

/// Reads a first message without its length.
pub(super) fn read_hello(body: &[u8]) -> Result<Read, Refusal> {
    let malformed =
        |malformed: Malformed| Refusal::new("08P01", format!("the startup message is malformed: {malformed}"));
    let mut reader = Reader(body);
    let version = reader.i32().map_err(malformed)?;
    match version {
        SSL | GSS => return reader.end().map(|()| Read::Encryption).map_err(malformed),
        CANCEL => {
            let (process, secret) = (reader.i32().map_err(malformed)?, reader.i32().map_err(malformed)?);
            return reader.end().map(|()| Read::Hello(Hello::Cancel { process, secret })).map_err(malformed);
        }
        _ if version >> 16 != 3 => {
            return Err(Refusal::new("0A000", "this protocol is not spoken; version 3 is"));
        }
        _ => {}
    }
    let (mut start, mut options) = (Start::default(), Vec::new());
    for _ in 0..=PARAMETERS_MAX {
        let name = reader.text().map_err(malformed)?;
        if name.is_empty() {
            reader.end().map_err(malformed)?;
            if start.user.is_empty() {
                return Err(Refusal::new("28000", "the startup message names no user"));
            }
            if start.database.is_empty() {
                start.database.clone_from(&start.user);
            }
            let hello = Hello::Start(start);
            let is_newer = version & 0xffff != 0 || !options.is_empty();
            return Ok(if is_newer { Read::Newer(hello, options) } else { Read::Hello(hello) });
        }
        let value = reader.text().map_err(malformed)?;
        parameter(&mut start, &mut options, name, value)?;
    }
    Err(Refusal::new("08P01", "the startup message has too many parameters"))
}

fn parameter(start: &mut Start, options: &mut Vec<String>, name: &str, value: &str) -> Result<(), Refusal> {
    let lower = name.to_ascii_lowercase();
    let never =
        |what: &str| Err(Refusal::new("42501", format!("what a session may do is the connection's to say: {what}")));
    match lower.as_str() {
        "user" => value.clone_into(&mut start.user),
        "database" => value.clone_into(&mut start.database),
        "replication" => match value.to_ascii_lowercase().as_str() {
            "" | "false" | "off" | "no" | "0" => {}
            _ => return never("no replication"),
        },
        "client_encoding" => match value.to_ascii_lowercase().replace(['-', '_', '\''], "").as_str() {
            "utf8" | "unicode" => {}
            _ => return never("the encoding is UTF8"),
        },
        "options" if value.trim().is_empty() => {}
        "options" => return never("no options"),
        _ if name.starts_with("_pq_.") => options.push(name.to_owned()),
        lower if crate::sql::is_settable(lower) => start.settings.push((lower.to_owned(), value.to_owned())),
        _ => return never("no further parameters"),
    }
    Ok(())
}

/// Asks for the password. It is a stand-in: in clear, on the sandbox's own loopback, it gives nothing away. `None`: it went.
pub async fn password<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, frames: &mut Frames) -> Option<Vec<u8>> {
    let asked = async {
        stream.write_all(&message(b'R', &[&3_u32.to_be_bytes()])).await.ok()?;
        stream.flush().await.ok()?;
        loop {
            if let Some(frame) = frames.take().ok()? {
                let text = frame.body.strip_suffix(b"\0").filter(|_| frame.tag == b'p')?;
                return Some(text.to_vec());
            }
            if stream.read_buf(&mut frames.bytes).await.ok()? == 0 {
                return None;
            }
        }
    };
    timeout(HELLO_MAX, asked).await.ok()?
}

/// Tells a program why it is not served, and closes.
pub async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, refusal: &Refusal) {
    let mut out = BytesMut::new();
    error("FATAL", refusal.code, &refusal.words).write(&mut out);
    let told = async {
        stream.write_all(&out).await?;
        stream.shutdown().await
    };
    // One that went does not miss it.
    let _ = timeout(Duration::from_secs(5), told).await;
}
