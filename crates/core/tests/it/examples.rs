//! The examples are agents without a finding, and what their READMEs say can be typed.

use std::fs;
use std::path::{Path, PathBuf};

use livery_core::agent::{Agent, Folder};
use livery_core::finding::Findings;
use livery_core::schema::Schema;
use livery_core::yaml;
use serde_json::Value;

/// The folder of one example.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// Reads a folder from disk.
pub(crate) fn folder(root: &Path) -> Folder {
    fn walk(root: &Path, below: &Path, entries: &mut Vec<(String, Vec<u8>, bool)>) {
        for entry in fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, entries);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                entries.push((name, fs::read(&path).unwrap(), false));
            }
        }
    }
    let mut entries = Vec::new();
    walk(root, root, &mut entries);
    Folder::from_entries(entries).unwrap()
}

/// The script of an example as JSON.
pub(crate) fn script(name: &str, script: &str) -> Value {
    let file = format!("scripts/{script}.yaml");
    let folder = folder(&path(name));
    let text = std::str::from_utf8(&folder.get(&file).unwrap().bytes).unwrap().to_owned();
    let mut findings = Findings::new();
    let node = yaml::parse(&file, &text, 0, &mut findings).unwrap();
    assert_eq!(findings.into_vec(), []);
    node.to_json()
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path(""))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_example_is_an_agent_without_a_finding() {
    assert_eq!(names(), ["hello", "invoice-reconcile", "sales-summary", "support-triage"]);
    for name in names() {
        let report = Agent::check(&folder(&path(&name)));
        let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings, Vec::<String>::new());
        let agent = report.agent.unwrap();
        assert_eq!(agent.name, name);
        assert!(agent.model.iter().all(|model| model.is_scripted()), "{name} works without a key");
    }
}

#[test]
fn the_scripts_finish_with_what_the_output_schema_asks_for() {
    for name in names() {
        let agent = Agent::parse(&folder(&path(&name))).unwrap();
        let script = script(&name, &agent.model[0].model);
        let last = script["turns"].as_array().unwrap().last().unwrap().clone();
        let Some(call) = last["tools"].as_array().and_then(|tools| tools.last()) else {
            assert!(agent.answers_in_text() && last["text"].is_string(), "{name}");
            continue;
        };
        assert_eq!(call["name"], "finish");
        assert_eq!(Schema::compile(&agent.output).unwrap().findings(&call["arguments"], ""), []);
    }
}

#[test]
fn the_first_command_of_every_readme_has_an_input_that_fits() {
    for name in names() {
        let readme = fs::read_to_string(path(&name).join("README.md")).unwrap();
        let (_, rest) = readme.split_once(&format!("livery run examples/{name} --input '")).unwrap();
        let (input, _) = rest.split_once('\'').unwrap();
        let input: Value = serde_json::from_str(input).unwrap();
        let agent = Agent::parse(&folder(&path(&name))).unwrap();
        assert_eq!(agent.validate_input(&input), [], "{name}");
        assert!(!agent.prompt.render(&input).contains("{{"), "{name}");
    }
}

#[test]
fn the_refused_ticket_is_refused_for_every_mistake() {
    let agent = Agent::parse(&folder(&path("support-triage"))).unwrap();
    let input = serde_json::json!({"ticket": "", "customer": {"plan": "gold"}});
    let mut pointers: Vec<String> = agent.validate_input(&input).into_iter().map(|error| error.pointer).collect();
    pointers.sort();
    assert_eq!(pointers, ["/input/customer", "/input/customer/plan", "/input/ticket"]);
}
