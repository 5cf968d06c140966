//! Tables of documents and bodies: what is asked for, and what a rule says to it.

use std::collections::BTreeSet;

use livery_core::connector::{GraphqlKind, GraphqlRule, Method};
use proptest::prelude::*;
use serde_json::json;

use super::{judge, operations, sha256};
use crate::policy::Sent;

fn rule() -> GraphqlRule {
    let listed = sha256("query { secrets }");
    let rule = json!({"queries": ["viewer", "issues"], "mutations": ["commentCreate"], "persisted": [listed]});
    serde_json::from_value(rule).unwrap()
}

/// `""` when it is allowed, else the first words of why not.
fn verdict(body: &str) -> String {
    let sent = Sent::Whole { bytes: body.as_bytes(), is_json: true };
    match judge(&rule(), Method::Post, &[], &sent) {
        Ok(()) => String::new(),
        Err(refusal) => refusal.to_string(),
    }
}

fn of(document: &str) -> String {
    verdict(&json!({"query": document}).to_string())
}

#[track_caller]
fn asks(document: &str, expected: &[(GraphqlKind, &[&str])]) {
    let found: Vec<(GraphqlKind, Vec<String>)> = operations(document)
        .unwrap()
        .into_iter()
        .map(|operation| (operation.kind, operation.fields.into_iter().collect()))
        .collect();
    let expected: Vec<(GraphqlKind, Vec<String>)> = expected
        .iter()
        .map(|(kind, fields)| (*kind, fields.iter().map(|field| (*field).to_owned()).collect()))
        .collect();
    assert_eq!(found, expected, "{document}");
}

#[test]
fn a_document_says_what_its_operations_ask_for() {
    use GraphqlKind::{Mutation, Query, Subscription};
    asks("{ viewer { id } }", &[(Query, &["viewer"])]);
    asks(
        "query Q($a: [Int!]! = [1, -2.5e3] @x, $b: T = {a: {b: \"}\"}}) @d(x: 1) { a b(c: $a) }",
        &[(Query, &["a", "b"])],
    );
    asks("{ harmless: secrets(first: 1) @skip(if: false) { nodes { viewer } } }", &[(Query, &["secrets"])]);
    asks("{a}mutation{b}subscription S{c}", &[(Query, &["a"]), (Mutation, &["b"]), (Subscription, &["c"])]);
    asks(
        "{ ...F ... on Query { b ... @include(if: true) { c } } ... { d } } fragment F on Query @x { e ...G } fragment G on Query { f ...F }",
        &[(Query, &["b", "c", "d", "e", "f"])],
    );
    asks("# { hidden }\n,,query,{a#}\n}", &[(Query, &["a"])]);
    asks(r#"{ a(x: "} mutation { b } \" \\", y: """ { } """, z: "") }"#, &[(Query, &["a"])]);
    asks("{ query mutation on: fragment subscription: true }", &[(Query, &["fragment", "mutation", "query", "true"])]);
}

#[test]
fn what_could_be_read_in_two_ways_is_not_read() {
    for document in [
        "",
        " ",
        "# nothing",
        "{",
        "}",
        "{}",
        "{ }",
        "{ a",
        "{ a } }",
        "{ a( }",
        "{ a(x: [1) ] }",
        "{ a: }",
        "{ : a }",
        "query",
        "query Q Q { a }",
        "{ ...F }",
        "fragment F on Q { a }",
        "fragment on on Q { a } { b }",
        "fragment F on Q { a } fragment F on Q { b } { c }",
        "type Query { a: Int }",
        "extend type Query { a: Int }",
        "schema { query: Q }",
        "\"words\" query { a }",
        "{ a { } } x",
        "{ a(x: \"no end) }",
        "{ a(x: \"\n\") }",
        "{ a(x: \"\\q\") }",
        "{ a(x: \"\\u\") }",
        "{ a(x: \"\\u12\") }",
        "{ a(x: \"\\u{\") }",
        "{ a(x: \"\\u{}\") }",
        "{ a(x: \"\"\" \" \"\"\") }",
        "{ a(x: \"\"\" \\\"\"\" \"\"\") }",
        "{ a(x: \"\"\"x\"\"\"\") }",
        "{ a(x: 01) }",
        "{ a(x: 1b) }",
        "{ a(x: 1.) }",
        "{ a(x: -) }",
        "{ a(x: .5) }",
        "{ a.b }",
        "{ ä }",
        "{ a\u{a0} }",
        "\u{feff}{ a }",
        "{ a #\u{2028} }\n }",
        "{ a \u{0} }",
        "{ a ; b }",
        "{ a .. b }",
        "{ @x }",
        "query ($a: Int { a }",
        "Query { a }",
        "QUERY { a }",
    ] {
        assert!(operations(document).is_err(), "{document:?}");
    }
    assert!(operations(&"{a ".repeat(100_000)).is_err());
    assert!(operations(&format!("{{ a(x: {}1{}) }}", "[".repeat(5000), "]".repeat(5000))).is_err());
    assert!(operations(&format!("{{ {} a {} }}", "... {".repeat(5000), "}".repeat(5000))).is_err());
    assert!(operations(&"{a}".repeat(1000)).is_err());
    assert_eq!(operations("{ a(x: \"\\u0041\\u{1F600}\") }").unwrap().len(), 1);
}

/// A few words that every operation repeats are as much work as if they stood in each.
#[test]
fn d4_what_operations_share_is_counted_for_each() {
    let fields: String = (0..1000).map(|n| format!("f{n} ")).collect();
    let shared = |operations: usize| format!("{}fragment F on Q {{ {fields} }}", "{...F}".repeat(operations));
    assert_eq!(operations(&shared(20)).unwrap().len(), 20);
    assert!(operations(&shared(21)).is_err());
}

#[test]
fn d4_every_operation_of_a_request_is_judged() {
    let queries = "this connection; what a query may ask for: viewer, issues";
    let mutations = "what a mutation may ask for: commentCreate";
    let subscriptions = "what a subscription may ask for: nothing";
    for allowed in [
        "{ viewer { id } }",
        "query A { issues { nodes { id } } } query B { viewer }",
        "mutation { commentCreate { id } __typename }",
    ] {
        assert_eq!(of(allowed), "");
    }
    for (document, why) in [
        // An alias is no name, and a name no alias.
        ("{ viewer: secrets { id } }", queries),
        ("{ viewer { id } secrets { id } }", queries),
        // Hidden behind what is allowed: by order, by name, in fragments, in comments that end.
        ("query A { viewer } mutation B { issueDelete }", mutations),
        ("{ viewer } mutation { issueDelete }", mutations),
        ("{ viewer # } \n secrets }", queries),
        ("{ ...F } fragment F on Query { ...G } fragment G on Query { secrets }", queries),
        ("{ ... on Query { ... @include(if: true) { secrets } } }", queries),
        // A kind nobody listed asks for nothing, not even its type.
        ("subscription { viewer }", subscriptions),
        ("subscription { __typename }", subscriptions),
        ("mutation { viewer }", mutations),
        ("{ __schema { types { name } } }", queries),
        // D5: only exactly the name is the name.
        ("{ Viewer }", queries),
        ("{ VIEWER }", queries),
        ("{ viewer_ }", queries),
    ] {
        assert!(of(document).contains(why), "{document}: {}", of(document));
    }
}

#[test]
fn d4_batches_and_persisted_queries_are_judged_each() {
    let ok = json!({"query": "{ viewer }"});
    assert_eq!(
        verdict(&json!([ok, {"query": "mutation { commentCreate }", "variables": {"a": [1, null]}}]).to_string()),
        ""
    );
    for bad in [
        json!({"query": "{ secrets }"}),
        json!({"query": "mutation { issueDelete }"}),
        json!("{ viewer }"),
        json!([ok]),
    ] {
        assert_ne!(verdict(&json!([ok, bad]).to_string()), "", "{bad}");
    }
    let (known, other) = (sha256("query { secrets }"), sha256("query { others }"));
    let persisted = |hash: &str| json!({"version": 1, "sha256Hash": hash});
    assert_eq!(verdict(&json!({"extensions": {"persistedQuery": persisted(&known)}}).to_string()), "");
    for (body, why) in [
        (json!({"extensions": {"persistedQuery": persisted(&other)}}), "is not listed"),
        (json!({"extensions": {"persistedQuery": persisted(&known.to_uppercase())}}), "is not listed"),
        (json!([ok, {"extensions": {"persistedQuery": persisted(&other)}}]), "is not listed"),
        (
            json!({"query": "{ viewer }", "extensions": {"persistedQuery": persisted(&known)}}),
            "digest is not the query's",
        ),
        (json!({"query": "{ viewer }", "extensions": {"persistedQuery": {"id": 7}}}), "extensions hold more"),
        (json!({"query": "{ viewer }", "extensions": {"doc": 7}}), "extensions hold more"),
        (json!({"query": "{ viewer }", "documentId": "7"}), "a key other than"),
        (json!({"Query": "{ viewer }"}), "a key other than"),
        (json!({"query": null}), "no query"),
        (json!({}), "no query"),
        (json!([]), "batch is empty"),
        (json!("{ viewer }"), "not a JSON object"),
    ] {
        assert!(verdict(&body.to_string()).contains(why), "{body}: {}", verdict(&body.to_string()));
    }
    let own = json!({"query": "{ viewer }", "operationName": null, "extensions": {"persistedQuery": persisted(&sha256("{ viewer }"))}});
    assert_eq!(verdict(&own.to_string()), "");
}

#[test]
fn d4_a_body_that_reads_in_two_ways_is_refused() {
    for body in [
        r#"{"query": "{ viewer }", "query": "{ secrets }"}"#,
        r#"{"query": "{ viewer }", "Query": "{ secrets }"}"#,
        r#"{"query": "{ viewer }"} {"query": "{ secrets }"}"#,
        "{\"query\": \"{ viewer }\"",
        "\u{feff}{\"query\": \"{ viewer }\"}",
        "",
    ] {
        assert!(verdict(body).contains("not JSON with every key named once"), "{body}");
    }
    assert!(judge(&rule(), Method::Post, &[], &Sent::Unseen).is_err());
    assert!(judge(&rule(), Method::Post, &[], &Sent::Nothing).is_err());
    let (bytes, keys) = (&b"{\"query\": \"{ viewer }\"}"[..], ["query".to_owned()]);
    assert!(judge(&rule(), Method::Post, &[], &Sent::Whole { bytes, is_json: false }).is_err());
    assert!(judge(&rule(), Method::Post, &keys, &Sent::Whole { bytes, is_json: true }).is_err());
    assert!(judge(&rule(), Method::Get, &[], &Sent::Whole { bytes, is_json: true }).is_err());
    assert!(judge(&rule(), Method::Post, &[], &Sent::Whole { bytes, is_json: true }).is_ok());
}

proptest! {
    #[test]
    fn no_document_makes_it_panic(text in "[{}()\\[\\]:@$!.,\"\\\\#a-c0-9 \n-]{0,60}|\\PC{0,60}") {
        let _ = operations(&text);
    }

    /// However a field is dressed, it is its own name that is asked for.
    #[test]
    fn a_field_is_found_in_any_dress(name in "[a-z_][a-zA-Z0-9_]{0,8}", alias in "[a-z]{1,4}", dress in 0..6usize) {
        let document = match dress {
            0 => format!("{{{name}}}"),
            1 => format!("query {{ {alias}:{name}(x:\"}}\") {{ y }} }}"),
            2 => format!("{{ ...{{ {alias} : {name} }} }}"),
            3 => format!("{{ ...F }} fragment F on T {{ {name}@a @b(c: [{{d: 1}}]) }}"),
            4 => format!("#{alias}\nquery {alias} ($v: [T!] = [\"{{\"]) {{ {name} , }}"),
            _ => format!("{{,{name},,{{{alias}}}}}"),
        };
        let found = operations(&document).unwrap();
        prop_assert_eq!(&found[0].fields, &BTreeSet::from([name]), "{}", document);
    }
}
