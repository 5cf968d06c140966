//! What a payload was before one byte of it was changed: found by trying, because its digest is all that is left of it.
//!
//! A text has no second copy in its event to compare with. But a single byte that went wrong, on a disk or by a hand, leaves few
//! texts it can have been, and the digest says which. First every single bit, then every other value of every byte, each
//! within [`BLOCKS_MAX`]: a larger payload is only said to be another.

use sha2::{Digest as _, Sha256};

/// Most blocks of 64 bytes that one search hashes: some tenths of a second.
const BLOCKS_MAX: usize = 4_000_000;

/// The text that `data` was before one of its bytes was changed; `None` when more was, or the search would take too long.
pub(super) fn before_one_change(data: &str, digest: &str) -> Option<String> {
    let digest = &bytes_of(digest)?;
    let bits = |byte: u8| (0..8).map(move |bit| byte ^ (1 << bit)).collect::<Vec<u8>>();
    let values = |byte: u8| (0..=u8::MAX).filter(|other| *other != byte && byte.is_ascii()).collect::<Vec<u8>>();
    search(data.as_bytes(), digest, 8, bits).or_else(|| search(data.as_bytes(), digest, 255, values))
}

fn search(data: &[u8], digest: &[u8; 32], tries: usize, others: impl Fn(u8) -> Vec<u8>) -> Option<String> {
    // On average half of the text and the padding is hashed once more for each.
    let blocks = data.len() / 128 + 1;
    if data.len().saturating_mul(tries).saturating_mul(blocks) > BLOCKS_MAX {
        return None;
    }
    let mut before = Sha256::new();
    for (at, byte) in data.iter().enumerate() {
        for other in others(*byte) {
            let mut hash = before.clone();
            hash.update([other]);
            hash.update(&data[at + 1..]);
            if hash.finalize().as_slice() == digest {
                let mut written = data.to_vec();
                written[at] = other;
                return String::from_utf8(written).ok();
            }
        }
        before.update([*byte]);
    }
    None
}

/// The digest, of its digits.
fn bytes_of(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let pairs = digits.as_bytes().chunks_exact(2);
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
