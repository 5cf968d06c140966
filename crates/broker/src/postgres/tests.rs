use bytes::Bytes;
use proptest::prelude::*;

use super::answer::without;
use super::front::{Read, read_hello};
use super::{Complaint, Frame, Hello};
use crate::Secret;
use crate::sql::is_settable;

const SECRET: &str = "pw-n0t-in-the-sandbox-4fGh7Kq2Zx9";

fn secret() -> Secret {
    Secret::from(SECRET.to_owned())
}

#[test]
fn f11_a_complaint_has_a_code_and_no_words_beside_its_texts() {
    let mut scrub = super::answer::Scrub::new(None);
    let read = |body: &[u8], scrub: &mut _| Complaint::read(body, scrub).unwrap();
    let own = read(b"SFEHLER\0VERROR\0C42P01\0Mno table\0\0", &mut scrub);
    assert_eq!((own.severity.as_str(), own.code.as_str(), own.message.as_str()), ("ERROR", "42P01", "no table"));
    let odd = read(b"Va-secret-one\0Ca-secret-t\0Mx\0\0", &mut scrub);
    assert_eq!((odd.severity.as_str(), odd.code.as_str()), ("ERROR", "XX000"));
}

proptest! {
    /// Whatever a program says first: its settings are those that may be set, and plain names.
    #[test]
    fn f11_a_first_message_sets_what_may_be_set(
        names in prop::collection::vec("(enable_[a-z;' ]{0,6}|datestyle|_pq_.x|[a-z]{1,6})", 0..4),
        value in "[^\0]{0,12}", rest in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut body = (3_u32 << 16).to_be_bytes().to_vec();
        body.extend(b"user\0db\0");
        for name in &names {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        for bytes in [body.clone(), [&body[..], &rest].concat(), [&rest[..], &body].concat()] {
            if let Ok(Read::Hello(Hello::Start(start)) | Read::Newer(Hello::Start(start), _)) = read_hello(&bytes) {
                prop_assert!(start.settings.iter().all(|(name, _)| is_settable(name)), "{start:?}");
                prop_assert!(start.settings.iter().all(|(name, _)| !name.contains([';', '\'', ' '])), "{start:?}");
            }
        }
    }

    /// Whatever a server says: a program gets a message of the same kind without the password, or none.
    #[test]
    fn f11_a_servers_message_is_passed_on_without_the_password(
        tag in prop::sample::select(b"DENdSTCAI1Z".to_vec()),
        before in prop::collection::vec(any::<u8>(), 0..12), after in prop::collection::vec(any::<u8>(), 0..12),
        values in 0_u8..3,
    ) {
        let loose = [&before[..], SECRET.as_bytes(), &after].concat();
        let length = u32::try_from(SECRET.len()).unwrap().to_be_bytes();
        let row: Vec<u8> = (0..values).flat_map(|_| [&length[..], SECRET.as_bytes()].concat()).collect();
        for body in [loose, [&[0, values][..], &row].concat(), [&b"M"[..], SECRET.as_bytes(), b"\0\0"].concat()] {
            if let Ok(clean) = without(Frame { tag, body: Bytes::from(body) }, &secret()) {
                prop_assert_eq!(clean.tag, tag);
                let found = clean.body.windows(16).any(|window| SECRET.as_bytes().windows(16).any(|part| part == window));
                prop_assert!(!found, "{:?}", clean.body);
            }
        }
    }
}
