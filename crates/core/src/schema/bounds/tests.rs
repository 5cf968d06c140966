//! Small schemas that would cost a lot.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::Schema;

/// `levels` definitions, each made from a reference to the next.
fn chain(levels: usize, link: impl Fn(Value) -> Value) -> Value {
    let mut parts = Map::new();
    for level in 0..levels {
        parts.insert(format!("a{level}"), link(json!({"$ref": format!("#/$defs/a{}", level + 1)})));
    }
    parts.insert(format!("a{levels}"), json!({"minProperties": 1}));
    json!({"type": "object", "$ref": "#/$defs/a0", "$defs": parts})
}

#[test]
fn what_would_overflow_the_stack_is_refused() {
    let detail = |schema: &Value| Schema::compile(schema).unwrap_err();
    assert_eq!(detail(&chain(2_000, |next| next)), "too many nested parts refer to each other");
    let asking = |next| json!({"allOf": [next], "unevaluatedProperties": false});
    let beside = "unevaluatedProperties and unevaluatedItems stand beside too many parts";
    assert_eq!(detail(&chain(40, asking)), beside);
    let twice = |next: Value| json!({"allOf": [next, next], "unevaluatedProperties": false});
    assert_eq!(detail(&chain(6, twice)), beside);
    assert!(Schema::compile(&chain(3, twice)).is_ok());
    let nested = |next| (0..30).fold(next, |inner, _| json!({"not": inner}));
    assert_eq!(detail(&chain(100, nested)), "too many nested parts refer to each other");
}

/// What the limits let through runs on the small stack of a test's thread, unoptimised.
#[test]
fn what_is_let_through_fits_the_stack() {
    let links: [fn(Value) -> Value; 9] = [
        |next| next,
        |next| json!({"not": next}),
        |next| json!({"allOf": [next]}),
        |next| json!({"anyOf": [next, {"type": "string"}]}),
        |next| json!({"oneOf": [next, {"type": "string"}]}),
        |next| json!({"if": next, "then": true, "else": {"type": "string"}}),
        |next| json!({"properties": {"a": next}, "additionalProperties": false}),
        |next| json!({"dependentSchemas": {"a": next}}),
        |next| json!({"properties": {"a": next}, "unevaluatedProperties": false}),
    ];
    let mut value = json!({"a": 1});
    for _ in 0..120 {
        value = json!({"a": value});
    }
    for link in links {
        let mut compiled = 0;
        for levels in [195, 390] {
            // The first comes near the limit of a check, the second near that of compiling.
            let Ok(schema) = Schema::compile(&chain(levels, link)) else { continue };
            compiled += 1;
            schema.findings(&json!({"a": "b"}), "");
            schema.findings(&value, "");
        }
        assert!(compiled > 1);
    }
    for link in links {
        let mut schema = chain(30, link);
        schema["$defs"]["a30"] = json!({"properties": {"a": {"$ref": "#"}}, "required": ["a"]});
        Schema::compile(&schema).unwrap().findings(&value, "");
    }
}

#[test]
fn repeated_work_is_counted_before_it_is_done() {
    let twice = chain(40, |next| json!({"allOf": [next, next]}));
    let findings = Schema::compile(&twice).unwrap().findings(&json!({"a": 1}), "/input");
    assert_eq!(findings[0].detail, "the value is too large or too deep to check against this schema");
    let branches = json!({"anyOf": [
        {"properties": {"a": {"$ref": "#"}}, "required": ["b"]},
        {"properties": {"a": {"$ref": "#"}}, "required": ["c"]},
        {"properties": {"a": {"type": "null"}}, "required": ["a"]},
    ]});
    let nested = |depth| (0..depth).fold(json!({"a": 1}), |inner, _| json!({"a": inner, "c": 1}));
    let schema = Schema::compile(&branches).unwrap();
    assert!(schema.findings(&nested(4), "")[0].pointer.is_empty());
    assert_eq!(
        schema.findings(&nested(14), "")[0].detail,
        "the value does not fit the schema, and is too large to say where"
    );
    assert_eq!(
        schema.findings(&nested(60), "")[0].detail,
        "the value is too large or too deep to check against this schema"
    );
}

#[test]
fn large_and_recursive_values_of_sane_schemas_are_checked() {
    let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "required": ["name"],
        "additionalProperties": false,
    }}});
    let schema = Schema::compile(&tree).unwrap();
    let deep = (0..60).fold(json!({"name": "leaf"}), |child, _| json!({"name": "n", "children": [child]}));
    assert!(schema.findings(&deep, "").is_empty());
    let wide =
        json!({"name": "root", "children": (0..30_000).map(|n| json!({"name": n.to_string()})).collect::<Vec<_>>()});
    assert!(schema.findings(&wide, "").is_empty());
    let wrong = json!({"name": "root", "children": [{"name": "a"}, {"nam": "b"}]});
    assert_eq!(schema.findings(&wrong, "").len(), 2);
}

#[test]
fn references_stay_inside_the_schema() {
    let at = |schema: Value| {
        let error = Schema::compile_located(&schema).err().unwrap();
        format!("{} {}", error.pointer, error.detail)
    };
    let cannot = "a $ref cannot be followed: only parts of the same schema can, like #/$defs/name";
    assert_eq!(
        at(json!({"properties": {"a/b": {"$ref": "https://example.com/x"}}})),
        format!("/properties/a~1b/$ref {cannot}")
    );
    assert_eq!(at(json!({"allOf": [{"$ref": "#/$defs/none"}]})), format!("/allOf/0/$ref {cannot}"));
    assert_eq!(
        at(json!({"items": {"$dynamicRef": "#x"}})),
        "/items/$dynamicRef `$dynamicRef` is not supported: use $ref"
    );
    assert_eq!(
        at(json!({"$defs": {"a": {"$id": "b"}}})),
        "/$defs/a/$id `$id` is not supported below the top of a schema"
    );
    let anchored = json!({"$ref": "#here", "$defs": {"a": {"$anchor": "here", "required": ["x"]}}});
    assert_eq!(Schema::compile(&anchored).unwrap().findings(&json!({}), "").len(), 1);
    // Names and data that look like keywords are neither.
    let named = json!({"properties": {"$ref": {"type": "string"}, "$id": {"const": {"$ref": "nowhere"}}}});
    assert!(Schema::compile(&named).unwrap().findings(&json!({"$ref": "x"}), "").is_empty());
}

/// A schema of a few parts that refer to each other at random, cycles included.
fn any_schema() -> impl Strategy<Value = Value> {
    let reference = (0usize..5).prop_map(|part| json!({"$ref": format!("#/$defs/p{part}")}));
    let leaf = prop_oneof![
        3 => reference,
        1 => Just(json!(true)),
        1 => Just(json!(false)),
        1 => Just(json!({"type": "object"})),
        1 => Just(json!({"required": ["a"]})),
        1 => Just(json!({"$ref": "#"})),
    ];
    let part = leaf.prop_recursive(3, 12, 3, |inner| {
        let keyword = prop_oneof![
            Just("not"),
            Just("if"),
            Just("then"),
            Just("else"),
            Just("items"),
            Just("contains"),
            Just("propertyNames"),
            Just("additionalProperties"),
            Just("unevaluatedProperties"),
            Just("unevaluatedItems"),
        ];
        prop_oneof![
            (keyword, inner.clone()).prop_map(|(keyword, part)| json!({keyword: part})),
            (
                prop_oneof![Just("allOf"), Just("anyOf"), Just("oneOf")],
                proptest::collection::vec(inner.clone(), 1..3),
                inner.clone()
            )
                .prop_map(|(keyword, parts, rest)| json!({keyword: parts, "unevaluatedProperties": rest})),
            (
                prop_oneof![Just("allOf"), Just("anyOf"), Just("oneOf"), Just("prefixItems")],
                proptest::collection::vec(inner.clone(), 1..3)
            )
                .prop_map(|(keyword, parts)| json!({keyword: parts})),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"properties": {"a": a, "b": b}})),
            (inner.clone(), inner)
                .prop_map(|(a, b)| json!({"dependentSchemas": {"a": a}, "patternProperties": {"^b": b}})),
        ]
    });
    proptest::collection::vec(part, 5).prop_map(|parts| {
        let parts: Map<String, Value> =
            parts.into_iter().enumerate().map(|(n, part)| (format!("p{n}"), part)).collect();
        json!({"$ref": "#/$defs/p0", "$defs": parts})
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(1)), Just(json!("text")), Just(Value::Null)];
    leaf.prop_recursive(8, 40, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"a": a, "b": b})),
        ]
    })
}

proptest! {
    /// Whatever refers to whatever: an answer in a moment, and never the end of the process.
    #[test]
    fn tangled_schemas_end(schema in any_schema(), value in any_value()) {
        let begun = std::time::Instant::now();
        if let Ok(schema) = Schema::compile(&schema) {
            schema.findings(&value, "");
        }
        prop_assert!(begun.elapsed().as_secs() < 20, "took {:?}: {schema} {value}", begun.elapsed());
    }
}
