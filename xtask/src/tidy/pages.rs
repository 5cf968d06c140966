//! Rules about documents: a page for every error code and none for others, and links that lead somewhere.

use std::collections::BTreeSet;

use livery_core::{Error, ErrorCode};

use super::Finding;
use super::lex::{Kind, Token, tokens};
use super::tree::{Tree, crate_of, is_test};

/// Where the pages are; `type` of a problem points at them.
const FOLDER: &str = "docs/errors/";
/// Where every code of a problem document has its title.
const TITLES: &str = "crates/server/src/problem.rs";
/// What each page has beside its title.
const HEADINGS: &[&str] = &["## What it means", "## What to check"];

/// A page per code, a code per page, and each page says what it means and what to check.
pub fn errors(tree: &Tree, findings: &mut Vec<Finding>) {
    let codes = codes(tree);
    for code in &codes {
        let path = format!("{FOLDER}{code}.md");
        let Some(text) = tree.files.get(&path) else {
            findings.push(Finding::new(path, 0, format!("missing: the code `{code}` has no page")));
            continue;
        };
        if !text.starts_with(&format!("# `{code}`\n")) {
            findings.push(Finding::new(&path, 1, format!("the title is not \"# `{code}`\"")));
        }
        for heading in HEADINGS.iter().filter(|heading| !text.contains(*heading)) {
            findings.push(Finding::new(&path, 0, format!("lacks \"{heading}\"")));
        }
    }
    for (path, _) in tree.documents() {
        let Some(code) = path.strip_prefix(FOLDER).and_then(|file| file.strip_suffix(".md")) else { continue };
        if code != "README" && !codes.contains(code) {
            findings.push(Finding::new(path, 0, "no code has this name: delete the page"));
        }
    }
}

/// Every code a caller can meet: of runs, of the domain error, and those that code names in place (`code: "…"`).
pub fn codes(tree: &Tree) -> BTreeSet<String> {
    let mut codes: BTreeSet<String> = ErrorCode::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    codes.extend(domain_codes().into_iter().map(str::to_owned));
    for (path, text) in tree.rust() {
        let shipped = path.starts_with("crates/") && !is_test(path) && !matches!(crate_of(path), "guest" | "testkit");
        if shipped {
            codes.extend(named_in_place(text));
        }
    }
    codes.extend(tree.files.get(TITLES).map(|text| titled(text)).unwrap_or_default());
    codes
}

/// The codes in the server's table of titles: `("code", "Title"),` after `CODES`.
fn titled(text: &str) -> Vec<String> {
    text.lines()
        .skip_while(|line| !line.contains("const CODES"))
        .take_while(|line| *line != "];")
        .filter_map(|line| line.trim().strip_prefix("(\"")?.split_once('"'))
        .map(|(code, _)| code.to_owned())
        .collect()
}

/// `code: "name"` in code.
fn named_in_place(text: &str) -> Vec<String> {
    let code: Vec<Token<'_>> = tokens(text).into_iter().filter(|token| token.kind != Kind::Comment).collect();
    code.windows(3)
        .filter(|three| three[0].text == "code" && three[1].text == ":" && three[2].kind == Kind::Text)
        .map(|three| three[2].text.to_owned())
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect()
}

/// The fixed codes of the domain error. A new variant does not compile until it is here.
fn domain_codes() -> Vec<&'static str> {
    let text = String::new;
    let samples = [
        Error::NotFound { what: "run" },
        Error::Unauthenticated { detail: "" },
        Error::Forbidden { detail: text() },
        Error::IdempotencyMismatch,
        Error::TooLarge { what: "body", limit_bytes: 0 },
        Error::Unavailable { detail: text(), retry_after_s: 0 },
        Error::LeaseLost,
        Error::Internal { cause: text() },
    ];
    for sample in &samples {
        match sample {
            Error::NotFound { .. }
            | Error::Unauthenticated { .. }
            | Error::Forbidden { .. }
            | Error::IdempotencyMismatch
            | Error::TooLarge { .. }
            | Error::Unavailable { .. }
            | Error::LeaseLost
            | Error::Internal { .. }
            // These carry their code, which is read where it is written.
            | Error::Malformed { .. }
            | Error::Invalid { .. }
            | Error::Conflict { .. }
            | Error::Limited { .. } => {}
        }
    }
    samples.iter().map(Error::code).collect()
}

/// Relative links between documents, and from documents to files, lead somewhere.
pub fn links(tree: &Tree, findings: &mut Vec<Finding>) {
    let root = crate::root::folder();
    for (path, text) in tree.documents() {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (index, line) in text.lines().enumerate() {
            for target in link_targets(line) {
                let target = target.split('#').next().unwrap_or(target);
                let outside = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
                if !outside && !root.join(folder).join(target).exists() {
                    findings.push(Finding::new(path, index + 1, format!("the link to {target} leads nowhere")));
                }
            }
        }
    }
}

/// The `target` of every `](target)` on a line.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

#[cfg(test)]
mod tests;
