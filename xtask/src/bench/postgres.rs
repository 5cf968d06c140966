//! A Postgres server for a phase: held by `livery-chaos`, which has one from the test kit, until this is dropped.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// A server with one empty database.
#[derive(Debug)]
pub struct Postgres {
    holder: Child,
    /// The address of the database.
    pub url: String,
}

impl Postgres {
    /// Starts it with the `livery-chaos` beside the measured binary.
    ///
    /// # Errors
    /// There is no such program, or no Postgres on this machine.
    pub fn start(binary: &Path) -> anyhow::Result<Self> {
        let program = binary.with_file_name("livery-chaos");
        let mut holder = Command::new(&program)
            .args(["--hold-postgres", "--binary"])
            .arg(binary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut url = String::new();
        if let Some(output) = holder.stdout.take() {
            BufReader::new(output).read_line(&mut url).context("reading the database's address")?;
        }
        let url = url.trim().to_owned();
        let held = Self { holder, url };
        anyhow::ensure!(held.url.starts_with("postgres://"), "no Postgres: {:?}", held.url);
        Ok(held)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
