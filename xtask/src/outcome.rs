//! Counts what `cargo test` reports while it is passed through, and what the tests say they skipped.
//!
//! A test that lacks something (a user namespace, a kernel feature) prints a line `SKIPPED: why` and returns; one that knows
//! no better place appends `TEST: why` to the file named by `LIVERY_SKIP_LOG`. Cargo counts both as passed; here they are
//! counted as skipped, so the three numbers are real.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// The variable that names the file tests write their skips to.
pub const SKIP_LOG_VARIABLE: &str = "LIVERY_SKIP_LOG";

/// Most bytes of a skip log that are read: a test that writes more is broken.
const SKIP_LOG_BYTES_MAX: u64 = 1024 * 1024;

/// What a run of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// As cargo counts: tests that returned, the ones that skipped included.
    pub returned: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Lines `TEST: why`, sorted, each once: skips the tests reported and tests marked `#[ignore]`.
    pub skips: BTreeSet<String>,
    /// How many of `skips` are ignored tests, which cargo does not count as passed.
    pub ignored: u64,
    /// Whether the lines are what passing tests printed, and which test it was.
    reading: Reading,
}

/// Where in cargo's output a line stands.
#[derive(Debug, Default, PartialEq, Eq)]
enum Reading {
    /// Results, and what failing tests printed.
    #[default]
    Results,
    /// What passing tests printed: asked for to find skips in it, and not shown.
    Successes {
        /// The test that printed the next lines.
        test: String,
    },
}

impl Outcome {
    /// Takes one line of cargo's output into account, and says whether it is worth showing.
    pub fn read_line(&mut self, line: &str) -> bool {
        match &mut self.reading {
            Reading::Results if line == "successes:" => self.reading = Reading::Successes { test: String::new() },
            Reading::Results => self.read_result(line),
            Reading::Successes { .. } if line == "failures:" => self.reading = Reading::Results,
            Reading::Successes { .. } if parse_result(line).is_some() => {
                self.reading = Reading::Results;
                self.read_result(line);
            }
            Reading::Successes { test } => {
                if let Some(name) = parse_heading(line) {
                    name.clone_into(test);
                } else if let Some(why) = line.trim().strip_prefix("SKIPPED:") {
                    self.skips.insert(format!("{test}: {}", why.trim()));
                }
            }
        }
        self.reading == Reading::Results
    }

    fn read_result(&mut self, line: &str) {
        if let Some((passed, failed)) = parse_result(line) {
            self.returned += passed;
            self.failed += failed;
        } else if let Some((name, why)) = parse_ignored(line) {
            let why = if why.is_empty() { "ignored, no reason given" } else { why };
            if self.skips.insert(format!("{name}: {why}")) {
                self.ignored += 1;
            }
        }
    }

    /// Takes the lines of a skip log into account; blank ones are nothing.
    pub fn read_skips(&mut self, log: &str) {
        for line in log.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.skips.insert(line.to_owned());
        }
    }

    /// Tests that skipped, each once however many reasons it gave.
    pub fn skipped(&self) -> u64 {
        let names: BTreeSet<&str> = self.skips.iter().map(|line| test_of(line)).collect();
        names.len() as u64
    }

    /// Tests that ran and passed.
    pub fn passed(&self) -> u64 {
        (self.returned + self.ignored).saturating_sub(self.skipped())
    }

    /// The closing lines: every skip, their number, and the three counts.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for skip in &self.skips {
            text.push_str(&format!("SKIPPED: {skip}\n"));
        }
        if !self.skips.is_empty() {
            text.push_str(&format!("{} skips in {} tests\n", self.skips.len(), self.skipped()));
        }
        text.push_str(&format!("{} passed, {} failed, {} skipped", self.passed(), self.failed, self.skipped()));
        text
    }
}

/// The test's name in `NAME: why`. Rust paths hold `::` and never `: `.
fn test_of(skip: &str) -> &str {
    skip.split_once(": ").map_or(skip, |(name, _)| name)
}

/// `test result: ok. 3 passed; 1 failed; …` → (3, 1).
fn parse_result(line: &str) -> Option<(u64, u64)> {
    let rest = line.trim().strip_prefix("test result: ")?;
    let (_, counts) = rest.split_once(". ")?;
    let count = |word: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(word)).and_then(|number| number.trim().parse().ok())
    };
    Some((count("passed")?, count("failed")?))
}

/// `---- NAME stdout ----` → NAME.
fn parse_heading(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// `test NAME ... ignored, why` → (NAME, why).
fn parse_ignored(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some((name, rest.trim_start_matches(',').trim()))
}

/// Runs `cargo test` with these arguments: passes its output through, counts it, prints the summary, and fails when a test
/// failed.
pub fn run(arguments: &[&str]) -> anyhow::Result<()> {
    run_leaving_out(arguments, &[], &[])
}

/// The same with more in the environment, counting as skipped what there is no test for: lines `WHAT: why`.
pub fn run_leaving_out(arguments: &[&str], left_out: &[String], more: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut command = crate::root::cargo();
    command.envs(more.iter().copied());
    command.args(["test", "--no-fail-fast"]).args(arguments);
    if !arguments.contains(&"--") {
        command.arg("--");
    }
    // What passing tests print is read for skips; see `Reading`.
    command.arg("--show-output");
    count(command, left_out)
}

fn count(mut command: Command, left_out: &[String]) -> anyhow::Result<()> {
    let log = fresh_skip_log()?;
    let mut child = command
        .env(SKIP_LOG_VARIABLE, &log)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo; is it on the PATH?")?;
    let mut outcome = Outcome { skips: left_out.iter().cloned().collect(), ..Outcome::default() };
    // They ran as little as an ignored test.
    outcome.ignored = left_out.len() as u64;
    if let Some(output) = child.stdout.take() {
        pass_through(output, &mut outcome)?;
    }
    let status = child.wait().context("waiting for cargo")?;
    outcome.read_skips(&read_capped(&log)?);
    if !status.success() && outcome.failed == 0 {
        // A build error, or a test binary that died before it could count: no line said so, the number must.
        outcome.failed = 1;
        println!("cargo failed outside a test ({status}); counted as one failure");
    }
    println!("\n{}", outcome.summary());
    anyhow::ensure!(outcome.failed == 0, "tests failed");
    anyhow::ensure!(outcome.returned > 0, "no test ran");
    Ok(())
}

/// Copies line by line, so that a person sees each line when it happens.
fn pass_through(output: impl Read, outcome: &mut Outcome) -> anyhow::Result<()> {
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).context("reading cargo's output")? > 0 {
        if outcome.read_line(String::from_utf8_lossy(&line).trim_end()) {
            std::io::stdout().write_all(&line).context("writing cargo's output")?;
        }
        line.clear();
    }
    Ok(())
}

/// An empty file under `target/`, one per process so that two runs do not mix.
fn fresh_skip_log() -> anyhow::Result<PathBuf> {
    let folder = crate::root::folder().join("target/xtask");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let log = folder.join(format!("skips-{}.log", std::process::id()));
    std::fs::write(&log, "").with_context(|| format!("writing {}", log.display()))?;
    Ok(log)
}

fn read_capped(log: &Path) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(log).with_context(|| format!("reading {}", log.display()))?;
    file.take(SKIP_LOG_BYTES_MAX).read_to_end(&mut text)?;
    std::fs::remove_file(log).with_context(|| format!("removing {}", log.display()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests;
