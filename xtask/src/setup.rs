//! `cargo xtask setup`: what the tests need beyond Rust, looked for by trying and installed from Debian's own packages.
//!
//! Works twice: what is there is left alone. Only root installs; anybody else is told the command.

mod apt;
mod clients;
mod deno;
mod machines;
mod mail;
mod runsc;
mod verifiers;

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

/// How a need is looked for.
#[derive(Debug, Clone, Copy)]
pub enum Probe {
    /// An executable of this name in a folder of `PATH`.
    Program(&'static str),
    /// A file at this place.
    File(&'static str),
    /// A file at this place in any folder of that one: a package installs itself under its version.
    Below(&'static str, &'static str),
}

/// One thing the tests need.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// What it is called.
    pub thing: &'static str,
    /// How to see that it is there.
    pub probe: Probe,
    /// The Debian package that brings it.
    pub package: &'static str,
    /// Who uses it.
    pub why: &'static str,
}

/// Everything, in the order it is reported. A test that comes to need more adds a row.
pub const NEEDS: &[Need] = &[
    Need {
        thing: "a C compiler",
        probe: Probe::Program("cc"),
        package: "gcc",
        why: "SQLite and the TLS library are compiled from C",
    },
    Need {
        thing: "C headers",
        probe: Probe::File("/usr/include/stdio.h"),
        package: "libc6-dev",
        why: "the same, and the static guest program links against its libc.a",
    },
    Need {
        thing: "sh",
        probe: Probe::Program("sh"),
        package: "dash",
        why: "the agent's shell tool runs it inside the sandbox, from the host's /usr",
    },
    Need {
        thing: "coreutils",
        probe: Probe::Program("sha256sum"),
        package: "coreutils",
        why: "example agents and sandbox tests run cat, wc, sort and friends",
    },
    Need { thing: "grep", probe: Probe::Program("grep"), package: "grep", why: "example agents search with it" },
    Need { thing: "awk", probe: Probe::Program("awk"), package: "mawk", why: "example agents add up columns with it" },
    Need { thing: "tar", probe: Probe::Program("tar"), package: "tar", why: "release archives are unpacked by a test" },
    Need {
        thing: "gzip",
        probe: Probe::Program("gzip"),
        package: "gzip",
        why: "release archives are compressed with it",
    },
    Need {
        thing: "shellcheck",
        probe: Probe::Program("shellcheck"),
        package: "shellcheck",
        why: "the scripts of a release are checked with it",
    },
    Need {
        thing: "curl",
        probe: Probe::Program("curl"),
        package: "curl",
        why: "the commands of the README are run by a test",
    },
    Need {
        thing: "Node.js",
        probe: Probe::Program("node"),
        package: "nodejs",
        why: "the JavaScript library of Standard Webhooks verifies our deliveries",
    },
    Need { thing: "npm", probe: Probe::Program("npm"), package: "npm", why: "it brings that library" },
    Need {
        thing: "Python",
        probe: Probe::Program("python3"),
        package: "python3-venv",
        why: "the Python library of Standard Webhooks verifies our deliveries",
    },
    Need {
        thing: "D-Bus",
        probe: Probe::Program("dbus-daemon"),
        package: "dbus",
        why: "a session bus of its own, on which a test keeps the root key in a keyring",
    },
    Need {
        thing: "GNOME Keyring",
        probe: Probe::Program("gnome-keyring-daemon"),
        package: "gnome-keyring",
        why: "that keyring",
    },
    Need {
        thing: "secret-tool",
        probe: Probe::Program("secret-tool"),
        package: "libsecret-tools",
        why: "the keyring's entry is read by an ordinary tool, too",
    },
    Need {
        thing: "busybox",
        probe: Probe::Program("busybox"),
        package: "busybox-static",
        why: "a whole image in one file: the tests of images are made of it",
    },
    Need {
        thing: "Postgres",
        probe: Probe::Below("/usr/lib/postgresql", "bin/initdb"),
        package: "postgresql",
        why: "the store's tests start a server of their own from it",
    },
    Need {
        thing: "QEMU",
        probe: Probe::Program("qemu-system-x86_64"),
        package: "qemu-system-x86",
        why: "sandbox tests run machines with it",
    },
    Need {
        thing: "zstd",
        probe: Probe::Program("zstd"),
        package: "zstd",
        why: "the kernel of those machines comes compressed",
    },
    Need { thing: "xz", probe: Probe::Program("xz"), package: "xz-utils", why: "so do that kernel's modules" },
];

/// Installs something unless it is there.
type Install = fn() -> anyhow::Result<()>;

/// What comes from registries and lies below `target/tools`.
const TOOLS: &[(&str, Install)] = &[
    ("the public webhook libraries", verifiers::install),
    ("a mail server", mail::install),
    ("runsc", runsc::install),
    ("a kernel for virtual machines", machines::install),
    ("deno", deno::install),
    ("clients for the sandbox, and AgentDojo", clients::install),
];

/// The needs that are not met on this machine.
pub fn missing() -> Vec<Need> {
    NEEDS.iter().copied().filter(|need| !is_there(need.probe)).collect()
}

fn is_there(probe: Probe) -> bool {
    match probe {
        Probe::File(path) => Path::new(path).exists(),
        Probe::Below(folder, file) => std::fs::read_dir(folder)
            .is_ok_and(|entries| entries.flatten().any(|entry| entry.path().join(file).exists())),
        Probe::Program(name) => on_path(name),
    }
}

/// Whether an executable of this name is in a folder of `PATH`.
pub fn on_path(name: &str) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|folder| {
        std::fs::metadata(folder.join(name)).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// Says what is there and what is missing, and installs the rest when it may.
pub fn run() -> anyhow::Result<()> {
    let missing = missing();
    for need in NEEDS {
        let state = if missing.iter().any(|other| other.thing == need.thing) { "missing" } else { "there" };
        println!("{state:>8}  {:<13} {:<10} {}", need.thing, need.package, need.why);
    }
    if missing.is_empty() {
        println!("nothing to install from Debian: the tests have what they need");
    } else {
        let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
        install(&packages)?;
        let left = self::missing();
        anyhow::ensure!(
            left.is_empty(),
            "still missing after the installation: {}",
            left.iter().map(|need| need.thing).collect::<Vec<_>>().join(", ")
        );
    }
    TOOLS.iter().try_for_each(|(_, install)| install())
}

/// Sees that everything is there before tests are run. Without a registry the rest is tested all the same; a test that lacks a
/// tool says that it was skipped.
///
/// # Errors
/// What comes from Debian is missing and cannot be installed.
pub fn before_tests() -> anyhow::Result<()> {
    if !missing().is_empty() {
        return run();
    }
    for (what, install) in TOOLS {
        if let Err(error) = install() {
            crate::root::complain(&format!("{what}: not there: {error:#}"));
        }
    }
    Ok(())
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let list = packages.join(" ");
    anyhow::ensure!(
        on_path("apt-get"),
        "this is no Debian-like system: install what these Debian packages bring, then try again: {list}"
    );
    anyhow::ensure!(
        is_root()?,
        "not root, so nothing was installed; run:\n  sudo apt-get update && sudo apt-get install --yes --no-install-recommends {list}"
    );
    println!("will run: apt-get update && apt-get install --yes --no-install-recommends {list}");
    apt(&["update"])?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend_from_slice(packages);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Packages start no service they bring: in this run level `invoke-rc.d` starts none.
        .env("RUNLEVEL", "1")
        .status()
        .context("cannot start apt-get")?;
    anyhow::ensure!(status.success(), "apt-get {} ended with {status}", arguments.join(" "));
    Ok(())
}

/// The owner of our own `/proc` entry is the user we run as.
fn is_root() -> anyhow::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata("/proc/self").context("cannot read /proc/self")?.uid() == 0)
}

#[cfg(test)]
mod tests;
