//! The list of checks: what a hostile program tries, and at which walls it can try it.

/// One check.
#[derive(Debug)]
pub struct Check {
    /// Its number; tests name it by this.
    pub number: u8,
    /// What is tried.
    pub what: &'static str,
    /// Where it makes sense.
    pub at: At,
}

/// Walls at which a check makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Every wall.
    All,
    /// Where a program of the operator's carries the guest.
    Carried,
    /// One tier.
    Tier(&'static str),
}

/// A wall: a tier, and who its launcher is. In the order of the table's columns.
pub const WALLS: [&str; 7] =
    ["container-root", "container-user", "gvisor-root", "microvm-root", "microvm-user", "isolate-root", "isolate-user"];

const fn check(number: u8, at: At, what: &'static str) -> Check {
    Check { number, what, at }
}

/// Every check, in order.
pub const CHECKS: &[Check] = &[
    check(1, At::All, "the host's environment, wherever it can be read"),
    check(2, At::All, "processes of others in /proc"),
    check(3, At::All, "what belongs to another process: root, folder, descriptors, maps"),
    check(4, At::All, "files of another run"),
    check(5, At::All, "the platform's data, sockets and keys"),
    check(6, At::All, "descriptors from outside, and the way up from a folder"),
    check(7, At::All, "a link to a host file that the host then reads"),
    check(8, At::All, "links swapped while files are read, written, removed"),
    check(9, At::All, "files in the output that are none"),
    check(10, At::All, "writing to the image, to /etc, to the guest"),
    check(11, At::All, "setuid programs and file capabilities"),
    check(12, At::All, "mounts"),
    check(13, At::All, "leaving the root"),
    check(14, At::All, "opening files by handle"),
    check(15, At::All, "the kernel's knobs"),
    check(16, At::All, "control groups, and more than the own limits"),
    check(17, At::All, "/sys"),
    check(18, At::All, "the kernel's log, symbols and memory; devices"),
    check(19, At::All, "memory and descriptors of other processes"),
    check(20, At::All, "signals to others"),
    check(21, At::All, "namespaces, new and foreign"),
    check(22, At::All, "io_uring"),
    check(23, At::All, "bpf, perf, modules, clocks, reboot and the like"),
    check(24, At::All, "system calls of other instruction sets"),
    check(25, At::All, "typing into a terminal"),
    check(26, At::All, "shared memory and abstract sockets of others"),
    check(27, At::All, "a program that is in memory alone"),
    check(28, At::All, "children that are less confined"),
    check(29, At::All, "interfaces, routes, sockets beyond loopback"),
    check(30, At::All, "addresses of cloud metadata"),
    check(31, At::All, "names and name servers"),
    check(32, At::All, "services of the host on loopback"),
    check(33, At::All, "vsock to the machine below"),
    check(34, At::All, "frames on the channel that no guest sends"),
    check(35, At::All, "datagrams, groups, ICMP"),
    check(36, At::All, "fork bomb"),
    check(37, At::All, "memory bombs"),
    check(38, At::All, "a full disk"),
    check(39, At::All, "descriptors without end"),
    check(40, At::All, "processors without end, real-time priority"),
    check(41, At::All, "floods of output, input that nobody reads"),
    check(42, At::All, "code that will not end"),
    check(43, At::All, "what goes on after its end"),
    check(44, At::All, "SIGKILL of launcher or platform"),
    check(45, At::All, "many rounds of making and ending"),
    check(46, At::All, "a tier that is not there, asked for"),
    check(47, At::Carried, "a tampered program of the tier"),
    check(48, At::Tier("gvisor"), "whose kernel answers, and how it is confined itself"),
    check(49, At::Tier("microvm"), "the machine's devices, its reset, its monitor's rights"),
    check(50, At::Tier("isolate"), "code that attacks its engine and its host's objects"),
];

impl At {
    /// Whether it makes sense at this wall.
    pub fn covers(self, wall: &str) -> bool {
        let tier = wall.split('-').next().unwrap_or_default();
        match self {
            Self::All => true,
            Self::Carried => tier != "container",
            Self::Tier(only) => tier == only,
        }
    }
}
