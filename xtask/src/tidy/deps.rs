//! Rules about what is compiled from outside: licences, banned crates, second versions. The lists are those of `deny.toml`.
//!
//! cargo-deny judges the same and more where it is installed. It often is not, and a list that nobody checks is no list.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::Finding;
use super::tree::Tree;

/// Where the lists are.
const LISTS: &str = "deny.toml";

/// One compiled package as `cargo tree` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

/// Judges every package that is compiled for this machine, tests and build scripts included.
pub fn compiled(tree: &Tree, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    let output = crate::root::cargo()
        .args(["tree", "--workspace", "--offline", "--edges", "normal,build,dev", "--prefix", "none"])
        .args(["--format", "{p}|{l}"])
        .output()
        .context("cannot start cargo tree")?;
    anyhow::ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("cargo tree's output")?;
    let lists = tree.files.get(LISTS).context("deny.toml is gone")?;
    judge(&packages(&text), lists, findings);
    Ok(())
}

/// `name v1.2.3 (more)|LICENCE (*)`, each once; our own crates are left out.
fn packages(tree: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = tree
        .lines()
        .filter_map(|line| {
            let (package, licence) = line.split_once('|')?;
            let (name, rest) = package.split_once(" v")?;
            let (version, more) = rest.split_once(' ').unwrap_or((rest, ""));
            let ours = more.contains("(/");
            let licence = licence.trim_end_matches("(*)").trim().to_owned();
            (!ours).then(|| Package { name: name.to_owned(), version: version.to_owned(), licence })
        })
        .collect();
    packages.sort();
    packages.dedup();
    packages
}

fn judge(packages: &[Package], lists: &str, findings: &mut Vec<Finding>) {
    let allowed = quoted(section(lists, "allow = ["));
    let banned = quoted(section(lists, "deny = ["));
    let skipped = quoted(section(lists, "skip = ["));
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Package { name, version, licence } in packages {
        versions.entry(name).or_default().push(version);
        if banned.contains(&name.as_str()) {
            findings.push(Finding::new(LISTS, 0, format!("{name} is banned and in the tree")));
        }
        if !licence_allowed(licence, &allowed) {
            findings.push(Finding::new(LISTS, 0, format!("{name} {version}: licence {licence:?} is not on the list")));
        }
    }
    for skip in &skipped {
        let (name, version) = skip.split_once('@').unwrap_or((skip, ""));
        let seen = versions.get_mut(name).filter(|seen| seen.len() > 1 && seen.contains(&version));
        match seen {
            Some(seen) => seen.retain(|other| *other != version),
            None => {
                findings.push(Finding::new(LISTS, 0, format!("{skip} is no second version any more: drop the skip")))
            }
        }
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        findings.push(Finding::new(LISTS, 0, format!("{name} is compiled in versions {}", versions.join(", "))));
    }
}

/// The lines after `opening` up to the one that is `]`.
fn section<'a>(lists: &'a str, opening: &str) -> impl Iterator<Item = &'a str> {
    lists.lines().skip_while(move |line| *line != opening).skip(1).take_while(|line| *line != "]")
}

/// The first quoted text of each line.
fn quoted<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    lines.filter_map(|line| line.split('"').nth(1)).collect()
}

/// Whether an SPDX expression can be met with the allowed licences: `OR` and the old `/` need one side, `AND` both.
fn licence_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = either(&words, &mut at, allowed);
    met && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at, allowed);
    }
    met
}

fn both(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(words, at, allowed);
        *at += 1;
        return met;
    }
    let with_exception = words.get(*at) == Some(&"WITH");
    if with_exception {
        *at += 2;
    }
    // A licence with an exception grants more; it still is another licence, so it is not taken for the plain one.
    !with_exception && allowed.contains(word)
}

#[cfg(test)]
mod tests;
