use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{FaultKind, digest, parse, read};

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    name: String,
    #[serde(default)]
    list: Vec<Inner>,
    #[serde(default)]
    by_key: BTreeMap<String, u32>,
    #[serde(default)]
    kind: Option<Kind>,
    #[serde(default)]
    share: Option<f64>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    id: livery_core::id::FileId,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    OneWay,
    Other,
}

fn fault(value: Value) -> (FaultKind, String) {
    let fault = read::<Outer>(value).unwrap_err();
    (fault.kind, fault.pointer)
}

#[test]
fn a_fitting_value_is_read() {
    let id = "fil_00000000000000000000000001";
    let value = json!({"name": "x", "list": [{"id": id}], "by_key": {"a/b": 1}, "kind": "one_way", "share": 1});
    let outer: Outer = read(value).unwrap();
    assert_eq!((outer.list.len(), outer.by_key["a/b"], outer.kind, outer.share), (1, 1, Some(Kind::OneWay), Some(1.0)));
    assert_eq!(read::<Outer>(json!({"name": "x", "kind": null})).unwrap().kind, None);
}

#[test]
fn a_fault_has_its_kind_and_place() {
    for (value, kind, pointer) in [
        (json!({"name": "x", "nonsense": 1}), FaultKind::UnknownField, "/nonsense"),
        (json!({"name": "x", "a/b~c": 1}), FaultKind::UnknownField, "/a~1b~0c"),
        (
            json!({"name": "x", "list": [{"id": "fil_00000000000000000000000001", "more": 1}]}),
            FaultKind::UnknownField,
            "/list/0/more",
        ),
        (json!({}), FaultKind::MissingField, "/name"),
        (json!({"name": "x", "list": [{}]}), FaultKind::MissingField, "/list/0/id"),
        (json!({"name": 1}), FaultKind::WrongType, "/name"),
        (json!({"name": null}), FaultKind::WrongType, "/name"),
        (json!({"name": "x", "by_key": {"a/b": "1"}}), FaultKind::WrongType, "/by_key/a~1b"),
        (json!({"name": "x", "by_key": {"a": 1.5}}), FaultKind::WrongType, "/by_key/a"),
        (json!({"name": "x", "by_key": {"a": -1}}), FaultKind::InvalidValue, "/by_key/a"),
        (json!({"name": "x", "kind": "third"}), FaultKind::InvalidValue, "/kind"),
        (json!({"name": "x", "kind": 3}), FaultKind::WrongType, "/kind"),
        (json!({"name": "x", "list": [{"id": "run_1"}]}), FaultKind::InvalidValue, "/list/0/id"),
        (json!(["x"]), FaultKind::WrongType, ""),
        (json!("x"), FaultKind::WrongType, ""),
    ] {
        assert_eq!(fault(value.clone()), (kind, pointer.to_owned()), "{value}");
    }
}

#[test]
fn a_fault_that_a_type_passes_on_as_text_keeps_its_place() {
    for (body, kind, pointer) in [
        (json!({"agent": {"agent_md": "", "file": {}}}), FaultKind::UnknownField, "/agent/file"),
        (json!({"agent": {}}), FaultKind::MissingField, "/agent/agent_md"),
        (json!({"agent": {"agent_md": "", "files": {"a": 1}}}), FaultKind::WrongType, "/agent/files/a"),
        (json!({"agent": "a", "webhook": "whk_1"}), FaultKind::InvalidValue, "/webhook"),
    ] {
        let fault = read::<livery_platform::runs::StartRun>(body.clone()).unwrap_err();
        assert_eq!((fault.kind, fault.pointer.as_str()), (kind, pointer), "{body}");
        assert!(!fault.detail.contains('\0'), "{}", fault.detail);
    }
}

#[test]
fn text_that_is_no_json_says_where() {
    for (text, part) in [
        (&b"{\"a\": 1,}"[..], "line 1 column 9"),
        (b"{\n\"a\" 1}", "line 2 column 5"),
        (b"", "line 1 column 0"),
        (b"{} {}", "line 1 column 4"),
        (b"{\"a\": 1, \"b\": {\"c\": 1, \"c\": 2}}", "`c` stands twice"),
        (b"\"\xff\"", "line 1"),
        (b"1e999", "out of range"),
        (b"NaN", "line 1"),
        (b"\xef\xbb\xbf{}", "line 1"),
    ] {
        let problem = parse(text).unwrap_err();
        assert_eq!(problem.parts().code, "malformed_json");
        assert!(problem.parts().detail.contains(part), "{}: {part}", problem.parts().detail);
    }
    let deep = [vec![b'['; 10_000], vec![b']'; 10_000]].concat();
    assert!(parse(&deep).is_err(), "depth is bounded");
}

#[test]
fn a_digest_knows_the_value_and_not_its_spelling() {
    let same = [r#"{"a": 1, "b": [true, null, "x"]}"#, r#"{ "b":[true,null,"\u0078"],"a":1 }"#];
    let digests: Vec<_> = same.iter().map(|text| digest(&parse(text.as_bytes()).unwrap())).collect();
    assert_eq!(digests[0], digests[1]);
    for other in [
        r#"{"a": 2, "b": [true, null, "x"]}"#,
        r#"{"a": 1, "b": [true, null], "c": "x"}"#,
        r#"{"a": "1", "b": [true, null, "x"]}"#,
    ] {
        assert_ne!(digests[0], digest(&parse(other.as_bytes()).unwrap()), "{other}");
    }
}
