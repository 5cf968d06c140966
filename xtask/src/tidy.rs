//! The house rules as a test: what the tree must look like beyond what compiler and clippy can see.
//!
//! Each rule is a function from the [`tree::Tree`] to findings. The tables of what is allowed, each exception with its
//! reason, are in [`rules`]: that is the file to change when a rule has to learn something, and the reviewer's to read.
//!
//! Refuses to fix anything: it says where and what, a person decides.

pub mod crates;
pub mod deps;
pub mod lex;
pub mod pages;
pub mod rules;
pub mod source;
pub mod tree;

use std::fmt;

use self::tree::Tree;

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// File, relative to the root.
    pub path: String,
    /// Line from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Finding {
    /// A finding.
    pub fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Every finding in the repository, sorted by place.
pub fn check() -> anyhow::Result<Vec<Finding>> {
    let tree = Tree::read(&crate::root::folder())?;
    let mut findings = Vec::new();
    crates::edges(&tree, &mut findings);
    crates::outside_crates(&tree, &mut findings);
    crates::manifests(&tree, &mut findings);
    deps::compiled(&tree, &mut findings)?;
    source::module_docs(&tree, &mut findings);
    source::reachable(&tree, &mut findings);
    source::placeholders(&tree, &mut findings);
    source::markers(&tree, &mut findings);
    source::sql(&tree, &mut findings);
    source::confined_words(&tree, &mut findings);
    source::length(&tree, &mut findings);
    pages::errors(&tree, &mut findings);
    pages::links(&tree, &mut findings);
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// `cargo xtask tidy`: prints the findings and fails when there are any.
pub fn run() -> anyhow::Result<()> {
    let findings = check()?;
    for finding in &findings {
        println!("{finding}");
    }
    anyhow::ensure!(findings.is_empty(), "tidy: {} findings", findings.len());
    println!("tidy: the house is in order");
    Ok(())
}

#[cfg(test)]
mod tests;
