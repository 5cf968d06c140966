//! The three numbers are what cargo and the tests said, whatever the order of the lines.

use super::Outcome;

fn outcome(output: &str, skips: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for line in output.lines() {
        outcome.read_line(line);
    }
    outcome.read_skips(skips);
    outcome
}

#[test]
fn counts_add_up_over_binaries() {
    let seen = outcome(
        "running 2 tests\ntest a ... ok\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
         test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n",
        "",
    );
    assert_eq!(seen.summary(), "5 passed, 1 failed, 0 skipped");
}

#[test]
fn a_skipping_test_is_not_a_passed_one() {
    let seen = outcome(
        "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        "livery-sandbox::escape::landlock: the kernel has no Landlock\n\nlivery-sandbox::escape::landlock: nor cgroup v2\n",
    );
    assert_eq!(
        seen.summary(),
        "SKIPPED: livery-sandbox::escape::landlock: nor cgroup v2\n\
         SKIPPED: livery-sandbox::escape::landlock: the kernel has no Landlock\n\
         2 skips in 1 tests\n3 passed, 0 failed, 1 skipped"
    );
}

#[test]
fn ignored_tests_are_skips_that_cargo_did_not_count() {
    let seen = outcome(
        "test slow ... ignored, takes an hour\ntest odd ... ignored\n\
         test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        "",
    );
    assert_eq!(
        seen.summary(),
        "SKIPPED: odd: ignored, no reason given\nSKIPPED: slow: takes an hour\n2 skips in 2 tests\n1 passed, 0 failed, 2 skipped"
    );
}

#[test]
fn a_program_that_prints_the_words_is_not_a_result() {
    assert_eq!(outcome("test result: nonsense\ntest result: ok. many passed; none failed", ""), Outcome::default());
}

#[test]
fn what_passing_tests_print_is_read_for_skips_and_not_shown() {
    let output = "test a ... ok\n\nsuccesses:\n\n---- as_root stdout ----\nchatter\nSKIPPED: not root\n\n---- b stdout ----\ntest x ... ignored\n\n\
                  successes:\n    as_root\n    b\n\nfailures:\n\n---- c stdout ----\nSKIPPED: a failing test skips nothing\n\n\
                  test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\ntest d ... ok";
    let mut outcome = Outcome::default();
    let shown: Vec<&str> = output.lines().filter(|line| outcome.read_line(line)).collect();
    assert_eq!(outcome.summary(), "SKIPPED: as_root: not root\n1 skips in 1 tests\n1 passed, 1 failed, 1 skipped");
    assert!(shown.contains(&"SKIPPED: a failing test skips nothing") && !shown.contains(&"chatter"), "{shown:?}");
    assert_eq!(shown.last(), Some(&"test d ... ok"));
}
