//! Rules about Rust files: docs, length, dead files, unfinished work, and words of code that have a home.

use super::Finding;
use super::lex::{Kind, Token, tokens};
use super::rules::{CONFINED_WORDS, FILE_LINES_MAX, SQL_EXCEPTIONS, WORD_EXCEPTIONS};
use super::tree::{Tree, crate_of, is_test};

/// Marks of unfinished work, cut in two so that this file is not its own finding.
const MARKERS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Every file says in its first lines what it owns; a sibling `tests.rs` is named by its parent.
pub fn module_docs(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.rust().filter(|(path, _)| !path.ends_with("/tests.rs")) {
        let documented = tokens(text)
            .into_iter()
            .take_while(|token| token.kind == Kind::Comment || is_inner_attribute_start(token))
            .any(|token| token.text.starts_with("//!"));
        if !documented {
            findings.push(Finding::new(path, 1, "no `//!` docs: say what this file owns and what to read next"));
        }
    }
}

/// `#![no_main]` and the like may stand before the docs.
fn is_inner_attribute_start(token: &Token<'_>) -> bool {
    token.kind == Kind::Sign || matches!(token.text, "no_main" | "no_std")
}

/// No file lies about that the compiler never reads.
pub fn reachable(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, _) in tree.rust() {
        let mut parents = parents(path).into_iter().chain(targets_beside(tree, path));
        if !is_target(tree, path) && !parents.any(|parent| declares(tree, &parent, path)) {
            findings.push(Finding::new(path, 0, "no module declares this file: dead, delete it or declare it"));
        }
    }
}

/// Files cargo compiles without being told by a module.
fn is_target(tree: &Tree, path: &str) -> bool {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let folder_name = folder.rsplit('/').next().unwrap_or(folder);
    let in_target_folder = matches!(folder_name, "bin" | "tests" | "benches" | "examples");
    let grandparent = folder.rsplit_once('/').map_or("", |(rest, _)| rest.rsplit('/').next().unwrap_or(rest));
    match file {
        "build.rs" => true,
        "lib.rs" | "main.rs" if folder_name == "src" => true,
        "main.rs" if matches!(grandparent, "bin" | "tests" | "benches" | "examples") => true,
        _ if in_target_folder => !folder.ends_with("src/tests"),
        // Targets with a path of their own choice are named in their manifest.
        _ => tree.files.iter().any(|(manifest, text)| {
            let base = manifest.strip_suffix("Cargo.toml");
            base.and_then(|base| path.strip_prefix(base)).is_some_and(|inside| text.contains(&format!("\"{inside}\"")))
        }),
    }
}

/// Files that may declare the module in `path`, with the name it would be declared by.
fn parents(path: &str) -> Vec<String> {
    let folder = module_folder(path);
    let usual = ["mod.rs", "lib.rs", "main.rs"].map(|name| format!("{folder}/{name}"));
    usual.into_iter().chain([format!("{folder}.rs")]).collect()
}

/// Where the module in `path` is declared from.
fn module_folder(path: &str) -> &str {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    if file == "mod.rs" { folder.rsplit_once('/').map_or("", |(rest, _)| rest) } else { folder }
}

/// Targets in that folder: an example is one file, and may have a module beside it.
fn targets_beside(tree: &Tree, path: &str) -> Vec<String> {
    let folder = module_folder(path);
    let is_beside = |file: &&String| file.rsplit_once('/').is_some_and(|(of, _)| of == folder) && is_target(tree, file);
    tree.files.keys().filter(is_beside).cloned().collect()
}

fn declares(tree: &Tree, parent: &str, path: &str) -> bool {
    let Some(text) = tree.files.get(parent) else { return false };
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let module = match file {
        "mod.rs" => folder.rsplit('/').next().unwrap_or(folder),
        _ => file.trim_end_matches(".rs"),
    };
    let code: Vec<Token<'_>> = tokens(text).into_iter().filter(|token| token.kind != Kind::Comment).collect();
    code.windows(3).any(|three| three[0].text == "mod" && three[1].text == module && three[2].text == ";")
        || code.iter().any(|token| token.kind == Kind::Text && token.text.ends_with(file))
}

/// A module holds something: rooms are built when they are moved into.
pub fn placeholders(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.rust() {
        let tokens = tokens(text);
        let empty = tokens.iter().all(|token| token.kind == Kind::Comment);
        let says_so = tokens.iter().any(|token| {
            token.kind == Kind::Comment && token.text.trim_start_matches(['/', '!', ' ']).trim() == "placeholder"
        });
        if empty || says_so {
            findings.push(Finding::new(path, 0, "holds nothing: write it or delete it"));
        }
    }
}

/// No note to oneself is left in code or documents: do it, or write an issue.
pub fn markers(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.rust().chain(tree.documents()) {
        for (index, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(marker) = words.find(|word| MARKERS.contains(word)) {
                findings.push(Finding::new(path, index + 1, format!("{marker} is left: do it or open an issue")));
            }
        }
    }
}

/// Text that looks like SQL stays in the store.
pub fn sql(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.rust() {
        if crate_of(path) == "store" || SQL_EXCEPTIONS.iter().any(|(exception, _)| *exception == path) {
            continue;
        }
        for token in tokens(text) {
            if token.kind == Kind::Text && looks_like_sql(token.text) {
                findings.push(Finding::new(path, token.line, "looks like SQL: statements belong to the store"));
            }
        }
    }
    for (path, _) in SQL_EXCEPTIONS {
        if !tree.files.contains_key(*path) {
            findings.push(Finding::new(*path, 0, "gone: take it out of SQL_EXCEPTIONS"));
        }
    }
}

fn looks_like_sql(text: &str) -> bool {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let starts = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    starts(&["insert into ", "insert or ", "delete from ", "replace into ", "pragma ", "begin immediate"])
        || starts(&["create table", "create index", "create unique index", "create trigger", "create view"])
        || starts(&["alter table", "drop table", "drop index", "truncate table"])
        || (starts(&["select "]) && text.contains(" from "))
        || (starts(&["update "]) && text.contains(" set ") && text.contains('='))
        || (starts(&["with "]) && text.contains(" as (") && text.contains("select "))
}

/// Words of code that have a home are used there alone.
pub fn confined_words(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.rust() {
        let code: Vec<Token<'_>> =
            tokens(text).into_iter().filter(|token| matches!(token.kind, Kind::Word | Kind::Sign)).collect();
        for rule in CONFINED_WORDS {
            let at_home = rule.crates.contains(&crate_of(path)) || (rule.tests && is_test(path));
            let excepted = WORD_EXCEPTIONS.iter().any(|(file, words, _)| *file == path && *words == rule.words);
            let found = first_match(&code, rule.words);
            match found {
                Some(line) if !at_home && !excepted => {
                    findings.push(Finding::new(path, line, format!("`{}`: {}", rule.words, rule.instead)));
                }
                None if excepted => {
                    findings.push(Finding::new(path, 0, format!("no longer has `{}`: drop the exception", rule.words)));
                }
                _ => {}
            }
        }
    }
    for (path, words, _) in WORD_EXCEPTIONS {
        if !tree.files.contains_key(*path) {
            findings.push(Finding::new(*path, 0, format!("gone: take it out of WORD_EXCEPTIONS (`{words}`)")));
        }
    }
}

/// Line where the words first stand in this order.
fn first_match(code: &[Token<'_>], words: &str) -> Option<usize> {
    let wanted: Vec<&str> =
        words.split(' ').flat_map(|word| if word == "::" { vec![":", ":"] } else { vec![word] }).collect();
    code.windows(wanted.len())
        .find(|window| window.iter().zip(&wanted).all(|(token, word)| token.text == *word))
        .and_then(|window| window.first())
        .map(|token| token.line)
}

/// No file grows past the limit.
pub fn length(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, text) in tree.rust() {
        if let Some(complaint) = judge_length(text.lines().count()) {
            findings.push(Finding::new(path, 0, complaint));
        }
    }
}

fn judge_length(lines: usize) -> Option<String> {
    let too_long = || format!("{lines} lines, more than {FILE_LINES_MAX}: what is the second idea in it?");
    (lines > FILE_LINES_MAX).then(too_long)
}

#[cfg(test)]
mod tests;
