//! The keyring of a desktop's user as the place of a root key: one entry of the Secret Service, which GNOME Keyring, KWallet
//! and KeePassXC offer on the session bus.
//!
//! The entry has the attributes that other programs give theirs (`service`, `username`), so a person finds it with the tools
//! there are: `secret-tool lookup service livery username root`. Its value is the key as base64. It passes the bus in clear:
//! the bus is a socket between processes of one user, who could read the keyring themselves.
//!
//! Refused: prompts. A keyring that is locked is an error that says so; a server has nobody to ask. And a second entry: which
//! of two is the key is the operator's to say.
//!
//! Spoken here rather than by a crate: those for it bring a D-Bus library with an async runtime of its own, forty crates in all,
//! for six calls at a start.
//!
//! Source: the Secret Service API of freedesktop.org. `bus` is the connection, `wire` the format.

mod bus;
mod wire;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Secret;
use crate::seal::Kek;
use bus::Bus;
use wire::{Call, Malformed, Writer};

/// What an address begins with.
const PREFIX: &str = "keyring:";
/// All that is asked of it at a time.
const TIME_MAX: Duration = Duration::from_secs(15);
/// Longest name of a service or an entry.
const NAME_BYTES_MAX: usize = 64;
/// Entries of one name that are read; two are one too many.
const ENTRIES_MAX: usize = 16;
/// Longest value of an entry that is read.
const VALUE_BYTES_MAX: usize = 1024;
/// No object: there is no prompt, or no collection.
const NOTHING: &str = "/";
/// Who answers.
const SECRETS: &str = "org.freedesktop.secrets";
const SERVICE: &str = "/org/freedesktop/secrets";

/// Why there is no root key to be had from the keyring; each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Not the address of an entry.
    #[error("an entry of the keyring is written keyring:SERVICE/NAME, such as keyring:livery/root")]
    Address,
    /// No bus.
    #[error(
        "the session bus cannot be used: {0}; start Livery in a desktop's session and as its user, or set \
         DBUS_SESSION_BUS_ADDRESS"
    )]
    NoBus(String),
    /// A bus without a Secret Service.
    #[error("nothing on the session bus keeps secrets; start GNOME Keyring, KWallet or KeePassXC")]
    NoService,
    /// Locked.
    #[error("the keyring is locked; unlock it, then start again")]
    Locked,
    /// No collection is the default.
    #[error(
        "there is no default keyring; make one (\"login\") with the desktop's tool for passwords, then start again"
    )]
    NoDefault,
    /// Two entries.
    #[error(
        "the keyring has several entries of this name; keep the one this database was sealed under and remove the others"
    )]
    Several,
    /// The entry is no key.
    #[error("the entry of this name is not a 256-bit key in base64")]
    NoKey,
    /// It said no, by this name.
    #[error("the keyring refused ({0})")]
    Refused(String),
    /// No answer in time.
    #[error("the keyring did not answer within 15 s")]
    Late,
    /// Not the protocol.
    #[error("what answers on the session bus does not speak the Secret Service's protocol")]
    Malformed,
    /// No random bytes for a new key.
    #[error("no random bytes from the operating system")]
    NoRandomness,
}

impl From<Malformed> for KeyringError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

type Result<T> = std::result::Result<T, KeyringError>;

/// An entry of the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    service: String,
    name: String,
    bus: String,
}

impl fmt::Display for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.name)
    }
}

impl Keyring {
    /// Whether `text` means an entry rather than a root key itself.
    pub fn is_meant(text: &[u8]) -> bool {
        text.starts_with(PREFIX.as_bytes())
    }

    /// Reads `keyring:SERVICE/NAME`. `bus`: the addresses of the session bus. Opens nothing.
    ///
    /// # Errors
    /// [`KeyringError::Address`].
    pub fn parse(text: &str, bus: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
        let fits = |part: &str| (1..=NAME_BYTES_MAX).contains(&part.len()) && part.chars().all(plain);
        let (service, name) =
            text.strip_prefix(PREFIX).and_then(|entry| entry.split_once('/')).ok_or(KeyringError::Address)?;
        if !fits(service) || !fits(name) {
            return Err(KeyringError::Address);
        }
        Ok(Self { service: service.to_owned(), name: name.to_owned(), bus: bus.to_owned() })
    }

    /// The root key as base64, or `None` when the keyring has no such entry.
    ///
    /// # Errors
    /// [`KeyringError`] says what to do.
    pub async fn root_key(&self) -> Result<Option<Secret>> {
        in_time(async {
            let mut session = Session::open(&self.bus).await?;
            match session.find(self).await? {
                Some(entry) => session.value(&entry).await.map(Some),
                None => Ok(None),
            }
        })
        .await
    }

    /// Makes a root key and keeps it in the default keyring, unless there is one; the key that is there afterwards, as base64.
    ///
    /// # Errors
    /// [`KeyringError`] says what to do.
    pub async fn create_root_key(&self) -> Result<Secret> {
        in_time(async {
            let mut session = Session::open(&self.bus).await?;
            if session.find(self).await?.is_none() {
                session.create(self).await?;
            }
            // What is there now decides: another node may have been as fast.
            let entry = session.find(self).await?.ok_or(KeyringError::Malformed)?;
            session.value(&entry).await
        })
        .await
    }

    /// What the entry is found by.
    fn attributes(&self, body: &mut Writer) {
        body.array(8, |body| {
            for (key, value) in [("service", &self.service), ("username", &self.name)] {
                body.align(8);
                body.text(key);
                body.text(value);
            }
        });
    }
}

/// A session with the service.
struct Session {
    bus: Bus,
    path: String,
}

impl Session {
    async fn open(addresses: &str) -> Result<Self> {
        let mut bus = Bus::connect(addresses).await?;
        let mut body = Writer::new();
        body.text("plain");
        body.variant("s", |body| body.text(""));
        let answer = bus.call(&service("OpenSession", "sv"), "vo", &body).await?;
        let mut answer = answer.reader();
        if answer.signature()? != "s" {
            return Err(KeyringError::Malformed);
        }
        answer.text()?;
        let path = answer.text()?.to_owned();
        Ok(Self { bus, path })
    }

    /// The entry, unlocked.
    async fn find(&mut self, entry: &Keyring) -> Result<Option<String>> {
        let mut body = Writer::new();
        entry.attributes(&mut body);
        let answer = self.bus.call(&service("SearchItems", "a{ss}"), "aoao", &body).await?;
        let mut answer = answer.reader();
        let (open, locked) = (answer.texts(ENTRIES_MAX)?, answer.texts(ENTRIES_MAX)?);
        match (open.as_slice(), locked.as_slice()) {
            ([], []) => Ok(None),
            ([one], []) => Ok(Some((*one).to_owned())),
            ([], [one]) => self.unlock(one).await.map(|()| Some((*one).to_owned())),
            _ => Err(KeyringError::Several),
        }
    }

    /// Unlocks what needs nobody to be asked.
    async fn unlock(&mut self, path: &str) -> Result<()> {
        let mut body = Writer::new();
        body.array(4, |body| body.text(path));
        let answer = self.bus.call(&service("Unlock", "ao"), "aoo", &body).await?;
        let mut answer = answer.reader();
        answer.texts(ENTRIES_MAX)?;
        if answer.text()? == NOTHING { Ok(()) } else { Err(KeyringError::Locked) }
    }

    async fn value(&mut self, entry: &str) -> Result<Secret> {
        let mut body = Writer::new();
        body.text(&self.path);
        let call = Call {
            destination: SECRETS,
            path: entry,
            interface: "org.freedesktop.Secret.Item",
            member: "GetSecret",
            signature: "o",
        };
        let answer = self.bus.call(&call, "(oayays)", &body).await?;
        let mut answer = answer.reader();
        answer.text()?;
        answer.bytes()?;
        let value = answer.bytes()?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(KeyringError::NoKey);
        }
        let value = Secret::new(value.trim_ascii().to_vec());
        let key = STANDARD.decode(value.expose_secret()).map(Secret::new).map_err(|_| KeyringError::NoKey)?;
        Kek::from_bytes(key).map(|_| value).map_err(|_| KeyringError::NoKey)
    }

    async fn create(&mut self, entry: &Keyring) -> Result<()> {
        let mut body = Writer::new();
        body.text("default");
        let answer = self.bus.call(&service("ReadAlias", "s"), "o", &body).await?;
        let collection = answer.reader().text()?.to_owned();
        if collection == NOTHING {
            return Err(KeyringError::NoDefault);
        }
        self.unlock(&collection).await?;
        let call = Call {
            destination: SECRETS,
            path: &collection,
            interface: "org.freedesktop.Secret.Collection",
            member: "CreateItem",
            signature: "a{sv}(oayays)b",
        };
        let key = Kek::generate().map_err(|_| KeyringError::NoRandomness)?;
        let answer = self.bus.call(&call, "oo", &self.item(entry, &key.to_base64())).await?;
        let mut answer = answer.reader();
        answer.text()?;
        if answer.text()? == NOTHING { Ok(()) } else { Err(KeyringError::Locked) }
    }

    /// Label and attributes, the value, and that nothing is replaced.
    fn item(&self, entry: &Keyring, value: &Secret) -> Writer {
        let mut body = Writer::new();
        body.array(8, |body| {
            body.align(8);
            body.text("org.freedesktop.Secret.Item.Label");
            body.variant("s", |body| body.text("Livery root key"));
            body.align(8);
            body.text("org.freedesktop.Secret.Item.Attributes");
            body.variant("a{ss}", |body| entry.attributes(body));
        });
        body.align(8);
        body.text(&self.path);
        body.bytes(&[]);
        body.bytes(value.expose_secret());
        body.text("text/plain");
        body.flag(false);
        body
    }
}

async fn in_time<T>(asking: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(TIME_MAX, asking).await.map_err(|_| KeyringError::Late)?
}

const fn service<'a>(member: &'a str, signature: &'a str) -> Call<'a> {
    Call { destination: SECRETS, path: SERVICE, interface: "org.freedesktop.Secret.Service", member, signature }
}

#[cfg(test)]
mod tests;
