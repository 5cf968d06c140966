//! The probe: what a hostile program would try, one line per attempt. Runs inside a sandbox, and outside as the control.
//!
//! An attempt that is refused prints `held NAME`; one that succeeds prints `open NAME: what it got`. Arguments of system
//! calls are chosen so that an attempt which is allowed does no harm. The numbers are of the list of checks (`checks.rs`).

mod files;
mod kernel;
mod means;
mod network;
mod processes;

use self::files::*;
use self::kernel::*;
use self::network::*;
use self::processes::*;

/// Set for the probe: host facts to look for, see [`Facts::parse`].
pub(crate) const VARIABLE: &str = "LIVERY_PROBE";

/// The argument with which this program, in the place of an isolate's host, shows its status.
pub(crate) const STATUS: &str = "status";

/// What is true on the host and must not be reachable. Secrets are written backwards, so that looking for them is no find.
pub(crate) struct Facts {
    pub(crate) canary_reversed: String,
    pub(crate) state_dir: String,
    pub(crate) port: u16,
    pub(crate) udp_port: u16,
    pub(crate) abstract_name: String,
    pub(crate) shm_key: i32,
    /// Whether the kernel that answers is the sandbox's own (gVisor's): then some things are as that kernel makes them.
    pub(crate) own_kernel: bool,
    /// Whether it is a machine's, in which the run's user needs no namespace.
    pub(crate) machine: bool,
    /// Whether this is native code in the place of an isolate's host: there is no other program.
    pub(crate) in_host: bool,
}

impl Facts {
    pub(crate) fn encode(&self) -> String {
        let Self { canary_reversed, state_dir, port, udp_port, abstract_name, shm_key, own_kernel, machine, in_host } =
            self;
        format!(
            "{canary_reversed}|{state_dir}|{port}|{udp_port}|{abstract_name}|{shm_key}|{own_kernel}|{machine}|{in_host}"
        )
    }

    fn parse(text: &str) -> Self {
        let fields: Vec<&str> = text.split('|').collect();
        let [canary, state_dir, port, udp_port, name, key, own_kernel, machine, in_host] = fields[..] else {
            panic!("{text}")
        };
        Self {
            canary_reversed: canary.to_owned(),
            state_dir: state_dir.to_owned(),
            port: port.parse().unwrap(),
            udp_port: udp_port.parse().unwrap(),
            abstract_name: name.to_owned(),
            shm_key: key.parse().unwrap(),
            own_kernel: own_kernel == "true",
            machine: machine == "true",
            in_host: in_host == "true",
        }
    }
}

/// `Err` says what the attempt got.
type Attempt = fn(&Facts) -> Result<(), String>;

/// Checks it belongs to, name, what is done.
const ATTEMPTS: &[(&[u8], &str, Attempt)] = &[
    (&[1], "canary_in_processes", canary),
    (&[1], "environment", environment),
    (&[2, 3], "other_processes", other_processes),
    (&[3, 10], "process_one_closed", process_one),
    (&[4, 5], "state_dir", state_dir),
    (&[5], "host_files", host_files),
    (&[6], "inherited_descriptors", inherited_descriptors),
    (&[6, 13], "root_is_the_end", root_is_the_end),
    (&[10], "read_only_tree", read_only_tree),
    (&[11], "setuid_is_dead", setuid_is_dead),
    (&[11], "file_capabilities", file_capabilities),
    (&[11, 12], "mounts_are_nosuid", mounts_are_nosuid),
    (&[12, 13], "mount_calls", mount_calls),
    (&[14, 22, 23], "kernel_calls", kernel_calls),
    (&[15], "kernel_knobs", kernel_knobs),
    (&[16], "cgroups", cgroups),
    (&[16], "raising_limits", raising_limits),
    (&[17], "sys_tree", sys_tree),
    (&[18], "kernel_secrets", kernel_secrets),
    (&[18], "devices", devices),
    (&[19], "memory_of_others", memory_of_others),
    (&[21], "namespace_calls", namespace_calls),
    (&[24], "foreign_instruction_sets", foreign_instruction_sets),
    (&[25], "terminal_injection", terminal_injection),
    (&[26], "system_v_memory", system_v_memory),
    (&[26, 32], "abstract_sockets", abstract_sockets),
    (&[27, 28], "memory_program", memory_program),
    (&[28], "identity", identity),
    (&[28], "capabilities", capabilities),
    (&[28], "confined_flags", confined_flags),
    (&[29, 33], "socket_families", socket_families),
    (&[29], "interfaces", interfaces),
    (&[30], "outside_addresses", outside_addresses),
    (&[31, 35], "datagrams", datagrams),
    (&[32], "host_services", host_services),
    (&[40], "real_time", real_time),
];

/// Makes every attempt and prints what came of it.
pub(crate) fn run(facts: &str) {
    let facts = Facts::parse(facts);
    for (_, name, attempt) in ATTEMPTS {
        match attempt(&facts) {
            Ok(()) => println!("held {name}"),
            Err(got) => println!("open {name}: {}", got.replace('\n', " ")),
        }
    }
    println!("probe done");
}

/// What a child of this very program prints: the lines of its status that say how it is confined.
pub(crate) fn show_status() {
    print!("{}", std::fs::read_to_string("/proc/self/status").unwrap_or_default());
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ATTEMPTS.iter().map(|(_, name, _)| *name)
}

/// The checks that attempts belong to, each with the attempts' names.
pub(crate) fn checks() -> std::collections::BTreeMap<u8, Vec<&'static str>> {
    let mut all = std::collections::BTreeMap::<u8, Vec<&'static str>>::new();
    for (checks, name, _) in ATTEMPTS {
        for check in *checks {
            all.entry(*check).or_default().push(name);
        }
    }
    all
}
