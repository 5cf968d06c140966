//! What a program can make of messages that are each allowed.

use livery_broker::postgres::{Hello, greet};
use livery_broker::sql::Class;
use tokio::io::{AsyncWriteExt as _, duplex};

use super::Site;
use super::program::{bind, execute, length_of, message, parse, query, relayed, sync};

/// A startup message of these parameters.
fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = (3_u32 << 16).to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
    }
    body.push(0);
    [&length_of(&body).to_be_bytes()[..], &body].concat()
}

/// F11: the name of a setting in the startup message ends where a name ends. It becomes part of a statement that no wall sees.
#[tokio::test]
async fn f11_the_name_of_a_setting_is_no_statement() {
    let Some(site) = Site::new().await else { return };
    let lift = "enable_x.y to 1; commit; begin read write; drop table users; commit; set enable_seqscan";
    for name in [lift, "enable_sort = off; drop table users --", "ENABLE_SEQSCAN\u{a0}", "enable_"] {
        let (mut outer, mut inner) = duplex(16 * 1024);
        outer.write_all(&startup(&[("user", "db"), (name, "off")])).await.unwrap();
        let greeted = greet(&mut inner).await;
        if let Ok(Some(Hello::Start(start))) = &greeted {
            relayed(&site, true, &start.settings, async |_| {}).await;
            assert_eq!(site.sql("select count(*) from pg_class where relname = 'users'"), "1", "{name}");
        }
        assert_eq!(greeted.unwrap_err().code, "42501", "{name}");
    }
    let (mut outer, mut inner) = duplex(16 * 1024);
    outer.write_all(&startup(&[("user", "db"), ("Enable_SeqScan", "o'ff")])).await.unwrap();
    let Ok(Some(Hello::Start(start))) = greet(&mut inner).await else { panic!("it is a setting") };
    assert_eq!(start.settings, [("enable_seqscan".to_owned(), "o'ff".to_owned())]);
}

/// F11, C3: what stands in place of a refused message runs nothing, whatever portals the program has made.
#[tokio::test]
async fn f11_c3_a_refusal_runs_no_portal_of_the_programs() {
    let Some(site) = Site::new().await else { return };
    let before = site.state();
    let notes = relayed(&site, false, &[], async |program| {
        let name = "refused by livery";
        let batch = [parse("a", "select nextval('numbers')"), bind(name, "a"), parse("", "set role postgres"), sync()];
        let heard = program.ask(&batch).await;
        assert!(heard.iter().any(|(tag, text)| *tag == b'E' && text.contains("ROLE is neither set")), "{heard:?}");
        // The session goes on as after any error.
        let heard = program.ask(&[query("select 41 + 1")]).await;
        assert!(heard.iter().any(|(tag, text)| *tag == b'D' && text.ends_with("42")), "{heard:?}");
    })
    .await;
    assert_eq!(notes.begun(), [Class::Read]);
    assert_eq!(site.state(), before);
}

/// F11, C3: a name means what it was made with. One whose making is about to fail is not taken for the older one of that name,
/// which the server would run.
#[tokio::test]
async fn f11_c3_a_name_is_what_the_server_has_under_it() {
    let Some(site) = Site::new().await else { return };
    let notes = relayed(&site, false, &[], async |program| {
        program.ask(&[query("prepare p as insert into users values (3)")]).await;
        // The server refuses the second one of that name, and would go on with the first.
        program.ask(&[parse("p", "select 1"), sync(), bind("", "p"), execute(""), sync()]).await;
    })
    .await;
    assert_eq!(notes.begun(), [Class::Write], "nothing else was run");
    assert_eq!(site.sql("select count(*) from users"), "2");
    let notes = relayed(&site, false, &[], async |program| {
        program.ask(&[query("begin")]).await;
        program.ask(&[parse("a", "insert into users values (3)"), parse("b", "select 1"), sync()]).await;
        program.ask(&[bind("x", "a"), sync(), query("savepoint s")]).await;
        let batch = [bind("x", "b"), sync(), query("rollback to s"), execute("x"), sync(), query("commit")];
        program.ask(&batch).await;
    })
    .await;
    let inserted = site.sql("select count(*) from users") == "3";
    assert_eq!(notes.begun().contains(&Class::Write), inserted, "{:?}", notes.begun());
    // What fails in order is forgotten, and made anew.
    let notes = relayed(&site, false, &[], async |program| {
        program.ask(&[parse("q", "select nope"), sync()]).await;
        let again = [parse("q", "select 7"), bind("", "q"), execute(""), sync()];
        let heard = program.ask(&again).await;
        assert!(heard.iter().any(|(tag, text)| *tag == b'D' && text.ends_with('7')), "{heard:?}");
        // A pipeline of several of its kind in one piece.
        let several = (0..20).flat_map(|_| [parse("", "select 8"), bind("", ""), execute(""), sync()]);
        let heard = program.ask(&several.collect::<Vec<_>>()).await;
        assert_eq!(heard.iter().filter(|(tag, _)| *tag == b'D').count(), 20, "{heard:?}");
    })
    .await;
    assert_eq!(notes.ended(), ["answered"; 21]);
}

/// C3: what a program sends behind the beginning of COPY is eaten by it, so it is nobody's statement: the session ends.
#[tokio::test]
async fn f11_c3_nothing_is_said_in_the_middle_of_copy() {
    let Some(site) = Site::new().await else { return };
    for batches in [
        vec![vec![query("copy users from stdin"), query("select 1"), query("select 2")]],
        vec![vec![query("copy users from stdin")], vec![query("select 1")]],
    ] {
        let notes = relayed(&site, false, &[], async |program| {
            for batch in batches {
                program.say(&batch).await;
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            }
            let heard = program.hear(9).await;
            assert!(heard.iter().any(|(tag, text)| *tag == b'E' && text.contains("08P01")), "{heard:?}");
        })
        .await;
        assert!(notes.ended().iter().all(|outcome| *outcome == "cut"), "{:?}", notes.ended());
    }
    let notes = relayed(&site, false, &[], async |program| {
        program.say(&[query("copy users from stdin")]).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        program.say(&[message(b'd', &[b"9\n"]), message(b'c', &[]), query("select 1")]).await;
        program.hear(2).await;
    })
    .await;
    assert_eq!(notes.ended(), ["answered", "answered"]);
    assert_eq!(site.sql("select sum(id) from users"), "12");
}
