//! Attempts on other processes, and on what this one may become.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::process::Command;

use super::means::{all_forbidden, errno_of, held, none_readable, program, status};
use super::{Facts, STATUS, VARIABLE};

pub(super) fn canary(facts: &Facts) -> Result<(), String> {
    let canary: String = facts.canary_reversed.chars().rev().collect();
    for process in fs::read_dir("/proc").map_err(|e| e.to_string())?.flatten() {
        for file in ["environ", "cmdline"] {
            let text = fs::read(process.path().join(file)).unwrap_or_default();
            held(!String::from_utf8_lossy(&text).contains(&canary), || {
                format!("{}", process.path().join(file).display())
            })?;
        }
    }
    Ok(())
}

pub(super) fn other_processes(_: &Facts) -> Result<(), String> {
    let all = fs::read_dir("/proc").map_err(|e| e.to_string())?.flatten();
    let numbers: Vec<u32> = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    held(numbers.len() < 10 && numbers.iter().all(|n| *n < 1000), || format!("{} processes", numbers.len()))?;
    // A number far above the sandbox's own is free inside: nothing answers there.
    held(errno_of(libc::SYS_kill, [libc::c_long::from(std::process::id()) + 5000, 0, 0, 0, 0]) == libc::ESRCH, || {
        "a foreign process".to_owned()
    })
}

pub(super) fn process_one(facts: &Facts) -> Result<(), String> {
    none_readable(&["/proc/1/mem", "/proc/1/root", "/proc/1/cwd", "/proc/1/exe"])?;
    if !facts.own_kernel {
        // gVisor shows these of a process that is not dumpable too. There is no secret in them.
        none_readable(&["/proc/1/environ", "/proc/1/maps", "/proc/1/fd", "/proc/1/auxv"])?;
    }
    let write = OpenOptions::new()
        .write(true)
        .open("/proc/1/mem")
        .or_else(|_| OpenOptions::new().write(true).open("/proc/1/exe"));
    held(write.is_err(), || "writable".to_owned())
}

pub(super) fn identity(facts: &Facts) -> Result<(), String> {
    let (uid, gid, groups) = (status("Uid:"), status("Gid:"), status("Groups:"));
    // An ordinary user's launcher cannot drop its groups; they show as the overflow group and own nothing inside.
    let groups_fine = groups.split_whitespace().all(|group| matches!(group, "1000" | "65534"));
    held(uid == "1000\t1000\t1000\t1000" && gid == uid && groups_fine, || format!("{uid} / {gid} / {groups}"))?;
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let map: Vec<&str> = map.split_whitespace().collect();
    // gVisor's kernel has all ids, for itself: on the host it has three, and 0 is not among them (`tiers.rs` looks).
    let fine =
        facts.own_kernel || facts.machine || map.len() == 3 && map[0] == "1000" && map[1] != "0" && map[2] == "1";
    held(fine, || format!("{map:?}"))?;
    held(errno_of(libc::SYS_setuid, [0; 5]) != 0, || "became uid 0".to_owned())
}

pub(super) fn capabilities(_: &Facts) -> Result<(), String> {
    let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:"].map(status);
    // gVisor has no line for the ambient set; without a permitted one it is empty.
    let ambient = status("CapAmb:");
    let empty = |set: &String| set == "0000000000000000";
    held(sets.iter().all(empty) && (ambient.is_empty() || empty(&ambient)), || format!("{sets:?} {ambient}"))
}

/// In this process and a child's child.
pub(super) fn confined_flags(facts: &Facts) -> Result<(), String> {
    // SAFETY: plain system call on integers.
    let no_new_privs = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) };
    held(no_new_privs == 1, || "new privileges".to_owned())?;
    let mut seen = vec![format!("{} {}", status("Seccomp:"), status("NoNewPrivs:")).trim().to_owned()];
    let script = "sh -c 'grep -h -E \"^(Seccomp|NoNewPrivs):\" /proc/self/status'";
    let mut child = Command::new(program(facts, "sh"));
    if facts.in_host {
        child.arg(STATUS)
    } else {
        child.args(["-c", script])
    };
    let output = child.output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| line.starts_with("Seccomp:") || line.starts_with("NoNewPrivs:"));
    let mut values: Vec<&str> = lines.filter_map(|line| line.split_whitespace().nth(1)).collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    seen.push(values.join(" "));
    // gVisor has no line for the second.
    held(seen.iter().all(|flags| flags == if facts.own_kernel { "2" } else { "2 1" }), || format!("{seen:?}"))
}

pub(super) fn memory_of_others(_: &Facts) -> Result<(), String> {
    all_forbidden(&[
        ("ptrace", libc::SYS_ptrace, [libc::c_long::from(libc::PTRACE_SEIZE), 1, 0, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0]),
        ("process_vm_writev", libc::SYS_process_vm_writev, [1, 0, 0, 0, 0]),
        ("process_madvise", libc::SYS_process_madvise, [-1, 0, 0, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0, 0, 0]),
        ("kcmp", libc::SYS_kcmp, [1, 1, 0, 0, 0]),
    ])
}

/// What the guest tells an isolate's host.
const HOSTS_OWN: [&str; 6] = ["LD_LIBRARY_PATH", "DENO_DIR", "DENO_NO_UPDATE_CHECK", "NO_COLOR", "HOME", "LANG"];

pub(super) fn environment(facts: &Facts) -> Result<(), String> {
    let expected = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", VARIABLE];
    // The test harness adds its own to this process, so the first environment counts.
    let text = fs::read("/proc/self/environ").unwrap();
    let expected = if facts.in_host { &HOSTS_OWN[..] } else { &expected };
    let text = String::from_utf8_lossy(&text).into_owned();
    let names: Vec<&str> =
        text.split('\0').filter_map(|entry| entry.split('=').next()).filter(|name| !name.is_empty()).collect();
    held(names.iter().all(|name| expected.contains(name)), || format!("{names:?}"))
}

pub(super) fn cgroups(_: &Facts) -> Result<(), String> {
    held(!Path::new("/sys/fs/cgroup").exists(), || "/sys/fs/cgroup".to_owned())?;
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    held(text.lines().all(|line| line.ends_with(":/")), || text.clone())
}

pub(super) fn raising_limits(_: &Facts) -> Result<(), String> {
    for resource in [libc::RLIMIT_NPROC, libc::RLIMIT_FSIZE, libc::RLIMIT_NOFILE, libc::RLIMIT_CORE] {
        // SAFETY: plain structures that outlive the calls.
        let raised = unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            libc::getrlimit(resource, &raw mut limit);
            let more = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max.saturating_add(1) };
            limit.rlim_max == libc::RLIM_INFINITY || libc::setrlimit(resource, &raw const more) == 0
        };
        held(!raised, || format!("limit {resource}"))?;
    }
    Ok(())
}

pub(super) fn real_time(_: &Facts) -> Result<(), String> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: a plain structure that outlives the call; priority is given back at once.
    let raised = unsafe {
        let raised = libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) == 0;
        let ordinary = libc::sched_param { sched_priority: 0 };
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary);
        raised
    };
    held(!raised, || "real-time priority".to_owned())
}

pub(super) fn terminal_injection(_: &Facts) -> Result<(), String> {
    all_forbidden(&[
        ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, 0, 0, 0]),
        ("TIOCLINUX", libc::SYS_ioctl, [0, 0x541C, 0, 0, 0]),
        ("TIOCSETD", libc::SYS_ioctl, [0, 0x5423, 0, 0, 0]),
    ])
}

pub(super) fn system_v_memory(facts: &Facts) -> Result<(), String> {
    // SAFETY: asks for an existing segment; no memory is passed.
    let found = unsafe { libc::shmget(facts.shm_key, 1, 0) };
    held(found == -1, || format!("segment {found}"))
}

/// A program that is in memory alone is as confined as any.
pub(super) fn memory_program(facts: &Facts) -> Result<(), String> {
    // SAFETY: a C string; the descriptor is owned by the file from here on.
    let mut file = unsafe { File::from_raw_fd(libc::memfd_create(c"program".as_ptr(), 0)) };
    file.write_all(&fs::read(program(facts, "/usr/bin/cat")).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    let program = format!("/proc/self/fd/{}", file.as_raw_fd());
    // A program that is open for writing cannot be run.
    let read_only = File::open(&program).map_err(|e| e.to_string())?;
    drop(file);
    let program = format!("/proc/self/fd/{}", read_only.as_raw_fd());
    // SAFETY: clears close-on-exec of a descriptor of ours.
    unsafe { libc::fcntl(read_only.as_raw_fd(), libc::F_SETFD, 0) };
    let Ok(output) = Command::new(program).arg(if facts.in_host { STATUS } else { "/proc/self/status" }).output()
    else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let (seccomp, privileges, bound) = (field("Seccomp:"), field("NoNewPrivs:"), field("CapBnd:"));
    let confined =
        seccomp == "2" && (privileges == "1" || privileges.is_empty()) && bound.bytes().all(|digit| digit == b'0');
    held(confined, || format!("Seccomp {seccomp}, NoNewPrivs {privileges}, CapBnd {bound}"))
}
