//! The compiled program, run by a small interpreter of its own: each call gets the verdict the list says.

use super::*;

/// Runs the program on one call, as the kernel would.
fn verdict(code: &[Instruction], arch: u32, number: u32, arguments: [u64; 3]) -> u32 {
    let field = |offset: u32| match offset {
        OFFSET_NUMBER => number,
        OFFSET_ARCH => arch,
        16 => u32::try_from(arguments[0] & 0xFFFF_FFFF).unwrap(),
        24 => u32::try_from(arguments[1] & 0xFFFF_FFFF).unwrap(),
        32 => u32::try_from(arguments[2] & 0xFFFF_FFFF).unwrap(),
        other => panic!("the program reads offset {other}"),
    };
    let (mut at, mut a) = (0, 0);
    loop {
        let Instruction { code: op, jt, jf, k } = code[at];
        at += 1;
        let op = u32::from(op);
        match op & 0x07 {
            libc::BPF_LD => a = field(k),
            libc::BPF_ALU => a &= k,
            libc::BPF_RET => return k,
            libc::BPF_JMP => {
                let yes = match op & 0xF0 {
                    libc::BPF_JEQ => a == k,
                    libc::BPF_JGT => a > k,
                    libc::BPF_JGE => a >= k,
                    libc::BPF_JSET => a & k != 0,
                    other => panic!("jump {other}"),
                };
                at += usize::from(if yes { jt } else { jf });
            }
            other => panic!("operation {other}"),
        }
    }
}

#[test]
fn verdicts() {
    let code = program(Kernel::Linux);
    assert!(code.len() < 1024, "{} instructions", code.len());
    let ask = |syscall: libc::c_long, arguments| verdict(&code, AUDIT_ARCH, number(syscall), arguments);
    for allowed in ALLOWED {
        assert_eq!(ask(*allowed, [0, 0, 0]), ALLOW, "call {allowed}");
    }
    let eperm = errno(libc::EPERM);
    for denied in [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_mount_setattr,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_open_by_handle_at,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_quotactl,
        libc::SYS_sethostname,
    ] {
        assert_eq!(ask(denied, [0, 0, 0]), eperm, "call {denied}");
    }
    let enosys = errno(libc::ENOSYS);
    assert_eq!(ask(libc::SYS_clone3, [0, 0, 0]), enosys);
    assert_eq!(verdict(&code, AUDIT_ARCH, 999, [0, 0, 0]), enosys, "a call of the future");
    assert_eq!(verdict(&code, AUDIT_ARCH, 0x4000_0000 | 39, [0, 0, 0]), enosys, "x32 getpid");
    assert_eq!(verdict(&code, 0x4000_0003, 20, [0, 0, 0]), KILL, "i386");
    arguments_decide(&code);
    let code = program(Kernel::Gvisor);
    assert_eq!(verdict(&code, AUDIT_ARCH, number(libc::SYS_llistxattr), [0, 0, 0]), errno(libc::ENOTSUP));
    assert_eq!(verdict(&code, AUDIT_ARCH, number(libc::SYS_mount), [0, 0, 0]), eperm);
    arguments_decide(&code);
}

fn arguments_decide(code: &[Instruction]) {
    let ask = |syscall: libc::c_long, arguments| verdict(code, AUDIT_ARCH, number(syscall), arguments);
    let socket = |family: i32, kind: i32| {
        ask(libc::SYS_socket, [u64::try_from(family).unwrap(), u64::try_from(kind).unwrap(), 0])
    };
    let cloexec = libc::SOCK_CLOEXEC;
    assert_eq!(socket(libc::AF_UNIX, libc::SOCK_STREAM), ALLOW);
    assert_eq!(socket(libc::AF_INET, libc::SOCK_DGRAM | cloexec), ALLOW);
    assert_eq!(socket(libc::AF_INET6, libc::SOCK_STREAM), ALLOW);
    assert_eq!(socket(libc::AF_INET, libc::SOCK_RAW | cloexec), errno(libc::EPERM));
    assert_eq!(socket(libc::AF_INET, 10), errno(libc::EPERM), "SOCK_PACKET, which means another family");
    assert_eq!(socket(libc::AF_INET, libc::SOCK_SEQPACKET), errno(libc::EPERM));
    let protocol = |number| ask(libc::SYS_socket, [2, 1, number]);
    assert_eq!(
        (protocol(6), protocol(132), protocol(262)),
        (ALLOW, errno(libc::EPROTONOSUPPORT), errno(libc::EPROTONOSUPPORT))
    );
    for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_BLUETOOTH, libc::AF_TIPC] {
        assert_eq!(socket(family, libc::SOCK_STREAM), errno(libc::EAFNOSUPPORT), "family {family}");
    }
    for flag in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWPID, libc::CLONE_NEWNET, libc::CLONE_NEWCGROUP]
    {
        assert_eq!(ask(libc::SYS_clone, [u64::from(flag.cast_unsigned()), 0, 0]), errno(libc::EPERM), "flag {flag:x}");
    }
    let threads = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_FS;
    assert_eq!(ask(libc::SYS_clone, [u64::from(threads.cast_unsigned()), 0, 0]), ALLOW);
    assert_eq!(ask(libc::SYS_clone, [17, 0, 0]), ALLOW, "fork");
    assert_eq!(ask(libc::SYS_ioctl, [0, 0x5412, 0]), errno(libc::EPERM));
    assert_eq!(ask(libc::SYS_ioctl, [0, 0xFFFF_FFFF_0000_5412, 0]), errno(libc::EPERM), "high bits do not hide it");
    assert_eq!(ask(libc::SYS_ioctl, [0, 0x541C, 0]), errno(libc::EPERM));
    assert_eq!(ask(libc::SYS_ioctl, [0, 0x5401, 0]), ALLOW);
    assert_eq!(ask(libc::SYS_personality, [0xFFFF_FFFF, 0, 0]), ALLOW);
    assert_eq!(ask(libc::SYS_personality, [0x0040_0000, 0, 0]), errno(libc::EPERM));
}

#[test]
fn a_carrier_reaches_no_other_subsystem() {
    let code = carrier_program();
    let ask = |syscall: libc::c_long, first| verdict(&code, AUDIT_ARCH, number(syscall), [first, 0, 0]);
    for refused in CARRIER_REFUSED {
        assert_eq!(ask(*refused, 0), errno(libc::EPERM), "call {refused}");
    }
    for needed in [libc::SYS_mount, libc::SYS_ptrace, libc::SYS_clone, libc::SYS_memfd_create, libc::SYS_read] {
        assert_eq!(ask(needed, 0), ALLOW, "call {needed}");
    }
    let family = |family: i32| ask(libc::SYS_socket, u64::try_from(family).unwrap());
    assert_eq!(family(libc::AF_UNIX), ALLOW);
    for other in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG] {
        assert_eq!(family(other), errno(libc::EAFNOSUPPORT), "family {other}");
    }
    // Never killed: a guest's call of that kind is its own kernel's to answer.
    assert_eq!(verdict(&code, 0x4000_0003, 20, [0, 0, 0]), errno(libc::ENOSYS), "i386");
    assert_eq!(verdict(&code, AUDIT_ARCH, 0x4000_0000 | 39, [0, 0, 0]), errno(libc::ENOSYS), "x32");
}
