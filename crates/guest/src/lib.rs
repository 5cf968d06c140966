//! The guest's half of a sandbox, the wire both halves speak, and the system calls either may let a run make.
//!
//! [`wire`] is pure and is used by host and guest alike. The rest of this package is the program `livery-guest`
//! (`main.rs`): process 1 of a sandbox, which runs commands and moves files for the host over one inherited stream.
//!
//! Trust: the host treats every byte from the guest as hostile, because a command in the sandbox may have taken it over.
//! So nothing here is a security boundary; the kernel's namespaces, set up by `livery-sandbox`, are.
//!
//! Read next: [`wire`], then `main.rs` and `server.rs`.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod masks;
pub mod seccomp;
pub mod vm;
pub mod wire;

/// The isolate host, as the launcher lays it out and the guest starts it.
pub mod isolate {
    /// The argument of a guest that runs programs instead of commands; the heap's and all data's limits follow, in MiB.
    pub const ISOLATE: &str = "isolate";
    /// The host's program.
    pub const HOST: &str = "/host/deno";
    /// What it runs: our half of it, which runs the programs.
    pub const SCRIPT: &str = "/host/run.js";
    /// Where its libraries are.
    pub const LIBRARIES: &str = "/lib64";
    /// The first byte on its standard output: it has booted, and waits for a program.
    pub const READY: u8 = 6;
}

/// The argument of a guest that confines itself before anything else: its kernel is gVisor's, where no launcher could.
pub const CONFINE: &str = "confine";

/// With this a guest begins what it says where somebody may read it: why it could not become one.
pub const GUESTS_WORD: &str = "livery-guest: ";
