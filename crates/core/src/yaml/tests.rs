//! YAML in, JSON or the exact findings out.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> (Option<Value>, Vec<String>) {
    let mut findings = Findings::new();
    let node = parse("f", text, 0, &mut findings);
    (node.map(|node| node.to_json()), findings.into_vec().iter().map(ToString::to_string).collect())
}

#[track_caller]
fn gives(text: &str, expected: Value) {
    assert_eq!(read(text), (Some(expected), vec![]), "{text}");
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let (_, findings) = read(text);
    assert_eq!(findings, [expected], "{text:.80}");
}

#[test]
fn scalars_follow_the_core_schema() {
    gives("[null, ~, true, FALSE, yes, no, on]", json!([null, null, true, false, "yes", "no", "on"]));
    gives(
        "[1, -2, +3, 0x1f, 0o17, 017, 1.5, 1e3, -.5, 18446744073709551615]",
        json!([1, -2, 3, 31, 15, 17, 1.5, 1000.0, -0.5, 18_446_744_073_709_551_615u64]),
    );
    gives(
        "[2026-10, 1.2.3, 1-2, '1', \"true\", ., 12:30, 1_000]",
        json!(["2026-10", "1.2.3", "1-2", "1", "true", ".", "12:30", "1_000"]),
    );
    gives("[!!str 1, !!str true, !!int 3]", json!(["1", "true", 3]));
    gives("{1: a, true: b, 'k': c}", json!({"1": "a", "true": "b", "k": "c"}));
    gives("a: |\n  x\n  y\nb: >\n  x\n  y\n", json!({"a": "x\ny\n", "b": "x y\n"}));
    gives("", Value::Null);
    gives("# only a comment\n", Value::Null);
    gives("a: &x [1, 2]\nb: *x\n", json!({"a": [1, 2], "b": [1, 2]}));
}

#[test]
fn hazards_are_findings_with_places() {
    refused("a: 1\nb: 2\na: 3\n", "f:3:1 the key `a` is here twice (the first is in line 1)");
    refused("a: .inf", "f:1:4 `.inf` is no usable number (use a number that JSON can hold, or quote it as text)");
    refused(
        "a: 123456789012345678901234567890",
        "f:1:4 `123456789012345678901234567890` is no usable number (use a number that JSON can hold, or quote it as text)",
    );
    refused("a: 1e999", "f:1:4 `1e999` is no usable number (use a number that JSON can hold, or quote it as text)");
    refused("a: !secret x", "f:1:4 the tag `!secret` has no meaning here (leave it out)");
    refused("? [a]\n: b\n", "f:1:3 a key must be plain text (quote it)");
    refused("a: 1\n---\nb: 2\n", "f:2:1 a second YAML document begins here (keep one document)");
    refused("a: &x [*x]", "f:1:8 this alias is inside the value it names (write the value out)");
    refused(&"[".repeat(65), "f:1:65 nested deeper than 64 levels (flatten it)");
    let (_, findings) = read("a: [1\nb: 2");
    assert!(findings[0].starts_with("f:2:") && findings[0].contains("not valid YAML"), "{findings:?}");
}

#[test]
fn aliases_cost_what_they_repeat() {
    let bomb: String =
        (1..20).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1)).collect();
    let (_, findings) = read(&format!("a0: &a0 [1]\n{bomb}"));
    assert_eq!(findings.len(), 1);
    assert!(findings[0].contains("more than 20000 values"), "{findings:?}");
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(200_000), vec!["*a"; 100].join(", "));
    assert!(read(&text).1[0].contains("1048576 bytes of text"));
    let deep: String =
        (1..5).map(|n| format!("a{n}: &a{n} {}*a{}{}\n", "[".repeat(20), n - 1, "]".repeat(20))).collect();
    assert!(read(&format!("a0: &a0 [1]\n{deep}")).1[0].contains("nested deeper than 64 levels"));
    refused(&"x".repeat(YAML_BYTES_MAX + 1), "f:1:1 the YAML is larger than 262144 bytes (move long text into files)");
}

#[test]
fn a_pointer_finds_the_nearest_place() {
    let mut findings = Findings::new();
    let node = parse("f", "a:\n  - b: 1\n    c/d: 2\n", 10, &mut findings).unwrap();
    assert_eq!(node.nearest("/a/0/c~1d").mark, Mark { line: 13, column: 10 });
    assert_eq!(node.nearest("/a/0/none/x").mark, Mark { line: 12, column: 5 });
}

proptest! {
    #[test]
    fn reading_never_panics(text in r"([a-z\[\]{}:,&*!|>'\x22#%@`\- \n\t?~0-9.é\r\u{feff}\u{85}]|- |: |\n  ){0,80}") {
        let (value, findings) = read(&text);
        prop_assert!(value.is_some() || !findings.is_empty(), "nothing said about {text:?}");
    }

    #[test]
    fn json_is_yaml(list in proptest::collection::vec((r"[ -~é]{0,12}", any::<i32>(), any::<bool>()), 0..6)) {
        let value = json!(list.iter().map(|(text, number, flag)| json!({"t": text, "n": number, "b": flag})).collect::<Vec<_>>());
        prop_assert_eq!(read(&value.to_string()), (Some(value), vec![]));
    }
}
