//! [`Matcher`]: finds runs of a secret's images in a text.
//!
//! Searching for every 16-byte window would take thousands of patterns. Instead each image is cut into 8-byte anchors so
//! close together that every window holds one whole; an automaton finds anchors, and around a hit the neighbourhood is
//! compared. A hit costs a bounded number of comparisons, whatever the secret and the text are.

use std::collections::{HashMap, HashSet};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use zeroize::Zeroizing;

use super::image::{self, Fold, Image};
use super::stream::State;
use super::{Framing, SECRET_BYTES_MIN};
use crate::Secret;

/// Length of an anchor.
const ANCHOR: usize = 8;
/// Longest slug shown in a marker.
const SLUG_CHARS_MAX: usize = 64;

/// Everything to look for in one call's answer: the secrets materialised for it and the marker that replaces them.
pub struct Matcher {
    anchors: AhoCorasick,
    /// Per anchor pattern, the neighbourhoods in which it counts.
    probes: Vec<Vec<Probe>>,
    marker: Vec<u8>,
    /// The secrets themselves, to tell whether a cached matcher is still theirs.
    secrets: Vec<Zeroizing<Vec<u8>>>,
}

/// An anchor with what surrounds it in its image, as far as one run can reach.
#[derive(PartialEq, Eq, Hash)]
struct Probe {
    before: Vec<u8>,
    anchor: Vec<u8>,
    after: Vec<u8>,
    run: usize,
    fold: Fold,
}

/// A stretch of the text in which every window of `run` bytes is a run.
pub(super) struct Hit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) run: usize,
}

impl Matcher {
    /// A matcher for these secrets, or `None` when none of them is long enough to be searched for.
    ///
    /// `owner` is named in the marker; characters other than letters, digits, `_`, `-` and `.` are left out.
    pub fn new(secrets: &[&Secret], owner: &str) -> Option<Self> {
        let secrets: Vec<Zeroizing<Vec<u8>>> = secrets
            .iter()
            .filter(|secret| secret.len() >= SECRET_BYTES_MIN)
            .map(|secret| Zeroizing::new(secret.expose_secret().to_vec()))
            .collect();
        let mut by_anchor: HashMap<Vec<u8>, HashSet<Probe>> = HashMap::new();
        for image in secrets.iter().flat_map(|secret| image::images(secret)) {
            for probe in probes(&image) {
                // The automaton ignores case; two anchors that differ in case alone are one pattern.
                by_anchor.entry(probe.anchor.to_ascii_lowercase()).or_default().insert(probe);
            }
        }
        if by_anchor.is_empty() {
            return None;
        }
        let (patterns, probes): (Vec<_>, Vec<_>) =
            by_anchor.into_iter().map(|(anchor, probes)| (anchor, probes.into_iter().collect())).unzip();
        let anchors = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&patterns)
            .ok()?;
        let slug: String = owner
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
            .take(SLUG_CHARS_MAX)
            .collect();
        Some(Self { anchors, probes, marker: format!("[REDACTED:{slug}]").into_bytes(), secrets })
    }

    /// What replaces a run: `[REDACTED:owner]`.
    pub fn marker(&self) -> &[u8] {
        &self.marker
    }

    /// A complete text without the secrets, or `None` when there is nothing to redact.
    pub fn scrub_whole(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut state = State::new(Framing::None);
        let mut out = Vec::with_capacity(text.len());
        // Unframed, so no frame can be too large.
        state.push(self, text, &mut out).ok()?;
        state.finish(self, &mut out);
        (state.redactions() > 0).then_some(out)
    }

    /// Whether it was made from exactly these secrets.
    pub(super) fn is_for(&self, secrets: &[&Secret]) -> bool {
        let mut searched = secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN);
        self.secrets.iter().all(|own| searched.next().is_some_and(|secret| secret.ct_eq(own)))
            && searched.next().is_none()
    }

    /// Reports every stretch of runs that has a byte at or after `from`.
    pub(super) fn find(&self, text: &[u8], from: usize, mut report: impl FnMut(Hit)) {
        let from = from.saturating_sub(image::RUN_MAX - 1);
        for found in self.anchors.find_overlapping_iter(&text[from..]) {
            let at = from + found.start();
            let Some(probes) = self.probes.get(found.pattern().as_usize()) else { continue };
            for probe in probes {
                if let Some(hit) = probe.verify(text, at) {
                    report(hit);
                }
            }
        }
    }
}

/// Anchors at every `run − 7`th byte: any window of `run` bytes then holds a whole one.
fn probes(image: &Image) -> impl Iterator<Item = Probe> + '_ {
    let stride = image.run - (ANCHOR - 1);
    let reach = image.run - ANCHOR;
    (0..image.bytes.len().saturating_sub(ANCHOR - 1)).step_by(stride).map(move |at| {
        let bytes = &image.bytes;
        let end = at + ANCHOR;
        Probe {
            before: bytes[at.saturating_sub(reach)..at].to_vec(),
            anchor: bytes[at..end].to_vec(),
            after: bytes[end..(end + reach).min(bytes.len())].to_vec(),
            run: image.run,
            fold: image.fold,
        }
    })
}

impl Probe {
    /// Extends a hit of the anchor at `at` both ways; enough of it is a run.
    fn verify(&self, text: &[u8], at: usize) -> Option<Hit> {
        let same = |(image, text): (&u8, &u8)| self.fold.same(*image, *text);
        let end = at + ANCHOR;
        if !self.anchor.iter().zip(text.get(at..end)?).all(same) {
            return None;
        }
        let before = self.before.iter().rev().zip(text[..at].iter().rev()).take_while(|pair| same(*pair)).count();
        let after = self.after.iter().zip(&text[end..]).take_while(|pair| same(*pair)).count();
        let hit = Hit { start: at - before, end: end + after, run: self.run };
        (hit.end - hit.start >= self.run).then_some(hit)
    }
}
