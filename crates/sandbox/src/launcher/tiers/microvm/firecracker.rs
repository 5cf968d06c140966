//! Firecracker's machines: the same kernel, disks and guest as QEMU's, with a vsock for the stream, and KVM always.
//!
//! **The carrier is ours**, not Firecracker's jailer: two walls of the same kind would be two to keep right, and ours is the one that every
//! tier has (namespaces, the run's own host id, a root with nothing but what is opened, cgroup, no capability, `no_new_privs`, a
//! filter). Firecracker's own filters stay on inside of it.
//!
//! **A cold start has no API.** The whole machine is one file (`--config-file`, `--no-api`), written before Firecracker is there, so a
//! monitor that a guest has taken over finds no server to talk to, and the launcher parses nothing that it says.
//!
//! **The stream** is a vsock. When the guest calls port `P` of its host, Firecracker connects to the Unix socket `PATH_P`. The carrier
//! makes that socket and gives it to the launcher before it becomes Firecracker; the launcher takes one call and closes it. From
//! then on nothing leads out of the carrier but that stream. A start from a snapshot is another matter: `snapshot.rs`.
//! Read next: `../../server/door.rs`, `firecracker/snapshot.rs`.

mod api;
mod snapshot;

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use livery_guest::vm::{HOST_PORT, WAIT};
use serde_json::{Value, json};

pub(super) use self::snapshot::SNAPSHOT;
pub(crate) use self::snapshot::take_snapshot;
use super::workspace::DISK;
use super::{Origin, Plan, kvm};
use crate::launcher::child::Birth;
use crate::launcher::tiers::program;
use crate::launcher::tiers::tool::Absent;
use crate::socket::{self, HANDS_DOOR};

/// The first release that tells the guest's kernel of its devices by ACPI and of a snapshot's resets: `(major, minor)`.
const VERSION_MIN: (u32, u32) = (1, 10);
const NEWER: &str = "get Firecracker 1.10 or later from its releases, and configure it with its digest";
const NO_KVM: &str = "run livery where /dev/kvm works: Firecracker plays no processor; to try things out, QEMU does: --qemu FILE and \
    --microvm-tcg";
/// What the kernel is told in any case. Words that it does not know become the guest's arguments: none stand behind `--`, where
/// Firecracker's own additions would end up too.
const KERNEL: &str = "console=ttyS0 quiet loglevel=3 reboot=k panic=-1 pci=off nomodule_sig random.trust_cpu=on 8250.nr_uarts=1 \
    i8042.noaux i8042.nokbd no_timer_check cryptomgr.notests rdinit=/init";
/// In the carrier's own memory.
const CONFIGURATION: &str = "/tmp/machine.json";
const VSOCK: &str = "/tmp/vsock";
/// The guest's own number on its vsock; machines share no hosts, so all have the same.
const GUEST: u32 = 3;
/// Memory of a machine that only says a word, MiB.
const PROBE_MB: u64 = 128;
const PROBE_CONFIGURATION: &str = "probe.json";

/// Whether this is a Firecracker that runs machines here; its version.
pub(super) fn find(program: &File, path: &str, user: Option<u32>) -> Result<String, Absent> {
    let version = program::version(program, "Firecracker v", user);
    let version = version.map_err(|why| Absent::new(format!("it is no Firecracker: {why}"), NEWER))?;
    if !is_new_enough(&version) {
        return Err(Absent::new(format!("it is Firecracker {version}, which is too old"), NEWER));
    }
    kvm::boots(path, user, probe).map_err(|why| Absent::new(why, NO_KVM))?;
    Ok(version)
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    matches!((numbers.next().flatten(), numbers.next().flatten()), (Some(major), Some(minor)) if (major, minor) >= VERSION_MIN)
}

/// Puts everything where Firecracker finds it, hands the door to the launcher, and answers the command line.
pub(super) fn arrange(plan: &Plan<'_>, birth: &Birth<'_>) -> io::Result<Vec<CString>> {
    let describe = |given: &str| fs::write(CONFIGURATION, configuration(plan.memory_mb(), given).to_string());
    // Where the guest's call arrives. Nobody else sees this path.
    let door = UnixListener::bind(format!("{VSOCK}_{HOST_PORT}"))?;
    door.set_nonblocking(true)?;
    let mut arguments = vec![c"firecracker", c"--level", c"Error"];
    match plan.origin {
        Origin::Boot => {
            describe(&plan.given().encode())?;
            socket::send(birth.channel.as_fd(), &[HANDS_DOOR], Some(door.as_fd()))?;
            arguments.extend([c"--no-api", c"--config-file", c"/tmp/machine.json"]);
        }
        Origin::Template => {
            describe(WAIT)?;
            snapshot::assist(plan, birth, door)?;
            arguments.extend([c"--api-sock", c"/tmp/api", c"--config-file", c"/tmp/machine.json"]);
        }
        Origin::Snapshot => {
            snapshot::assist(plan, birth, door)?;
            arguments.extend([c"--api-sock", c"/tmp/api"]);
        }
    }
    Ok(arguments.into_iter().map(CString::from).collect())
}

/// The whole machine. Everything is said, so that no default of another version decides.
fn configuration(memory_mb: u64, given: &str) -> Value {
    let disk = |name: &str, path: String, is_read_only: bool| {
        json!({
            "drive_id": name, "path_on_host": path, "is_root_device": false, "is_read_only": is_read_only,
            // What is written is in the host's memory at once, and outlives the machine from then on.
            "cache_type": "Unsafe", "io_engine": "Sync",
        })
    };
    let mut whole = machine("", memory_mb, given);
    whole["drives"] =
        json!([disk("image", "/image".to_owned(), true), disk("workspace", format!("/workspace/{DISK}"), false)]);
    whole["vsock"] = json!({ "guest_cid": GUEST, "uds_path": VSOCK });
    whole["entropy"] = json!({});
    whole
}

/// A machine without disks and stream; `folder` is empty, or a path that ends without a slash.
fn machine(folder: &str, memory_mb: u64, arguments: &str) -> Value {
    json!({
        "boot-source": {
            "kernel_image_path": format!("{folder}/kernel"),
            "initrd_path": format!("{folder}/initramfs"),
            "boot_args": format!("{KERNEL} {arguments}"),
        },
        "drives": [],
        "machine-config": { "vcpu_count": 1, "mem_size_mib": memory_mb, "smt": false, "track_dirty_pages": false },
    })
}

/// The command line of a machine that says `word`. Its file is written in `folder`, which Firecracker sees as `seen`.
fn probe(folder: &Path, seen: &Path, word: &str) -> io::Result<Vec<String>> {
    let whole = machine(&seen.display().to_string(), PROBE_MB, word);
    fs::write(folder.join(PROBE_CONFIGURATION), whole.to_string())?;
    let file = seen.join(PROBE_CONFIGURATION).display().to_string();
    Ok(["--no-api", "--config-file", &file, "--level", "Error"].map(str::to_owned).into())
}

#[cfg(test)]
mod tests {
    use livery_guest::vm::{Given, Stream};

    use super::*;

    #[test]
    fn the_whole_machine_is_said_in_one_file() {
        let given = Given { processes: 257, file_bytes: 1 << 30, tmp_mb: 256, stream: Stream::Vsock };
        let expected = json!({
            "boot-source": {
                "kernel_image_path": "/kernel",
                "initrd_path": "/initramfs",
                "boot_args": format!("{KERNEL} machine 257 1073741824 256 vsock"),
            },
            "drives": [
                {
                    "drive_id": "image", "path_on_host": "/image", "is_root_device": false, "is_read_only": true,
                    "cache_type": "Unsafe", "io_engine": "Sync",
                },
                {
                    "drive_id": "workspace", "path_on_host": "/workspace/workspace.ext4", "is_root_device": false,
                    "is_read_only": false, "cache_type": "Unsafe", "io_engine": "Sync",
                },
            ],
            "machine-config": { "vcpu_count": 1, "mem_size_mib": 608, "smt": false, "track_dirty_pages": false },
            "vsock": { "guest_cid": 3, "uds_path": "/tmp/vsock" },
            "entropy": {},
        });
        assert_eq!(configuration(608, &given.encode()), expected);
        assert!(!KERNEL.contains(" -- "), "Firecracker's own words would become the guest's");
    }

    #[test]
    fn a_probe_has_no_disk_and_no_stream() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = probe(folder.path(), Path::new("/seen"), "probe").unwrap();
        assert_eq!(arguments, ["--no-api", "--config-file", "/seen/probe.json", "--level", "Error"]);
        let whole: Value = serde_json::from_slice(&fs::read(folder.path().join("probe.json")).unwrap()).unwrap();
        assert_eq!(whole["boot-source"]["kernel_image_path"], "/seen/kernel");
        assert!(whole["drives"].as_array().unwrap().is_empty() && whole.get("vsock").is_none());
    }

    #[test]
    fn versions() {
        for (version, good) in [
            ("1.10.0", true),
            ("1.10.1", true),
            ("1.17.0-dev", true),
            ("2.0.0", true),
            ("1.9.1", false),
            ("0.25.2", false),
            ("1", false),
            ("one.ten", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), good, "{version}");
        }
    }
}
