//! What CycloneDX 1.6 asks of a list, and what a list of the same release must not change.

use std::collections::BTreeSet;

use serde_json::Value;

use super::list;
use crate::dist::Facts;
use crate::dist::packages::Packages;

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn this_release() -> Value {
    let facts = Facts {
        version: "0.1.0".to_owned(),
        target: TARGET.to_owned(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        epoch_s: 1_700_000_000,
        compiler: "1.95.0".to_owned(),
    };
    list(&facts, b"program", &Packages::read(TARGET).unwrap(), Some("2.36")).unwrap()
}

/// The rules of the published schema for the parts that we write; a closed object each, so that a member of another name fails.
fn schema() -> Value {
    let text = |pattern: &str| serde_json::json!({"type": "string", "pattern": pattern});
    let hashes = serde_json::json!({"type": "array", "items": {
        "type": "object", "additionalProperties": false, "required": ["alg", "content"],
        "properties": {
            "alg": {"enum": ["MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512", "SHA3-256", "SHA3-384", "SHA3-512"]},
            "content": text("^([a-fA-F0-9]{32}|[a-fA-F0-9]{40}|[a-fA-F0-9]{64}|[a-fA-F0-9]{96}|[a-fA-F0-9]{128})$"),
        },
    }});
    let component = serde_json::json!({
        "type": "object", "additionalProperties": false, "required": ["type", "name"],
        "properties": {
            "type": {"enum": ["application", "framework", "library", "container", "platform", "operating-system"]},
            "bom-ref": text("."), "name": text("."), "version": text("."), "description": {"type": "string"},
            "scope": {"enum": ["required", "optional", "excluded"]},
            "hashes": hashes,
            "licenses": {"type": "array", "minItems": 1, "maxItems": 1, "items": {
                "type": "object", "additionalProperties": false, "required": ["expression"],
                "properties": {"expression": text(".")},
            }},
            "cpe": text("^cpe:2\\.3:[aho](:[A-Za-z0-9._-]+){2}(:[^:]+){8}$"),
            "purl": text("^pkg:cargo/[a-zA-Z0-9_-]+@[0-9]"),
            "externalReferences": {"type": "array", "items": {
                "type": "object", "additionalProperties": false, "required": ["type", "url"],
                "properties": {"type": {"const": "vcs"}, "url": text("^https://[^ ]+$")},
            }},
            "properties": {"type": "array", "items": {
                "type": "object", "additionalProperties": false, "required": ["name"],
                "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
            }},
        },
    });
    serde_json::json!({
        "type": "object", "additionalProperties": false, "required": ["bomFormat", "specVersion"],
        "properties": {
            "$schema": {"const": "http://cyclonedx.org/schema/bom-1.6.schema.json"},
            "bomFormat": {"const": "CycloneDX"}, "specVersion": {"const": "1.6"},
            "serialNumber": text("^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"),
            "version": {"type": "integer", "minimum": 1},
            "metadata": {"type": "object", "additionalProperties": false, "properties": {
                "timestamp": text("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
                "tools": {"type": "object", "properties": {"components": {"type": "array", "items": component}}},
                "component": component,
            }},
            "components": {"type": "array", "uniqueItems": true, "items": component},
            "dependencies": {"type": "array", "uniqueItems": true, "items": {
                "type": "object", "additionalProperties": false, "required": ["ref"],
                "properties": {"ref": text("."), "dependsOn": {"type": "array", "uniqueItems": true, "items": text(".")}},
            }},
        },
    })
}

#[test]
fn the_list_is_what_the_standard_asks() {
    let list = this_release();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&list).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));

    // What no schema says: references are unique, and every one that is used exists.
    let components = list["components"].as_array().unwrap();
    let own = list["metadata"]["component"]["bom-ref"].as_str().unwrap();
    let names: Vec<&str> = components.iter().map(|part| part["bom-ref"].as_str().unwrap()).chain([own]).collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), unique.len());
    for edge in list["dependencies"].as_array().unwrap() {
        assert!(unique.contains(edge["ref"].as_str().unwrap()), "{edge}");
        for other in edge["dependsOn"].as_array().unwrap() {
            assert!(unique.contains(other.as_str().unwrap()), "{other}");
        }
    }
}

#[test]
fn the_list_knows_what_is_inside() {
    let list = this_release();
    let components = list["components"].as_array().unwrap();
    let one = |name: &str| components.iter().find(|part| part["name"] == name).unwrap();
    assert_eq!(one("rustls")["scope"], "required");
    assert_eq!(one("cc")["scope"], "excluded");
    assert_eq!(one("livery-store")["purl"], Value::Null, "our own crates are in no registry");
    // The C code that scanners look for under its own name.
    for name in ["sqlite", "aws-lc", "glibc", "rust-std"] {
        assert!(!one(name)["version"].as_str().unwrap().is_empty(), "{name}");
    }
    assert!(one("sqlite")["cpe"].as_str().unwrap().starts_with("cpe:2.3:a:sqlite:sqlite:3."));
    assert_eq!(list, this_release(), "the same release, the same list");
}
