//! The vault's format against a vector computed elsewhere, every kind of tampering, and every refusal to start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;

use super::format::NONCE_LEN;
use super::key::Key;
use super::*;
use crate::Secret;

fn tenant(n: u128) -> OrgId {
    OrgId::from_bits(n)
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn aad(owner: &str) -> Aad<'_> {
    Aad { tenant: tenant(7), owner, field: "api_key", version: 3 }
}

fn sealer() -> Sealer {
    Sealer::open(KekSource::Bytes(Secret::new(vec![9; 32])), Vec::new(), Existing::default()).unwrap()
}

/// Computed by a separate implementation of XChaCha20-Poly1305 that reproduces the vector of
/// draft-irtf-cfrg-xchacha A.3.1, from the key 00..1f, the nonce 64..7b and the parts spelled out below.
const VECTOR: &str =
    "v1:22a2cd2e45321247:ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7:DxjUxJpd_a-3Aa8MklqL_mOCA-LUNk9Ep0-L_jUeuj2oBg";

#[test]
fn the_format_is_what_it_will_always_be() {
    let key = Key::from_bytes(Secret::new((0..32).collect())).unwrap();
    let nonce: [u8; NONCE_LEN] = std::array::from_fn(|i| 100 + u8::try_from(i).unwrap());
    let aad = aad("prv_1");
    assert_eq!(key.seal_with_nonce(&aad.encode(), b"sk-test-0123456789", &nonce).unwrap(), VECTOR);
    assert!(Dek(key).open(&aad, VECTOR).unwrap().ct_eq(b"sk-test-0123456789"));
}

#[test]
fn a_nonce_is_never_used_twice() {
    let (dek, _) = sealer().new_dek(tenant(7)).unwrap();
    let one = dek.seal(&aad("prv_1"), &secret("same")).unwrap();
    let two = dek.seal(&aad("prv_1"), &secret("same")).unwrap();
    assert_ne!(one.split(':').nth(2), two.split(':').nth(2));
}

#[test]
fn every_changed_character_is_noticed() {
    let (dek, wrapped) = sealer().new_dek(tenant(7)).unwrap();
    let sealed = dek.seal(&aad("prv_1"), &secret("sk-test-0123456789")).unwrap();
    for (text, open) in [
        (&sealed, &(|text: &str| dek.open(&aad("prv_1"), text).is_ok()) as &dyn Fn(&str) -> bool),
        (&wrapped, &|text: &str| sealer().open_dek(tenant(7), text).is_ok()),
    ] {
        assert!(open(text));
        for at in 0..text.len() {
            for replacement in ['A', '0', '_', ':', '='] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, &replacement.to_string());
                assert!(&changed == text || !open(&changed), "{changed}");
            }
            assert!(!open(&text[..at]), "cut at {at}");
        }
        assert!(!open(&format!("{text}A")) && !open(&format!("{text}:")) && !open(&format!(" {text}")));
    }
}

#[test]
fn a_value_moved_to_another_row_does_not_open() {
    let (dek, _) = sealer().new_dek(tenant(7)).unwrap();
    let here = aad("prv_1");
    let sealed = dek.seal(&here, &secret("key")).unwrap();
    for there in [
        Aad { tenant: tenant(8), ..here },
        Aad { owner: "prv_2", ..here },
        Aad { field: "api_kez", ..here },
        Aad { version: 4, ..here },
        // The same letters, cut elsewhere.
        Aad { owner: "prv_", field: "1api_key", ..here },
        Aad { owner: "prv_1a", field: "pi_key", ..here },
    ] {
        assert_eq!(dek.open(&there, &sealed).err(), Some(SealError::Tampered), "{there:?}");
    }
    let (other, _) = sealer().new_dek(tenant(7)).unwrap();
    assert!(matches!(other.open(&here, &sealed).err(), Some(SealError::UnknownKey { .. })));
}

#[test]
fn a_data_key_belongs_to_its_tenant() {
    let (_, wrapped) = sealer().new_dek(tenant(7)).unwrap();
    assert!(sealer().open_dek(tenant(7), &wrapped).is_ok());
    assert_eq!(sealer().open_dek(tenant(8), &wrapped).err(), Some(SealError::Tampered));
}

#[test]
fn kinds_of_sealed_text_cannot_stand_in_for_each_other() {
    let sealer = sealer();
    let check = sealer.check_value().unwrap();
    let (_, wrapped) = sealer.new_dek(tenant(7)).unwrap();
    assert_eq!(sealer.open_dek(tenant(7), &check).err(), Some(SealError::Tampered));
    let existing = Existing { check: Some(&wrapped), any_sealed: true };
    assert!(Sealer::open(KekSource::Bytes(Secret::new(vec![9; 32])), Vec::new(), existing).is_err());
}

#[test]
fn a_root_rotation_rewraps_data_keys_and_touches_nothing_else() {
    let old = sealer();
    let (dek, wrapped) = old.new_dek(tenant(7)).unwrap();
    let sealed = dek.seal(&aad("prv_1"), &secret("key")).unwrap();
    let check = old.check_value().unwrap();

    let both = Sealer::open(
        KekSource::Bytes(Secret::new(vec![10; 32])),
        vec![KekSource::Bytes(Secret::new(vec![9; 32]))],
        Existing { check: Some(&check), any_sealed: true },
    )
    .unwrap();
    let rewrapped = both.rewrap(tenant(7), &wrapped).unwrap().unwrap();
    assert_eq!(sealed_kid(&rewrapped).unwrap(), both.kid());
    assert_eq!(both.rewrap(tenant(7), &rewrapped).unwrap(), None);

    let check = both.check_value().unwrap();
    let existing = Existing { check: Some(&check), any_sealed: true };
    let new = Sealer::open(KekSource::Bytes(Secret::new(vec![10; 32])), Vec::new(), existing).unwrap();
    assert!(new.open_dek(tenant(7), &rewrapped).unwrap().open(&aad("prv_1"), &sealed).unwrap().ct_eq(b"key"));
    assert!(matches!(new.open_dek(tenant(7), &wrapped).err(), Some(SealError::UnknownKey { .. })));
}

#[test]
fn a_data_key_rotation_reads_old_values_and_writes_new_ones() {
    let sealer = sealer();
    let (old, old_wrapped) = sealer.new_dek(tenant(7)).unwrap();
    let sealed = old.seal(&aad("prv_1"), &secret("key")).unwrap();
    let (new, _) = sealer.new_dek(tenant(7)).unwrap();
    let keys = TenantKeys::new(new, vec![sealer.open_dek(tenant(7), &old_wrapped).unwrap()]);
    assert!(!keys.is_current(&sealed).unwrap());
    let plain = keys.open(&aad("prv_1"), &sealed).unwrap();
    let resealed = keys.seal(&aad("prv_1"), &plain).unwrap();
    assert!(keys.is_current(&resealed).unwrap());
    assert!(keys.open(&aad("prv_1"), &resealed).unwrap().ct_eq(b"key"));
}

fn open_file(path: &Path, existing: Existing<'_>) -> Result<Sealer, KeyError> {
    Sealer::open(KekSource::File(path.to_owned()), Vec::new(), existing)
}

#[test]
fn a_key_file_is_made_once_and_only_for_a_new_installation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let first = open_file(&path, Existing::default()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o400);
    assert_eq!(fs::metadata(&path).unwrap().len(), 32);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");

    let check = first.check_value().unwrap();
    let existing = Existing { check: Some(&check), any_sealed: true };
    assert_eq!(open_file(&path, existing).unwrap().kid(), first.kid());
    assert_eq!(open_file(&path, Existing::default()).unwrap().kid(), first.kid(), "an existing file is used");

    fs::remove_file(&path).unwrap();
    assert!(matches!(open_file(&path, existing).err(), Some(KeyError::Missing { .. })));
    assert!(!path.exists(), "no second root");
}

#[test]
fn a_key_file_is_exchanged_and_the_one_before_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("root.key"), folder.path().join("root.key.old"));
    assert!(matches!(replace_key_file(&path, &old), Err(KeyError::Io { .. })), "there is none to exchange");
    let first = open_file(&path, Existing::default()).unwrap().kid().to_owned();
    let (before, after) = replace_key_file(&path, &old).unwrap();
    assert_eq!(before, first);
    assert_ne!(after, first);
    let kid = |path: &Path| open_file(path, Existing::default()).unwrap().kid().to_owned();
    assert_eq!((kid(&path), kid(&old)), (after.clone(), before));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
    assert!(matches!(replace_key_file(&path, &old), Err(KeyError::UnderWay { .. })), "one rotation at a time");
    assert_eq!(kid(&path), after, "a refusal changes nothing");
    fs::remove_file(&old).unwrap();
    // Cut off after the copy and before the exchange.
    fs::hard_link(&path, &old).unwrap();
    assert_eq!(replace_key_file(&path, &old).unwrap().0, after);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn a_key_file_is_made_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let made = new_key_file(&path).unwrap();
    assert_eq!(open_file(&path, Existing::default()).unwrap().kid(), made);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
    assert_eq!(new_key_file(&path).unwrap(), made, "one that is there stays");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    let nowhere = folder.path().join("missing/root.key");
    assert!(matches!(new_key_file(&nowhere), Err(KeyError::Io { .. })));
}

#[test]
fn two_first_starts_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let kids: Vec<String> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..8).map(|_| scope.spawn(|| open_file(&path, Existing::default()).unwrap().kid().to_owned())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(kids.iter().all(|kid| kid == &kids[0]), "{kids:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_wrong_damaged_or_exposed_key_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let check = sealer().check_value().unwrap();
    let existing = Existing { check: Some(&check), any_sealed: true };
    let write = |bytes: &[u8], mode| {
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write(&[9; 32], 0o600);
    assert!(open_file(&path, existing).is_ok());
    write(&[10; 32], 0o400);
    let error = open_file(&path, existing).err().unwrap();
    assert!(matches!(&error, KeyError::Wrong { have, need } if have != need), "{error}");
    for bytes in [&[9u8; 31][..], &[9; 33], &[]] {
        write(bytes, 0o400);
        assert!(matches!(open_file(&path, existing).err(), Some(KeyError::Malformed { .. })));
    }
    for mode in [0o440, 0o404, 0o644, 0o410] {
        write(&[9; 32], mode);
        assert!(matches!(open_file(&path, existing).err(), Some(KeyError::Exposed { .. })), "{mode:o}");
    }
    let half_restored = Existing { check: None, any_sealed: true };
    assert!(matches!(open_file(&path, half_restored).err(), Some(KeyError::CheckMissing)));
    assert!(matches!(
        open_file(folder.path(), existing).err(),
        Some(KeyError::Malformed { .. } | KeyError::Exposed { .. })
    ));
}

#[test]
fn the_environment_may_spell_the_key_in_hex_or_base64() {
    let expected = sealer().kid().to_owned();
    let open = |text: &str| Sealer::open(KekSource::Text(secret(text)), Vec::new(), Existing::default());
    for text in ["09".repeat(32), format!("{}CQk=", "CQkJ".repeat(10)), format!(" {}CQk\n", "CQkJ".repeat(10))] {
        assert_eq!(open(&text).unwrap().kid(), expected, "{text}");
    }
    for text in ["", "09", "zz", &"0g".repeat(32), &"09".repeat(33)] {
        assert!(matches!(open(text).err(), Some(KeyError::Malformed { .. })), "{text}");
    }
}

#[test]
fn errors_say_which_key_and_nothing_of_the_value() {
    let (dek, _) = sealer().new_dek(tenant(7)).unwrap();
    let sealed = dek.seal(&aad("prv_1"), &secret("hunter2-hunter2")).unwrap();
    let error = dek.open(&aad("prv_2"), &sealed).err().unwrap();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("hunter2") && !text.contains(sealed.rsplit(':').next().unwrap()), "{text}");
    let big = Secret::new(vec![0; PLAINTEXT_BYTES_MAX + 1]);
    assert_eq!(dek.seal(&aad("prv_1"), &big).err(), Some(SealError::TooLarge));
}

proptest! {
    #[test]
    fn what_was_sealed_opens(bytes in prop::collection::vec(any::<u8>(), 0..300), owner in ".{0,40}", version: u32) {
        let (dek, _) = sealer().new_dek(tenant(7)).unwrap();
        let aad = Aad { tenant: tenant(7), owner: &owner, field: "f", version };
        let sealed = dek.seal(&aad, &Secret::new(bytes.clone())).unwrap();
        prop_assert!(sealed.is_ascii());
        prop_assert!(dek.open(&aad, &sealed).unwrap().ct_eq(&bytes));
    }

    #[test]
    fn rubbish_is_refused_without_a_panic(text in "(v1:)?[0-9a-f:]{0,40}.{0,60}") {
        let (dek, _) = sealer().new_dek(tenant(7)).unwrap();
        prop_assert!(dek.open(&aad("prv_1"), &text).is_err());
    }
}
