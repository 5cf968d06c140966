//! What the files of a release and their pages say to the command line is compared with the command line itself: every
//! `LIVERY_…` variable, and every flag that follows a command of `livery`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::support::{livery, output, repository, text};

/// Pages about installing and running.
const PAGES: &[&str] = &["install.md", "systemd.md", "docker.md", "compose.md", "kubernetes.md"];
/// Variables without a flag: `docs/configuration.md`.
const ENVIRONMENT_ALONE: &[&str] = &[
    "LIVERY_LOG",
    "LIVERY_ROOT_KEY",
    "LIVERY_ROOT_KEY_OTHERS",
    "LIVERY_KMS_TOKEN",
    "LIVERY_KMS_NAMESPACE",
    "LIVERY_KMS_CA",
];

/// What the command line has: flags of each command (by its words), and every variable.
#[derive(Default)]
struct CommandLine {
    flags: BTreeMap<Vec<String>, BTreeSet<String>>,
    variables: BTreeSet<String>,
}

impl CommandLine {
    /// Asks the binary for the help of every command.
    fn read() -> Self {
        let mut line = Self::default();
        line.variables.extend(ENVIRONMENT_ALONE.iter().map(|name| (*name).to_owned()));
        line.add(&[]);
        line
    }

    fn add(&mut self, words: &[String]) {
        let help = text(&output(livery().args(words).arg("--help")).stdout);
        let names = help.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
        let (flags, rest): (BTreeSet<&str>, BTreeSet<&str>) =
            names.filter(|name| name.len() > 2).partition(|name| name.starts_with("--"));
        self.flags.insert(words.to_vec(), flags.into_iter().map(str::to_owned).collect());
        self.variables.extend(rest.into_iter().filter(|name| name.starts_with("LIVERY_")).map(str::to_owned));
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        for command in commands.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let name = command.split_whitespace().next().unwrap();
            if name != "help" {
                self.add(&[words, &[name.to_owned()]].concat());
            }
        }
    }

    /// What a text says that the command line does not know.
    fn unknown(&self, text: &str) -> Vec<String> {
        let mut unknown = Vec::new();
        for word in text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')) {
            let name = word.strip_suffix("_FILE").unwrap_or(word);
            if name.starts_with("LIVERY_") && name != "LIVERY_" && !self.variables.contains(name) {
                unknown.push(word.to_owned());
            }
        }
        for line in text.lines() {
            // Lists of YAML and JSON are words, too.
            let plain: String = line.chars().map(|c| if "\"',[]`".contains(c) { ' ' } else { c }).collect();
            let words: Vec<&str> = plain.split_whitespace().collect();
            for at in 0..words.len() {
                let program = words[at] == "livery" || words[at].ends_with("/bin/livery");
                if program {
                    unknown.extend(self.unknown_flags(&words[at + 1..]));
                }
            }
        }
        unknown
    }

    /// The flags after a command's words that it does not have; nothing when no command follows.
    fn unknown_flags(&self, words: &[&str]) -> Vec<String> {
        let mut command: Vec<String> = Vec::new();
        for word in words {
            command.push((*word).to_owned());
            if !self.flags.contains_key(&command) {
                command.pop();
                break;
            }
        }
        if command.is_empty() {
            return Vec::new();
        }
        let own = words[command.len()..].iter().take_while(|word| !matches!(**word, "|" | "||" | "&&" | ";"));
        let flags = own.filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap());
        let known = &self.flags[&command];
        flags.filter(|flag| !known.contains(*flag)).map(|flag| format!("livery {} {flag}", command.join(" "))).collect()
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn files_and_pages_of_a_release_name_only_settings_that_exist() {
    let line = CommandLine::read();
    let mut files = files_below(&repository("dist"));
    files.extend(PAGES.iter().map(|page| repository("docs").join(page)));
    assert!(files.len() > 15, "{files:?}");
    let mut findings = Vec::new();
    for file in files {
        let unknown = line.unknown(&std::fs::read_to_string(&file).unwrap());
        findings.extend(unknown.into_iter().map(|what| format!("{}: {what}", file.display())));
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn what_does_not_exist_is_found() {
    let line = CommandLine::read();
    assert_eq!(
        line.unknown("LIVERY_LISTEN=1 LIVERY_ROOT_KEY_FILE livery up --listen x --data=y && tool --flag"),
        [""; 0]
    );
    assert_eq!(
        line.unknown("helm install livery helm/livery --namespace x; useradd --gid livery --home-dir y"),
        [""; 0]
    );
    assert_eq!(
        line.unknown(
            "args: [\"livery\", \"up\", \"--brain\", \"x\"]\nLIVERY_BRAIN: 1\n/usr/local/bin/livery keys create --scop"
        ),
        ["LIVERY_BRAIN", "livery up --brain", "livery keys create --scop"]
    );
}
