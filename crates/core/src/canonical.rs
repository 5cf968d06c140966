//! Canonical JSON: one text for one value, so that a digest over it means the value.
//!
//! In the manner of RFC 8785 (JSON Canonicalization Scheme): no white space, members of objects sorted, strings with the
//! shortest escapes, UTF-8. Two things are plainer here: members are sorted by the bytes of their UTF-8 names (the RFC sorts
//! by UTF-16 units, which differs only between characters above U+FFFF and those from U+E000 on), and numbers are written as
//! Rust writes them (`1e300`, `0.1`, `1.0`), integers up to 64 bits exactly. What Livery signs holds no fractions at all.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The canonical text of a value. A value that cannot be JSON (a map whose keys are no text) reads as `null`.
pub fn text(value: &impl Serialize) -> String {
    // A map of `Value` is sorted: the crate is built without `preserve_order`, and a test below notices when it is not.
    serde_json::to_value(value).map_or_else(|_| Value::Null.to_string(), |value| value.to_string())
}

/// SHA-256, as 64 lower-case hex digits.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a String cannot fail.
        write!(hex, "{byte:02x}").unwrap_or_default();
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_one_text() {
        #[derive(Serialize)]
        struct Unsorted {
            b: u32,
            a: &'static str,
        }
        assert_eq!(text(&Unsorted { b: 1, a: "ü\n\u{1}/" }), "{\"a\":\"ü\\n\\u0001/\",\"b\":1}");
        let parsed: Value = serde_json::from_str("{ \"z\": [1, 2.50], \"a\": {\"y\": null, \"x\": true} }").unwrap();
        assert_eq!(text(&parsed), r#"{"a":{"x":true,"y":null},"z":[1,2.5]}"#);
    }

    #[test]
    fn a_text_read_again_is_the_same_text() {
        for number in ["0.1", "1e300", "-0.0", "18446744073709551615", "5e-324", "123456789.12345678"] {
            let once = text(&serde_json::from_str::<Value>(number).unwrap());
            let twice = text(&serde_json::from_str::<Value>(&once).unwrap());
            assert_eq!(once, twice, "{number}");
        }
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        assert_eq!(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
