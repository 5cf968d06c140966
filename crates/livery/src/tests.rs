//! The command line as a whole: what clap checks only when a command is used, for every command at once.

use clap::CommandFactory as _;

#[test]
fn no_command_contradicts_itself() {
    crate::cli::Cli::command().debug_assert();
}
