//! The isolate host comes from the operator: deno, checked, with the libraries of this machine that it needs and our half of it.
//!
//! Read next: `../program.rs` for how it is checked.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use livery_core::agent::Tier;

use crate::config::SandboxConfig;
use crate::launcher::root::{self, RootPlan};
use crate::launcher::setup::ROOTS;
use crate::launcher::tiers::program;
use crate::launcher::tiers::tool::{self, Absent};
use crate::report::{Status, TierReport};

/// What is `/host` in a sandbox.
const FOLDER: &str = "tools/isolate";
/// Our half of the host.
const SCRIPT: &str = include_str!("run.js");
/// What deno is linked with: parts of the machine's C library, and its loader.
const LIBRARIES: [&str; 7] =
    ["ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1"];
/// Where distributions have them.
const LIBRARY_FOLDERS: [&str; 5] =
    ["/lib64", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib"];
const FETCH: &str = "get deno 2 (npm package @deno/linux-x64-glibc), then start livery with --isolate-host FILE \
                     --isolate-host-sha256 SHA256";

/// A verified deno, and the root of its sandboxes.
pub(crate) struct Installed {
    pub(crate) root: RootPlan,
    sha256: String,
    version: String,
}

/// Takes what the configuration names, or says why not.
pub(crate) fn install(config: &SandboxConfig, privileged: bool) -> Result<Installed, Absent> {
    let Some(deno) = &config.isolate_host else {
        return Err(Absent::new("no isolate host is configured", FETCH));
    };
    let name = deno.path.display();
    fs::create_dir(FOLDER).map_err(|error| Absent::new(format!("{FOLDER}: {error}"), ""))?;
    let program = Path::new(FOLDER).join("deno");
    let sha256 = tool::take(deno, &program, 0o555)?;
    let user = privileged.then_some(config.uid_first);
    let version = File::open(&program).map_err(|error| error.to_string());
    let version = version.and_then(|program| program::version(&program, "deno ", user));
    let version = version.map_err(|why| Absent::new(format!("{name}: it is no deno of this machine: {why}"), FETCH))?;
    let root =
        lay_out().map_err(|error| Absent::new(format!("{name}: {error}"), "install the GNU C library (glibc)"))?;
    Ok(Installed { root, sha256, version })
}

/// The root: devices, `/proc`, the workspace, the host and its libraries.
fn lay_out() -> io::Result<RootPlan> {
    fs::write(Path::new(FOLDER).join("run.js"), SCRIPT)?;
    let mut plan = root::bare(Path::new(ROOTS), "isolate")?;
    for folder in ["host", "lib64"] {
        fs::create_dir(plan.skeleton.join(folder))?;
    }
    for name in LIBRARIES {
        let found = LIBRARY_FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
        let found = found.ok_or_else(|| io::Error::other(format!("this machine has no {name}")))?;
        fs::copy(found, plan.skeleton.join("lib64").join(name))?;
    }
    plan.binds.push((FOLDER.into(), "host".into()));
    Ok(plan)
}

/// What is known of the tier before it is tried.
pub(crate) fn report(found: &Result<Installed, Absent>) -> TierReport {
    match found {
        Ok(Installed { sha256, version, .. }) => TierReport {
            version: Some(version.clone()),
            sha256: Some(sha256.clone()),
            ..TierReport::new(
                Tier::Isolate,
                Status::Ok,
                "deno behind a container's walls, one process for each program",
            )
        },
        Err(absent) => absent.report(Tier::Isolate),
    }
}
