//! Tool names and call ids as the wire allows them: ours go out unchanged where they fit, and reversibly changed where not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::request::ToolSpec;

/// The longest name or id providers take.
const WIRE_CHARACTERS_MAX: usize = 64;

/// The tool names of one request that had to be changed, both ways.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ToolNames {
    to_wire: BTreeMap<String, String>,
    to_ours: BTreeMap<String, String>,
}

impl ToolNames {
    pub(super) fn new(tools: &[ToolSpec]) -> Self {
        let mut names = Self::default();
        for tool in tools.iter().filter(|tool| !fits(&tool.name)) {
            let wire = changed(&tool.name);
            names.to_ours.insert(wire.clone(), tool.name.clone());
            names.to_wire.insert(tool.name.clone(), wire);
        }
        names
    }

    /// The name to send. A name of the past that is no tool any more is made to fit too.
    pub(super) fn wire(&self, name: &str) -> String {
        if fits(name) {
            return name.to_owned();
        }
        self.to_wire.get(name).cloned().unwrap_or_else(|| changed(name))
    }

    /// The name that was meant.
    pub(super) fn ours<'a>(&'a self, wire: &'a str) -> &'a str {
        self.to_ours.get(wire).map_or(wire, String::as_str)
    }
}

fn fits(name: &str) -> bool {
    !name.is_empty() && name.len() <= WIRE_CHARACTERS_MAX && name.bytes().all(is_wire)
}

const fn is_wire(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// What still can be read of the name, and 16 hexadecimal digits of its hash to keep two of them apart.
fn changed(name: &str) -> String {
    let readable: String =
        name.bytes().map(|byte| if is_wire(byte) { char::from(byte) } else { '_' }).take(47).collect();
    format!("{readable}_{:016x}", hash(name))
}

/// What a provider accepts as the id of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdPattern {
    /// `[A-Za-z0-9_-]{1,64}`.
    #[default]
    Word64,
    /// Exactly nine letters and digits (Mistral).
    Nine,
}

/// Our call ids as one provider's, for one request: the same id in the same conversation is always the same on the wire.
#[derive(Debug)]
pub(super) struct CallIds {
    pattern: IdPattern,
    known: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

impl CallIds {
    pub(super) const fn new(pattern: IdPattern) -> Self {
        Self { pattern, known: BTreeMap::new(), taken: BTreeSet::new() }
    }

    pub(super) fn wire(&mut self, id: &str) -> String {
        if let Some(known) = self.known.get(id) {
            return known.clone();
        }
        // In order of appearance, so that a longer conversation maps its beginning alike.
        let mut attempt = 0_u32;
        let wire = loop {
            let candidate = match self.pattern {
                IdPattern::Word64 if attempt == 0 && fits(id) => id.to_owned(),
                IdPattern::Word64 => format!("call_{:016x}", hash(&format!("{attempt}/{id}"))),
                IdPattern::Nine => nine(hash(&format!("{attempt}/{id}"))),
            };
            if self.taken.insert(candidate.clone()) {
                break candidate;
            }
            attempt += 1;
        };
        self.known.insert(id.to_owned(), wire.clone());
        wire
    }
}

fn nine(mut number: u64) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digit = || {
        let at = usize::try_from(number % 62).unwrap_or(0);
        number /= 62;
        char::from(DIGITS[at])
    };
    std::iter::repeat_with(&mut digit).take(9).collect()
}

/// FNV-1a of 64 bits and a final mix: names are not secrets, and the same on every machine for ever.
fn hash(text: &str) -> u64 {
    let mut state = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^ (state >> 33)
}

#[cfg(test)]
mod tests {
    //! Out and back again.

    use serde_json::json;

    use super::{CallIds, IdPattern, ToolNames, fits};
    use crate::request::ToolSpec;

    fn tool(name: &str) -> ToolSpec {
        ToolSpec { name: name.to_owned(), description: String::new(), input_schema: json!({}) }
    }

    #[test]
    fn names_come_back_as_they_were() {
        let long = "x".repeat(128);
        let ours = ["shell", "files.read", "files_read", "files.Read", &long, "", "日本"];
        let names = ToolNames::new(&ours.map(tool));
        let wires = ours.map(|name| names.wire(name));
        for (name, wire) in ours.iter().zip(&wires) {
            assert!(fits(wire), "{wire}");
            assert_eq!(&names.ours(wire), name);
        }
        let different: std::collections::BTreeSet<_> = wires.iter().collect();
        assert_eq!(different.len(), ours.len());
        assert_eq!(wires[0], "shell");
        assert!(fits(&names.wire("gone.tool")));
    }

    #[test]
    fn ids_fit_stay_and_never_meet() {
        let mut ids = CallIds::new(IdPattern::Word64);
        assert_eq!(ids.wire("call_3_1"), "call_3_1");
        let strange = ids.wire("über/1");
        assert!(fits(&strange));
        assert_eq!(ids.wire("über/1"), strange);

        let mut nine = CallIds::new(IdPattern::Nine);
        let wires: std::collections::BTreeSet<String> = (0..2_000).map(|n| nine.wire(&format!("call_{n}_1"))).collect();
        assert_eq!(wires.len(), 2_000);
        assert!(wires.iter().all(|id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())));
        let mut again = CallIds::new(IdPattern::Nine);
        assert_eq!(again.wire("call_7_1"), nine.wire("call_7_1"));
    }
}
