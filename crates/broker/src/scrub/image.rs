//! The images of a secret: the byte strings it becomes when somebody encodes it whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::variant::Variant;

/// Secret bytes a run must have to be redacted.
pub(super) const RUN: usize = 16;
/// Base64 characters that 16 bytes determine completely at the worst alignment: ⌊(128 − 4) / 6⌋.
const RUN_BASE64: usize = 20;
/// The longest run of any image, in characters of that image.
pub(super) const RUN_MAX: usize = 2 * RUN;

/// How two bytes of an image and of a text are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fold {
    /// Byte for byte.
    Exact,
    /// Hex digits of either case.
    Case,
    /// `-` is `+` and `_` is `/`: both base64 alphabets.
    Base64,
}

impl Fold {
    pub(super) fn same(self, image: u8, text: u8) -> bool {
        match self {
            Self::Exact => image == text,
            Self::Case => image.eq_ignore_ascii_case(&text),
            Self::Base64 => standard(image) == standard(text),
        }
    }
}

fn standard(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

/// The same character in the alphabet for URLs.
pub(super) fn url_safe(byte: u8) -> u8 {
    match byte {
        b'+' => b'-',
        b'/' => b'_',
        other => other,
    }
}

/// One image: its bytes, and how long a run of it gives the secret away.
pub(super) struct Image {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) run: usize,
    pub(super) fold: Fold,
    pub(super) variant: Variant,
}

/// All images of a secret.
pub(super) fn images(secret: &[u8]) -> Vec<Image> {
    let image = |bytes: Vec<u8>, run, fold, variant| Image { bytes: Zeroizing::new(bytes), run, fold, variant };
    let mut all = vec![
        image(secret.to_vec(), RUN, Fold::Exact, Variant::Raw),
        image(secret.iter().rev().copied().collect(), RUN, Fold::Exact, Variant::Reversed),
        image(secret.iter().flat_map(|b| hex(*b)).collect(), 2 * RUN, Fold::Case, Variant::Hex),
        image(secret.iter().flat_map(|b| [*b, 0]).collect(), 2 * RUN, Fold::Exact, Variant::Utf16),
        image(secret.iter().flat_map(|b| [0, *b]).collect(), 2 * RUN, Fold::Exact, Variant::Utf16),
    ];
    let base64 = |before| image(base64_at(secret, before), RUN_BASE64, Fold::Base64, Variant::Base64);
    all.extend((0..3).map(base64));
    all
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// The characters of base64 that the secret alone determines when `before` bytes (mod 3) precede it: those that mix in a
/// neighbour's bits at either end are left out.
fn base64_at(secret: &[u8], before: usize) -> Vec<u8> {
    let mut padded = Zeroizing::new(vec![0u8; before]);
    padded.extend_from_slice(secret);
    let text = STANDARD_NO_PAD.encode(padded.as_slice()).into_bytes();
    let first = (before * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    text.get(first..last).map(<[u8]>::to_vec).unwrap_or_default()
}
