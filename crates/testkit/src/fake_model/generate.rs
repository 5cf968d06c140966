//! Values that a JSON Schema accepts, drawn from a seed: what a well-behaved model would write as arguments.
//!
//! Knows what tool schemas use: types, enums, constants, required properties, bounds, items, choices, local references.
//! A `pattern` is not understood; such a text may not match.

use serde_json::{Map, Value, json};

/// How deep a value may nest; optional properties stop earlier.
const DEPTH_MAX: usize = 12;

/// A small generator of numbers, the same on every machine (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `below` - 1; 0 when there is nothing to choose from.
    pub(super) fn below(&mut self, below: usize) -> usize {
        let below = u64::try_from(below).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % below).unwrap_or(0)
    }
}

/// An object the schema accepts.
pub(super) fn arguments(schema: &Value, draw: &mut Draw) -> Map<String, Value> {
    match value(schema, schema, draw, 0) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn value(schema: &Value, root: &Value, draw: &mut Draw, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(path) = schema["$ref"].as_str() {
        let target = path.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).unwrap_or(&Value::Null);
        return value(target, root, draw, depth + 1);
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    for choice in ["enum", "anyOf", "oneOf"] {
        if let Some(choices) = schema[choice].as_array().filter(|choices| !choices.is_empty()) {
            let chosen = &choices[draw.below(choices.len())];
            return if choice == "enum" { chosen.clone() } else { value(chosen, root, draw, depth + 1) };
        }
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or("string"),
        _ if schema.get("properties").is_some() || depth == 0 => "object",
        _ => "string",
    };
    match kind {
        "object" => object(schema, root, draw, depth),
        "array" => {
            let least = bound(schema, "minItems").unwrap_or(0);
            let most = bound(schema, "maxItems").unwrap_or(least + 2).clamp(least, least + 2);
            let count = least + i64::try_from(draw.below(usize::try_from(most - least + 1).unwrap_or(1))).unwrap_or(0);
            (0..count.clamp(0, 64)).map(|_| value(&schema["items"], root, draw, depth + 1)).collect()
        }
        "integer" | "number" => {
            let least =
                bound(schema, "minimum").or_else(|| bound(schema, "exclusiveMinimum").map(|n| n + 1)).unwrap_or(0);
            let most = bound(schema, "maximum")
                .or_else(|| bound(schema, "exclusiveMaximum").map(|n| n - 1))
                .unwrap_or(least + 100);
            let width = usize::try_from(most.saturating_sub(least).saturating_add(1)).unwrap_or(1);
            json!(least.saturating_add(i64::try_from(draw.below(width)).unwrap_or(0)))
        }
        "boolean" => json!(draw.next().is_multiple_of(2)),
        "null" => Value::Null,
        _ => text(schema, draw),
    }
}

fn object(schema: &Value, root: &Value, draw: &mut Draw, depth: usize) -> Value {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut out = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let wanted = required.contains(&name.as_str()) || (depth < 2 && draw.next().is_multiple_of(4));
        if wanted {
            out.insert(name.clone(), value(property, root, draw, depth + 1));
        }
    }
    for name in required {
        if !out.contains_key(name) {
            out.insert(name.to_owned(), json!("x"));
        }
    }
    Value::Object(out)
}

fn bound(schema: &Value, name: &str) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a bound beyond 64 bits is as good as the largest number")]
    schema[name].as_i64().or_else(|| schema[name].as_f64().map(|bound| bound.ceil() as i64))
}

fn text(schema: &Value, draw: &mut Draw) -> Value {
    const WORDS: [&str; 8] = ["alfalfa", "bridle", "canter", "dapple", "farrier", "halter", "oats", "saddle"];
    match schema["format"].as_str() {
        Some("date") => return "2026-10-01".into(),
        Some("date-time") => return "2026-10-01T12:00:00Z".into(),
        Some("email") => return "groom@example.org".into(),
        Some("uri") => return "https://example.org/stall".into(),
        Some("uuid") => return "01890a5d-ac96-774b-bcce-b302099a8057".into(),
        _ => {}
    }
    let least = usize::try_from(bound(schema, "minLength").unwrap_or(0)).unwrap_or(0).min(10_000);
    let most = bound(schema, "maxLength").and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let mut word = WORDS[draw.below(WORDS.len())].to_owned();
    while word.len() < least {
        word.push('x');
    }
    word.truncate(most);
    word.into()
}

#[cfg(test)]
mod tests {
    //! What is drawn is what was asked for.

    use serde_json::json;

    use super::{Draw, arguments};

    #[test]
    fn a_seed_gives_valid_values_and_the_same_ones_again() {
        let schema = json!({
            "type": "object",
            "$defs": {"side": {"enum": ["left", "right"]}},
            "properties": {
                "path": {"type": "string", "minLength": 9},
                "limit": {"type": "integer", "minimum": 3, "maximum": 5},
                "sides": {"type": "array", "items": {"$ref": "#/$defs/side"}, "minItems": 1},
                "mode": {"const": "fast"},
                "deep": {"anyOf": [{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}]},
                "optional": {"type": ["number", "null"]}
            },
            "required": ["path", "limit", "sides", "mode", "deep", "unknown"]
        });
        for seed in 0..200 {
            let drawn = arguments(&schema, &mut Draw::new(seed));
            assert_eq!(drawn, arguments(&schema, &mut Draw::new(seed)));
            assert!(drawn["path"].as_str().unwrap().len() >= 9);
            assert!((3..=5).contains(&drawn["limit"].as_i64().unwrap()));
            assert!(drawn["sides"].as_array().unwrap().iter().all(|side| side == "left" || side == "right"));
            assert!(drawn["deep"]["ok"].is_boolean() && drawn["mode"] == "fast" && drawn.contains_key("unknown"));
        }
        let recursive = json!({"$ref": "#"});
        assert!(arguments(&recursive, &mut Draw::new(1)).is_empty());
    }
}
