//! What the measuring programs share: the programs of the tiers, and how times are told.

use std::path::Path;
use std::time::Duration;

use livery_sandbox::{Microvm, Monitor, SandboxConfig, Tier, Tool};
use sha2::Digest as _;

/// Where `cargo xtask setup` puts other people's programs.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools");

/// With the tier's program, where it was installed.
pub(crate) fn config(tier: Tier, folder: &Path) -> SandboxConfig {
    let mut config = SandboxConfig::new(folder.join("state"));
    match tier {
        Tier::Gvisor => config.runsc = tool("runsc/runsc"),
        Tier::Isolate => config.isolate_host = tool("deno/deno"),
        Tier::Microvm => {
            config.microvm = machine();
            // The image becomes a disk once, not at each measurement.
            let disks = Path::new(TOOLS).join("machines/disks");
            config.disks_dir = (config.microvm.is_some() && std::fs::create_dir_all(&disks).is_ok()).then_some(disks);
        }
        Tier::Container => {}
    }
    config
}

/// With a played processor where KVM does not run a guest.
fn machine() -> Option<Microvm> {
    let qemu = tool("/usr/bin/qemu-system-x86_64")?;
    let monitor = Monitor::Qemu(qemu);
    let (kernel, modules) = (tool("machines/vmlinux")?, tool("machines/modules.cpio"));
    Some(Microvm { monitor, kernel, modules, tcg: true, snapshot_mb: None })
}

/// Below the folder of tools, or with its whole path.
fn tool(name: &str) -> Option<Tool> {
    let path = Path::new(TOOLS).join(name);
    let bytes = std::fs::read(&path).ok()?;
    let sha256 = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Tool { path: path.canonicalize().ok()?, sha256 })
}

/// `name: min 1ms, median 2ms, p99 3ms`.
pub(crate) fn print_times(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{name}: min {:?}, median {:?}, p99 {:?}", times[0], at(50), at(99));
}
