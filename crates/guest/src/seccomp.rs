//! The system calls a sandbox may make: an allow-list, compiled to the kernel's classic BPF.
//!
//! A call that is not listed gets `EPERM`; one the kernel table ends before (newer than this list) and `clone3` get
//! `ENOSYS`, so that libraries fall back to what they did before. Nothing is killed for asking, except by a foreign
//! instruction set, whose numbers mean other calls. Arguments are looked at where the number alone does not decide:
//! socket families, `clone` flags, terminal `ioctl`s, `personality`.
//!
//! The launcher installs it in a container, last before the guest; under a kernel of its own (gVisor) the guest installs it
//! itself, before it hears its host. Read next: `syscalls.rs` for the list.

mod syscalls;

use std::io;

use self::syscalls::{ALLOWED, CARRIER_REFUSED, NUMBER_MAX};

/// One instruction of a program.
pub use libc::sock_filter;

type Instruction = sock_filter;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

/// Offsets in `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const fn offset_argument_low(index: u32) -> u32 {
    16 + 8 * index
}

/// The bits of a socket's type that say its kind; the others are flags.
const SOCKET_KIND_MASK: u32 = 0xF;
/// Every namespace flag of `clone` and `unshare`.
const NAMESPACE_FLAGS: u32 = 0x7E02_0000 | 0x80;

const fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number.cast_unsigned()
}

const fn statement(code: u32, k: u32) -> Instruction {
    Instruction { code: low16(code), jt: 0, jf: 0, k }
}

const fn jump(code: u32, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code: low16(libc::BPF_JMP | libc::BPF_K | code), jt, jf, k }
}

#[expect(clippy::cast_possible_truncation, reason = "BPF operation codes are below 256")]
const fn low16(code: u32) -> u16 {
    code as u16
}

const fn load(offset: u32) -> Instruction {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

const fn answer(value: u32) -> Instruction {
    statement(libc::BPF_RET | libc::BPF_K, value)
}

fn number(syscall: libc::c_long) -> u32 {
    u32::try_from(syscall).unwrap_or(u32::MAX)
}

/// The kernel that will see the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The host's.
    Linux,
    /// gVisor's. It answers `EBADF` to a question for the attributes of a symbolic link, over which `ls -l` stumbles; here
    /// such a link has none.
    Gvisor,
}

/// The whole program.
#[must_use]
pub fn program(kernel: Kernel) -> Vec<Instruction> {
    let mut code = vec![
        load(OFFSET_ARCH),
        jump(libc::BPF_JEQ, AUDIT_ARCH, 1, 0),
        answer(KILL),
        load(OFFSET_NUMBER),
        // Beyond the table: newer calls, and the x32 numbers (bit 30).
        jump(libc::BPF_JGT, NUMBER_MAX, 0, 1),
        answer(errno(libc::ENOSYS)),
    ];
    let quirks = [libc::SYS_lgetxattr, libc::SYS_llistxattr].map(|call| (call, vec![answer(errno(libc::ENOTSUP))]));
    let quirks = quirks.into_iter().filter(|_| kernel == Kernel::Gvisor);
    for (syscall, body) in checked().into_iter().chain(quirks) {
        let skip = u8::try_from(body.len()).expect("the bodies below are short");
        code.push(jump(libc::BPF_JEQ, number(syscall), 0, skip));
        code.extend(body);
    }
    for (first, last) in ranges() {
        if first == last {
            code.extend([jump(libc::BPF_JEQ, first, 0, 1), answer(ALLOW)]);
        } else {
            code.extend([jump(libc::BPF_JGE, first, 0, 2), jump(libc::BPF_JGT, last, 1, 0), answer(ALLOW)]);
        }
    }
    code.push(answer(errno(libc::EPERM)));
    code
}

/// What a carrier of a kernel of its own may not ask of the host's: a list of refusals, since what such a kernel needs changes with
/// its version. Nothing is killed for asking: the guest's own calls pass here on their way to that kernel, which decides.
#[must_use]
pub fn carrier_program() -> Vec<Instruction> {
    let mut code = vec![
        load(OFFSET_ARCH),
        jump(libc::BPF_JEQ, AUDIT_ARCH, 1, 0),
        answer(errno(libc::ENOSYS)),
        load(OFFSET_NUMBER),
        // The x32 numbers.
        jump(libc::BPF_JGE, 0x4000_0000, 0, 1),
        answer(errno(libc::ENOSYS)),
    ];
    for call in CARRIER_REFUSED {
        code.extend([jump(libc::BPF_JEQ, number(*call), 0, 1), answer(errno(libc::EPERM))]);
    }
    code.extend([
        jump(libc::BPF_JEQ, number(libc::SYS_socket), 0, 4),
        load(offset_argument_low(0)),
        jump(libc::BPF_JEQ, libc::AF_UNIX.cast_unsigned(), 1, 0),
        answer(errno(libc::EAFNOSUPPORT)),
        answer(ALLOW),
        answer(ALLOW),
    ]);
    code
}

/// Calls whose arguments decide; each body ends in an answer on every path.
fn checked() -> Vec<(libc::c_long, Vec<Instruction>)> {
    let only = |argument: u32, values: &[u32], otherwise: i32| {
        let mut body = vec![load(offset_argument_low(argument))];
        for value in values {
            body.extend([jump(libc::BPF_JEQ, *value, 0, 1), answer(ALLOW)]);
        }
        body.push(answer(errno(otherwise)));
        body
    };
    vec![
        (libc::SYS_clone3, vec![answer(errno(libc::ENOSYS))]),
        (libc::SYS_socket, socket_body()),
        (libc::SYS_socketpair, only(0, &[libc::AF_UNIX.cast_unsigned()], libc::EAFNOSUPPORT)),
        (
            libc::SYS_clone,
            vec![
                load(offset_argument_low(0)),
                jump(libc::BPF_JSET, NAMESPACE_FLAGS & !0x80, 0, 1),
                answer(errno(libc::EPERM)),
                answer(ALLOW),
            ],
        ),
        (
            libc::SYS_ioctl,
            vec![
                load(offset_argument_low(1)),
                jump(libc::BPF_JEQ, 0x5412, 2, 0), // TIOCSTI: types into a terminal
                jump(libc::BPF_JEQ, 0x541C, 1, 0), // TIOCLINUX: pastes into a console
                jump(libc::BPF_JEQ, 0x5423, 0, 1), // TIOCSETD: has the kernel load a line discipline
                answer(errno(libc::EPERM)),
                answer(ALLOW),
            ],
        ),
        // Only asking for the present personality, and setting the ordinary one.
        (libc::SYS_personality, only(0, &[0, 0xFFFF_FFFF], libc::EPERM)),
    ]
}

/// `socket`: unix sockets of any kind; of the internet families only streams and datagrams of the everyday protocols, so that
/// no rarely used one is loaded into the kernel on a run's behalf.
fn socket_body() -> Vec<Instruction> {
    let family = |f: i32| f.cast_unsigned();
    let mut body = vec![
        load(offset_argument_low(0)),
        jump(libc::BPF_JEQ, family(libc::AF_UNIX), 0, 1),
        answer(ALLOW),
        jump(libc::BPF_JEQ, family(libc::AF_INET), 2, 0),
        jump(libc::BPF_JEQ, family(libc::AF_INET6), 1, 0),
        answer(errno(libc::EAFNOSUPPORT)),
        load(offset_argument_low(1)),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, SOCKET_KIND_MASK),
        jump(libc::BPF_JEQ, libc::SOCK_STREAM.cast_unsigned(), 2, 0),
        jump(libc::BPF_JEQ, libc::SOCK_DGRAM.cast_unsigned(), 1, 0),
        answer(errno(libc::EPERM)),
        load(offset_argument_low(2)),
    ];
    for protocol in [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6] {
        body.extend([jump(libc::BPF_JEQ, protocol.cast_unsigned(), 0, 1), answer(ALLOW)]);
    }
    body.push(answer(errno(libc::EPROTONOSUPPORT)));
    body
}

/// The allow-list as runs of consecutive numbers.
fn ranges() -> Vec<(u32, u32)> {
    let mut numbers: Vec<u32> = ALLOWED.iter().map(|syscall| number(*syscall)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// Confines this process and all it will ever start. Needs `no_new_privs`.
///
/// # Errors
/// The kernel has no filters, or does not let this process have one.
pub fn install(program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let header = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the header describes `program`, which outlives the call; the kernel only reads it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const header) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
