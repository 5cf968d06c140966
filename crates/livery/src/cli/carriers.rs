//! The flags that name the operator's own programs: shared by whatever makes sandboxes.

use std::path::PathBuf;

use clap::Args;

/// The programs of the tiers beyond `container`, which are the operator's.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Carriers {
    /// Offer the tier gvisor with this runsc.
    #[arg(long, value_name = "FILE", env = "LIVERY_RUNSC", requires = "runsc_sha256")]
    pub(crate) runsc: Option<PathBuf>,
    /// The SHA-256 that file must have; otherwise it is not used.
    #[arg(long, value_name = "HEX", env = "LIVERY_RUNSC_SHA256", requires = "runsc")]
    pub(crate) runsc_sha256: Option<String>,
    /// Offer the tier isolate with this deno.
    #[arg(long, value_name = "FILE", env = "LIVERY_ISOLATE_HOST", requires = "isolate_host_sha256")]
    pub(crate) isolate_host: Option<PathBuf>,
    /// The SHA-256 that file must have; otherwise it is not used.
    #[arg(long, value_name = "HEX", env = "LIVERY_ISOLATE_HOST_SHA256", requires = "isolate_host")]
    pub(crate) isolate_host_sha256: Option<String>,
    /// How many sandboxes of each slow tier are started before a run wants them, 0 to 64 (default: 2, and of microVMs 1).
    #[arg(long, value_name = "N", env = "LIVERY_WAITING_SANDBOXES", value_parser = clap::value_parser!(u8).range(..=64))]
    pub(crate) waiting_sandboxes: Option<u8>,
    #[command(flatten)]
    pub(crate) machines: Machines,
}

/// What the tier microvm is made with.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Machines {
    /// Offer the tier microvm with this QEMU (`qemu-system-x86_64`).
    #[arg(long, value_name = "FILE", env = "LIVERY_QEMU", group = "monitor", requires_all = ["qemu_sha256", "guest_kernel"])]
    pub(crate) qemu: Option<PathBuf>,
    /// The SHA-256 that file must have; otherwise it is not used.
    #[arg(long, value_name = "HEX", env = "LIVERY_QEMU_SHA256", requires = "qemu")]
    pub(crate) qemu_sha256: Option<String>,
    /// Offer the tier microvm with this Firecracker (1.10 or later, with KVM) instead.
    #[arg(
        long,
        value_name = "FILE",
        env = "LIVERY_FIRECRACKER",
        group = "monitor",
        requires_all = ["firecracker_sha256", "guest_kernel"]
    )]
    pub(crate) firecracker: Option<PathBuf>,
    /// The SHA-256 that file must have; otherwise it is not used.
    #[arg(long, value_name = "HEX", env = "LIVERY_FIRECRACKER_SHA256", requires = "firecracker")]
    pub(crate) firecracker_sha256: Option<String>,
    /// The kernel of its machines (`vmlinux`).
    #[arg(long, value_name = "FILE", env = "LIVERY_GUEST_KERNEL", requires_all = ["guest_kernel_sha256", "monitor"])]
    pub(crate) guest_kernel: Option<PathBuf>,
    /// The SHA-256 that file must have.
    #[arg(long, value_name = "HEX", env = "LIVERY_GUEST_KERNEL_SHA256", requires = "guest_kernel")]
    pub(crate) guest_kernel_sha256: Option<String>,
    /// Modules this kernel needs, as a cpio archive.
    #[arg(long, value_name = "FILE", env = "LIVERY_GUEST_MODULES", requires_all = ["guest_modules_sha256", "guest_kernel"])]
    pub(crate) guest_modules: Option<PathBuf>,
    /// The SHA-256 that file must have.
    #[arg(long, value_name = "HEX", env = "LIVERY_GUEST_MODULES_SHA256", requires = "guest_modules")]
    pub(crate) guest_modules_sha256: Option<String>,
    /// Without KVM, let QEMU play the processor: no wall against an attacker, for development only.
    #[arg(long, env = "LIVERY_MICROVM_TCG", requires = "qemu")]
    pub(crate) microvm_tcg: bool,
    /// Have Firecracker's machines with this memory (`sandbox.memory_mb`) start from a snapshot, taken when the server starts.
    #[arg(
        long,
        value_name = "MIB",
        env = "LIVERY_MICROVM_SNAPSHOT",
        requires = "firecracker",
        value_parser = clap::value_parser!(u64).range(16..=1_048_576)
    )]
    pub(crate) microvm_snapshot: Option<u64>,
    /// Where images are kept as disks for machines (default: a folder `livery/disks` in the system's or your cache).
    #[arg(long, value_name = "DIR", env = "LIVERY_DISKS", requires = "monitor")]
    pub(crate) disks: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(flags: &str) -> Result<(), (ErrorKind, String)> {
        let command = Carriers::augment_args(clap::Command::default());
        let parsed = command.try_get_matches_from(flags.split(' ')).map(drop);
        parsed.map_err(|error| (error.kind(), error.to_string()))
    }

    #[test]
    fn machines_have_one_monitor_a_digest_for_each_file_and_a_kernel() {
        let kernel = "--guest-kernel k --guest-kernel-sha256 b";
        for monitor in ["qemu", "firecracker"] {
            assert_eq!(parse(&format!("livery --{monitor} f --{monitor}-sha256 a {kernel} --disks d")), Ok(()));
            for lacking in [format!("--{monitor} f --{monitor}-sha256 a"), format!("--{monitor} f {kernel}")] {
                let (kind, _) = parse(&format!("livery {lacking}")).unwrap_err();
                assert_eq!(kind, ErrorKind::MissingRequiredArgument, "{lacking}");
            }
        }
        assert_eq!(parse(&format!("livery {kernel}")).unwrap_err().0, ErrorKind::MissingRequiredArgument);
        let both = format!("livery --qemu f --qemu-sha256 a --firecracker f --firecracker-sha256 a {kernel}");
        let (kind, said) = parse(&both).unwrap_err();
        assert!(
            kind == ErrorKind::ArgumentConflict && said.contains("--qemu") && said.contains("--firecracker"),
            "{said}"
        );
        let tcg = format!("livery --firecracker f --firecracker-sha256 a {kernel} --microvm-tcg");
        assert!(parse(&tcg).is_err(), "Firecracker plays no processor");
        for (monitor, size, good) in [("firecracker", "512", true), ("firecracker", "8", false), ("qemu", "512", false)]
        {
            let flags = format!("livery --{monitor} f --{monitor}-sha256 a {kernel} --microvm-snapshot {size}");
            assert_eq!(parse(&flags).is_ok(), good, "{flags}");
        }
    }
}
