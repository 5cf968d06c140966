//! The machine's own `psql` in a real sandbox, through the front end.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Site;
use super::site::{PASSWORD, assert_absent};
use crate::support::{one_command, skip};

const AGENT: &str = "---\nname: programs\nmodel: scripted/s\ntools: [shell]\nsandbox: {network: broker}\n\
    connections:\n  db: {connector: postgres}\n---\nWork.\n";

fn is_missing_psql() -> bool {
    let is_missing = !Path::new("/usr/lib/postgresql/15/bin/psql").exists();
    if is_missing {
        skip("there is no psql of PostgreSQL 15");
    }
    is_missing
}

fn begin(site: &Site, connection: &str, command: &str) -> String {
    let command = format!(
        "export PATH=/usr/lib/postgresql/15/bin:$PATH PGCONNECT_TIMEOUT=20\nq() {{ psql -X -A -t \"$@\" 2>&1; }}\n{command}"
    );
    site.server.start_run(AGENT, Some(&one_command(&command)), &json!({"connections": {"db": connection}}))
}

fn ended(site: &Site, run: &str) -> (String, Vec<Value>) {
    assert_eq!(site.server.ended(run)["status"], "succeeded", "{:?}\n{}", site.server.events(run), site.server.log());
    let events = site.server.events(run);
    let finished = events.iter().find(|event| event["type"] == "tool.finished").unwrap();
    let result: Value = serde_json::from_str(finished["data"]["result"].as_str().unwrap()).unwrap();
    assert_absent(&json!(events).to_string());
    assert_absent(&site.server.log());
    (result["stdout"].as_str().unwrap().to_owned(), events)
}

fn expect(text: &str, site: &Site, all: &[&str]) {
    for expected in all {
        assert!(text.contains(expected), "{expected:?} is not in {text}\n{}", site.server.log());
    }
}

/// F11: a program has a database, no password, and no way to change anything, by any of the ways that there are.
#[test]
fn f11_psql_in_a_sandbox_meets_two_walls() {
    if is_missing_psql() {
        return;
    }
    let Some(site) = Site::new(&[]) else { return };
    let wipe = "create function wipe() returns int language sql as 'delete from users returning 1'";
    site.postgres.sql("shop", wipe).unwrap();
    let connection = site.connect("shop", &json!({"row_limit": 100}));
    let command = "
        q -c 'select name from users order by id'; echo read=$?
        q -c 'DROP TABLE users'; echo drop=$?
        q -c 'select wipe()'; echo wipe=$?
        q -c 'set role postgres'; q -c \"select set_config('role', 'postgres', false)\"; q -c 'do $$ begin end $$'
        q -c \"copy users to program 'id'\"; q -c \"select * from dblink('', '')\"; q -c \"select pg_read_file('/etc/passwd')\"
        q -c 'begin read write'; q -c 'set default_transaction_read_only = off'; echo walls=$?
        q -c 'select 1; drop table users; select 2'; echo several=$?
        printf 'begin;\\nselect 7;\\ndrop table users;\\nselect 8;\\nrollback;\\nselect 9;\\n' | q; echo transaction=$?
        q -c 'select value from secrets'; q -c \"select ('x' || value)::int from secrets\"; echo secret=$?
        q -c 'select generate_series(1, 5000)' | grep FATAL; echo limit=$?
        q -c '\\d users' | head -3; q -c \"show transaction_read_only\" -c 'reset all' -c 'show default_transaction_read_only'
        q -c '\\copy users to stdout'; echo copy=$?
        PGPASSWORD=lvp_00000000000000000000000000000000 q -c 'select 1'; PGUSER=nobody q -c 'select 1'; PGPASSWORD= q -w -c 'select 1'
        PGDATABASE=postgres q -c 'select 1'; PGOPTIONS='-c default_transaction_read_only=off' q -c 'select 1'; PGSSLMODE=require q -c 'select 1'
        PGSSLMODE=prefer q -c 'select 41 + 1'; PGSSLMODE=disable q 'replication=database' -c 'IDENTIFY_SYSTEM'
        env | grep -E '^(LIVERY_DB_)?PG' | sort; cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c PGPASSWORD; echo done";
    let (text, events) = ended(&site, &begin(&site, &connection, command));
    expect(
        &text,
        &site,
        &[
            "Ada\nGrace\nread=0\n",
            "ERROR:  this connection is read-only, and DROP would change something\ndrop=1\n",
            "ERROR:  cannot execute DELETE in a read-only transaction",
            "ROLE is neither set nor reset",
            "set_config is never used",
            "DO runs code that nobody looked at",
            "would change something",
            "dblink is never used",
            "pg_read_file is never used",
            "a transaction that may write is not begun",
            "DEFAULT_TRANSACTION_READ_ONLY is neither set nor reset\nwalls=1\n",
            "several=1\n",
            "7\n",
            "current transaction is aborted",
            "9\ntransaction=",
            "[REDACTED:shop]\n",
            "invalid input syntax for type integer: \"x[REDACTED:shop]\"",
            "more than 100 rows",
            "id|integer",
            "on\nRESET\non\n",
            "copy=1\n",
            "password authentication failed for user \"db\"",
            "password authentication failed for user \"nobody\"",
            "fe_sendauth: no password supplied",
            "this connection goes to the database \"shop\" only",
            "what a session may do is the connection's to say: no options",
            "server does not support SSL",
            "42\n",
            "PGHOST=127.0.0.1\n",
            "LIVERY_DB_PGPASSWORD=lvp_",
            "done\n",
        ],
    );
    assert!(!text.contains("8\nROLLBACK"), "{text}");
    assert_absent(&text);
    assert_eq!(site.users(), "2");
    let of = |kind: &str| {
        events.iter().filter(|event| event["type"] == kind).map(|event| &event["data"]).collect::<Vec<_>>()
    };
    let requested = of("egress.requested");
    assert_eq!(requested.len(), of("egress.finished").len(), "{events:?}");
    assert!(requested.iter().all(|data| data["front_end"] == "postgres"), "{requested:?}");
    let rules: Vec<&str> = of("egress.denied").iter().map(|data| data["rule"].as_str().unwrap()).collect();
    for rule in ["sql_read_only", "sql_never", "placeholder_in_login"] {
        assert!(rules.contains(&rule), "{rule} is not in {rules:?}");
    }
    assert!(!of("egress.redacted").is_empty());
}

/// A connection that may write: transactions, prepared statements and COPY work as they do without anybody between; what is
/// never done is not done here either. F11: a key that cancels belongs to its own session.
#[test]
fn f11_a_program_that_may_write_does_no_more_than_that() {
    if is_missing_psql() {
        return;
    }
    let Some(site) = Site::new(&[]) else { return };
    let connection = site.connect("shop", &json!({"read_only": false, "row_limit": 100000}));
    let command = "
        q -c 'insert into orders values (1), (2)' -c 'begin' -c 'delete from orders' -c 'rollback' -c 'select count(*) from orders'
        seq 1 5000 | q -c '\\copy orders from stdin'; q -c '\\copy (select * from orders order by id limit 2) to stdout'
        q -c 'prepare p as select $1::int + 1' -c 'execute p(41)'
        printf 'create table t (a int)\\n; insert into t values (1);\\n drop table t;\\n' | q; echo schema=$?
        q -c \"copy orders to '/tmp/x'\"; q -c \"copy orders from program 'id'\"; q -c 'create role r superuser'
        q -c 'set statement_timeout = 0'; q -c \"update pg_settings set setting = '0' where name = 'statement_timeout'\"
        q -c 'create extension pgcrypto'; q -c 'listen x'; q -c 'lo_import' ; q -c '\\lo_import /etc/passwd'
        (timeout -s INT 2 psql -X -c 'select pg_sleep(25)' 2>&1; echo cancelled=$?)
        bash -c \"printf '\\0\\0\\0\\020\\004\\322\\026\\056\\0\\0\\0\\1\\0\\0\\0\\1' > /dev/tcp/127.0.0.1/17400\"; echo key=$?
        printf 'select 1 as one \\\\gdesc\\n' | q
        printf '%s\\n' 'begin;' 'insert into orders values (:client_id + 7);' 'select count(*) from orders;' 'end;' > bench.sql
        for mode in extended prepared; do pgbench -n -M $mode -c 2 -t 10 -f bench.sql 2>&1 | grep 'actually processed'; done; echo done";
    let (text, events) = ended(&site, &begin(&site, &connection, command));
    expect(
        &text,
        &site,
        &[
            "INSERT 0 2\nBEGIN\nDELETE 2\nROLLBACK\n2\n",
            "COPY 5000\n1\n1\n",
            "PREPARE\n42\n",
            "CREATE TABLE\nINSERT 0 1\nDROP TABLE\nschema=0\n",
            "COPY reads and writes no file of the server",
            "COPY runs no program",
            "CREATE ROLE is not done here",
            "STATEMENT_TIMEOUT is neither set nor reset",
            "pg_settings is never used",
            "CREATE EXTENSION is not done here",
            "LISTEN and NOTIFY reach other sessions",
            "canceling statement due to user request",
            "key=0\n",
            "one|integer\n",
            "actually processed: 20/20\nnumber of transactions actually processed: 20/20\n",
            "done\n",
        ],
    );
    assert_absent(&text);
    assert_eq!(site.postgres.sql("shop", "select count(*) from orders").unwrap(), "5042");
    let classes: Vec<&str> = events.iter().filter_map(|event| event["data"]["statement"].as_str()).collect();
    for class in ["write", "read", "copy", "schema", "transaction"] {
        assert!(classes.contains(&class), "{class} is not in {classes:?}");
    }
}

/// A connection that is revoked takes its open sessions with it.
#[test]
fn f11_a_revoked_connection_ends_its_sessions_within_a_second() {
    if is_missing_psql() {
        return;
    }
    let Some(site) = Site::new(&[]) else { return };
    let connection = site.connect("shop", &json!({"statement_timeout_s": 60}));
    let run = begin(&site, &connection, "q -c 'select pg_sleep(40)'; echo ended=$?; q -c 'select 1'; echo again=$?");
    let sessions =
        || site.postgres.sql("postgres", "select count(*) from pg_stat_activity where usename = 'app'").unwrap();
    let patience = Duration::from_secs(60);
    let begun = Instant::now();
    while sessions() != "1" {
        assert!(begun.elapsed() < patience, "no session came: {}", site.server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let revoked = site.server.command(&["connections", "delete", &connection]).output().unwrap();
    let revoked_at = Instant::now();
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    while sessions() != "0" {
        assert!(revoked_at.elapsed() < Duration::from_secs(20), "the session is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    eprintln!("a session ended {:?} after its connection was revoked", revoked_at.elapsed());
    let (text, _) = ended(&site, &run);
    expect(&text, &site, &["the connection was revoked or its credential replaced", "ended=2\n", "again=2\n"]);
    assert!(!text.contains(PASSWORD));
}
