//! What of `/proc` a run does not see: the same in a container, where the launcher hides it, and in a virtual machine, where
//! the guest does.

/// Hidden behind `/dev/null`, which reads as empty.
pub const FILES: [&str; 15] = [
    "cmdline",
    "diskstats",
    "interrupts",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "latency_stats",
    "locks",
    "modules",
    "partitions",
    "sched_debug",
    "sysrq-trigger",
    "timer_list",
];
/// Hidden behind an empty folder.
pub const FOLDERS: [&str; 5] = ["acpi", "scsi", "bus", "driver", "tty"];
/// Readable, never writable.
pub const READ_ONLY: [&str; 3] = ["sys", "irq", "fs"];
/// Kinds of namespaces, none of which a run makes.
pub const NAMESPACES: [&str; 8] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
/// Character devices of a run with their numbers. No disk, no network device; `tty` is the terminal of whoever opens it, and of the
/// sandbox's own.
pub const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("tty", 5, 0), ("urandom", 1, 9)];
