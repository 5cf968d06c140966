//! The probe: what a hostile program would try, one line per attempt. Runs inside a sandbox, and outside as the control.
//!
//! An attempt that is refused prints `held NAME`; one that succeeds prints `open NAME: what it got`. Arguments of system
//! calls are chosen so that an attempt which is allowed does no harm.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Set for the probe: host facts to look for, see [`Facts::parse`].
pub(crate) const VARIABLE: &str = "LIVERY_PROBE";

/// What is true on the host and must not be reachable. Secrets are written backwards, so that looking for them is no find.
pub(crate) struct Facts {
    pub(crate) canary_reversed: String,
    pub(crate) state_dir: String,
    pub(crate) port: u16,
    pub(crate) abstract_name: String,
    pub(crate) shm_key: i32,
    /// Whether the kernel that answers is the sandbox's own (gVisor's): then some things are as that kernel makes them.
    pub(crate) own_kernel: bool,
}

impl Facts {
    pub(crate) fn encode(&self) -> String {
        let Self { canary_reversed, state_dir, port, abstract_name, shm_key, own_kernel } = self;
        format!("{canary_reversed}|{state_dir}|{port}|{abstract_name}|{shm_key}|{own_kernel}")
    }

    fn parse(text: &str) -> Self {
        let fields: Vec<&str> = text.split('|').collect();
        let [canary, state_dir, port, name, key, own_kernel] = fields[..] else { panic!("{text}") };
        Self {
            canary_reversed: canary.to_owned(),
            state_dir: state_dir.to_owned(),
            port: port.parse().unwrap(),
            abstract_name: name.to_owned(),
            shm_key: key.parse().unwrap(),
            own_kernel: own_kernel == "true",
        }
    }
}

/// `Err` says what the attempt got.
type Attempt = fn(&Facts) -> Result<(), String>;

const ATTEMPTS: &[(&str, Attempt)] = &[
    ("host_files", host_files),
    ("state_dir", state_dir),
    ("canary_in_processes", canary),
    ("other_processes", other_processes),
    ("process_one_closed", process_one),
    ("root_is_the_end", root_is_the_end),
    ("identity", identity),
    ("capabilities", capabilities),
    ("confined_flags", confined_flags),
    ("mount_calls", mount_calls),
    ("namespace_calls", namespace_calls),
    ("kernel_calls", kernel_calls),
    ("memory_of_others", memory_of_others),
    ("foreign_instruction_sets", foreign_instruction_sets),
    ("kernel_knobs", kernel_knobs),
    ("kernel_secrets", kernel_secrets),
    ("socket_families", socket_families),
    ("interfaces", interfaces),
    ("host_services", host_services),
    ("abstract_sockets", abstract_sockets),
    ("outside_addresses", outside_addresses),
    ("system_v_memory", system_v_memory),
    ("sys_tree", sys_tree),
    ("devices", devices),
    ("read_only_tree", read_only_tree),
    ("setuid_is_dead", setuid_is_dead),
    ("mounts_are_nosuid", mounts_are_nosuid),
    ("inherited_descriptors", inherited_descriptors),
    ("environment", environment),
    ("cgroups", cgroups),
    ("raising_limits", raising_limits),
    ("real_time", real_time),
    ("terminal_injection", terminal_injection),
];

/// Makes every attempt and prints what came of it.
pub(crate) fn run(facts: &str) {
    let facts = Facts::parse(facts);
    for (name, attempt) in ATTEMPTS {
        match attempt(&facts) {
            Ok(()) => println!("held {name}"),
            Err(got) => println!("open {name}: {}", got.replace('\n', " ")),
        }
    }
    println!("probe done");
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ATTEMPTS.iter().map(|(name, _)| *name)
}

fn held(refused: bool, got: impl FnOnce() -> String) -> Result<(), String> {
    if refused { Ok(()) } else { Err(got()) }
}

/// The error number of a raw system call, 0 when it worked.
fn errno_of(number: libc::c_long, arguments: [libc::c_long; 5]) -> i32 {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the callers pass integers, or null where the kernel wants memory: it answers an error then.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result == -1 { io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}

/// Every call must answer that it is forbidden (not that its arguments are wrong, which would mean it was allowed).
fn all_forbidden(calls: &[(&str, libc::c_long, [libc::c_long; 5])]) -> Result<(), String> {
    let open: Vec<String> = calls
        .iter()
        .map(|(name, number, arguments)| (name, errno_of(*number, *arguments)))
        .filter(|(_, errno)| !matches!(*errno, libc::EPERM | libc::ENOSYS))
        .map(|(name, errno)| format!("{name} answered {errno}"))
        .collect();
    held(open.is_empty(), || open.join(", "))
}

fn readable(path: &Path) -> bool {
    if path.is_dir() {
        return fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    }
    let mut byte = [0];
    File::open(path).and_then(|mut file| file.read(&mut byte)).is_ok_and(|count| count > 0)
}

fn none_readable(paths: &[&str]) -> Result<(), String> {
    let open: Vec<&str> = paths.iter().copied().filter(|path| readable(Path::new(path))).collect();
    held(open.is_empty(), || open.join(", "))
}

fn host_files(facts: &Facts) -> Result<(), String> {
    let paths = [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/etc/ssh",
        "/etc/machine-id",
        "/root",
        "/home",
        "/boot",
        "/srv",
        "/mnt",
        "/opt",
        "/var/lib",
        "/var/log",
        "/work",
        "/media",
        "/lost+found",
        "/old_root",
        "/etc/ssl/private",
    ];
    let sockets = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"];
    none_readable(&paths)?;
    let running: Vec<_> = fs::read_dir("/run").into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    // gVisor's process 1 is a file there.
    held(running.iter().all(|name| facts.own_kernel && name == "livery-guest"), || format!("/run: {running:?}"))?;
    held(!sockets.iter().any(|path| Path::new(path).exists()), || "a container socket".to_owned())
}

fn state_dir(facts: &Facts) -> Result<(), String> {
    let found = ["", "workspaces/neighbour/secret", "journal", "lock"];
    let open: Vec<&&str> = found.iter().filter(|path| Path::new(&facts.state_dir).join(path).exists()).collect();
    held(open.is_empty(), || format!("{open:?}"))
}

fn canary(facts: &Facts) -> Result<(), String> {
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

fn other_processes(_: &Facts) -> Result<(), String> {
    let all = fs::read_dir("/proc").map_err(|e| e.to_string())?.flatten();
    let numbers: Vec<u32> = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    held(numbers.len() < 10 && numbers.iter().all(|n| *n < 1000), || format!("{} processes", numbers.len()))?;
    // A number far above the sandbox's own is free inside: nothing answers there.
    held(errno_of(libc::SYS_kill, [libc::c_long::from(std::process::id()) + 5000, 0, 0, 0, 0]) == libc::ESRCH, || {
        "a foreign process".to_owned()
    })
}

fn process_one(facts: &Facts) -> Result<(), String> {
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

fn root_is_the_end(facts: &Facts) -> Result<(), String> {
    // Where `..` of the root, and the root as /proc names it, lead to: the same small tree.
    let names = |path: &str| {
        fs::read_dir(path).map(|d| d.flatten().map(|e| e.file_name()).collect::<Vec<_>>()).unwrap_or_default()
    };
    let (root, above, proc) = (names("/"), names("/../../.."), names("/proc/self/root/.."));
    let small = |list: &[std::ffi::OsString]| {
        list.iter().all(|n| !matches!(n.to_str(), Some("root" | "home" | "boot")) && (facts.own_kernel || n != "sys"))
    };
    held(root == above && root == proc && small(&root), || format!("{root:?}"))
}

fn status(field: &str) -> String {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().trim().to_owned()
}

fn identity(facts: &Facts) -> Result<(), String> {
    let (uid, gid, groups) = (status("Uid:"), status("Gid:"), status("Groups:"));
    // An ordinary user's launcher cannot drop its groups; they show as the overflow group and own nothing inside.
    let groups_fine = groups.split_whitespace().all(|group| matches!(group, "1000" | "65534"));
    held(uid == "1000\t1000\t1000\t1000" && gid == uid && groups_fine, || format!("{uid} / {gid} / {groups}"))?;
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let map: Vec<&str> = map.split_whitespace().collect();
    // gVisor's kernel has all ids, for itself: on the host it has three, and 0 is not among them (`tiers.rs` looks).
    let fine = facts.own_kernel || map.len() == 3 && map[0] == "1000" && map[1] != "0" && map[2] == "1";
    held(fine, || format!("{map:?}"))?;
    held(errno_of(libc::SYS_setuid, [0; 5]) != 0, || "became uid 0".to_owned())
}

fn capabilities(_: &Facts) -> Result<(), String> {
    let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:"].map(status);
    // gVisor has no line for the ambient set; without a permitted one it is empty.
    let ambient = status("CapAmb:");
    let empty = |set: &String| set == "0000000000000000";
    held(sets.iter().all(empty) && (ambient.is_empty() || empty(&ambient)), || format!("{sets:?} {ambient}"))
}

/// In this process and a child's child.
fn confined_flags(facts: &Facts) -> Result<(), String> {
    // SAFETY: plain system call on integers.
    let no_new_privs = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) };
    held(no_new_privs == 1, || "new privileges".to_owned())?;
    let mut seen = vec![format!("{} {}", status("Seccomp:"), status("NoNewPrivs:")).trim().to_owned()];
    let script = "sh -c 'grep -h -E \"^(Seccomp|NoNewPrivs):\" /proc/self/status'";
    let output = Command::new("sh").args(["-c", script]).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut values: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    seen.push(values.join(" "));
    // gVisor has no line for the second.
    held(seen.iter().all(|flags| flags == if facts.own_kernel { "2" } else { "2 1" }), || format!("{seen:?}"))
}

fn mount_calls(_: &Facts) -> Result<(), String> {
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

fn namespace_calls(_: &Facts) -> Result<(), String> {
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

fn kernel_calls(_: &Facts) -> Result<(), String> {
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

fn memory_of_others(_: &Facts) -> Result<(), String> {
    all_forbidden(&[
        ("ptrace", libc::SYS_ptrace, [libc::c_long::from(libc::PTRACE_SEIZE), 1, 0, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0]),
        ("process_vm_writev", libc::SYS_process_vm_writev, [1, 0, 0, 0, 0]),
        ("process_madvise", libc::SYS_process_madvise, [-1, 0, 0, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0, 0, 0]),
        ("kcmp", libc::SYS_kcmp, [1, 1, 0, 0, 0]),
    ])
}

/// An i386 call ends the process that makes it, or means nothing; an x32 number is no call.
fn foreign_instruction_sets(facts: &Facts) -> Result<(), String> {
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

fn kernel_knobs(_: &Facts) -> Result<(), String> {
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

fn kernel_secrets(facts: &Facts) -> Result<(), String> {
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

fn socket_families(_: &Facts) -> Result<(), String> {
    let families = [
        ("netlink", libc::AF_NETLINK, libc::SOCK_RAW),
        ("packet", libc::AF_PACKET, libc::SOCK_RAW),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
        ("alg", libc::AF_ALG, libc::SOCK_SEQPACKET),
        ("bluetooth", libc::AF_BLUETOOTH, libc::SOCK_RAW),
        ("tipc", libc::AF_TIPC, libc::SOCK_STREAM),
        ("key", libc::AF_KEY, libc::SOCK_RAW),
        ("xdp", 44, libc::SOCK_RAW),
        ("raw", libc::AF_INET, libc::SOCK_RAW),
        ("raw6", libc::AF_INET6, libc::SOCK_RAW),
    ];
    for (name, family, kind) in families {
        let errno = errno_of(libc::SYS_socket, [family.into(), kind.into(), 1, 0, 0]);
        held(matches!(errno, libc::EPERM | libc::EAFNOSUPPORT), || format!("{name} answered {errno}"))?;
    }
    Ok(())
}

fn interfaces(_: &Facts) -> Result<(), String> {
    let text = fs::read_to_string("/proc/net/dev").map_err(|e| e.to_string())?;
    let names: Vec<&str> = text.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    held(names == ["lo"], || format!("{names:?}"))?;
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    held(routes.lines().count() <= 1, || routes)
}

fn connects(address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
}

fn host_services(facts: &Facts) -> Result<(), String> {
    let port = facts.port;
    for host in ["127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]"] {
        held(!connects(&format!("{host}:{port}")), || format!("{host}:{port}"))?;
    }
    // Its own loopback works.
    let own = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("own loopback: {e}"))?;
    held(connects(&own.local_addr().unwrap().to_string()), || "own loopback is dead".to_owned())
}

fn abstract_sockets(facts: &Facts) -> Result<(), String> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&facts.abstract_name).unwrap();
    held(std::os::unix::net::UnixStream::connect_addr(&address).is_err(), || facts.abstract_name.clone())
}

fn outside_addresses(facts: &Facts) -> Result<(), String> {
    for address in ["169.254.169.254:80", "[fd00:ec2::254]:80", "192.0.2.1:80", "10.0.0.1:53"] {
        let address: SocketAddr = address.parse().unwrap();
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(300)).err();
        // Unreachable at once: there is no route. A timeout would mean that a packet left.
        let unreachable = if facts.own_kernel { libc::EHOSTUNREACH } else { libc::ENETUNREACH };
        let errno = error.as_ref().and_then(std::io::Error::raw_os_error);
        held(errno == Some(libc::ENETUNREACH) || errno == Some(unreachable), || format!("{address}: {error:?}"))?;
    }
    Ok(())
}

fn system_v_memory(facts: &Facts) -> Result<(), String> {
    // SAFETY: asks for an existing segment; no memory is passed.
    let found = unsafe { libc::shmget(facts.shm_key, 1, 0) };
    held(found == -1, || format!("segment {found}"))
}

fn sys_tree(facts: &Facts) -> Result<(), String> {
    let empty = || fs::read_dir("/sys").is_ok_and(|mut entries| entries.next().is_none());
    held(!Path::new("/sys").exists() || facts.own_kernel && empty(), || "/sys".to_owned())
}

fn devices(facts: &Facts) -> Result<(), String> {
    let mut names: Vec<String> =
        fs::read_dir("/dev").unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let expected = ["fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero"];
    // Devices of gVisor's kernel; none of them is the host's.
    let own = ["fuse", "net", "ptmx", "pts", "tty"];
    names.retain(|name| !facts.own_kernel || !own.contains(&name.as_str()));
    held(names == expected, || format!("{names:?}"))?;
    // A device node cannot be made, or is dead.
    let path = c"/workspace/node";
    // SAFETY: a valid C string.
    let made = unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 1)) };
    held(made == -1 || File::open("/workspace/node").is_err(), || "made /dev/mem".to_owned())
}

fn read_only_tree(_: &Facts) -> Result<(), String> {
    let folders =
        ["/", "/usr", "/usr/bin", "/etc", "/bin", "/lib", "/dev", "/proc", "/run", "/etc/alternatives", "/var"];
    for folder in folders {
        let file = Path::new(folder).join("livery-probe");
        held(fs::write(&file, "x").is_err(), || {
            let _ = fs::remove_file(&file);
            file.display().to_string()
        })?;
    }
    for file in ["/etc/passwd", "/etc/ld.so.cache", "/usr/bin/env"] {
        held(OpenOptions::new().append(true).open(file).is_err(), || file.to_owned())?;
        held(fs::set_permissions(file, PermissionsExt::from_mode(0o777)).is_err(), || format!("mode of {file}"))?;
    }
    Ok(())
}

fn setuid_is_dead(_: &Facts) -> Result<(), String> {
    let copy = "/workspace/suid-id";
    fs::copy("/usr/bin/id", copy).map_err(|e| e.to_string())?;
    fs::set_permissions(copy, PermissionsExt::from_mode(0o6755)).map_err(|e| e.to_string())?;
    for program in [copy, "/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount"] {
        if !Path::new(program).exists() {
            continue;
        }
        let output = Command::new(program).arg("-u").stdin(std::process::Stdio::null()).output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
        held(text != "0", || format!("{program} is root"))?;
    }
    Ok(())
}

fn mounts_are_nosuid(facts: &Facts) -> Result<(), String> {
    // gVisor has no such flag; `setuid_is_dead` tries what `no_new_privs` alone makes of such files.
    if facts.own_kernel {
        return confined_flags(facts);
    }
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let fields = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let open: Vec<String> = fields
        .filter(|f| {
            !f[5].split(',').any(|option| option == "nosuid")
                || (!f[5].contains("nodev") && !f[4].starts_with("/dev/") && !f[4].starts_with("/proc/"))
        })
        .map(|f| format!("{} {}", f[4], f[5]))
        .collect();
    held(open.is_empty(), || open.join(", "))?;
    // Nothing shows where on the host the tree lies, but for the parts that say it themselves.
    held(!text.contains("docker.sock"), || text.clone())
}

fn inherited_descriptors(_: &Facts) -> Result<(), String> {
    // As a fresh program sees them: the shell's own descriptor for the listing is the fourth.
    let output = Command::new("/bin/ls").arg("/proc/self/fd").output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    held(text == "0 1 2 3", || text.clone())?;
    let kinds = [0, 1, 2]
        .map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).map(|p| p.display().to_string()).unwrap_or_default());
    held(kinds.iter().all(|kind| kind.starts_with("pipe:")), || format!("{kinds:?}"))
}

fn environment(_: &Facts) -> Result<(), String> {
    let expected = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", VARIABLE];
    // The test harness adds its own to this process, so the first environment counts.
    let text = fs::read("/proc/self/environ").unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let names: Vec<&str> =
        text.split('\0').filter_map(|entry| entry.split('=').next()).filter(|name| !name.is_empty()).collect();
    held(names.iter().all(|name| expected.contains(name)), || format!("{names:?}"))
}

fn cgroups(_: &Facts) -> Result<(), String> {
    held(!Path::new("/sys/fs/cgroup").exists(), || "/sys/fs/cgroup".to_owned())?;
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    held(text.lines().all(|line| line.ends_with(":/")), || text.clone())
}

fn raising_limits(_: &Facts) -> Result<(), String> {
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

fn real_time(_: &Facts) -> Result<(), String> {
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

fn terminal_injection(_: &Facts) -> Result<(), String> {
    all_forbidden(&[
        ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, 0, 0, 0]),
        ("TIOCLINUX", libc::SYS_ioctl, [0, 0x541C, 0, 0, 0]),
    ])
}
