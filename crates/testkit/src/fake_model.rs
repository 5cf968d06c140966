//! A model server that speaks Anthropic Messages and OpenAI Chat Completions, streamed and whole.
//!
//! It plays a script, follows a policy or calls a function; it breaks in the ways [`chaos`] lists; it remembers what it
//! received and demands the right key. It keeps no conversation: the turn is counted from the request, so a client that
//! repeats a request gets the same answer again. An `Idempotency-Key` is honoured: the same key is the same
//! answer without asking the script again, and a key with another body is refused.
//!
//! Walk on: [`policy`] answers, [`wire`] spells, [`chaos`] breaks, [`serve`] puts them together.

pub mod chaos;
mod generate;
mod keys;
pub mod policy;
mod serve;
mod wire;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use livery_llm::request::ModelRequest;
use livery_llm::script::Script;
use livery_llm::stream::{ModelError, ModelResponse};

use crate::capture::Capture;
use crate::listener::Listener;
pub use chaos::{Chaos, Delay, Fault, Per};
pub use keys::KeyCounts;
pub use policy::Policy;

/// How the server behaves. The default listens on a free port of 127.0.0.1, takes any key and echoes.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where to listen; `None` is 127.0.0.1 on a free port.
    pub listen: Option<SocketAddr>,
    /// The key a request must carry, in the header of its format; `None` takes any, and none.
    pub key: Option<String>,
    /// What it answers.
    pub mode: Mode,
    /// How it fails first; each in turn, see [`Chaos`].
    pub chaos: Vec<Chaos>,
    /// Whether what is received is kept in memory for [`FakeModel::requests`] and [`FakeModel::saw`].
    pub memory: Memory,
    /// A file that gets one JSON line for each request received.
    pub record: Option<PathBuf>,
    /// Characters to a streamed piece of text; 0 is 24.
    pub piece_characters: usize,
}

/// Whether what is received is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Memory {
    /// Every request, and every byte of every connection.
    #[default]
    Everything,
    /// The count alone: for long runs.
    Count,
}

/// What the server answers.
#[derive(Clone)]
pub enum Mode {
    /// Turn by turn; every conversation plays the same script from its beginning.
    Script(Arc<Script>),
    /// A rule over the messages.
    Policy(Policy),
    /// Whatever a test wants.
    Function(Arc<Answer>),
}

/// A test's own model: the answer and how long to wait before giving it.
pub type Answer = dyn Fn(&ModelRequest) -> Result<(ModelResponse, Duration), ModelError> + Send + Sync;

impl Default for Mode {
    fn default() -> Self {
        Self::Policy(Policy::Echo)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Script(script) => write!(f, "Script({} turns)", script.len()),
            Self::Policy(policy) => write!(f, "Policy({policy:?})"),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}

/// One request as it arrived and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Milliseconds since the server started.
    pub at_ms: u64,
    /// `POST`, as a rule.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case, values as text.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether it carried the right key.
    pub key: KeyCheck,
    /// The status it was answered with.
    pub status: u16,
    /// How it was made to fail, when it was.
    pub fault: Option<String>,
}

impl Request {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a request had for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCheck {
    /// The right one, or none was demanded.
    Right,
    /// None.
    Missing,
    /// Another one.
    Wrong,
    /// What a sandbox is given in place of a key: it must never arrive here.
    Placeholder,
}

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub struct FakeModel {
    listener: Listener,
    capture: Arc<Capture>,
    state: Arc<serve::State>,
}

impl FakeModel {
    /// Binds and serves. Needs a Tokio runtime.
    ///
    /// # Errors
    /// The address is taken, or the record file cannot be opened.
    pub async fn start(config: Config) -> std::io::Result<Self> {
        let listen = config.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let capture = Arc::new(Capture::default());
        let tapped = (config.memory == Memory::Everything).then(|| Arc::clone(&capture));
        let state = Arc::new(serve::State::new(config)?);
        let shared = Arc::clone(&state);
        let listener =
            Listener::start(listen, tapped, move |received| serve::answer(Arc::clone(&shared), received)).await?;
        Ok(Self { listener, capture, state })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// The base URL for a provider of kind `anthropic`.
    pub fn anthropic_base_url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The base URL for a provider of kind `openai` or `openai_compatible`.
    pub fn openai_base_url(&self) -> String {
        format!("http://{}/v1", self.address())
    }

    /// How many requests have been answered, whatever the answer.
    pub fn count(&self) -> usize {
        self.state.log.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// What came of the requests with an `Idempotency-Key`.
    pub fn key_counts(&self) -> KeyCounts {
        self.state.keys.lock().unwrap_or_else(PoisonError::into_inner).counts
    }

    /// All requests in the order of their answers; empty with [`Memory::Count`].
    pub fn requests(&self) -> Vec<Request> {
        self.state.log.lock().unwrap_or_else(PoisonError::into_inner).kept.iter().cloned().collect()
    }

    /// Whether this was received anywhere: request lines, headers, bodies, of finished requests and others.
    ///
    /// # Panics
    /// More was received than is kept, or nothing is kept at all: the answer would be a guess.
    pub fn saw(&self, needle: &str) -> bool {
        assert!(self.state.config.memory == Memory::Everything, "nothing is kept, so nothing can be said");
        self.capture.saw(needle)
    }

    /// Ends every connection and waits until they have ended.
    pub async fn stop(self) {
        self.listener.stop().await;
    }
}
