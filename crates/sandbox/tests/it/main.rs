//! Real sandboxes on this machine's kernel, with the launcher as root and as an ordinary user.
//!
//! This test binary is its own launcher (`launcher_process`) and its own probe inside the sandbox (`probe_process`).
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "a test may panic and says what it skips")]

mod basics;
mod house;
mod lifetime;
mod limits;

/// Not a test: the launcher, when this binary was started as one. Otherwise it has nothing to do.
#[test]
fn launcher_process() {
    if let Some(code) = livery_sandbox::launcher::run_if_asked() {
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}
