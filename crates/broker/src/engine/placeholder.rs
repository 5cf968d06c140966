//! Stand-ins for keys: `lvp_` and 32 letters or digits. A request that carries one anywhere but in its pinned slot does not
//! leave, because the place it was put in shows that somebody wants it kept or shown.

use percent_encoding::percent_decode;

/// What one begins with.
const PREFIX: &[u8] = b"lvp_";
/// Letters and digits behind it.
const TAIL: usize = 32;

/// Whether a placeholder stands in these bytes, as it is or percent-encoded.
pub(super) fn is_in(bytes: &[u8]) -> bool {
    stands_in(bytes) || (bytes.contains(&b'%') && stands_in(&percent_decode(bytes).collect::<Vec<u8>>()))
}

fn stands_in(bytes: &[u8]) -> bool {
    memchr::memmem::find_iter(bytes, PREFIX).any(|at| {
        let tail = bytes.get(at + PREFIX.len()..at + PREFIX.len() + TAIL);
        tail.is_some_and(|tail| tail.iter().all(u8::is_ascii_alphanumeric))
    })
}
