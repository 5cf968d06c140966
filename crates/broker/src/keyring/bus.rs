//! One connection to the session bus: who we are is what the kernel says of the socket; calls are made one after the other.
//!
//! Source: the D-Bus specification, "Authentication Protocol", "Server Addresses", "Message Bus".

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::KeyringError;
use super::wire::{Call, Kind, Malformed, PREFIX, Reader, Writer, kind, lengths};

type Result<T> = std::result::Result<T, KeyringError>;

/// Longest message read, header and body together.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest line of the authentication.
const LINE_BYTES_MAX: usize = 512;
/// Messages nobody asked for, while an answer is waited for.
const OTHERS_MAX: usize = 256;
/// The bus itself.
const HELLO: Call<'_> = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
    signature: "",
};

/// An open connection.
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
}

/// What a call was answered with.
pub(super) struct Body(Zeroizing<Vec<u8>>);

impl Body {
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.0)
    }
}

impl Bus {
    /// Connects to the first of the addresses that answers, such as `unix:path=/run/user/1000/bus`.
    pub(super) async fn connect(addresses: &str) -> Result<Self> {
        let mut last = "it has no address of a Unix socket".to_owned();
        for address in addresses.split(';').filter_map(socket) {
            match UnixStream::connect(address).await {
                Ok(stream) => return Self::greeted(stream).await,
                Err(error) => last = error.to_string(),
            }
        }
        Err(KeyringError::NoBus(last))
    }

    async fn greeted(stream: UnixStream) -> Result<Self> {
        let mut bus = Self { stream, serial: 0 };
        bus.send(b"\0AUTH EXTERNAL\r\n").await?;
        if bus.line().await? != b"DATA" {
            return Err(KeyringError::NoBus("it does not take who we are from the socket".to_owned()));
        }
        bus.send(b"DATA\r\n").await?;
        if !bus.line().await?.starts_with(b"OK ") {
            return Err(KeyringError::NoBus("it is another user's".to_owned()));
        }
        bus.send(b"BEGIN\r\n").await?;
        bus.call(&HELLO, "s", &Writer::new()).await?;
        Ok(bus)
    }

    /// Calls and waits for the answer, whose body has to be of the types `expected`.
    pub(super) async fn call(&mut self, call: &Call<'_>, expected: &str, body: &Writer) -> Result<Body> {
        self.serial += 1;
        self.send(call.message(self.serial, body).as_slice()).await?;
        for _ in 0..OTHERS_MAX {
            let (kind, body) = self.message().await?;
            match kind {
                Kind::Reply { to, signature } if to == self.serial => {
                    return if signature == expected { Ok(body) } else { Err(Malformed.into()) };
                }
                Kind::Refusal { to, name } if to == self.serial => return Err(refused(&name)),
                _ => {}
            }
        }
        Err(Malformed.into())
    }

    async fn message(&mut self) -> Result<(Kind, Body)> {
        let mut prefix = [0; PREFIX];
        self.fill(&mut prefix).await?;
        let (header, body) = lengths(&prefix)?;
        if header > MESSAGE_BYTES_MAX || body > MESSAGE_BYTES_MAX - header {
            return Err(Malformed.into());
        }
        let mut whole = vec![0; PREFIX + header];
        whole[..PREFIX].copy_from_slice(&prefix);
        self.fill(&mut whole[PREFIX..]).await?;
        let mut content = Zeroizing::new(vec![0; body]);
        self.fill(&mut content).await?;
        Ok((kind(&whole)?, Body(content)))
    }

    /// One line of the authentication, without its end.
    async fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.fill(&mut byte).await?;
            line.extend(byte);
            if line.len() > LINE_BYTES_MAX {
                return Err(Malformed.into());
            }
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.map_err(gone)
    }

    async fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.stream.read_exact(buffer).await.map(drop).map_err(gone)
    }
}

fn gone(error: std::io::Error) -> KeyringError {
    match error.kind() {
        ErrorKind::UnexpectedEof => KeyringError::NoBus("it hung up".to_owned()),
        _ => KeyringError::NoBus(error.to_string()),
    }
}

/// What a refusal of this name means. Its text is the service's own and is not needed.
fn refused(name: &str) -> KeyringError {
    match name {
        "org.freedesktop.Secret.Error.IsLocked" => KeyringError::Locked,
        "org.freedesktop.DBus.Error.ServiceUnknown"
        | "org.freedesktop.DBus.Error.NameHasNoOwner"
        | "org.freedesktop.DBus.Error.Spawn.ServiceNotFound" => KeyringError::NoService,
        name => KeyringError::Refused(name.chars().filter(|c| c.is_ascii_graphic()).take(100).collect()),
    }
}

/// The socket of one address; `None`: it is of another transport.
fn socket(address: &str) -> Option<PathBuf> {
    let pairs = address.strip_prefix("unix:")?.split(',').filter_map(|pair| pair.split_once('='));
    let path = pairs.filter_map(|(key, value)| Some((key, unescaped(value)?))).find_map(|(key, value)| match key {
        "path" => Some(value),
        // The kernel's names without a file begin like this.
        "abstract" => Some([b"\0", value.as_slice()].concat()),
        _ => None,
    });
    path.map(|path| PathBuf::from(OsString::from_vec(path)))
}

/// `%XX` as the byte it stands for.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit(rest.next()?)? << 4 | digit(rest.next()?)?);
    }
    Some(bytes)
}
