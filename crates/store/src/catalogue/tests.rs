use std::collections::BTreeSet;
use std::path::Path;

use super::ALL;
use crate::sql::Statement;
use crate::sqlite::{Access, Connection};

fn migrated(folder: &Path) -> Connection {
    let mut connection = Connection::open(&folder.join("test.db"), Access::Write).unwrap();
    connection.migrate().unwrap();
    connection
}

fn every() -> impl Iterator<Item = (String, Statement)> {
    ALL.iter().flat_map(|(file, statements)| {
        statements.iter().map(move |statement| (format!("{file}::{}", statement.name), *statement))
    })
}

fn named(name: &str) -> Statement {
    every().find(|(found, _)| found == name).map(|(_, statement)| statement).unwrap()
}

#[test]
fn every_statement_prepares_and_numbers_its_parameters_without_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let connection = migrated(folder.path());
    for (name, statement) in every() {
        let count = connection.prepare(statement).unwrap_or_else(|error| panic!("{name}: {error}"));
        let numbers: BTreeSet<usize> = statement
            .sql
            .split('$')
            .skip(1)
            .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap())
            .collect();
        assert_eq!(numbers, (1..=count).collect(), "{name}: Postgres wants every number to be used");
    }
}

#[test]
fn every_statement_is_portable_text() {
    const SQLITE_ONLY: &[&str] = &[
        "?", "insert or ", "replace into", "ifnull(", "rowid", "strftime", "json_", "glob ", "datetime(", "instr(",
        "pragma", "autoincrement", "\"", "`", "group_concat",
    ];
    for (name, statement) in every() {
        let text = statement.sql.to_ascii_lowercase();
        for word in SQLITE_ONLY {
            assert!(!text.contains(word), "{name} says {word}");
        }
    }
}

/// No listing sorts what it could have walked, none looks at every row of a table.
#[test]
fn lists_and_claims_walk_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let connection = migrated(folder.path());
    let check = |name: &str, index: &str| {
        let plan = connection.explain(named(name)).unwrap();
        assert!(plan.contains(index), "{name} does not use {index}:\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{name} sorts:\n{plan}");
        assert!(!plan.lines().any(|line| line.starts_with("SCAN") && !line.contains("INDEX")), "{name} scans:\n{plan}");
    };
    check("run_list::LIST_ALL", "runs_page");
    check("run_list::LIST_STATUS", "runs_status");
    check("run_list::LIST_AGENT", "runs_agent");
    check("run_list::LIST_APPLICATION", "runs_application");
    check("run_list::LIST_END_USER", "runs_end_user");
    check("run_list::LIST_METADATA", "SEARCH m USING PRIMARY KEY");
    check("events::READ", "PRIMARY KEY");
    check("queue::CLAIM_QUEUED", "run_queue_due");
    check("queue::CLAIM_EXPIRED", "runs_lease");
    check("deliveries::CLAIM", "deliveries_due");
    check("deliveries::LIST", "deliveries_page");
    check("deliveries::NEXT_DUE", "deliveries_due");
    check("keys::FIND", "api_keys_hash");
    check("keys::LIST", "api_keys_page");
    check("files::LIST", "files_page");
    check("webhooks::LIST", "webhooks_page");
}

/// A statement is planned once, whatever is bound to it later.
#[test]
fn binding_other_values_plans_nothing_anew() {
    let folder = tempfile::tempdir().unwrap();
    let connection = migrated(folder.path());
    for (name, statement) in every() {
        assert_eq!(connection.replans(statement), 0, "{name}");
    }
}
