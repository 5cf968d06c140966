//! What leaves a run. Two front ends bring requests: the tool `call_api`, and programs in the sandbox through the proxy.
//! Both pass one [`Door`], which asks the rules, writes the log, opens the secret and counts what comes back.
//!
//! A sandbox has the proxy when its agent names hosts or its run has connections. It learns an address on its own loopback,
//! one certificate and a placeholder for each connection; the certificate's key, every rule and every secret stay here. It is
//! taken down with the sandbox: what is open is cut then.
//!
//! Read next: `egress/door.rs`, then `egress/gate.rs`, and `livery_broker::proxy`.

mod answer;
mod database;
mod direct;
mod door;
mod doors;
mod gate;
mod key;
mod limits;
mod mail;
mod socket;
mod statement;
mod told;
mod variables;
mod watch;
mod way;

use livery_core::EventType;
use serde_json::Value;

pub(super) use self::door::{Admitted, Denied, Door, Earlier, Unanswered, quarantined};
pub(super) use self::doors::Doors;
pub(super) use self::mail::Unsent;
pub(super) use self::statement::{Unqueried, Wanted, word};
pub(super) use self::told::{FrontEnd, Outcome, Told};
pub(super) use self::way::Egress;

/// Places of answers in which a credential may be found before the run is stopped.
pub(super) const REDACTED_MAX: u32 = 3;

/// An event on its way to the log.
type Event = (EventType, Value);

#[cfg(test)]
mod tests;
