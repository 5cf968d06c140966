use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::auth::POSTS;

fn document() -> Value {
    serde_json::from_str(&super::document()).unwrap()
}

/// `(method, path, operation)` of everything.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(move |(method, operation)| (method.clone(), path.clone(), operation.clone()))
    });
    all.collect()
}

/// The file people and generators read is the one the server sends. `LIVERY_UPDATE=1` writes it anew.
#[test]
fn the_checked_in_document_is_this_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let now = super::document();
    if std::env::var_os("LIVERY_UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let then = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        then == now,
        "docs/openapi.json is stale: run LIVERY_UPDATE=1 cargo test -p livery-server, and look at the change"
    );
}

#[test]
fn it_is_openapi_3_1_and_every_reference_leads_somewhere() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn every_operation_says_who_it_is_what_it_needs_and_how_it_fails() {
    let document = document();
    let operations = operations(&document);
    let ids: BTreeSet<_> =
        operations.iter().map(|(_, _, operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len(), "operation ids are unique");
    for (method, path, operation) in &operations {
        assert!(operation["summary"].is_string(), "{method} {path}");
        let responses = operation["responses"].as_object().unwrap();
        if operation["tags"][0] == "system" {
            continue;
        }
        assert!(operation["security"][0]["api_key"][0].is_string(), "{method} {path} names no scope");
        for status in ["400", "401", "403", "429", "500", "503"] {
            assert!(responses.contains_key(status), "{method} {path} lacks {status}");
        }
        let sends = matches!(method.as_str(), "post" | "patch");
        assert_eq!(responses.contains_key("415"), sends, "{method} {path}");
        if path.contains('{') {
            assert!(responses.contains_key("404"), "{method} {path}");
        }
    }
}

#[test]
fn every_post_can_be_made_idempotent() {
    let document = document();
    let operations = operations(&document);
    // What comes without a key is told apart by the message itself.
    let keyed = |operation: &Value| operation["tags"][0] != "system";
    let posts = operations.iter().filter(|(method, _, operation)| method == "post" && keyed(operation));
    let posts: BTreeSet<_> = posts.map(|(_, path, _)| path.as_str()).collect();
    let known: BTreeSet<_> = POSTS.iter().map(|(path, _)| *path).collect();
    assert_eq!(posts, known);
    assert!(POSTS.iter().all(|(path, name)| *name == format!("POST {path}")));
}

#[test]
fn request_bodies_are_closed() {
    let document = document();
    // What a stranger sends is no body of ours.
    let ours = operations(&document).into_iter().filter(|(_, _, operation)| operation["tags"][0] != "system");
    for (method, path, operation) in ours {
        let Some(schema) = operation.pointer("/requestBody/content/application~1json/schema") else { continue };
        let pointer = schema["$ref"].as_str().unwrap().trim_start_matches('#').to_owned();
        assert_eq!(document.pointer(&pointer).unwrap()["additionalProperties"], false, "{method} {path}");
    }
}
