//! PostgreSQL, protocol 3: sessions that log in for a run, and the front end that programs in a sandbox speak to.
//!
//! ```text
//! program ─▶ startup, stand-in for a password ─▶ message, whole and checked ─▶ sql::judge ─▶ Gate ─▶ server
//!         ◀─ row limit, scrubbed of the password ◀─ message, whole ◀─────────────────────────────────┘
//! ```
//!
//! The password is used in a SCRAM-SHA-256 exchange over verified TLS and leaves in no other way: a server that asks for it in
//! clear, or as MD5, is not answered. What a session may do (`default_transaction_read_only`, `statement_timeout`, role, search
//! path, encoding) is said in its first message, so that a reset gives the same again, and is looked up before anybody else
//! speaks. A pooler that does not keep it is refused.
//!
//! Read next: `postgres/session.rs`, then `postgres/front.rs`, `postgres/relay.rs`, `postgres/ask.rs`.

mod answer;
mod ask;
mod front;
mod message;
mod relay;
mod scram;
mod session;
mod value;

use livery_core::connector::PostgresServer;

pub use self::answer::{Complaint, tag_of, without};
pub use self::ask::{Answer, Column, Cut, Question};
pub use self::front::{Hello, Refusal, Start, greet, password, refuse};
pub use self::message::{Frame, Frames, FromClient, Malformed};
pub use self::relay::{End, Gate, Relay, Statement};
pub use self::session::{BackendKey, Session};

use crate::guard::{Target, UrlRefused};

/// The address of a connection's server.
///
/// # Errors
/// What is wrong with it.
pub fn target_of(server: &PostgresServer) -> Result<Target, UrlRefused> {
    Target::database(&server.host, server.port, server.plaintext)
}

/// Why there is no session, or no answer. None of the texts has a byte of the server's but a five-letter code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The way there.
    #[error(transparent)]
    Way(#[from] crate::Error),
    /// The server said no to the login.
    #[error("the server does not accept the login ({0})")]
    Login(String),
    /// The server wants the password in a form that gives it away, or cannot show that it knows it.
    #[error("the login was broken off: {0}")]
    Unsafe(&'static str),
    /// The session does not keep what was said at its beginning.
    #[error("the session does not keep {0}; connect to the server itself and not to a pooler")]
    Unkept(&'static str),
    /// What came is not the protocol.
    #[error("the server sent what is not PostgreSQL's protocol: {0}")]
    Protocol(&'static str),
    /// The statement was answered with an error; scrubbed.
    #[error("{0}")]
    Refused(Complaint),
}

impl Failure {
    /// Stable name for logs and events.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Way(error) => error.kind(),
            Self::Login(_) => "login_refused",
            Self::Unsafe(_) => "login_unsafe",
            Self::Unkept(_) => "settings_not_kept",
            Self::Protocol(_) => "protocol",
            Self::Refused(_) => "sql_error",
        }
    }

    /// Whether it is certain that the statement was not run.
    pub const fn nothing_sent(&self) -> bool {
        match self {
            Self::Way(error) => error.nothing_sent(),
            Self::Login(_) | Self::Unsafe(_) | Self::Unkept(_) => true,
            Self::Protocol(_) | Self::Refused(_) => false,
        }
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Protocol(malformed.0)
    }
}

#[cfg(test)]
mod tests;
