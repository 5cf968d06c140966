//! Where two JSON values part: the pointer and, in their canonical texts, the byte.

use livery_core::canonical;
use serde_json::Value;

/// Longest piece of a text that is shown.
pub const EXCERPT_BYTES_MAX: usize = 200;
/// Of it, what stands before the place.
const EXCERPT_BEFORE: usize = 60;

/// The first difference of two values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// JSON pointer (RFC 6901) to the innermost value that differs; `None` when what was found is no JSON.
    pub pointer: Option<String>,
    /// Offset of the first byte that differs, in the texts.
    pub byte: usize,
    /// The text of the expected value around the byte.
    pub expected: String,
    /// The text that was found around the byte.
    pub found: String,
}

impl Difference {
    /// Compares the canonical text of `expected` with `text`, which `found` was read from; `None` when they are the same.
    pub fn between(expected: &Value, found: Option<&Value>, text: &str) -> Option<Self> {
        let wanted = canonical::text(expected);
        if wanted == text {
            return None;
        }
        let byte = first_byte(&wanted, text);
        let pointer = found.map(|found| {
            let mut pointer = String::new();
            descend(expected, found, &mut pointer);
            pointer
        });
        Some(Self { pointer, byte, expected: excerpt(&wanted, byte), found: excerpt(text, byte) })
    }
}

/// The first byte in which two texts differ; the shorter one's length when it is the beginning of the other.
pub fn first_byte(left: &str, right: &str) -> usize {
    let same = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right);
    same.count()
}

/// At most [`EXCERPT_BYTES_MAX`] bytes of `text` around `byte`, whole characters.
pub fn excerpt(text: &str, byte: usize) -> String {
    let start = text.floor_char_boundary(byte.saturating_sub(EXCERPT_BEFORE));
    let end = text.floor_char_boundary(start.saturating_add(EXCERPT_BYTES_MAX));
    text[start..end].to_owned()
}

/// Follows the first member or item that differs, in the order of the canonical text.
fn descend(expected: &Value, found: &Value, pointer: &mut String) {
    let step = match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
            names.sort_unstable();
            let name = names.into_iter().find(|name| left.get(*name) != right.get(*name));
            name.map(|name| (name.replace('~', "~0").replace('/', "~1"), left.get(name), right.get(name)))
        }
        (Value::Array(left), Value::Array(right)) => {
            let index = (0..left.len().max(right.len())).find(|index| left.get(*index) != right.get(*index));
            index.map(|index| (index.to_string(), left.get(index), right.get(index)))
        }
        _ => None,
    };
    let Some((token, left, right)) = step else { return };
    pointer.push('/');
    pointer.push_str(&token);
    if let (Some(left), Some(right)) = (left, right) {
        descend(left, right, pointer);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(expected: Value, found: Value, pointer: &str, byte: usize) {
        let difference = Difference::between(&expected, Some(&found), &found.to_string()).unwrap();
        assert_eq!((difference.pointer.as_deref(), difference.byte), (Some(pointer), byte));
    }

    #[test]
    fn the_pointer_and_the_byte_name_one_place() {
        let same = json!({"b": 2, "a": 1});
        assert_eq!(Difference::between(&json!({"a": 1, "b": 2}), Some(&same), &same.to_string()), None);
        let broken = Difference::between(&same, None, r#"{"a":1,"b";2}"#).unwrap();
        assert_eq!((broken.pointer, broken.byte), (None, 10));
        check(json!({"a": "xyz"}), json!({"a": "xyZ"}), "/a", 8);
        check(json!({"a": [1, 2], "b": 3}), json!({"a": [1], "b": 3}), "/a/1", 7);
        check(json!({"a/b": 1}), json!({"a/b": 2}), "/a~1b", 7);
        check(json!({"a": 1}), json!({"a": 1, "b": 1}), "/b", 6);
        check(json!(1), json!("1"), "", 0);
    }

    #[test]
    fn excerpts_are_short_and_whole() {
        let text = "ä".repeat(1000);
        let piece = excerpt(&text, 777);
        assert!(piece.len() <= EXCERPT_BYTES_MAX && piece.chars().all(|char| char == 'ä'));
        assert_eq!(excerpt("short", 3), "short");
    }
}
