//! The digest of a model request: what a replay compares prompts by, without a second copy of every prompt in the log.
//!
//! ```text
//! opening   = SHA-256("livery-request-1" ‖ system prompt ‖ tools ‖ first message)
//! digest[n] = SHA-256(digest[n-1] ‖ opening ‖ model ‖ output limit ‖ messages since request n-1)
//! ```
//!
//! Every part is JSON on a line of its own. Chaining lets each message be hashed once in a run, however long the
//! conversation grows: a digest over the whole request would make the cost of a step grow with the run. What a provider's
//! format makes of the request follows from it, and no credential is near it. Read next: [`crate::replay`].

use livery_core::agent::ModelRef;
use livery_core::canonical::hex;
use livery_llm::message::Message;
use livery_llm::request::ToolSpec;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::record::Note;
use crate::setup::Loop;
use crate::state::State;

/// Version of the scheme, and what keeps these digests apart from all others.
const DOMAIN: &str = "livery-request-1";

/// The digest of what every request of a run begins with.
pub(crate) fn opening(system: &str, tools: &[ToolSpec], first: &Message) -> String {
    let mut lines = Lines::default();
    lines.add(&DOMAIN);
    lines.add(&system);
    lines.add(&tools);
    lines.add(first);
    lines.finish()
}

/// The digest of the request that follows from `state` with these words of the harness added.
pub(crate) fn of(rules: &Loop, state: &State, model: &ModelRef, max_output_tokens: u32, note: Option<&Note>) -> String {
    let mut lines = Lines::default();
    let covered = state.asked.as_ref().map_or(0, |asked| {
        lines.add(&asked.digest);
        asked.messages
    });
    lines.add(&rules.opening);
    lines.add(model);
    lines.add(&max_output_tokens);
    for message in state.transcript.iter().skip(covered) {
        lines.add(message.as_ref());
    }
    if let Some(note) = note {
        lines.add(&Message::user(note.text.clone()));
    }
    lines.finish()
}

/// Values as JSON, each on a line of its own, hashed.
#[derive(Default)]
struct Lines {
    hash: Sha256,
    line: Vec<u8>,
}

impl Lines {
    fn add(&mut self, value: &(impl Serialize + ?Sized)) {
        self.line.clear();
        // Texts, numbers and maps with text keys: serialisation into memory cannot fail.
        serde_json::to_writer(&mut self.line, value).unwrap_or_default();
        self.line.push(b'\n');
        self.hash.update(&self.line);
    }

    fn finish(self) -> String {
        hex(&self.hash.finalize())
    }
}
