//! Real sandboxes on this machine's kernel, with the launcher as root and as an ordinary user.
//!
//! This test binary is its own launcher (`launcher_process`) and its own probe inside the sandbox (`probe_process`).
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may panic, says what it skips, and ends its copies"
)]

mod basics;
mod checks;
mod crowd;
mod doctor;
mod escape;
mod firecracker;
mod house;
mod image;
mod isolate;
mod isolate_escape;
mod isolate_walls;
mod lifetime;
mod limits;
mod machines;
mod native;
mod probe;
mod quota;
mod relay;
mod resources;
mod seccomp_classes;
mod terminal;
mod tiers;
mod waiting;

/// Not a test: the launcher, when this binary was started as one. Otherwise it has nothing to do.
#[test]
fn launcher_process() {
    if let Some(code) = livery_sandbox::launcher::run_if_asked() {
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

/// Not a test: the probe, when this binary runs inside a sandbox (or outside, as the control).
#[test]
fn probe_process() {
    if let Ok(arguments) = std::env::var(probe::VARIABLE) {
        probe::run(&arguments);
    }
}
