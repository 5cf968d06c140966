//! What holds for any key and any text: the scrubber against the rule word for word, however the stream is cut.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::Framing;
use super::super::decode::Kind;
use super::super::image::images;
use super::{MARKER, brute_force, decoded, in_pieces, matcher, naive};

/// Text made of pieces of the key, its images, separators and noise: dense in near misses.
fn dense_text(key: String) -> impl Strategy<Value = Vec<u8>> {
    let source: Vec<Vec<u8>> = images(key.as_bytes()).iter().map(|image| image.bytes.to_vec()).collect();
    let cut =
        (0..source.len(), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(move |(image, a, b)| {
            let bytes = &source[image];
            let (a, b) = (a.index(bytes.len()), b.index(bytes.len()));
            bytes[a.min(b)..=a.max(b)].to_vec()
        });
    let escaped = (prop::sample::select(key.into_bytes()), 0..3usize, 1..4u8)
        .prop_map(|(byte, kind, choice)| spell(kind, byte, choice).into_bytes());
    let line_break = Just(b"\r\n".to_vec());
    let piece = prop_oneof![6 => cut, 2 => escaped, 1 => line_break, 1 => "[a-zA-Z0-9%&\\\\;#u\"/\n]{0,9}".prop_map(String::into_bytes)];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Keys over a small alphabet repeat themselves, which is where anchors are easiest to get wrong.
fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{16,40}", "[A-Za-z0-9+/=_-]{16,120}"]
}

/// Text in which hardly a byte of the key, or of what is between its pieces, stands as it is: every spelling of every decoder, one
/// through the other, whole, broken off and piled up.
fn escaped_text(key: String) -> impl Strategy<Value = Vec<u8>> {
    let source: Vec<Vec<u8>> = images(key.as_bytes()).iter().map(|image| image.bytes.to_vec()).collect();
    let broken = prop::sample::select(vec![
        "%", "%4", "%4g", "\\", "\\u", "\\u00", "\\u00g", "&", "&#", "&#6", "&am", "&nosuch;", "\r\n", "\n", "\\n",
        "\\r\\n", "\\u000a", "\\\"", "\\\\\"", "\\\\\\n", "%20", "&amp;", "\\u00e9", "\\t", "\\ud800",
    ]);
    let noise = prop_oneof![
        3 => broken.prop_map(|text| text.as_bytes().to_vec()),
        1 => (1..40usize).prop_map(|count| vec![b'\\'; count]),
    ];
    // One kind, or any: what one decoder reads, and what none does.
    let cut =
        (0..source.len(), any::<[prop::sample::Index; 2]>(), 0..4usize).prop_flat_map(move |(image, ends, kind)| {
            let (a, b) = (ends[0].index(source[image].len()), ends[1].index(source[image].len()));
            let bytes = source[image][a.min(b)..=a.max(b)].to_vec();
            let spellings = prop::collection::vec((0..3usize, 0..4u8, prop::bool::weighted(0.03)), bytes.len());
            spellings.prop_map(move |spellings| {
                let spell_one = |(byte, (any, choice, wrap)): (&u8, (usize, u8, bool))| {
                    let kind = if kind < 3 { kind } else { any };
                    let escaped = if choice == 0 || !byte.is_ascii() {
                        vec![*byte]
                    } else {
                        spell(kind, *byte, choice).into_bytes()
                    };
                    if wrap { [escaped, b"\r\n".to_vec()].concat() } else { escaped }
                };
                bytes.iter().zip(spellings).flat_map(spell_one).collect()
            })
        });
    prop::collection::vec(prop_oneof![2 => cut, 1 => noise], 0..10).prop_map(|pieces: Vec<Vec<u8>>| pieces.concat())
}

fn key_and_text() -> impl Strategy<Value = (String, Vec<u8>)> {
    key().prop_flat_map(|key| dense_text(key.clone()).prop_map(move |text| (key.clone(), text)))
}

/// The key with each byte in some spelling of one of the decoders.
fn spelled(key: String) -> impl Strategy<Value = (usize, String)> {
    let length = key.len();
    (0..3usize, prop::collection::vec(0..4u8, length)).prop_map(move |(kind, choices)| {
        let text = key.bytes().zip(choices).map(|(byte, choice)| spell(kind, byte, choice)).collect();
        (kind, text)
    })
}

fn spell(kind: usize, byte: u8, choice: u8) -> String {
    let plain = char::from(byte).to_string();
    match (kind, choice) {
        (0, 1) => format!("%{byte:02x}"),
        (0, 2) => format!("%{byte:02X}"),
        (1, 1) => format!("\\u{byte:04x}"),
        (1, 2) => format!("\\\\u{byte:04X}"),
        (1, 3) if byte == b'/' => "\\/".to_owned(),
        (2, 1) => format!("&#{byte};"),
        (2, 2) => format!("&#x{byte:04x};"),
        (2, 3) if byte == b'+' => "&plus;".to_owned(),
        _ => plain,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn agrees_with_brute_force((key, text) in key_and_text()) {
        let out = matcher(&key).scrub_whole(&text).unwrap_or_else(|| text.clone());
        prop_assert_eq!(out, brute_force(&images(key.as_bytes()), &text));
    }

    #[test]
    fn agrees_with_the_naive_readings_where_everything_is_escaped((key, text) in key().prop_flat_map(|key| (Just(key.clone()), escaped_text(key))), lengths in prop::collection::vec(1..40usize, 1..30)) {
        let expected = brute_force(&images(key.as_bytes()), &text);
        let matcher = Arc::new(matcher(&key));
        for lengths in [&[][..], &[1], &lengths] {
            prop_assert_eq!(&in_pieces(&matcher, Framing::None, &text, lengths), &expected);
        }
        let naive = naive::readings(&text);
        for (kind, naive) in [Kind::Percent, Kind::Json, Kind::Html].into_iter().zip(&naive[1..]) {
            prop_assert_eq!(&decoded(kind, &text), naive, "{:?}", kind);
        }
    }

    #[test]
    fn the_cut_of_the_stream_changes_nothing((key, text) in key_and_text(), lengths in prop::collection::vec(1..40usize, 1..30)) {
        let matcher = Arc::new(matcher(&key));
        for framing in [Framing::None, Framing::Events, Framing::Lines] {
            let whole = in_pieces(&matcher, framing, &text, &[]);
            prop_assert_eq!(&in_pieces(&matcher, framing, &text, &lengths), &whole, "{:?}", framing);
            prop_assert_eq!(&in_pieces(&matcher, framing, &text, &[1]), &whole, "{:?}", framing);
        }
    }

    #[test]
    fn a_mixed_spelling_is_redacted_whole((key, (kind, text)) in key().prop_flat_map(|key| (Just(key.clone()), spelled(key))), padding in 0..2000usize) {
        let matcher = Arc::new(matcher(&key));
        let body = format!("{}<{text}>", ".".repeat(padding));
        let out = in_pieces(&matcher, Framing::None, body.as_bytes(), &[13]);
        prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{}<{MARKER}>", ".".repeat(padding)), "kind {}", kind);
    }
}
