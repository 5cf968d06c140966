//! Every class of system calls the filter denies, made in a real sandbox: a clear error there, another answer outside.
//!
//! Each call is made by a child of its own with arguments that do no harm where it is allowed, so that the control outside can
//! make it as root. The same answer on both sides shows nothing; a class in which no call differs fails, but for those that
//! need a kernel that has what they ask for.

use std::collections::BTreeMap;
use std::io;
use std::process::Command;

use libc::{EAFNOSUPPORT, ENOSYS, EPERM, c_long};
use livery_sandbox::{Exec, Tier};

use crate::house::{House, is_root, walls};

/// Set for the process that makes the calls.
const VARIABLE: &str = "LIVERY_TEST_CALLS";
const CALLER: [&str; 5] = ["--exact", "seccomp_classes::caller_process", "--nocapture", "--test-threads=1", "--quiet"];
/// What a child of the caller ends with when its call worked.
const WORKED: i32 = 0;
/// A signal that ended it is told as this much more.
const BY_SIGNAL: i32 = 1_000;
/// A pointer into nowhere.
const NOWHERE: c_long = 8;

/// One attempt: its name, its number and arguments, and the error it has to answer inside.
struct Call {
    name: &'static str,
    number: c_long,
    arguments: [c_long; 5],
    inside: i32,
}

const fn call(name: &'static str, number: c_long, arguments: [c_long; 5]) -> Call {
    Call { name, number, arguments, inside: EPERM }
}

const fn answers(inside: i32, call: Call) -> Call {
    Call { inside, ..call }
}

fn namespaces() -> Vec<Call> {
    let flags = [
        ("CLONE_NEWUSER", libc::CLONE_NEWUSER),
        ("CLONE_NEWNS", libc::CLONE_NEWNS),
        ("CLONE_NEWPID", libc::CLONE_NEWPID),
        ("CLONE_NEWNET", libc::CLONE_NEWNET),
        ("CLONE_NEWIPC", libc::CLONE_NEWIPC),
        ("CLONE_NEWUTS", libc::CLONE_NEWUTS),
        ("CLONE_NEWCGROUP", libc::CLONE_NEWCGROUP),
    ];
    let child = |flag| c_long::from(flag) | c_long::from(libc::SIGCHLD);
    let made = flags.map(|(name, flag)| call(name, libc::SYS_clone, [child(flag), 0, 0, 0, 0]));
    let left = flags.map(|(name, flag)| call(name, libc::SYS_unshare, [c_long::from(flag), 0, 0, 0, 0]));
    let rest =
        [call("setns", libc::SYS_setns, [-1, 0, 0, 0, 0]), answers(ENOSYS, call("clone3", libc::SYS_clone3, [0; 5]))];
    made.into_iter().chain(left).chain(rest).collect()
}

fn sockets() -> Vec<Call> {
    let family = |name, family: i32, kind: i32| {
        answers(EAFNOSUPPORT, call(name, libc::SYS_socket, [c_long::from(family), c_long::from(kind), 0, 0, 0]))
    };
    vec![
        family("AF_NETLINK", libc::AF_NETLINK, libc::SOCK_RAW),
        family("AF_PACKET", libc::AF_PACKET, libc::SOCK_RAW),
        family("AF_VSOCK", libc::AF_VSOCK, libc::SOCK_STREAM),
        family("AF_ALG", libc::AF_ALG, libc::SOCK_SEQPACKET),
        family("AF_BLUETOOTH", libc::AF_BLUETOOTH, libc::SOCK_RAW),
        family("AF_TIPC", libc::AF_TIPC, libc::SOCK_STREAM),
        family("AF_CAN", libc::AF_CAN, libc::SOCK_RAW),
        family("AF_KEY", libc::AF_KEY, libc::SOCK_RAW),
        family("AF_XDP", libc::AF_XDP, libc::SOCK_RAW),
        call("raw ICMP", libc::SYS_socket, [2, c_long::from(libc::SOCK_RAW), 1, 0, 0]),
        answers(
            EAFNOSUPPORT,
            call("a pair of AF_NETLINK", libc::SYS_socketpair, [c_long::from(libc::AF_NETLINK), 2, 0, NOWHERE, 0]),
        ),
    ]
}

/// The list of `docs/sandbox.md`, in its order.
fn classes() -> Vec<(&'static str, Vec<Call>)> {
    vec![
        (
            "io_uring",
            vec![
                call("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
                call("io_uring_enter", libc::SYS_io_uring_enter, [-1, 0, 0, 0, 0]),
                call("io_uring_register", libc::SYS_io_uring_register, [-1, 0, 0, 0, 0]),
            ],
        ),
        (
            "keyrings",
            vec![
                call("keyctl", libc::SYS_keyctl, [0, -3, 0, 0, 0]),
                call("add_key", libc::SYS_add_key, [NOWHERE, 0, 0, 0, 0]),
                call("request_key", libc::SYS_request_key, [NOWHERE, 0, 0, 0, 0]),
            ],
        ),
        ("bpf", vec![call("bpf", libc::SYS_bpf, [0, NOWHERE, 8, 0, 0])]),
        ("performance events", vec![call("perf_event_open", libc::SYS_perf_event_open, [NOWHERE, 0, -1, -1, 0])]),
        ("userfaultfd", vec![call("userfaultfd", libc::SYS_userfaultfd, [0; 5])]),
        (
            "mounts",
            vec![
                call("mount", libc::SYS_mount, [0; 5]),
                call("umount2", libc::SYS_umount2, [0; 5]),
                call("pivot_root", libc::SYS_pivot_root, [0; 5]),
                call("chroot", libc::SYS_chroot, [0; 5]),
                call("open_tree", libc::SYS_open_tree, [-1, 0, 0, 0, 0]),
                call("move_mount", libc::SYS_move_mount, [-1, 0, -1, 0, 0]),
                call("fsopen", libc::SYS_fsopen, [0; 5]),
                call("fsconfig", libc::SYS_fsconfig, [-1, 0, 0, 0, 0]),
                call("fsmount", libc::SYS_fsmount, [-1, 0, 0, 0, 0]),
                call("fspick", libc::SYS_fspick, [-1, 0, 0, 0, 0]),
                call("mount_setattr", libc::SYS_mount_setattr, [-1, 0, 0, 0, 0]),
            ],
        ),
        ("namespaces", namespaces()),
        (
            "terminals",
            vec![
                call("TIOCSTI", libc::SYS_ioctl, [-1, 0x5412, 0, 0, 0]),
                call("TIOCLINUX", libc::SYS_ioctl, [-1, 0x541C, 0, 0, 0]),
            ],
        ),
        ("personality", vec![call("ADDR_NO_RANDOMIZE", libc::SYS_personality, [0x0004_0000, 0, 0, 0, 0])]),
        (
            "files by handle",
            vec![
                call("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, NOWHERE, 0, 0, 0]),
                call("name_to_handle_at", libc::SYS_name_to_handle_at, [-1, NOWHERE, NOWHERE, NOWHERE, 0]),
            ],
        ),
        (
            "other processes",
            vec![
                call("ptrace", libc::SYS_ptrace, [c_long::from(libc::PTRACE_PEEKDATA), 0x7FFF_FFFF, 0, 0, 0]),
                call("process_vm_readv", libc::SYS_process_vm_readv, [0x7FFF_FFFF, NOWHERE, 1, NOWHERE, 1]),
                call("process_vm_writev", libc::SYS_process_vm_writev, [0x7FFF_FFFF, NOWHERE, 1, NOWHERE, 1]),
                call("pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0, 0, 0]),
                call("kcmp", libc::SYS_kcmp, [0x7FFF_FFFF, 0x7FFF_FFFF, 0, 0, 0]),
            ],
        ),
        (
            "the machine",
            vec![
                call("init_module", libc::SYS_init_module, [0; 5]),
                call("finit_module", libc::SYS_finit_module, [-1, 0, 0, 0, 0]),
                call("kexec_load", libc::SYS_kexec_load, [0, 0, 0, -1, 0]),
                call("reboot", libc::SYS_reboot, [0; 5]),
                call("swapon", libc::SYS_swapon, [NOWHERE, 0, 0, 0, 0]),
                call("settimeofday", libc::SYS_settimeofday, [NOWHERE, 0, 0, 0, 0]),
                call("clock_settime", libc::SYS_clock_settime, [0, NOWHERE, 0, 0, 0]),
                call("acct", libc::SYS_acct, [NOWHERE, 0, 0, 0, 0]),
                call("syslog", libc::SYS_syslog, [10, 0, 0, 0, 0]),
                call("sethostname", libc::SYS_sethostname, [NOWHERE, 1, 0, 0, 0]),
                call("quotactl", libc::SYS_quotactl, [0; 5]),
            ],
        ),
        ("sockets", sockets()),
        ("calls of the future", vec![answers(ENOSYS, call("number 463", 463, [-1, 0, NOWHERE, 0, 0]))]),
    ]
}

/// Not a test: makes every call, when this binary was started for that.
#[test]
fn caller_process() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    for (class, calls) in classes() {
        for call in calls {
            println!("call {class}/{}/{} {}", call.name, call.number, in_a_child(|| made(&call)));
        }
    }
    println!("call instruction sets/x32/0 {}", in_a_child(|| made(&x32())));
    #[cfg(target_arch = "x86_64")]
    println!("call instruction sets/i386/0 {}", in_a_child(i386));
    println!("calls done");
}

/// `getpid` by its x32 number.
const fn x32() -> Call {
    answers(ENOSYS, call("x32", 0x4000_0000 | 39, [0; 5]))
}

/// The error number of the call, or [`WORKED`].
fn made(call: &Call) -> i32 {
    let [a, b, c, d, e] = call.arguments;
    // SAFETY: integers, and addresses nothing is mapped at: the kernel answers an error where it wants memory.
    let result = unsafe { libc::syscall(call.number, a, b, c, d, e) };
    if result == -1 { io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { WORKED }
}

/// `getpid` (number 20) the way 32-bit programs ask.
#[cfg(target_arch = "x86_64")]
fn i386() -> i32 {
    let result: i64;
    // SAFETY: a call without arguments that reads and writes no memory; the registers it may change are named.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    };
    i32::from(result < 0) * ENOSYS
}

/// What `work` answers in a process of its own; the signal that ended it, if one did.
fn in_a_child(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child makes one call and leaves; a child of that child, made by `clone`, leaves the same way.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "{}", io::Error::last_os_error());
        if child == 0 {
            libc::_exit(work());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { BY_SIGNAL + libc::WTERMSIG(status) }
    }
}

/// What each call answered, by class and name.
fn parse(text: &str) -> BTreeMap<String, i32> {
    assert!(text.contains("calls done"), "{text}");
    let lines = text.lines().filter_map(|line| line.strip_prefix("call ")?.rsplit_once(' '));
    lines.map(|(name, answer)| (name.to_owned(), answer.parse().unwrap())).collect()
}

/// What is asked of the calls of a class inside.
fn expected() -> BTreeMap<String, i32> {
    let calls = classes().into_iter().flat_map(|(class, calls)| {
        calls.into_iter().map(move |call| (format!("{class}/{}/{}", call.name, call.number), call.inside))
    });
    calls.chain([("instruction sets/x32/0".to_owned(), ENOSYS)]).collect()
}

fn class_of(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

#[tokio::test]
async fn every_denied_class_answers_a_clear_error_inside() {
    for wall in walls() {
        let house = House::open(wall);
        let sandbox = house.sandbox("caller").await;
        let program = std::fs::read("/proc/self/exe").unwrap();
        sandbox.put("/workspace/caller", &program, 0o755).await.unwrap();
        let argv = ["/workspace/caller"].into_iter().chain(CALLER);
        let env = vec![(VARIABLE.to_owned(), "1".to_owned())];
        let result = sandbox.exec(Exec { env, ..Exec::new(argv) }, |_, _| {}).await.unwrap();
        let text = String::from_utf8_lossy(&result.stdout).into_owned() + &String::from_utf8_lossy(&result.stderr);
        let mut answered = parse(&text);
        if let Some(i386) = answered.remove("instruction sets/i386/0") {
            // Another kernel than the host's reads the number as one of its own.
            let is_refused = i386 > BY_SIGNAL || wall.tier != Tier::Container && i386 == ENOSYS;
            assert!(is_refused, "{wall:?}: a 32-bit program went on with {i386}");
        }
        let wrong: Vec<_> = expected()
            .into_iter()
            .filter(|(name, inside)| answered.get(name) != Some(inside))
            .map(|(name, inside)| format!("{name}: {:?}, not {inside}", answered.get(&name)))
            .collect();
        assert!(wrong.is_empty(), "{wall:?}: {wrong:#?}");
    }
}

/// What this kernel may be without, so that outside it answers as the filter does inside.
const MAY_BE_MISSING: [&str; 3] = ["calls of the future", "instruction sets", "io_uring"];

#[test]
fn outside_each_class_answers_differently() {
    if !is_root() {
        eprintln!("SKIPPED: the control of the denied calls, because this test does not run as root");
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let ran = command.args(CALLER).env(VARIABLE, "1").output().unwrap();
    let answered = parse(&String::from_utf8_lossy(&ran.stdout));
    let expected = expected();
    let mut differs: BTreeMap<&str, bool> = BTreeMap::new();
    for (name, inside) in &expected {
        *differs.entry(class_of(name)).or_default() |= answered[name] != *inside;
    }
    for (class, differs) in differs {
        if !differs && MAY_BE_MISSING.contains(&class) {
            eprintln!("SKIPPED: the control of {class}, because this kernel has no such thing");
            continue;
        }
        assert!(differs, "{class}: nothing answers differently outside: {answered:#?}");
    }
}
