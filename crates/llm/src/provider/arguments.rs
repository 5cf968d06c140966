//! What a model wrote as arguments, read once and only when it is complete.

use serde_json::{Map, Value};

use super::json;
use crate::message::Arguments;

/// The most bytes of one call's arguments.
pub const ARGUMENTS_BYTES_MAX: usize = 1024 * 1024;

/// Characters kept of arguments that cannot be used.
const UNUSABLE_CHARACTERS_MAX: usize = 2_000;

/// How the turn with the call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The call is whole.
    Whole,
    /// The output limit fell into or right behind this call.
    Cut,
}

/// An object; nothing at all counts as `{}`; one level of double encoding is unwrapped.
pub(crate) fn read(text: &str, ending: Ending) -> Arguments {
    let blank = text.trim().is_empty();
    if blank && ending == Ending::Whole {
        return Arguments::Object(Map::new());
    }
    match json::parse::<Value>(text) {
        Ok(Value::Object(map)) => Arguments::Object(map),
        Ok(Value::String(inner)) => match json::parse::<Value>(&inner) {
            Ok(Value::Object(map)) => Arguments::Object(map),
            _ => unusable(text, "the arguments are a string, not a JSON object"),
        },
        Ok(Value::Null) if ending == Ending::Whole => Arguments::Object(Map::new()),
        Ok(other) => unusable(text, &format!("the arguments are {}, not a JSON object", kind(&other))),
        Err(_) if ending == Ending::Cut => {
            unusable(text, "the output limit cut the call off before its arguments were whole")
        }
        Err(error) => unusable(text, &format!("the arguments are not valid JSON: {error}")),
    }
}

/// Arguments that will not be read, with the reason the model is told.
pub(super) fn unusable(text: &str, reason: &str) -> Arguments {
    Arguments::Unusable { text: text.chars().take(UNUSABLE_CHARACTERS_MAX).collect(), reason: reason.to_owned() }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    //! A table of what models write.

    use super::{Arguments, Ending, read};

    fn shown(text: &str, ending: Ending) -> String {
        match read(text, ending) {
            Arguments::Object(map) => serde_json::to_string(&map).unwrap(),
            Arguments::Unusable { reason, .. } => reason,
        }
    }

    #[test]
    fn usable_or_not() {
        let cut = "the output limit cut the call off before its arguments were whole";
        let table = [
            ("", Ending::Whole, "{}"),
            (" \n", Ending::Whole, "{}"),
            ("null", Ending::Whole, "{}"),
            ("", Ending::Cut, cut),
            (r#"{"a": 1}"#, Ending::Cut, r#"{"a":1}"#),
            (r#"{"a": "#, Ending::Cut, cut),
            (
                r#"{"a": "#,
                Ending::Whole,
                "the arguments are not valid JSON: EOF while parsing a value at line 1 column 6",
            ),
            (r#""{\"a\":1}""#, Ending::Whole, r#"{"a":1}"#),
            (r#""\"{}\"""#, Ending::Whole, "the arguments are a string, not a JSON object"),
            ("[1]", Ending::Whole, "the arguments are an array, not a JSON object"),
            ("7", Ending::Whole, "the arguments are a number, not a JSON object"),
            (r#"{"a":"\ud83d"}"#, Ending::Whole, "{\"a\":\"\u{fffd}\"}"),
        ];
        for (text, ending, expected) in table {
            assert_eq!(shown(text, ending), expected, "{text} {ending:?}");
        }
    }
}
