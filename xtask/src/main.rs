//! `cargo xtask VERB`: reads the command line and hands over to the verb's own file.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The chores of the house.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the tests need; says what it will do, and does nothing the second time.
    Setup,
    /// Run every test, list what was skipped, end with `N passed, N failed, N skipped`.
    Test {
        /// Passed on to `cargo test` in place of `--workspace`, for instance `-p livery-core`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        cargo_arguments: Vec<String>,
    },
    /// Formatting, clippy, tidy and (when installed) cargo-deny; warnings are errors.
    Lint,
    /// The house rules alone: crate edges, SQL, processes, module docs, error pages, file length.
    Tidy,
    /// The sandbox's escape attempts alone, and the table of what held at which wall.
    Escape(xtask::escape::Options),
    /// Everything that tries to get a credential out, alone, and which known attacks nobody tries yet.
    Leak,
    /// Kill the real binary at every place around every effect, and nodes at random; nothing may be lost.
    #[command(disable_help_flag = true)]
    Chaos {
        /// Passed on; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure the real server and print a table; fails only when something broke.
    Bench(xtask::bench::Options),
    /// Build the release and pack it into one archive, with its parts list and checksums.
    Dist(xtask::dist::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Setup => xtask::setup::run(),
        Verb::Test { cargo_arguments } => xtask::test::run(&cargo_arguments),
        Verb::Lint => xtask::lint::run(),
        Verb::Tidy => xtask::tidy::run(),
        Verb::Escape(options) => xtask::escape::run(&options),
        Verb::Leak => xtask::leak::run(),
        Verb::Chaos { arguments } => xtask::chaos::run(&arguments),
        Verb::Bench(options) => xtask::bench::run(&options),
        Verb::Dist(options) => xtask::dist::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            xtask::root::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
