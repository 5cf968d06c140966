use std::collections::BTreeSet;
use std::path::Path;

use tokio_postgres::types::Type;

use super::ALL;
use crate::postgres::tests::{engine, generic_plan, types};
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

/// Postgres knows every table and column, infers the types the arguments have, and answers types a row can be read from.
#[tokio::test(flavor = "multi_thread")]
async fn every_statement_prepares_on_postgres_with_the_types_that_are_sent() {
    let Some(engine) = engine().await else { return };
    for (name, statement) in every() {
        let (params, columns) = types(&engine, statement).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let sent = |kind: &Type| matches!(*kind, Type::INT8 | Type::TEXT | Type::BYTEA);
        assert!(params.iter().all(sent), "{name} takes {params:?}: cast what is not bigint, text or bytea");
        let read = |kind: &Type| sent(kind) || *kind == Type::INT4;
        assert!(columns.iter().all(read), "{name} answers {columns:?}: cast what is not bigint, text or bytea");
    }
}

/// Without statistics every index looks alike to Postgres, and the plan of a prepared statement stays: whatever names one
/// run or delivery finds it by its id, and never walks through its tenant's.
#[tokio::test(flavor = "multi_thread")]
async fn one_row_is_found_by_its_id_before_there_are_statistics() {
    let Some(engine) = engine().await else { return };
    let mut found = 0;
    for (name, statement) in every() {
        let sql = statement.postgres_sql();
        let one = sql.contains("id = $2 and (org_id = $1") || sql.contains("id = $2 and (r.org_id = $1");
        let tables = ["update runs", "from runs", "join runs", "update deliveries", "from deliveries"];
        let walks = sql.contains("org_id = $1 and id = $2") && tables.iter().any(|table| sql.contains(table));
        assert!(!walks, "{name} names one row by two columns");
        if one {
            let plan = generic_plan(&engine, statement).await;
            let keys = [
                "runs_pkey",
                "deliveries_pkey",
                "policies_pkey",
                "approvals_pkey",
                "applications_pkey",
                "workspaces_pkey",
                "snapshots_pkey",
            ];
            assert!(keys.iter().any(|key| plan.contains(key)), "{name} walks:\n{plan}");
            found += 1;
        }
    }
    assert!(found > 10, "{found}");
}

#[test]
fn a_text_of_its_own_for_postgres_has_a_reason() {
    let mut found: Vec<String> =
        every().filter(|(_, statement)| statement.has_own_postgres_text()).map(|(name, _)| name).collect();
    found.sort_unstable();
    let expected: Vec<&str> = super::ON_POSTGRES.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_statement_is_portable_text() {
    const SQLITE_ONLY: &[&str] = &[
        "?",
        "insert or ",
        "replace into",
        "ifnull(",
        "rowid",
        "strftime",
        "json_",
        "glob ",
        "datetime(",
        "instr(",
        "pragma",
        "autoincrement",
        "\"",
        "`",
        "group_concat",
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
    check("run_list::LIST_SCHEDULE", "runs_schedule");
    check("run_list::LIST_TRIGGER", "runs_trigger");
    check("run_list::LIST_METADATA", "SEARCH m USING PRIMARY KEY");
    check("events::READ", "PRIMARY KEY");
    check("queue::CLAIM_QUEUED", "run_queue_due");
    check("queue::CLAIM_EXPIRED", "runs_lease");
    check("queue::CLAIM_OWN", "runs_lease");
    check("queue::FIND_EXPIRED", "runs_lease");
    check("queue::FIND_CANCELLED", "runs_cancel");
    check("approvals::LIST", "approvals_page");
    check("approvals::LIST_STATUS", "approvals_status");
    check("approvals::LIST_RUN", "approvals_run");
    check("approvals::OF_RUN", "approvals_run");
    check("policies::LIST", "policies_page");
    check("policies::APPLYING", "policies_page");
    check("connections::LIST", "connections_page");
    check("connections::USABLE", "connections_usable");
    check("deliveries::LIST", "deliveries_page");
    check("deliveries::LIST_STATUS", "deliveries_page");
    check("deliveries::LIST_OPEN", "deliveries_open");
    check("delivery_queue::LOOK", "deliveries_queue");
    check("delivery_queue::LOOK", "deliveries_run");
    check("delivery_queue::CATCH_UP", "deliveries_queue");
    check("delivery_queue::CANCEL", "deliveries_queue");
    check("webhooks::FORGET_ROTATED", "webhooks_rotated");
    check("retention::OVERDUE", "runs_finished");
    check("retention::PURGE_DELIVERIES", "deliveries_delivered");
    check("retention::PURGE_GIVEN_UP", "deliveries_given_up");
    check("keys::FIND", "api_keys_hash");
    check("keys::LIST", "api_keys_page");
    check("files::LIST", "files_page");
    check("receipt_keys::LIST", "receipt_keys_page");
    check("schedules::DUE", "schedules_due");
    check("schedules::LIST", "schedules_page");
    check("schedules::LIVE_RUNS", "runs_schedule_live");
    check("schedules::NEXT_DUE", "schedules_due");
    check("triggers::LIST", "triggers_page");
    check("triggers::LIST_DELIVERIES", "trigger_deliveries_page");
    check("webhooks::LIST", "webhooks_page");
    check("workspaces::FIND", "workspaces_key");
    check("workspaces::LIST", "workspaces_page");
    check("workspaces::LIST_SNAPSHOTS", "snapshots_page");
    check("workspaces::USED", "snapshots_application");
}

/// A look at the deliveries hops from destination to destination, however many each of them has.
#[test]
fn a_look_at_the_deliveries_hops() {
    let folder = tempfile::tempdir().unwrap();
    let plan = migrated(folder.path()).explain(named("delivery_queue::DESTINATIONS")).unwrap();
    assert!(plan.contains("SEARCH x USING COVERING INDEX deliveries_queue"), "{plan}");
    assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN x"), "{plan}");
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

/// Statements that name no tenant, each with its reason.
const WITHOUT_TENANT: &[(&str, &str)] = &[
    ("agents::INSERT_FILE", "the agent was inserted for its tenant in the same operation"),
    ("backup::COUNTS", "system: the whole database is copied"),
    ("backup::FILES", "system: the whole database is copied"),
    ("backup::HEADLESS", "system: the whole database is copied"),
    ("backup::LOG", "system: the whole database is copied"),
    ("backup::SCHEMA", "system: the whole database is copied"),
    ("connection_authorizations::BEGIN", "system: a browser names no tenant, the state does"),
    ("connection_authorizations::TAKE", "system: a browser names no tenant, the state does"),
    ("deliveries::COUNT_PENDING", "system: the metrics are the operator's"),
    ("delivery_queue::EXPIRE_OWN", "system: start-up"),
    ("duties::TAKE", "system: no tenant's"),
    ("event_rows::PAYLOADS_1", "the header names the tenant, in the same operation"),
    ("event_rows::PAYLOADS_2", "the header names the tenant, in the same operation"),
    ("event_rows::PAYLOADS_3", "the header names the tenant, in the same operation"),
    ("event_rows::PAYLOADS_4", "the header names the tenant, in the same operation"),
    ("events::SYSTEM_READ", "system: recovery"),
    ("idempotency::VOID_RESERVATIONS", "system: start-up"),
    ("keys::FIND", "system: how a caller becomes a tenant"),
    ("meta::EXCHANGE", "system: no tenant's"),
    ("meta::GET", "system: no tenant's"),
    ("meta::SET", "system: no tenant's"),
    ("meta::SET_ONCE", "system: no tenant's"),
    ("nodes::GONE", "system: no tenant's"),
    ("nodes::LEAVE", "system: no tenant's"),
    ("nodes::LIST", "system: no tenant's"),
    ("nodes::REGISTER", "system: no tenant's"),
    ("nodes::SEEN", "system: no tenant's"),
    ("policies::REVISE", "the id is the tenant"),
    ("policies::REVISION", "the id is the tenant"),
    ("queue::CLAIM_EXPIRED", "system: a node works for all"),
    ("queue::CLAIM_OWN", "system: a node works for all"),
    ("queue::COUNT", "system: readiness"),
    ("queue::EXPIRE_OWN", "system: start-up"),
    ("queue::FIND_CANCELLED", "system: a node works for all"),
    ("queue::FIND_EXPIRED", "system: a node works for all"),
    ("queue::LOCK_ROOM", "the id is the tenant"),
    ("receipt_keys::INSERT", "system: the platform's own keys"),
    ("receipt_keys::INSERT_FIRST", "system: the platform's own keys"),
    ("receipt_keys::LIST", "system: the platform's own keys"),
    ("receipt_keys::REWRAP", "system: the platform's own keys"),
    ("resealing::ROTATED", "system: a node seals anew for all"),
    ("retention::OVERDUE", "system: the operator says how long things are kept"),
    ("retention::PURGE_DELIVERIES", "system: the operator says how long things are kept"),
    ("retention::PURGE_GIVEN_UP", "system: the operator says how long things are kept"),
    ("schedules::COUNT_HOLDS", "system: a node releases for all"),
    ("schedules::DUE", "system: a node fires for all"),
    ("schedules::NEXT_DUE", "system: a node fires for all"),
    ("tenants::COUNT_ORGANIZATIONS", "system: the first start"),
    ("tenants::DEMANDS", "the id is the tenant"),
    ("tenants::DEMAND_OF_ORGANIZATION", "the id is the tenant"),
    ("tenants::GET_ORGANIZATION", "the id is the tenant"),
    ("tenants::INSERT_ORGANIZATION", "the id is the tenant"),
    ("tenants::LIST_ORGANIZATIONS", "system: the operator's list"),
    ("tenants::LOCK_ORGANIZATION", "the id is the tenant"),
    ("tenants::UPDATE_CONCURRENCY", "the id is the tenant"),
    ("triggers::FIND", "system: a sender names no tenant, the trigger does"),
    ("triggers::PURGE", "system: a node forgets for all"),
    ("vault::BY_ROOT", "system: the root keys are the operator's"),
    ("webhooks::FORGET_ROTATED", "system: a node tidies for all"),
];

#[test]
fn every_statement_names_the_tenant_or_has_a_reason() {
    // Returned columns do not count: the tenant has to be in what is written or asked.
    let names_tenant = |sql: &str| {
        sql.split(" returning ").next().is_some_and(|text| {
            let asked = if text.starts_with("select") {
                text.split_once(" where ").map_or("", |(_, asked)| asked)
            } else {
                text
            };
            asked.contains("org_id")
        })
    };
    let found: Vec<String> =
        every().filter(|(_, statement)| !names_tenant(statement.sql)).map(|(name, _)| name).collect();
    let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
    found.sort_unstable();
    let expected: Vec<&str> = WITHOUT_TENANT.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, expected);
}

/// A public function takes a tenant (alone, or inside the value it is about) or says `system_`.
#[test]
fn every_function_takes_a_tenant_or_is_named_system() {
    const CARRIES_TENANT: &[&str] = &["OrgId", "Lease", "New", "Row", "IdempotencyKey"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for (file, _) in ALL {
        let text = std::fs::read_to_string(folder.join(file).with_extension("rs")).unwrap();
        for function in text.split("    pub async fn ").skip(1) {
            let (signature, _) = function.split_once(" -> ").unwrap();
            let (name, arguments) = signature.split_once('(').unwrap();
            let tenant = CARRIES_TENANT.iter().any(|kind| arguments.contains(kind));
            assert!(tenant || name.starts_with("system_"), "{file}::{name} takes no tenant");
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} functions were found");
}
