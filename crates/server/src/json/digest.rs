//! A digest of a value that does not depend on white space or on the order of keys.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// SHA-256 of the value written without white space, keys in byte order.
pub(crate) fn digest(value: &Value) -> [u8; 32] {
    let mut hasher = Sha256::new();
    write(value, &mut hasher);
    hasher.finalize().into()
}

fn write(value: &Value, out: &mut Sha256) {
    match value {
        Value::Array(items) => {
            out.update(b"[");
            for item in items {
                write(item, out);
                out.update(b",");
            }
            out.update(b"]");
        }
        Value::Object(map) => {
            // Sorted here: whether the map itself is depends on a feature that any crate may switch on.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.update(b"{");
            for (key, item) in entries {
                write(&Value::String(key.clone()), out);
                out.update(b":");
                write(item, out);
                out.update(b",");
            }
            out.update(b"}");
        }
        scalar => out.update(scalar.to_string()),
    }
}
