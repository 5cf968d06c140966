//! `cargo xtask leak`: everything that tries to get a credential out, alone and counted, and what nobody tries yet.
//!
//! An attack has a letter and a number: A what comes back, B where it goes, C addresses, D paths and methods, E framing, F
//! lifetimes and side channels. A test that performs some begins with their numbers, `a4_a22_…` or `a6_to_a9_…`, so the list
//! of what is tried is read from the tests themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::tidy::tree::Tree;

/// How many attacks of each letter are known.
const KNOWN: [(char, u8); 6] = [('a', 24), ('b', 13), ('c', 7), ('d', 5), ('e', 7), ('f', 13)];
/// Attacks that need what is not built, each with what it is. No other may be without a test.
const LATER: [(&str, &str); 1] = [("f12", "SSH")];
/// Further tests of what keeps a credential in, by their module.
const MODULES: [&str; 9] =
    ["scrub::", "proxy::", "seal::", "vault::", "connections::", "egress", "databases::", "mail", "agentdojo::"];
/// Where they are: a choice of packages would have features of its own, and be built once more beside the suite.
const PACKAGES: &str = "--workspace";

/// Runs them, says which attacks have no test, and ends with `N passed, N failed, N skipped`.
///
/// # Errors
/// A test fails, or an attack that could be tried has none.
pub fn run() -> anyhow::Result<()> {
    crate::setup::before_tests()?;
    let tests = numbered(&crate::root::folder())?;
    let tried: BTreeMap<String, usize> = tests.iter().flat_map(|test| attacks_of(test)).fold(BTreeMap::new(), count);
    let known = KNOWN.iter().flat_map(|(letter, last)| (1..=*last).map(move |number| format!("{letter}{number}")));
    let untried: Vec<String> = known.filter(|attack| !tried.contains_key(attack)).collect();
    let mut arguments = vec![PACKAGES, "--"];
    arguments.extend(tests.iter().map(String::as_str));
    arguments.extend(MODULES);
    let left_out: Vec<String> = untried.iter().map(|attack| format!("attack {attack}: {}", why(attack))).collect();
    // The suite plays a part of its cases; this is the place for all of them.
    let outcome = crate::outcome::run_leaving_out(&arguments, &left_out, &[("LIVERY_AGENTDOJO", "all")]);
    println!("{} attacks are tried, {} are not", tried.len(), untried.len());
    let owed: Vec<&String> = untried.iter().filter(|attack| later(attack).is_none()).collect();
    anyhow::ensure!(owed.is_empty(), "no test performs {owed:?}");
    outcome
}

fn count(mut tried: BTreeMap<String, usize>, attack: String) -> BTreeMap<String, usize> {
    *tried.entry(attack).or_default() += 1;
    tried
}

fn later(attack: &str) -> Option<&'static str> {
    LATER.iter().find(|(name, _)| *name == attack).map(|(_, what)| *what)
}

fn why(attack: &str) -> String {
    later(attack).map_or_else(|| "no test performs it".to_owned(), |what| format!("{what} is not built"))
}

/// The names of all tests that begin with an attack's number.
fn numbered(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let tree = Tree::read(root)?;
    let crates = tree.rust().filter(|(path, _)| path.starts_with("crates/"));
    let names = crates.flat_map(|(_, text)| text.lines().filter_map(name_of));
    let names: BTreeSet<String> = names.filter(|name| !attacks_of(name).is_empty()).map(str::to_owned).collect();
    anyhow::ensure!(!names.is_empty(), "no test has the number of an attack");
    Ok(names)
}

/// `async fn NAME(…` → NAME.
fn name_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    rest.split_once('(').map(|(name, _)| name)
}

/// `a4_a6_to_a8_…` → a4, a6, a7, a8.
fn attacks_of(test: &str) -> Vec<String> {
    let mut attacks: Vec<(char, u8)> = Vec::new();
    let mut up_to = false;
    for word in test.split('_') {
        match (number_of(word), attacks.last().copied()) {
            (Some((letter, number)), Some((first, from))) if up_to && letter == first => {
                attacks.extend((from + 1..=number).map(|number| (letter, number)));
                up_to = false;
            }
            (Some(attack), _) if !up_to => attacks.push(attack),
            (None, Some(_)) if word == "to" && !up_to => up_to = true,
            _ => break,
        }
    }
    attacks.into_iter().map(|(letter, number)| format!("{letter}{number}")).collect()
}

/// A known attack's letter and number.
fn number_of(word: &str) -> Option<(char, u8)> {
    let letter = word.chars().next()?;
    let number: u8 = word.get(letter.len_utf8()..)?.parse().ok()?;
    KNOWN.iter().any(|(known, last)| *known == letter && (1..=*last).contains(&number)).then_some((letter, number))
}

#[cfg(test)]
mod tests {
    use super::{attacks_of, name_of};

    #[test]
    fn a_test_says_which_attacks_it_performs() {
        let none: [&str; 0] = [];
        assert_eq!(attacks_of("a4_a22_heads_without_bodies"), ["a4", "a22"]);
        assert_eq!(attacks_of("a6_to_a9_encoded_echoes"), ["a6", "a7", "a8", "a9"]);
        assert_eq!(attacks_of("a1_to_a3_f1_no_echo"), ["a1", "a2", "a3", "f1"]);
        assert_eq!(attacks_of("c4_to_the_end"), ["c4"]);
        assert_eq!(attacks_of("a25_is_none"), none);
        assert_eq!(attacks_of("a_key_is_found"), none);
        assert_eq!(attacks_of("b12x_is_none"), none);
        assert_eq!(name_of("    async fn e1_framing() {"), Some("e1_framing"));
        assert_eq!(name_of("let x = f(1);"), None);
    }
}
