//! A wrong edge is seen; the table itself has no cycle.

use super::{edges, outside_crates, reaches};
use crate::tidy::Finding;
use crate::tidy::rules::EDGES;
use crate::tidy::tree::{Crate, Dependency, Tree};

fn tree(name: &str, package: &str, dev: bool) -> Tree {
    let dependencies = vec![Dependency { package: package.to_owned(), dev }];
    let krate = Crate { name: name.to_owned(), manifest: format!("crates/{name}/Cargo.toml"), dependencies };
    Tree { crates: vec![krate], ..Tree::default() }
}

fn check(rule: fn(&Tree, &mut Vec<Finding>), name: &str, package: &str, dev: bool, expected: &str) {
    let mut findings = Vec::new();
    rule(&tree(name, package, dev), &mut findings);
    let seen: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(seen.join("\n"), expected, "{name} → {package}, dev {dev}");
}

#[test]
fn the_rooms_below_platform_never_name_each_other() {
    check(edges, "harness", "livery-llm", false, "");
    check(edges, "harness", "livery-testkit", true, "");
    check(
        edges,
        "sandbox",
        "livery-broker",
        false,
        "crates/sandbox/Cargo.toml: sandbox may not depend on broker; allowed: core, guest",
    );
    check(edges, "core", "livery-llm", true, "crates/core/Cargo.toml: core may not depend on llm; allowed: ");
    check(edges, "attic", "serde", false, "crates/attic/Cargo.toml: a crate without a row in xtask's table of edges");
}

#[test]
fn sql_has_one_home_even_in_tests() {
    check(outside_crates, "store", "tokio-postgres", false, "");
    check(
        outside_crates,
        "platform",
        "tokio-postgres",
        true,
        "crates/platform/Cargo.toml: tokio-postgres belongs to store: only the store contains SQL",
    );
    check(outside_crates, "harness", "tokio", true, "");
}

#[test]
fn the_table_has_no_cycle() {
    for (name, next) in EDGES {
        for step in *next {
            assert!(!reaches(step, name), "{name} → {step} → … → {name}");
        }
    }
}
