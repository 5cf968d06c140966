use super::{KeyRefused, SEED_BYTES, SignatureRefused, SigningKey, VerifyingKey};
use crate::Secret;

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    unhex(hex).try_into().unwrap()
}

/// RFC 8032 §7.1: seed, public key, message, signature.
const VECTORS: &[(&str, &str, &str, &str)] = &[
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
];

#[test]
fn signs_the_vectors_of_rfc_8032() {
    for (seed, public, message, signature) in VECTORS {
        let key = SigningKey::from_seed(&bytes(seed)).ok().unwrap();
        assert_eq!(key.public().as_bytes(), &bytes(public));
        let message = unhex(message);
        assert_eq!(key.sign(&message), bytes::<64>(signature));
        VerifyingKey::from_bytes(bytes(public)).verify(&message, &bytes::<64>(signature)).unwrap();
    }
}

/// The vector of `standards.md` §2: the seed is the bytes 0 to 31.
#[test]
fn the_text_of_a_public_key_is_padded_base64() {
    let seed: [u8; SEED_BYTES] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let public = SigningKey::from_seed(&seed).ok().unwrap().public();
    let text = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    assert_eq!(public.to_string(), text);
    assert_eq!(text.parse(), Ok(public));
    for wrong in ["", &text[..43], &text.replace('=', "A"), &text.replace('/', "_"), "AA=="] {
        assert!(wrong.parse::<VerifyingKey>().is_err(), "{wrong}");
    }
}

#[test]
fn a_kept_seed_is_the_same_key_and_others_are_not() {
    let key = SigningKey::generate().ok().unwrap();
    let kept = Secret::new(key.seed().expose_secret().to_vec());
    let again = SigningKey::from_secret(kept).ok().unwrap();
    assert_eq!(again.public(), key.public());
    let mut signature = key.sign(b"bytes");
    assert_eq!(again.public().verify(b"bytes", &signature), Ok(()));
    assert_eq!(key.public().verify(b"byte", &signature), Err(SignatureRefused));
    assert_eq!(key.public().verify(b"bytes", &signature[..63]), Err(SignatureRefused));
    assert_eq!(SigningKey::generate().ok().unwrap().public().verify(b"bytes", &signature), Err(SignatureRefused));
    signature[3] ^= 1;
    assert_eq!(key.public().verify(b"bytes", &signature), Err(SignatureRefused));
    assert_eq!(SigningKey::from_secret(Secret::new(vec![1; 31])).err(), Some(KeyRefused::Length));
    assert_eq!(VerifyingKey::from_bytes([0xff; 32]).verify(b"bytes", &signature), Err(SignatureRefused));
}
