//! Attempts on the kernel: its calls, its knobs, its secrets.

use std::fs::{File, OpenOptions};
use std::io;

use super::Facts;
use super::means::{all_forbidden, errno_of, held, none_readable};

pub(super) fn mount_calls(_: &Facts) -> Result<(), String> {
    all_forbidden(&[
        ("mount", libc::SYS_mount, [0, 0, 0, 0, 0]),
        ("umount2", libc::SYS_umount2, [0; 5]),
        ("pivot_root", libc::SYS_pivot_root, [0; 5]),
        ("chroot", libc::SYS_chroot, [0; 5]),
        ("open_tree", libc::SYS_open_tree, [-1, 0, 1, 0, 0]),
        ("move_mount", libc::SYS_move_mount, [-1, 0, -1, 0, 0]),
        ("fsopen", libc::SYS_fsopen, [0; 5]),
        ("fsconfig", libc::SYS_fsconfig, [-1, 0, 0, 0, 0]),
        ("fsmount", libc::SYS_fsmount, [-1, 0, 0, 0, 0]),
        ("fspick", libc::SYS_fspick, [-1, 0, 0, 0, 0]),
        ("mount_setattr", libc::SYS_mount_setattr, [-1, 0, 0, 0, 0]),
    ])
}

pub(super) fn namespace_calls(_: &Facts) -> Result<(), String> {
    let flags = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
        0x80,
        libc::CLONE_FS | libc::CLONE_FILES,
    ];
    for flag in flags {
        all_forbidden(&[("unshare", libc::SYS_unshare, [libc::c_long::from(flag), 0, 0, 0, 0])])?;
    }
    for flag in &flags[..7] {
        // A stack of null and a shared memory would crash a child; a plain fork with the flag does not.
        let arguments = [libc::c_long::from(*flag) | libc::c_long::from(libc::SIGCHLD), 0, 0, 0, 0];
        match clone_and_leave(arguments[0]) {
            Err(libc::EPERM) => {}
            other => return Err(format!("clone {flag:x}: {other:?}")),
        }
    }
    let mine = File::open("/proc/self/ns/user").map_err(|e| e.to_string())?;
    let fd = libc::c_long::from(std::os::fd::AsRawFd::as_raw_fd(&mine));
    all_forbidden(&[("setns", libc::SYS_setns, [fd, 0, 0, 0, 0]), ("clone3", libc::SYS_clone3, [0; 5])])
}

/// A child that leaves at once.
fn clone_and_leave(flags: libc::c_long) -> Result<(), i32> {
    // SAFETY: a fork-like clone (no shared memory); the child makes one call and is gone.
    unsafe {
        match libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) {
            -1 => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
            0 => libc::_exit(0),
            pid => {
                libc::waitpid(i32::try_from(pid).unwrap(), std::ptr::null_mut(), 0);
                Ok(())
            }
        }
    }
}

pub(super) fn kernel_calls(_: &Facts) -> Result<(), String> {
    all_forbidden(&[
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
        ("io_uring_enter", libc::SYS_io_uring_enter, [-1, 0, 0, 0, 0]),
        ("io_uring_register", libc::SYS_io_uring_register, [-1, 0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [0, 0, -1, -1, 0]),
        ("keyctl", libc::SYS_keyctl, [0, -3, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, [0, 0, 0, 0, 0]),
        ("request_key", libc::SYS_request_key, [0, 0, 0, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0, 0, 0]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0]),
        ("name_to_handle_at", libc::SYS_name_to_handle_at, [-1, 0, 0, 0, 0]),
        ("init_module", libc::SYS_init_module, [0, 0, 0, 0, 0]),
        ("finit_module", libc::SYS_finit_module, [-1, 0, 0, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, [0, 17, 0, 0, 0]),
        ("reboot", libc::SYS_reboot, [0, 0, 0, 0, 0]),
        ("swapon", libc::SYS_swapon, [0, 0, 0, 0, 0]),
        ("clock_settime", libc::SYS_clock_settime, [0, 0, 0, 0, 0]),
        ("settimeofday", libc::SYS_settimeofday, [1, 0, 0, 0, 0]),
        ("adjtimex", libc::SYS_adjtimex, [0, 0, 0, 0, 0]),
        ("quotactl", libc::SYS_quotactl, [0, 0, 0, 0, 0]),
        ("syslog", libc::SYS_syslog, [3, 0, 0, 0, 0]),
        ("sethostname", libc::SYS_sethostname, [0, 1, 0, 0, 0]),
        ("fanotify_init", libc::SYS_fanotify_init, [-1, 0, 0, 0, 0]),
        ("personality", libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0]),
        ("vhangup", libc::SYS_vhangup, [0, 0, 0, 0, 0]),
        ("memfd_secret", libc::SYS_memfd_secret, [-1, 0, 0, 0, 0]),
    ])
}

/// An i386 call ends the process that makes it, or means nothing; an x32 number is no call.
pub(super) fn foreign_instruction_sets(facts: &Facts) -> Result<(), String> {
    #[cfg(target_arch = "x86_64")]
    {
        let x32 = errno_of(0x4000_0000 | libc::SYS_getpid, [0; 5]);
        held(x32 == libc::ENOSYS || x32 == libc::EPERM, || format!("x32 answered {x32}"))?;
        // SAFETY: the child of a fork makes one call through the i386 gate and leaves.
        let status = unsafe {
            match libc::fork() {
                0 => {
                    // i386's `getpid`, which is `writev` here.
                    let mut answer: i32 = 20;
                    std::arch::asm!("int 0x80", inlateout("eax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
                    libc::_exit(i32::from(answer == libc::getpid()))
                }
                pid => {
                    let mut status = 0;
                    libc::waitpid(pid, &raw mut status, 0);
                    status
                }
            }
        };
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS;
        // gVisor reads the number as one of its own instruction set, and so does the filter.
        held(killed || facts.own_kernel && status == 0, || format!("i386 gave status {status}"))?;
    }
    Ok(())
}

pub(super) fn kernel_knobs(_: &Facts) -> Result<(), String> {
    let knobs = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hotplug",
        "/proc/sysrq-trigger",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/kernel/hostname",
        "/proc/sys/user/max_user_namespaces",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/irq/default_smp_affinity",
    ];
    // A mask of /dev/null can be opened; what is written to it goes nowhere.
    let is_knob = |path: &&&str| OpenOptions::new().write(true).open(path).is_ok_and(|file| !is_null(&file));
    let open: Vec<_> = knobs.iter().filter(is_knob).collect();
    held(open.is_empty(), || format!("{open:?}"))
}

fn is_null(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|m| m.rdev() == libc::makedev(1, 3))
}

pub(super) fn kernel_secrets(facts: &Facts) -> Result<(), String> {
    none_readable(if facts.own_kernel { &[] } else { &["/proc/cmdline"] })?;
    none_readable(&[
        "/proc/kcore",
        "/proc/keys",
        "/proc/kmsg",
        "/dev/kmsg",
        "/dev/mem",
        "/proc/kallsyms",
        "/proc/partitions",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/interrupts",
    ])
}
