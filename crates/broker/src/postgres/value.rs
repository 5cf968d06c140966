//! Values as JSON: what JSON has a form for, in that form; everything else as the text the server writes.

use serde_json::{Number, Value};

/// Types that are named and converted, by their number.
const TYPES: &[(u32, &str)] = &[
    (16, "bool"),
    (17, "bytea"),
    (18, "char"),
    (19, "name"),
    (20, "int8"),
    (21, "int2"),
    (23, "int4"),
    (25, "text"),
    (26, "oid"),
    (114, "json"),
    (142, "xml"),
    (600, "point"),
    (700, "float4"),
    (701, "float8"),
    (790, "money"),
    (869, "inet"),
    (1000, "bool[]"),
    (1007, "int4[]"),
    (1009, "text[]"),
    (1016, "int8[]"),
    (1042, "bpchar"),
    (1043, "varchar"),
    (1082, "date"),
    (1083, "time"),
    (1114, "timestamp"),
    (1184, "timestamptz"),
    (1186, "interval"),
    (1700, "numeric"),
    (2278, "void"),
    (2950, "uuid"),
    (3802, "jsonb"),
];

/// The type's name; one that the database made itself by its number.
pub(super) fn type_name(oid: u32) -> String {
    let found = TYPES.iter().find(|(known, _)| *known == oid);
    found.map_or_else(|| format!("oid {oid}"), |(_, name)| (*name).to_owned())
}

/// A value in the server's text form. Exact numbers with a fraction stay text: a JSON number would be read as another.
pub(super) fn json(oid: u32, text: String) -> Value {
    let read = match oid {
        16 => match text.as_str() {
            "t" => Some(Value::Bool(true)),
            "f" => Some(Value::Bool(false)),
            _ => None,
        },
        20 | 21 | 23 | 26 => text.parse::<i64>().ok().map(Value::from),
        700 | 701 => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
        114 | 3802 => serde_json::from_str(&text).ok(),
        _ => None,
    };
    read.unwrap_or(Value::String(text))
}

/// A parameter in the text form the server reads; `None` is NULL.
pub(super) fn text_of(parameter: &Value) -> Option<String> {
    match parameter {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
