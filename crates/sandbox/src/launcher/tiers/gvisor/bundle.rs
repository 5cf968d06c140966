//! What runsc is told: one OCI bundle, the same for every run but for its limits.
//!
//! Read next: `../gvisor.rs`, which lays out the places named here.

use serde_json::{Value, json};

use crate::config::Spec;
use crate::launcher::INSIDE_ID;
use crate::launcher::mounts::SHM_MB_MAX;
use crate::launcher::tiers::container::OPEN_FILES;

/// The guest's processes; on top of the run's own there is process 1.
const OWN_PIDS: u64 = 1;

/// `config.json` of a run.
pub(super) fn config(spec: &Spec, tmp_mb: u64) -> String {
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "hostname": "sandbox",
        "root": {"path": "/image", "readonly": true},
        "process": process(spec),
        "mounts": mounts(tmp_mb),
        "linux": {"namespaces": namespaces},
    })
    .to_string()
}

fn process(spec: &Spec) -> Value {
    let limit = |kind: &str, value: u64| json!({"type": kind, "soft": value, "hard": value});
    json!({
        "terminal": false,
        "user": {"uid": INSIDE_ID, "gid": INSIDE_ID},
        "args": ["/run/livery-guest", livery_guest::CONFINE],
        "env": [],
        "cwd": "/workspace",
        "capabilities": {},
        "noNewPrivileges": true,
        "rlimits": [
            limit("RLIMIT_CORE", 0),
            limit("RLIMIT_FSIZE", spec.disk_mb << 20),
            limit("RLIMIT_NPROC", u64::from(spec.pids) + OWN_PIDS),
            limit("RLIMIT_NOFILE", OPEN_FILES),
            limit("RLIMIT_RTPRIO", 0),
            limit("RLIMIT_NICE", 0),
        ],
    })
}

fn mounts(tmp_mb: u64) -> Value {
    let tmpfs = |place: &str, size_mb: u64, options: &[&str]| {
        let size = format!("size={size_mb}m");
        let options: Vec<&str> = options.iter().copied().chain(["nosuid", size.as_str()]).collect();
        json!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options})
    };
    let bind = |place: &str, source: &str, access: &str| json!({"destination": place, "type": "bind", "source": source, "options": [access, "nosuid", "nodev"]});
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "nodev", "noexec"]},
        // Root's alone; read-only it would refuse what is written to `/dev/null`.
        tmpfs("/dev", 1, &["mode=755"]),
        // gVisor mounts its own there otherwise.
        tmpfs("/sys", 1, &["ro", "nodev", "noexec", "mode=555"]),
        tmpfs("/dev/shm", tmp_mb.min(SHM_MB_MAX), &["nodev", "mode=1777"]),
        tmpfs("/tmp", tmp_mb, &["nodev", "mode=1777"]),
        bind("/workspace", "/workspace", "rw"),
        bind("/run", "/guest", "ro"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_grants_nothing_and_limits_everything() {
        let spec = Spec { pids: 10, disk_mb: 2, ..Spec::new("a") };
        let config: Value = serde_json::from_str(&config(&spec, 32)).unwrap();
        assert_eq!(config["process"]["capabilities"], json!({}));
        assert_eq!(config["process"]["noNewPrivileges"], true);
        assert_eq!(config["root"]["readonly"], true);
        let limits = config["process"]["rlimits"].as_array().unwrap();
        let of = |kind: &str| limits.iter().find(|limit| limit["type"] == kind).unwrap()["hard"].clone();
        assert_eq!((of("RLIMIT_NPROC"), of("RLIMIT_FSIZE")), (json!(11), json!(2 << 20)));
        let writable: Vec<&str> = config["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|mount| !mount["options"].as_array().unwrap().contains(&json!("ro")))
            .map(|mount| mount["destination"].as_str().unwrap())
            .collect();
        assert_eq!(writable, ["/proc", "/dev", "/dev/shm", "/tmp", "/workspace"]);
    }
}
