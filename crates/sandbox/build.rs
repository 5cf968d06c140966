//! Builds the guest as a static program, so that `include_bytes!` can carry it inside this crate.
//!
//! A nested cargo with its own target folder (so it never waits for the outer one) and the dependencies the lock file
//! already has (so it never needs the network). It builds again only when the guest's source changes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let here = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    let guest = here.join("../guest");
    for watched in ["src", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", guest.join(watched).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(var("OUT_DIR"));
    let target = guest_target();
    let built = build(&guest, &out.join("guest"), &target);
    let program = fs::read(&built).unwrap_or_else(|error| fail(&format!("reading {}: {error}", built.display())));
    fs::write(out.join("livery-guest.bin"), program)
        .unwrap_or_else(|error| fail(&format!("writing the guest: {error}")));
}

/// The guest runs on the kernel this binary runs on, linked statically against the same C library.
fn guest_target() -> String {
    let target = var("TARGET");
    if !target.contains("-linux-") {
        fail(&format!("sandboxes need Linux namespaces, and the target is {target}"));
    }
    target
}

fn build(guest: &Path, target_dir: &Path, target: &str) -> PathBuf {
    let mut cargo = Command::new(var("CARGO"));
    cargo.args(["build", "--release", "--offline", "--bin", "livery-guest", "--target", target, "--manifest-path"]);
    cargo.arg(guest.join("Cargo.toml")).arg("--target-dir").arg(target_dir);
    // Settings of the outer build must not leak in: flags, wrappers (clippy), profiles.
    for (name, _) in env::vars() {
        let leaks = name.starts_with("CARGO_") && name != "CARGO_HOME" && name != "CARGO_NET_OFFLINE";
        if leaks
            || name.starts_with("RUSTC_")
            || matches!(name.as_str(), "RUSTFLAGS" | "CLIPPY_ARGS" | "TARGET" | "HOST")
        {
            cargo.env_remove(name);
        }
    }
    cargo.env("RUSTC", var("RUSTC"));
    cargo.env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Crelocation-model=static -Cdebug-assertions=off");
    for (setting, value) in
        [("OPT_LEVEL", "s"), ("PANIC", "abort"), ("LTO", "fat"), ("CODEGEN_UNITS", "1"), ("STRIP", "symbols")]
    {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    let output = cargo.output().unwrap_or_else(|error| fail(&format!("starting cargo: {error}")));
    if !output.status.success() {
        fail(&format!(
            "the guest did not build as a static program. It needs a C compiler and the C library's static half \
             (Debian and Ubuntu: apt-get install build-essential; Fedora: dnf install gcc glibc-static).\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    target_dir.join(target).join("release/livery-guest")
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

#[expect(clippy::print_stderr, clippy::disallowed_methods, reason = "how a build script says no")]
fn fail(message: &str) -> ! {
    eprintln!("livery-sandbox: {message}");
    std::process::exit(1);
}
