//! Expressions are weighed as SPDX means them; the three lists are enforced.

use super::{judge, licence_allowed, packages};

const LISTS: &str = "allow = [\n  \"MIT\",\n  \"Apache-2.0\", # a word\n]\ndeny = [\n  { crate = \"evil\", reason = \"x\" },\n]\nskip = [\n  { crate = \"old@1.0.0\", reason = \"y\" },\n]\n";

fn check(tree: &str, expected: &[&str]) {
    let mut findings = Vec::new();
    judge(&packages(tree), LISTS, &mut findings);
    let seen: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(seen, expected);
}

#[test]
fn expressions() {
    let allowed = ["MIT", "ISC"];
    for good in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "ISC AND (GPL-3.0 OR MIT)", "Apache-2.0 WITH X OR MIT"] {
        assert!(licence_allowed(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT WITH X", "(MIT OR ISC) AND GPL-3.0", "MIT ISC", "MIT AND"] {
        assert!(!licence_allowed(bad, &allowed), "{bad}");
    }
}

#[test]
fn lists() {
    let old = "old v1.0.0|MIT\nold v2.0.0|MIT (*)\n";
    check(&format!("{old}ours v0.1.0 (/src/ours)|none\nold v2.0.0|MIT\n"), &[]);
    check(&format!("{old}evil v1.0.0|MIT"), &["evil is banned and in the tree"]);
    check(&format!("{old}odd v1.0.0|GPL-3.0"), &["odd 1.0.0: licence \"GPL-3.0\" is not on the list"]);
    check(&format!("{old}two v1.0.0|MIT\ntwo v2.0.0|MIT"), &["two is compiled in versions 1.0.0, 2.0.0"]);
    check("old v2.0.0|MIT", &["old@1.0.0 is no second version any more: drop the skip"]);
}
