//! The wall against the real server: what is called reading changes nothing, in a session that could.

use livery_broker::sql::{Class, Rules, judge};

use super::Site;
use super::program::{query, relayed};

/// Spellings that a server may take for more than they look like.
const TRIED: &[&str] = &[
    "explain (costs off, \"analyze\") insert into users values (3)",
    "explain (costs off, \"analyze\" true, verbose) delete from users",
    "explain (costs off, u&\"\\0061nalyze\") delete from users",
    "explain (\"analyze\") delete from users",
    "explain (costs off, \"ANALYZE\") delete from users",
    "explain (format json, analyze) delete from users",
    "explain (costs off, \"analyze\") create table t as select 1 as a",
    "explain (costs off, \"analyze\") select * into t from users",
    "explain(verbose)analyze delete from users",
    "explain analyze verbose with gone as (delete from users returning 1) select * from gone",
    "select nextval('numbers')",
    "select setval('numbers', 7)",
    "select setval('numbers', 7, false), 1",
    "select pg_catalog.\"nextval\"('numbers')",
    "select u&\"\\006eextval\"('numbers')",
    "select n from (select 'numbers'::regclass as r) as a, nextval(a.r) as n",
    "select pg_advisory_lock(1)",
    "select pg_try_advisory_lock_shared(1, 2)",
    "values (pg_advisory_lock(7))",
    "select lo_creat(-1)",
    "select lo_from_bytea(0, 'x')",
    "select \"lo_create\"(0)",
    "with x as (select lo_creat(-1)) select * from x",
    "declare c cursor with hold for select nextval('numbers')",
    "select 1 as \"x\"/**/;/* */delete from users",
    "select $a$ $$ $a$; delete from users",
    "select $a$$a$$a$$a$;delete from users--$a$",
    "select $1a$ ; delete from users --$1a$",
    "select U&'\\0027' uescape '\\'; delete from users",
    "select u&'!' uescape '!'; delete from users --'",
    "select e'\\''; delete from users --'",
    "select '\\'; delete from users --'",
    "select '\\' /* '; delete from users -- */",
    "select n'\\'; delete from users --'",
    "select b'0\\'; delete from users --'",
    "select x'0'\n'; delete from users --'",
    "select e'a'\n'\\'; delete from users --'",
    "select e'a'--\n'\\'; delete from users --'",
    "select 'a'\n'\\'; delete from users --'",
    "select u&'a'\n'\\'; delete from users --'",
    "select 1 /* /* */ ; delete from users -- */",
    "select 1 /*/*/ */ */; delete from users",
    "select 1 */*2; delete from users --*/",
    "select 1 -/* */- 2; delete from users",
    "select 1 --\r; delete from users",
    "select 1 \u{b}; delete from users",
    "select 1 \u{a0}; delete from users",
    "select 1 \u{2028}delete from users",
    "select \u{ff07}; delete from users --\u{ff07}",
    "select 1 as a$$; delete from users --$$",
    "select \"a\"$$; delete from users --$$",
    "select 1$$; delete from users --$$",
    "select $\u{e9}$ $e$; delete from users --$\u{e9}$",
    "select $a$ $A$; delete from users --$a$",
    "select 1e'\\'; delete from users --'",
    "select _e'\\'; delete from users --'",
    "begin; delete from users; commit",
    "begin; commit; begin read write; delete from users; commit",
    "start transaction isolation level serializable, read write; delete from users; commit",
    "set transaction read write; delete from users",
    "set session characteristics as transaction read write",
    "set default_transaction_read_only to off; delete from users",
    "set \"transaction_read_only\" = off",
    "set local transaction_read_only = off; delete from users",
    "reset all; delete from users",
    "discard all; delete from users",
    "prepare x as delete from users; execute x",
    "prepare x(int) as select 1; execute x(nextval('numbers'))",
    "create temp table t as select 1",
    "select * into temp t from users",
    "table users for update",
    "(select * from users for share)",
    "do $$ begin delete from users; end $$",
    "select query_to_xml('delete from users', true, true, '')",
    "select * from json_populate_record(null::users, '{}')",
    "select set_config('transaction_read_only', 'off', true); delete from users",
    "select current_setting('a.b', true), set_config ('role', 'livery', false)",
    "refresh materialized view users",
    "cluster users",
    "truncate users",
    "lock users",
    "call p()",
    "merge into users using users as u on false when not matched then insert values (3)",
    "select pg_notify('a', 'b')",
    "listen a",
    "copy (delete from users returning 1) to stdout",
    "copy users to program 'true'",
    "alter table users rename to people",
    "comment on table users is 'x'",
    "vacuum users",
    "analyze users",
    "reindex table users",
    "select gin_clean_pending_list('users')",
    "select brin_summarize_new_values('users')",
    "select txid_current()",
    "select pg_sleep(0)",
    "fetch all from nothing",
    "show all",
];

/// F11: with `read_only`, through the wall and the read-only session, nothing changes; and in a session that may write, what a
/// policy is told is reading changes nothing either.
#[tokio::test]
async fn f11_what_is_called_reading_changes_nothing_in_a_real_server() {
    let Some(site) = Site::new().await else { return };
    let before = site.state();
    let mut changing = Vec::new();
    for read_only in [true, false] {
        for text in TRIED {
            let is_reading = judge(text, Rules { read_only }).is_ok_and(|judged| judged.class <= Class::Read);
            if !is_reading {
                continue;
            }
            relayed(&site, read_only, &[], async |program| {
                program.ask(&[query(text)]).await;
                // Looked at while the session lives: a lock goes with it.
                let after = site.state();
                if after != before {
                    changing.push((*text, read_only, after));
                }
            })
            .await;
            if site.state() != before {
                // The rest is tried all the same.
                site.sql("truncate users; insert into users values (1), (2); alter sequence numbers restart");
                site.sql("drop table if exists t; select lo_unlink(oid) from pg_largeobject_metadata");
            }
        }
    }
    assert!(changing.is_empty(), "{changing:#?}");
}
