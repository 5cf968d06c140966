//! [`Matcher`]: finds runs of a secret's images in a text.
//!
//! A run has at least 16 bytes, so among any nine neighbouring places of the text one starts eight bytes that lie wholly
//! inside it. Only every ninth place is looked at: its eight bytes either are nowhere in any image (one multiplication and
//! one bit, nearly always) or their neighbourhood is compared. A hit costs a bounded number of comparisons, and the time
//! over a text hardly depends on the number of images.

use std::collections::{HashMap, HashSet};

use zeroize::Zeroizing;

use super::image::{self, Fold, Image, RUN};
use super::stream::State;
use super::variant::{Variant, Variants};
use super::{Framing, SECRET_BYTES_MIN};
use crate::Secret;

/// Bytes looked up at once.
const ANCHOR: usize = 8;
/// Distance of the places looked at: every window of [`RUN`] bytes then holds a whole anchor.
const STRIDE: usize = RUN - (ANCHOR - 1);
/// Bytes whose places are looked at together.
const GROUP: usize = 4 * STRIDE;
/// Longest slug shown in a marker.
const SLUG_CHARS_MAX: usize = 64;

/// Everything to look for in one call's answer: the secrets materialised for it and the marker that replaces them.
pub struct Matcher {
    filter: Filter,
    /// Per folded anchor, the neighbourhoods in which it counts.
    probes: HashMap<u64, Vec<Probe>>,
    marker: Vec<u8>,
    /// The secrets themselves, to tell whether a cached matcher is still theirs.
    secrets: Vec<Zeroizing<Vec<u8>>>,
}

/// An anchor with what surrounds it in its image, as far as one run can reach.
#[derive(PartialEq, Eq, Hash)]
struct Probe {
    before: Vec<u8>,
    anchor: [u8; ANCHOR],
    after: Vec<u8>,
    run: usize,
    fold: Fold,
    variant: Variant,
}

/// A stretch of the text in which every window of `run` bytes is a run.
pub(super) struct Hit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) run: usize,
    pub(super) variant: Variant,
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
        if secrets.is_empty() {
            return None;
        }
        let mut found: HashMap<u64, HashSet<Probe>> = HashMap::new();
        for image in secrets.iter().flat_map(|secret| image::images(secret)) {
            for probe in probes(&image) {
                found.entry(folded(probe.anchor)).or_default().insert(probe);
            }
        }
        let mut filter = Filter::default();
        found.keys().for_each(|anchor| filter.insert(*anchor));
        let probes = found.into_iter().map(|(anchor, probes)| (anchor, probes.into_iter().collect())).collect();
        let slug: String = owner
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
            .take(SLUG_CHARS_MAX)
            .collect();
        Some(Self { filter, probes, marker: format!("[REDACTED:{slug}]").into_bytes(), secrets })
    }

    /// What replaces a run: `[REDACTED:owner]`.
    pub fn marker(&self) -> &[u8] {
        &self.marker
    }

    /// A complete text without the secrets, or `None` when there is nothing to redact.
    pub fn scrub_whole(&self, text: &[u8]) -> Option<Vec<u8>> {
        self.scrub_noting(text).map(|(out, _)| out)
    }

    /// The same, with the spellings that were found.
    pub fn scrub_noting(&self, text: &[u8]) -> Option<(Vec<u8>, Variants)> {
        let mut state = State::new(Framing::None);
        let mut out = Vec::with_capacity(text.len());
        // Unframed, so no frame can be too large.
        state.push(self, text, &mut out).ok()?;
        state.finish(self, &mut out);
        (state.redactions() > 0).then(|| (out, state.variants()))
    }

    /// The spellings in which a secret is in the name of a header. Names come in lower case, which takes little from a secret: so
    /// does this.
    pub(crate) fn found_in_name(&self, name: &str) -> Option<Variants> {
        if name.len() < image::RUN {
            return None;
        }
        let is_within = |secret: &Zeroizing<Vec<u8>>| {
            let lower = Zeroizing::new(secret.to_ascii_lowercase());
            lower.windows(image::RUN).any(|run| memchr::memmem::find(name.as_bytes(), run).is_some())
        };
        let mut variants = self.scrub_noting(name.as_bytes()).map(|(_, variants)| variants).unwrap_or_default();
        if self.secrets.iter().any(is_within) {
            variants.insert(Variant::Raw);
        }
        (variants != Variants::default()).then_some(variants)
    }

    /// Whether it was made from exactly these secrets.
    pub(super) fn is_for(&self, secrets: &[&Secret]) -> bool {
        let mut searched = secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN);
        self.secrets.iter().all(|own| searched.next().is_some_and(|secret| secret.ct_eq(own)))
            && searched.next().is_none()
    }

    /// Reports every stretch of runs that has a byte at or after `from`.
    pub(super) fn find(&self, text: &[u8], from: usize, mut report: impl FnMut(Hit)) {
        let from = from.saturating_sub(image::RUN_MAX - 1).min(text.len());
        let mut at = from;
        // Several places at a time, because nearly always there is nothing at any of them.
        for group in text[from..].chunks_exact(GROUP) {
            if Self::places(group).fold(false, |any, anchor| any | self.filter.may_hold(anchor)) {
                (at..at + GROUP).step_by(STRIDE).for_each(|at| self.look_at(text, at, &mut report));
            }
            at += GROUP;
        }
        (at..text.len()).step_by(STRIDE).for_each(|at| self.look_at(text, at, &mut report));
    }

    /// The folded anchors of a group.
    fn places(group: &[u8]) -> impl Iterator<Item = u64> + '_ {
        (0..GROUP).step_by(STRIDE).filter_map(|at| Some(folded(*group[at..].first_chunk()?)))
    }

    fn look_at(&self, text: &[u8], at: usize, report: &mut impl FnMut(Hit)) {
        let Some(anchor) = text[at..].first_chunk().map(|bytes| folded(*bytes)) else { return };
        if self.filter.may_hold(anchor) {
            let probes = self.probes.get(&anchor).into_iter().flatten();
            probes.filter_map(|probe| probe.verify(text, at)).for_each(report);
        }
    }
}

/// All eight bytes wherever they start in an image, in both base64 alphabets where that makes a difference.
fn probes(image: &Image) -> impl Iterator<Item = Probe> + '_ {
    let reach = image.run - ANCHOR;
    let bytes = &image.bytes;
    image.bytes.windows(ANCHOR).enumerate().flat_map(move |(at, window)| {
        let end = at + ANCHOR;
        let probe = move |anchor| Probe {
            before: bytes[at.saturating_sub(reach)..at].to_vec(),
            anchor,
            after: bytes[end..(end + reach).min(bytes.len())].to_vec(),
            run: image.run,
            fold: image.fold,
            variant: image.variant,
        };
        let anchor: Option<[u8; ANCHOR]> = window.try_into().ok();
        let url_safe = anchor.filter(|_| image.fold == Fold::Base64).map(|anchor| anchor.map(image::url_safe));
        anchor.into_iter().chain(url_safe.filter(|other| Some(*other) != anchor)).map(probe)
    })
}

/// Letters of either case and the few pairs that differ in the same bit become one; the comparison afterwards is exact.
fn folded(anchor: [u8; ANCHOR]) -> u64 {
    u64::from_le_bytes(anchor) | u64::from_le_bytes([0x20; ANCHOR])
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
        let hit = Hit { start: at - before, end: end + after, run: self.run, variant: self.variant };
        (hit.end - hit.start >= self.run).then_some(hit)
    }
}

/// One bit per hash: small enough for the first cache, sparse enough to answer "no" nearly always.
struct Filter {
    words: Box<[u64; Filter::WORDS]>,
}

impl Filter {
    const WORDS: usize = 1024;

    fn insert(&mut self, anchor: u64) {
        let (word, bit) = Self::place(anchor);
        self.words[word] |= bit;
    }

    fn may_hold(&self, anchor: u64) -> bool {
        let (word, bit) = Self::place(anchor);
        self.words[word] & bit != 0
    }

    /// The high bits of a product with an odd constant (the golden ratio) depend on every bit of the anchor.
    fn place(anchor: u64) -> (usize, u64) {
        let hash = anchor.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        let word = usize::try_from(hash >> 6).unwrap_or(0) % Self::WORDS;
        (word, 1 << (hash & 63))
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self { words: Box::new([0; Self::WORDS]) }
    }
}
