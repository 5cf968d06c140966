//! One message out through a mail server: dial the checked address, TLS or nothing, log in, hand the message over.
//!
//! ```text
//! Message (addresses, lines and sizes checked: no byte of it can become a command) ─▶ digest: what is approved is what is sent
//! resolve, check, dial ─▶ TLS ─▶ AUTH ─▶ MAIL, RCPT … ─▶ DATA ─▶ the server's word, scrubbed
//! ```
//!
//! Whether a message may have been sent has one answer: it may from the moment on in which its end is written. Before, a
//! failure means that nothing was sent; one refused recipient is such a failure, so a message goes to all or to nobody.
//!
//! Refused: a server that does not offer `STARTTLS` where it has to, words that came before TLS and would be read behind it,
//! logins without TLS other than to an allowed private address, replies that are none.
//!
//! Read next: `mail/message.rs`, then `mail/session.rs`.

mod encode;
mod message;
mod reply;
mod session;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_core::connector::{EmailAddress, MailServer};
use livery_core::id::OrgId;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

pub use self::message::{ATTACHMENTS_BYTES_MAX, Attachment, Message, MessageId, MessageRefused, Wanted};
pub use self::reply::{Bad, Reply};

use self::session::Session;
use crate::error::Phase;
use crate::scrub::{Matcher, shown};
use crate::transport::{Broker, Credential, Finding, Timeouts};
use crate::{Error, Secret, Target};

/// The waits of one message: `first_byte` is one reply of the server, `idle` its word on the whole message.
pub const TIMEOUTS: Timeouts = Timeouts {
    resolve: Duration::from_secs(5),
    connect: Duration::from_secs(5),
    tls: Duration::from_secs(10),
    first_byte: Duration::from_secs(30),
    idle: Duration::from_secs(120),
    total: Duration::from_secs(240),
};

/// A message on its way through a server.
pub struct Mailing<'a> {
    /// The tenant.
    pub tenant: OrgId,
    /// The server.
    pub server: &'a MailServer,
    /// What logs in; its secret is `user:password`.
    pub credential: Credential,
    /// Its waits.
    pub timeouts: Timeouts,
}

/// A message that the server took.
#[derive(Debug)]
pub struct Mailed {
    /// What it said, scrubbed.
    pub said: String,
    /// Where the credential was found in it.
    pub findings: Vec<Finding>,
    /// The checked address.
    pub dialled: SocketAddr,
}

/// A message that the server did not take, or perhaps did.
#[derive(Debug)]
pub struct Unmailed {
    /// Why.
    pub why: Why,
    /// Whether it may have been sent all the same.
    pub perhaps_sent: bool,
    /// Where the credential was found in what the server said.
    pub findings: Vec<Finding>,
    /// The checked address, once there was a connection.
    pub dialled: Option<SocketAddr>,
}

/// Why a message was not taken. The texts carry nothing of the credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The way there, TLS, or a wait.
    #[error(transparent)]
    Way(#[from] Error),
    /// No TLS where it has to be.
    #[error("the mail server offers no STARTTLS; nothing is said to it without")]
    NoTls,
    /// Words that were said before TLS and would have been read behind it.
    #[error("the mail server, or somebody in between, went on talking where TLS begins")]
    Injected,
    /// No way to log in that is spoken here.
    #[error("the mail server offers no login by PLAIN or LOGIN")]
    NoLogin,
    /// It did not accept user name and password.
    #[error("the mail server does not accept the user name and password ({0})")]
    Login(u16),
    /// It refused a recipient.
    #[error("the mail server refuses the recipient {address}: {said}")]
    Recipient {
        /// Whom.
        address: EmailAddress,
        /// Its words.
        said: String,
    },
    /// It refused something else.
    #[error("the mail server refuses {step}: {said}")]
    Refused {
        /// What.
        step: &'static str,
        /// Its words.
        said: String,
    },
    /// The message is larger than it takes.
    #[error("the message is larger than the {0} bytes the mail server takes")]
    TooLarge(u64),
    /// It did not speak SMTP.
    #[error("the mail server sent {0}")]
    Garbled(&'static str),
}

impl Why {
    /// Stable name for logs and events.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Way(error) => error.kind(),
            Self::NoTls => "no_tls",
            Self::Injected => "injected",
            Self::NoLogin | Self::Login(_) => "login",
            Self::Recipient { .. } => "recipient_refused",
            Self::Refused { .. } => "refused",
            Self::TooLarge(_) => "too_large",
            Self::Garbled(_) => "bad_gateway",
        }
    }
}

impl Broker {
    /// Sends a message that was made, and read over by whoever has to, before there was any secret.
    ///
    /// # Errors
    /// [`Unmailed`], which says whether it may have been sent.
    pub async fn send_mail(&self, mailing: Mailing<'_>, message: &Message, bytes: &[u8]) -> Result<Mailed, Unmailed> {
        let mut session = self.logged_in(&mailing).await?;
        let dialled = session.dialled;
        let deadline = session.deadline;
        let sent = timeout_at(deadline, session.hand_over(message, bytes)).await;
        let sent = sent.unwrap_or(Err(Why::Way(Error::Timeout { phase: Phase::Total })));
        let perhaps_sent = session.is_ended;
        let findings = std::mem::take(&mut session.findings);
        match sent {
            Ok(said) => {
                session.quit().await;
                Ok(Mailed { said, findings, dialled })
            }
            Err(why) => {
                let refused = matches!(why, Why::Refused { .. });
                Err(Unmailed { perhaps_sent: perhaps_sent && !refused, why, findings, dialled: Some(dialled) })
            }
        }
    }

    /// Logs in and says good-bye: whether a connection works.
    ///
    /// # Errors
    /// [`Unmailed`].
    pub async fn try_mail(&self, mailing: Mailing<'_>) -> Result<(), Unmailed> {
        self.logged_in(&mailing).await?.quit().await;
        Ok(())
    }

    async fn logged_in(&self, mailing: &Mailing<'_>) -> Result<Session, Unmailed> {
        let unsent = |why: Why| Unmailed { why, perhaps_sent: false, findings: Vec::new(), dialled: None };
        let credential = &mailing.credential;
        if !credential.is_scrubbable() {
            return Err(unsent(
                Error::BadRequest { why: "the password is too short to be kept out of answers" }.into(),
            ));
        }
        let target = Target::mail(mailing.server).map_err(|refused| unsent(Error::from(refused).into()))?;
        let permit = self.enter(mailing.tenant).map_err(|error| unsent(error.into()))?;
        let deadline = Instant::now() + mailing.timeouts.total;
        let matcher = Matcher::new(&credential.searched().iter().collect::<Vec<_>>(), shown(&credential.owner));
        let opened = async {
            let (stream, dialled) = self.dial(&target, &mailing.timeouts).await?;
            Session::open(self, stream, dialled, (&target, mailing), matcher, permit, deadline).await
        };
        let mut session = timeout_at(deadline, opened)
            .await
            .unwrap_or(Err(Why::Way(Error::Timeout { phase: Phase::Total })))
            .map_err(unsent)?;
        let logged_in = timeout_at(deadline, session.log_in(credential.secret.expose_secret())).await;
        match logged_in.unwrap_or(Err(Why::Way(Error::Timeout { phase: Phase::Total }))) {
            Ok(()) => Ok(session),
            Err(why) => {
                let (findings, dialled) = (std::mem::take(&mut session.findings), Some(session.dialled));
                Err(Unmailed { why, perhaps_sent: false, findings, dialled })
            }
        }
    }
}

/// What is searched for in the replies of a server that was told `user:password`: the password, and what `AUTH PLAIN` makes
/// of both.
pub(crate) fn searched(secret: &[u8]) -> Vec<Secret> {
    let at = secret.iter().position(|byte| *byte == b':').unwrap_or(0);
    let password = secret.get(at + 1..).unwrap_or_default();
    let encoded = plain(secret);
    // From the first character that has a bit of the password in it; the user name is no secret.
    let behind = encoded.as_bytes().get((at + 2) * 8 / 6..).unwrap_or_default();
    vec![
        Secret::new(password.to_vec()),
        Secret::new(STANDARD.encode(password).into_bytes()),
        Secret::new(behind.to_vec()),
    ]
}

/// What `AUTH PLAIN` sends (RFC 4616): an empty identity, user name, password.
fn plain(secret: &[u8]) -> Zeroizing<String> {
    let at = secret.iter().position(|byte| *byte == b':').unwrap_or(secret.len());
    let (user, password) = (&secret[..at], secret.get(at + 1..).unwrap_or_default());
    let pair = Zeroizing::new([b"\0", user, b"\0", password].concat());
    Zeroizing::new(STANDARD.encode(&*pair))
}

#[cfg(test)]
mod tests;
