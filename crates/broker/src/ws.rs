//! WebSockets (RFC 6455) of a run's programs: ended on both sides, so that every message is seen whole before it goes on.
//!
//! ```text
//! program ─▶ frames ─▶ message ─▶ no placeholder in it ─▶ frames ─▶ upstream
//! program ◀─ frames ◀─ message without the credential ◀─ message ◀─ frames ◀─ upstream
//! ```
//!
//! The opening is a request like any other: judged, stripped, with the credential in its slot. The broker sends a key of its own
//! and believes no `101` that does not answer it. No extension is offered, so nothing is compressed. Messages are joined before
//! they are searched; pings are answered here and passed on without what was in them. Whatever breaks a rule or a limit closes
//! both sides with a code that says so.
//!
//! Read next: `ws/message.rs`, then `ws/bridge.rs`.

mod bridge;
pub(crate) mod handshake;
pub mod message;
mod wire;

pub use bridge::{End, Ended, Side, Stream, Sum, encoded};
pub use handshake::{Opening, accept, asked};
pub use message::{Event, Inlet, Kind, Sender, Violation};

pub(crate) use bridge::{Bridge, bridge};

use std::time::Duration;

/// Largest frame that is taken or sent, in bytes.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Largest message, all of its frames together, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most frames of one message.
pub const FRAGMENTS_MAX: usize = 4096;
/// How long neither side may say anything.
pub const IDLE: Duration = Duration::from_secs(120);
