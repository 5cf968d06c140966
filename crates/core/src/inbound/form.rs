//! `application/x-www-form-urlencoded` (WHATWG URL §5).

use serde_json::{Map, Value};

use super::{BodyError, FORM_FIELDS_MAX};

/// The fields of a form; one that comes several times is a list.
pub(super) fn read(bytes: &[u8]) -> Result<Map<String, Value>, BodyError> {
    let mut fields = Map::new();
    for (index, pair) in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).enumerate() {
        if index >= FORM_FIELDS_MAX {
            return Err(BodyError::Malformed(format!("a form has at most {FORM_FIELDS_MAX} fields")));
        }
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (decode(&pair[..end])?, Value::String(decode(pair.get(end + 1..).unwrap_or_default())?));
        match fields.get_mut(&name) {
            None => drop(fields.insert(name, value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Ok(fields)
}

/// A name or value: `+` is a blank, `%XX` a byte; anything else is itself.
pub(super) fn decode(text: &[u8]) -> Result<String, BodyError> {
    let digit = |byte: Option<&u8>| {
        byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
    };
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => match (digit(text.get(at)), digit(text.get(at + 1))) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    at += 2;
                }
                _ => decoded.push(b'%'),
            },
            byte => decoded.push(*byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| BodyError::Malformed("a form is UTF-8".into()))
}
