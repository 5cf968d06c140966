//! Each rule sees what it is for, and lets pass what only looks alike.

use super::{
    confined_words, judge_length, looks_like_sql, markers, module_docs, parents, placeholders, reachable, sql,
};
use crate::tidy::Finding;
use crate::tidy::tree::Tree;

fn check(rule: fn(&Tree, &mut Vec<Finding>), files: &[(&str, &str)], expected: &[&str]) {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    let mut findings = Vec::new();
    rule(&Tree { files: files.collect(), ..Tree::default() }, &mut findings);
    let seen: Vec<String> = findings
        .iter()
        .filter(|finding| !finding.message.starts_with("gone:"))
        .map(|finding| format!("{}:{}", finding.path, finding.line))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn docs_come_first() {
    check(
        module_docs,
        &[
            ("a.rs", "//! Docs.\nfn f() {}"),
            ("b.rs", "#![no_main]\n//! Docs."),
            ("c.rs", "fn f() {}\n//! late"),
            ("d.rs", "// no docs\nfn f() {}"),
        ],
        &["c.rs:1", "d.rs:1"],
    );
}

#[test]
fn a_file_nobody_declares_is_dead() {
    check(
        reachable,
        &[
            ("crates/a/Cargo.toml", "[[bin]]\npath = \"odd/start.rs\""),
            ("crates/a/src/lib.rs", "mod b; // mod d;\n"),
            ("crates/a/src/b.rs", "#[cfg(test)]\nmod tests;"),
            ("crates/a/src/b/tests.rs", ""),
            ("crates/a/src/d.rs", ""),
            ("crates/a/odd/start.rs", ""),
            ("crates/a/tests/it/main.rs", "mod x;"),
            ("crates/a/tests/it/x.rs", ""),
            ("crates/a/tests/it/y.rs", ""),
            ("crates/a/build.rs", ""),
        ],
        &["crates/a/src/d.rs:0", "crates/a/tests/it/y.rs:0"],
    );
    assert_eq!(parents("s/a/mod.rs"), ["s/mod.rs", "s/lib.rs", "s/main.rs", "s.rs"]);
}

#[test]
fn empty_rooms_and_notes_to_oneself() {
    check(
        placeholders,
        &[("a.rs", "//! Docs only.\n"), ("b.rs", "//! placeholder\nfn main() {}"), ("c.rs", "fn f() {}")],
        &["a.rs:0", "b.rs:0"],
    );
    let note = format!("fine\nsee {}: later", concat!("TO", "DO"));
    check(markers, &[("a.md", &note), ("b.rs", "// a todo list is a fine thing")], &["a.md:2"]);
}

#[test]
fn sql_is_told_from_prose() {
    for text in [
        "select id from runs where org = $1",
        "INSERT INTO runs (id) VALUES ($1)",
        "  update runs\n   set status = $1",
        "with due as (select 1) select * from due",
        "pragma journal_mode = wal",
    ] {
        assert!(looks_like_sql(text), "{text}");
    }
    for text in ["select a run", "update the page", "from the log", "create a key", "insert your key", "with care"] {
        assert!(!looks_like_sql(text), "{text}");
    }
    let code = "// select a from b\nconst S: &str =\n \"delete from runs\";";
    check(sql, &[("crates/server/src/a.rs", code), ("crates/store/src/a.rs", code)], &["crates/server/src/a.rs:3"]);
}

#[test]
fn words_with_a_home() {
    let code = "fn f() {\n let text = \"unsafe\"; // unsafe\n Command::new(\"sh\");\n}";
    check(
        confined_words,
        &[
            ("crates/core/src/a.rs", code),
            ("crates/core/src/a/tests.rs", code),
            ("crates/guest/src/a.rs", code),
            ("crates/core/src/b.rs", "\nunsafe {}"),
            ("crates/core/src/b/tests.rs", "unsafe {}"),
        ],
        &["crates/core/src/a.rs:3", "crates/core/src/b.rs:2", "crates/core/src/b/tests.rs:1"],
    );
}

#[test]
fn no_file_is_longer_than_the_limit() {
    assert_eq!(judge_length(500), None);
    assert!(judge_length(501).is_some());
}
