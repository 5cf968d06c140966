//! The first message of a real client, whole, cut at every byte and over many records; and what is refused.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// What rustls sends first for a name.
fn hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same message in records of at most `size` bytes.
fn records(hello: &[u8], size: usize) -> Vec<u8> {
    let pieces = hello[5..].chunks(size);
    pieces
        .flat_map(|piece| [&[22, 3, 1][..], &u16::try_from(piece.len()).unwrap().to_be_bytes(), piece].concat())
        .collect()
}

/// The message with another list of extensions.
fn with_extensions(extensions: &[u8]) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &sized(extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

const NAME_A: [u8; 10] = [0, 0, 0, 6, 0, 4, 0, 0, 1, b'a'];

#[test]
fn a_clients_name_is_read_once_all_is_there() {
    let whole = hello("Api.Example.com");
    for end in 0..whole.len() {
        assert_eq!(server_name(&whole[..end]), Ok(None), "{end} bytes");
    }
    assert_eq!(server_name(&whole), Ok(Some("api.example.com".into())));
    for size in [1, 7, 100] {
        let bytes = records(&whole, size);
        assert_eq!(server_name(&bytes), Ok(Some("api.example.com".into())), "records of {size}");
    }
    assert_eq!(server_name(&with_extensions(&NAME_A)), Ok(Some("a".into())));
}

#[test]
fn what_cannot_be_decided_is_refused() {
    let address = hello("127.0.0.1");
    assert_eq!(server_name(&address), Err(HelloRefused::NoName), "an address has no name");
    assert_eq!(server_name(&with_extensions(&[])), Err(HelloRefused::NoName));
    let twice = [NAME_A, NAME_A].concat();
    assert_eq!(server_name(&with_extensions(&twice)), Err(HelloRefused::NoName));
    let two_in_one = [0, 0, 0, 10, 0, 8, 0, 0, 1, b'a', 0, 0, 1, b'b'];
    assert_eq!(server_name(&with_extensions(&two_in_one)), Err(HelloRefused::NoName));
    for hidden in [0xfe0d_u16, 0xffce] {
        let extensions = [&NAME_A[..], &hidden.to_be_bytes(), &[0, 1, 0]].concat();
        assert_eq!(server_name(&with_extensions(&extensions)), Err(HelloRefused::HiddenName));
    }
    for not_tls in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x\r\n", &[22, 2, 0, 0, 1, 1], &[22, 3, 1, 0, 0], &[23, 3, 3]]
    {
        assert_eq!(server_name(not_tls), Err(HelloRefused::NotTls));
    }
    let endless = [&[22, 3, 1, 0x40, 0][..], &[1, 0, 0x40, 0], &[0; HELLO_BYTES_MAX]].concat();
    assert_eq!(server_name(&endless[..HELLO_BYTES_MAX]), Err(HelloRefused::TooLong));
    assert_eq!(server_name(&[22, 3, 1, 0, 4, 1, 1, 0, 0]), Err(HelloRefused::TooLong));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_wait(bytes in proptest::collection::vec(any::<u8>(), 0..600), at in any::<prop::sample::Index>()) {
        let _ = server_name(&bytes);
        let mut changed = hello("api.example.com");
        let at = at.index(changed.len());
        changed[at] ^= bytes.first().copied().unwrap_or(1);
        let _ = server_name(&changed);
    }
}
