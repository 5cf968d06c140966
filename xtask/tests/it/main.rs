//! The files that a release is installed with: each is read by whatever this machine has that reads such files, and by checks
//! of our own for what needs a machine of another kind.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and says what it skips")]

mod chart;
mod compose;
mod scripts;
mod unit;

use std::path::PathBuf;
use std::process::{Command, Output};

use saphyr::LoadableYamlNode as _;

/// A file below `dist`.
fn path(name: &str) -> PathBuf {
    xtask::root::folder().join("dist").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// A YAML document as JSON, for checks and schemas.
fn yaml(name: &str) -> serde_json::Value {
    let source = text(name);
    let documents = saphyr::Yaml::load_from_str(&source);
    let documents = documents.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(documents.len(), 1, "{name}");
    json(&documents[0])
}

fn json(value: &saphyr::Yaml<'_>) -> serde_json::Value {
    use serde_json::Value;
    if let Some(map) = value.as_mapping() {
        let mut object = serde_json::Map::new();
        for (key, value) in map {
            object.insert(key.as_str().expect("keys are text").to_owned(), json(value));
        }
        // `<<: *name` stands for the members of what is named; members of its own win.
        if let Some(Value::Object(merged)) = object.remove("<<") {
            for (key, value) in merged {
                object.entry(key).or_insert(value);
            }
        }
        return Value::Object(object);
    }
    if let Some(list) = value.as_sequence() {
        return list.iter().map(json).collect();
    }
    if let Some(text) = value.as_str() {
        return text.into();
    }
    if let Some(number) = value.as_integer() {
        return number.into();
    }
    value.as_bool().map_or(Value::Null, Value::from)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether a program is installed; says so when it is not.
fn installed(program: &str) -> bool {
    let there = xtask::setup::on_path(program);
    if !there {
        println!("SKIPPED: {program} is not installed");
    }
    there
}

fn command(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(path("")).output().unwrap()
}
