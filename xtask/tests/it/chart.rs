//! The Helm chart: its values against its own schema, its templates' blocks, values and includes, and helm itself where it is
//! installed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{command, installed, path, said, text, yaml};

const CHART: &str = "helm/livery";

fn schema() -> jsonschema::Validator {
    jsonschema::validator_for(&serde_json::from_str(&text("helm/livery/values.schema.json")).unwrap()).unwrap()
}

/// Every template: name and text.
fn templates() -> BTreeMap<String, String> {
    let folder = path(CHART).join("templates");
    let files = std::fs::read_dir(folder).unwrap().flatten();
    files.map(|file| (file.file_name().into_string().unwrap(), std::fs::read_to_string(file.path()).unwrap())).collect()
}

/// What stands between `{{` and `}}`, trimmed of blanks and of the dashes that eat blanks.
fn actions(template: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        assert!(!before.contains("}}"), "a stray }} before {after:?}");
        let (action, more) = after.split_once("}}").expect("an action ends");
        assert!(!action.contains('\n'), "{action:?} runs over a line");
        found.push(action.trim_matches('-').trim().to_owned());
        rest = more;
    }
    assert!(!rest.contains("}}"), "a stray }}");
    found
}

#[test]
fn the_values_fit_their_schema_and_nothing_else_does() {
    let mut values = yaml("helm/livery/values.yaml");
    let schema = schema();
    let errors: Vec<String> = schema.iter_errors(&values).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    values["existingSecret"] = "livery".into();
    for (pointer, wrong) in [
        ("/replicaCount", json!(3)),
        ("/sandbox/mode", json!("none")),
        ("/pools/0/roles", json!("api,brain")),
        ("/pools/0/name", json!("Upper")),
        ("/terminationGracePeriodSeconds", json!(5)),
        ("/settings/LIVERY_LOG_JSON", json!(true)),
    ] {
        let mut changed = values.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[key] = wrong;
        assert!(!schema.is_valid(&changed), "{pointer} should be refused");
    }
}

#[test]
fn every_block_ends_and_every_include_is_defined() {
    let (mut defined, mut included) = (BTreeSet::new(), BTreeSet::new());
    for (name, template) in templates() {
        let mut open: Vec<String> = Vec::new();
        for action in actions(&template) {
            match action.split_whitespace().next().unwrap_or_default() {
                "if" | "range" | "with" => open.push(action.clone()),
                "define" => {
                    open.push(action.clone());
                    defined.insert(action.split('"').nth(1).unwrap().to_owned());
                }
                "else" => assert!(!open.is_empty(), "{name}: {action} outside of a block"),
                "end" => assert!(open.pop().is_some(), "{name}: an end too many"),
                _ => {}
            }
            for (at, _) in action.match_indices("include \"") {
                included.insert(action[at..].split('"').nth(1).unwrap().to_owned());
            }
        }
        assert!(open.is_empty(), "{name}: no end for {open:?}");
    }
    assert_eq!(included, defined);
}

#[test]
fn every_value_is_there_and_used() {
    let values = yaml("helm/livery/values.yaml");
    let mut used = BTreeSet::new();
    for (name, template) in templates() {
        for action in actions(&template) {
            for rest in action.split(".Values.").skip(1) {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
                let pointer = format!("/{}", rest[..end].replace('.', "/"));
                assert!(values.pointer(&pointer).is_some(), "{name}: there is no value {pointer}");
                used.insert(pointer);
            }
            for rest in action.split("$pool.").skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                assert!(values["pools"][0].get(&rest[..end]).is_some(), "{name}: a pool has no {}", &rest[..end]);
            }
        }
    }
    for pointer in leaves(&values, "") {
        let known = used.iter().any(|other| pointer == *other || pointer.starts_with(&format!("{other}/")));
        assert!(known, "no template uses {pointer}");
    }
}

/// Pointers of everything that is no object with members.
fn leaves(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().flat_map(|(key, value)| leaves(value, &format!("{at}/{key}"))).collect()
        }
        _ => vec![at.to_owned()],
    }
}

#[test]
fn a_pod_has_longer_than_a_drain_takes() {
    let values = yaml("helm/livery/values.yaml");
    let (grace, wait) = (&values["terminationGracePeriodSeconds"], &values["preStopSeconds"]);
    assert!(grace.as_u64().unwrap() >= wait.as_u64().unwrap() + 60, "{grace} {wait}");
}

#[test]
fn helm_itself_agrees() {
    if !installed("helm") {
        return;
    }
    let secret = ["--set", "existingSecret=livery"];
    let sets: [&[&str]; 3] =
        [&[], &["--set", "sandbox.mode=privileged,persistence.enabled=true"], &["--set", "autoscaling.enabled=true"]];
    for more in sets {
        for verb in [&["lint", "--strict", CHART] as &[&str], &["template", "demo", CHART]] {
            let arguments: Vec<&str> = verb.iter().chain(&secret).chain(more).copied().collect();
            let output = command("helm", &arguments);
            assert!(output.status.success(), "helm {}: {}", arguments.join(" "), said(&output));
        }
    }
}
