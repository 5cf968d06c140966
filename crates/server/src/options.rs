//! Every limit of the edge, with its default. An operator may set those in [`Options`]; the constants are fixed.

use std::time::Duration;

/// Longest request target, in bytes.
pub const URI_BYTES_MAX: usize = 8 * 1024;
/// Names and values of all header fields together, in bytes; also the buffer a head is read into.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most query parameters.
pub const PARAMETERS_MAX: usize = 50;
/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Longest bearer token, in bytes.
pub const BEARER_BYTES_MAX: usize = 512;
/// Longest `Request-Id` taken over from a caller, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Longest `Prefer: wait=N` and `?wait=N`, in seconds.
pub const WAIT_S_MAX: u64 = 55;
/// Bodies above this size count against [`Options::body_budget_bytes`].
pub const BODY_BYTES_UNCOUNTED: usize = 64 * 1024;
/// Of what a client still sends when its answer is written, this much is read and thrown away, so that it gets to read it.
pub const LINGER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long that may take.
pub const LINGER: Duration = Duration::from_secs(2);
/// Most bytes of events put together for one write to a reader.
pub const EVENT_CHUNK_BYTES_MAX: usize = 32 * 1024;
/// What a reader of events is told to wait before it connects again, in milliseconds.
pub const EVENT_RETRY_MS: u64 = 1000;
/// Most keys whose rate is remembered; beyond it the idle ones are forgotten.
pub const RATE_KEYS_MAX: usize = 100_000;

/// Largest message from the person at a shell, in bytes.
pub const SHELL_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Heartbeats for which a person's side of a shell may say nothing at all.
pub const SHELL_SILENT_BEATS_MAX: u32 = 3;
/// Heartbeats in a row at which whether the key of a shell is still good may not be found out.
pub const SHELL_UNCHECKED_BEATS_MAX: u32 = 3;

/// Messages one trigger takes a second, and at once before that counts.
pub const TRIGGER_RATE: (u32, u32) = (50, 100);
/// Messages to triggers from one network address a second, and at once before that counts.
pub const SENDER_RATE: (u32, u32) = (100, 200);

/// What an operator can set.
#[derive(Debug, Clone)]
pub struct Options {
    /// Largest JSON body.
    pub json_bytes_max: usize,
    /// Largest zip of an agent's folder.
    pub agent_zip_bytes_max: usize,
    /// Largest uploaded file.
    pub file_bytes_max: usize,
    /// All larger bodies being read at one time, together.
    pub body_budget_bytes: usize,
    /// The longest silence while a body arrives.
    pub body_idle: Duration,
    /// The longest wait for a request's head, and the longest an idle connection is kept.
    pub head_timeout: Duration,
    /// The longest a request may take from its head to the head of its answer.
    pub request_deadline: Duration,
    /// The same for a request with a body larger than [`json_bytes_max`](Self::json_bytes_max).
    pub upload_deadline: Duration,
    /// The longest a write to a connection may stand still before the connection is closed.
    pub write_stall: Duration,
    /// Connections at a time; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Event streams of one organization at a time on this node.
    pub event_streams_per_org_max: usize,
    /// How often an event stream without events shows that it lives.
    pub heartbeat: Duration,
    /// How long in a shell nothing may be typed or shown.
    pub shell_idle: Duration,
    /// The longest one shell may last.
    pub shell_time: Duration,
    /// Requests per second of one API key.
    pub rate_per_s: u32,
    /// Requests one API key may make at once before the rate counts.
    pub rate_burst: u32,
    /// How long requests under way may take to end at shutdown.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            json_bytes_max: 4 * 1024 * 1024,
            agent_zip_bytes_max: 64 * 1024 * 1024,
            file_bytes_max: 100 * 1024 * 1024,
            body_budget_bytes: 512 * 1024 * 1024,
            body_idle: Duration::from_secs(15),
            head_timeout: Duration::from_secs(30),
            request_deadline: Duration::from_secs(70),
            upload_deadline: Duration::from_secs(600),
            write_stall: Duration::from_secs(60),
            connections_max: 10_000,
            event_streams_per_org_max: 1_000,
            heartbeat: Duration::from_secs(15),
            shell_idle: Duration::from_secs(30 * 60),
            shell_time: Duration::from_secs(8 * 60 * 60),
            rate_per_s: 100,
            rate_burst: 200,
            drain: Duration::from_secs(10),
        }
    }
}
