//! Every coding at every cut, and everything that is none.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};

use super::{BOMB, BROKEN, Decoding, UNKNOWN};
use crate::{Error, Result};

const TEXT: &[u8] = b"{\"error\": \"the key sk-live-4fGh7Kq2Zx9WmB3nVt8RpL6yD1cJ5sA0 is not known here\"}";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 3).unwrap()
}

/// One uncompressed meta-block (RFC 7932, 9.2) and an empty last one.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len() - 1).unwrap();
    let head = (length << 4 | 1 << 20).to_le_bytes();
    [&head[..3], bytes, &[3]].concat()
}

fn decoding(coding: &str, bytes_max: u64) -> Result<Decoding> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap());
    Decoding::of(&headers, bytes_max)
}

fn decoded(coding: &str, pieces: &[&[u8]], bytes_max: u64) -> Result<Vec<u8>> {
    let mut decoding = decoding(coding, bytes_max)?;
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(decoding.push(piece)?);
    }
    out.extend(decoding.finish()?);
    Ok(out)
}

/// E6: a window beyond the standard's is memory that the upstream names.
#[test]
fn e6_brotli_with_a_large_window_is_none() {
    let length = u32::try_from(TEXT.len() - 1).unwrap();
    // 24 bits of window, in the form for more, and one uncompressed meta-block.
    let head = (24 | length << 9 | 1 << 25).to_le_bytes();
    let large = [&[0x11], &head[..], TEXT, &[3]].concat();
    assert_eq!(decoded("br", &[&large], u64::MAX), Err(BROKEN));
    assert_eq!(decoded("br", &[&large[..1], &large[1..]], u64::MAX), Err(BROKEN));
    assert_eq!(decoded("br", &[&brotli(TEXT)], u64::MAX).as_deref(), Ok(TEXT));
}

#[test]
fn every_coding_is_decoded_wherever_it_is_cut() {
    for (coding, bytes) in [
        ("gzip", gzip(TEXT)),
        ("x-gzip", gzip(TEXT)),
        ("GZIP", gzip(TEXT)),
        ("gzip", [gzip(&TEXT[..20]), gzip(&TEXT[20..])].concat()),
        ("deflate", zlib(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("br", brotli(TEXT)),
        ("zstd", zstd(TEXT)),
        ("identity, gzip", gzip(TEXT)),
        ("gzip, br", brotli(&gzip(TEXT))),
        ("zstd, deflate", zlib(&zstd(TEXT))),
    ] {
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(decoded(coding, &[head, tail], 1 << 20).unwrap(), TEXT, "{coding} cut at {at}");
        }
    }
}

#[test]
fn a_body_without_a_byte_has_nothing_to_decode() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        assert_eq!(decoded(coding, &[], 1 << 20).unwrap(), b"", "{coding}");
    }
}

#[test]
fn what_is_cut_off_or_is_not_what_it_claims_is_refused() {
    for (coding, bytes) in [("gzip", gzip(TEXT)), ("deflate", zlib(TEXT)), ("br", brotli(TEXT)), ("zstd", zstd(TEXT))] {
        for missing in [1, 4, bytes.len() / 2] {
            let cut = &bytes[..bytes.len() - missing];
            assert_eq!(decoded(coding, &[cut], 1 << 20), Err(BROKEN), "{coding} without its last {missing}");
        }
        assert_eq!(decoded(coding, &[TEXT], 1 << 20), Err(BROKEN), "{coding} of plain text");
    }
}

#[test]
fn a_coding_nobody_knows_and_a_third_layer_are_refused_at_the_head() {
    for coding in ["compress", "aws-chunked", "livery", "gzip;q=1", "gzip, gzip, gzip", "\u{7f}"] {
        let Ok(value) = HeaderValue::from_str(coding) else { continue };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, value);
        assert_eq!(Decoding::of(&headers, 1).err(), Some(UNKNOWN), "{coding}");
    }
}

#[test]
fn e6_a_bomb_ends_at_the_ratio_and_at_the_calls_own_limit() {
    let zeros = vec![0u8; 2 << 20];
    for (coding, bytes) in
        [("gzip", gzip(&zeros)), ("deflate", zlib(&zeros)), ("zstd", zstd(&zeros)), ("gzip, gzip", gzip(&gzip(&zeros)))]
    {
        assert_eq!(decoded(coding, &[&bytes], u64::MAX).err(), Some(BOMB), "{coding}");
        assert_eq!(decoded(coding, &[&bytes], 4096).err(), Some(BOMB), "{coding}");
    }
    // What is merely large is no bomb.
    let text: Vec<u8> = (0..300_000u32).flat_map(|n| n.to_string().into_bytes()).collect();
    assert_eq!(decoded("gzip", &[&gzip(&text)], u64::MAX).unwrap().len(), text.len());
    assert!(matches!(BOMB, Error::TooLarge { .. }));
}
