//! What this host can give: facts read, and a tiny sandbox really made. Nothing is called fine that was not tried.
//!
//! Read next: `../report.rs` for the answer's shape.

use std::fs;
use std::path::Path;
use std::time::Duration;

use livery_core::agent::Tier;

use super::{Sandboxes, spawn_launcher};
use crate::config::SandboxConfig;
use crate::error::Error;
use crate::report::{Check, Grants, HostReport, Status};

/// The whole self-test.
const SELF_TEST_MAX: Duration = Duration::from_secs(30);
/// The first Linux with everything the launcher cannot do without (pidfds in `clone3`, `waitid` on them).
const KERNEL_MIN: (u32, u32) = (5, 6);
/// The first Linux on which nothing is done in a roundabout way.
const KERNEL_GOOD: (u32, u32) = (5, 14);
/// Landlock keeps abstract sockets and signals inside from this version.
const LANDLOCK_GOOD: u32 = 6;

const DELEGATE: &str = "systemd-run --user --scope -p Delegate=yes livery up …   (or start livery as root)";
const AS_ROOT: &str = "start livery as root: only its launcher stays root";

/// Checks this host with a launcher of its own in a temporary folder, which is gone afterwards. Blocks for up to 30 s, and 40 s for each
/// further tier that is configured;
/// may be called inside or outside a runtime.
#[must_use]
pub fn probe(config: &SandboxConfig) -> HostReport {
    let folder = std::env::temp_dir().join(format!("livery-doctor-{}", std::process::id()));
    let config = SandboxConfig { state_dir: folder.clone(), ..config.clone() };
    // A thread of its own, because a runtime cannot be started inside another.
    let report = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let process = spawn_launcher(&config).map_err(|error| format!("starting the launcher: {error}"))?;
            let sandboxes = Sandboxes::connect(process).map_err(|error| error.to_string())?;
            let report = sandboxes.report(&config).await;
            // It is killed if it does not end by itself.
            let _ = sandboxes.shutdown().await;
            Ok::<_, String>(report)
        })
    });
    let report = report.join().unwrap_or_else(|_| Err("the check itself failed".to_owned()));
    let _ = fs::remove_dir_all(folder);
    report.unwrap_or_else(|detail| assemble(host_facts(), Check::unusable("self_test", detail, ""), None))
}

impl Sandboxes {
    /// What this host gives the launcher that runs, with a sandbox made and ended to prove it.
    pub async fn report(&self, config: &SandboxConfig) -> HostReport {
        let grants = self.grants().await;
        let mut checks = host_facts();
        if let Ok(grants) = &grants {
            checks.extend(grant_facts(grants, config));
        }
        let tested = tokio::time::timeout(SELF_TEST_MAX, self.trial(Tier::Container)).await;
        let test = match tested {
            Ok(Ok(took)) => Check::ok(
                "self_test",
                format!("a sandbox ran `true` {:.1} ms after it was asked for", took.as_secs_f64() * 1e3),
            ),
            Ok(Err(error)) => Check::unusable("self_test", error.to_string(), likely_fix(&error)),
            Err(_) => Check::unusable("self_test", "a sandbox did not start and end within 30 s", ""),
        };
        let mut report = assemble(checks, test, grants.ok());
        report.tiers = self.tiers().await.unwrap_or_default();
        report
    }
}

fn assemble(mut checks: Vec<Check>, test: Check, grants: Option<Grants>) -> HostReport {
    checks.push(test);
    let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Unusable);
    HostReport { status, checks, grants, tiers: Vec::new() }
}

/// The command that most likely mends a failed launch step.
fn likely_fix(error: &Error) -> &'static str {
    let Error::Start { step, .. } = error else { return "" };
    match step.as_str() {
        "namespaces" => "sysctl -w user.max_user_namespaces=100000 kernel.apparmor_restrict_unprivileged_userns=0",
        "private mounts" | "root" | "id maps" => "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        "/proc" => "in a container, show it the whole of /proc: docker run --security-opt systempaths=unconfined …",
        "state folder" => "choose another --data folder, or end the other livery",
        _ => "",
    }
}

// ---- facts about the host ----

fn host_facts() -> Vec<Check> {
    vec![kernel(), user_namespaces(), namespaces(), seccomp(), usr()]
}

fn kernel() -> Check {
    let release = read("/proc/sys/kernel/osrelease");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let detail = format!("Linux {release}");
    if version < KERNEL_MIN {
        Check::unusable(
            "kernel",
            format!("{detail} is older than {}.{}", KERNEL_MIN.0, KERNEL_MIN.1),
            "install a newer kernel",
        )
    } else if version < KERNEL_GOOD {
        let detail = format!(
            "{detail}: read-only mounts are made one by one, and process limits count over all of a user's runs"
        );
        Check::degraded("kernel", detail, "install Linux 5.14 or newer")
    } else {
        Check::ok("kernel", detail)
    }
}

fn user_namespaces() -> Check {
    const NAME: &str = "user_namespaces";
    let max = read("/proc/sys/user/max_user_namespaces");
    if max == "0" || max.is_empty() {
        return Check::unusable(NAME, "user namespaces are switched off", "sysctl -w user.max_user_namespaces=100000");
    }
    let root = rustix::process::geteuid().is_root();
    if !root && read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        return Check::unusable(
            NAME,
            "they are for root alone on this host",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        );
    }
    if !root && read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        let detail = "AppArmor lets an ordinary user make them but not use them";
        return Check::unusable(NAME, detail, "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
    }
    Check::ok(NAME, format!("up to {max}"))
}

fn namespaces() -> Check {
    let wanted = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
    let missing: Vec<&str> =
        wanted.into_iter().filter(|kind| !Path::new("/proc/self/ns").join(kind).exists()).collect();
    if missing.is_empty() {
        Check::ok("namespaces", wanted.join(", "))
    } else {
        Check::unusable(
            "namespaces",
            format!("this kernel lacks {}", missing.join(", ")),
            "use a distribution's kernel",
        )
    }
}

fn seccomp() -> Check {
    let actions = read("/proc/sys/kernel/seccomp/actions_avail");
    if actions.split(' ').any(|action| action == "errno") {
        Check::ok("seccomp", "filters with error answers")
    } else {
        Check::unusable("seccomp", "this kernel has no seccomp filters", "use a distribution's kernel")
    }
}

fn usr() -> Check {
    let shell = ["/bin/sh", "/usr/bin/sh"].into_iter().find(|path| Path::new(path).exists());
    match shell {
        Some(shell) if Path::new("/usr").is_dir() => Check::ok("usr", format!("/usr with {shell}")),
        _ => {
            Check::degraded("usr", "no /usr with a shell: the built-in image `host` is empty; use an image folder", "")
        }
    }
}

// ---- facts about what the launcher got ----

fn grant_facts(grants: &Grants, config: &SandboxConfig) -> Vec<Check> {
    let limit = |name: &str, means: &str| {
        if means.starts_with("cgroup") {
            return Check::ok(name, format!("by {means}"));
        }
        let kept = if means == "none" { "not kept".to_owned() } else { format!("by {means}") };
        Check::degraded(name, format!("{kept}: no writable cgroup with this controller"), DELEGATE)
    };
    vec![
        launcher(grants),
        identities(grants, config),
        limit("memory_limit", &grants.memory),
        limit("pids_limit", &grants.pids),
        limit("cpu_limit", &grants.cpu),
        Check::degraded(
            "disk_limit",
            "bytes and files watched about once a second, and a single file's size at once; project quotas are not used",
            "",
        ),
        landlock(grants.landlock_abi),
    ]
}

fn launcher(grants: &Grants) -> Check {
    if grants.privileged {
        Check::ok("launcher", "root")
    } else {
        Check::degraded("launcher", "an ordinary user: weaker limits, as said below", AS_ROOT)
    }
}

fn identities(grants: &Grants, config: &SandboxConfig) -> Check {
    let (first, count) = (config.uid_first, config.uid_count);
    if !grants.own_uid {
        let detail = "all runs share this user's uid; only their namespaces part them";
        return Check::degraded("run_uids", detail, AS_ROOT);
    }
    if maps(&read("/proc/self/uid_map"), first, count) && maps(&read("/proc/self/gid_map"), first, count) {
        Check::ok("run_uids", format!("one of {count} each, from {first}"))
    } else {
        let detail = format!("uids {first} and up do not exist in this container");
        Check::unusable("run_uids", detail, "give the container that range of uids, or set another one")
    }
}

/// Whether a map (lines of `inside outside count`) has the whole range inside.
fn maps(map: &str, first: u32, count: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        matches!(numbers[..], [inside, _, length] if inside <= u64::from(first) && u64::from(first) + u64::from(count) <= inside + length)
    })
}

fn landlock(abi: u32) -> Check {
    match abi {
        0 => Check::degraded(
            "landlock",
            "not in this kernel (or older than version 2): one lock less on files",
            "add landlock to the kernel parameter lsm=",
        ),
        abi if abi < LANDLOCK_GOOD => {
            let detail =
                format!("version {abi}: files only; abstract sockets and signals are kept in by namespaces alone");
            Check::degraded("landlock", detail, "install Linux 6.12 or newer")
        }
        abi => Check::ok("landlock", format!("version {abi}")),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    //! Maps as containers have them.

    use super::maps;

    #[test]
    fn ranges_inside_a_container() {
        assert!(maps("0 0 4294967295", 2_000_000, 65_536));
        assert!(!maps("0 100000 65536", 2_000_000, 65_536));
        assert!(maps("0 100000 65536\n2000000 300000 65536", 2_000_000, 65_536));
        assert!(!maps("", 0, 1));
    }
}
