//! QEMU's machine `microvm`: no firmware tables for hardware that is not there, no bus but virtio's, no network.
//!
//! Devices: two disks, one stream, one serial line for what the kernel says before it can speak otherwise.
//! Read next: `../microvm.rs`.

use std::ffi::CString;
use std::io;
use std::path::Path;

use super::Plan;
use super::workspace::DISK;
use crate::launcher::child::CHANNEL_FD;

/// What the kernel is told in any case: to say little, to end the machine when it fails, and not to look for what is not there.
const KERNEL: &str = "console=ttyS0 quiet loglevel=3 reboot=t panic=-1 nomodule_sig nokaslr random.trust_cpu=on \
    8250.nr_uarts=1 i8042.noaux i8042.nokbd cryptomgr.notests rdinit=/init";
/// What the kernel is told not to prepare, as no machine here has a use for it: it costs a fifth of a boot. Measuring a jitter of the
/// clock for an algorithm of random numbers nobody asks for, certificates of modules, BPF's tables, cards and disks that are not there.
const WITHOUT: &str = "initcall_blacklist=jent_mod_init,load_system_certificate_list,bpf_tcp_ca_kfunc_init,\
    bpf_dummy_struct_ops_init,vga_arb_device_init,fbmem_init,nvme_core_init,ksm_init,init_kprobe_trace,init_encrypted";
/// Where a processor is played, its clock is the host's: measured there, and trusted, as a busy host makes every other one late.
const PLAYED: &str = "tsc=nowatchdog lpj=4000000 no_timer_check mitigations=off";
const MEASURED: &str = "no_timer_check";
/// Memory of a machine that only says a word.
const PROBE_MB: u64 = 128;
const TRANSLATED_MB: u64 = super::TRANSLATED_MB / 2;

/// How QEMU runs the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    Kvm,
    /// It plays a processor, whose clock counts so often in a millisecond.
    Tcg {
        clock_khz: u64,
    },
}

impl Accelerator {
    fn options(self) -> [String; 2] {
        match self {
            Self::Kvm => ["kvm".to_owned(), "host".to_owned()],
            // Five levels of page tables make every start of a played processor slower. QEMU 7.2 plays `cmpxchg16b` wrongly where
            // an interrupt follows, and kernels use it all the time.
            Self::Tcg { .. } => [format!("tcg,tb-size={TRANSLATED_MB}"), "max,-la57,-cx16".to_owned()],
        }
    }
}

/// The whole command line. Everything is said, so that no default of another version decides.
pub(super) fn arguments(plan: &Plan<'_>, accelerator: Accelerator) -> io::Result<Vec<CString>> {
    let disks = [
        disk("image", "/image", "read-only=on,cache.no-flush=on"),
        // What is written is in the host's memory at once, and outlives the machine from then on.
        disk("workspace", &format!("/workspace/{DISK}"), "discard=unmap,cache.no-flush=on"),
    ];
    let mut all = machine(accelerator, plan.memory_mb(), "");
    let stream = ["-device", "virtio-serial-device,max_ports=2", "-device", "virtserialport,chardev=guest,name=guest"];
    all.extend(["-chardev".to_owned(), format!("socket,id=guest,fd={CHANNEL_FD}")]);
    all.extend(stream.map(str::to_owned));
    all.extend(disks.into_iter().flatten());
    let kernel = match accelerator {
        Accelerator::Tcg { clock_khz } => format!("{PLAYED} tsc_early_khz={clock_khz}"),
        Accelerator::Kvm => MEASURED.to_owned(),
    };
    all.extend(["-append".to_owned(), format!("{KERNEL} {WITHOUT} {kernel} -- {}", plan.given().encode())]);
    all.into_iter().map(|argument| Ok(CString::new(argument)?)).collect()
}

/// A machine without disks and stream, whose process 1 only says that it is there; QEMU finds what it starts from at `seen`.
pub(super) fn probe(_: &Path, seen: &Path, word: &str) -> io::Result<Vec<String>> {
    let mut all = machine(Accelerator::Kvm, PROBE_MB, &seen.display().to_string());
    // The name of the program is not among its arguments here.
    all.remove(0);
    all.extend(["-append".to_owned(), format!("{KERNEL} {WITHOUT} {MEASURED} -- {word}")]);
    Ok(all)
}

/// What every machine has; `folder` is empty, or a path that ends without a slash.
fn machine(accelerator: Accelerator, memory_mb: u64, folder: &str) -> Vec<String> {
    let [accelerator, processor] = accelerator.options();
    let words = [
        "qemu -nodefaults -no-user-config -no-reboot -display none -monitor none",
        "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-M microvm,acpi=on,rtc=on,pit=on,pic=on,isa-serial=on,usb=off,graphics=off -smp 1",
        "-chardev stdio,id=console,signal=off -serial chardev:console",
    ];
    let mut all: Vec<String> = words.iter().flat_map(|line| line.split(' ')).map(str::to_owned).collect();
    for (option, file) in [("-L", "firmware"), ("-kernel", "kernel"), ("-initrd", "initramfs")] {
        all.extend([option.to_owned(), format!("{folder}/{file}")]);
    }
    all.extend(["-accel".to_owned(), accelerator, "-cpu".to_owned(), processor]);
    all.extend(["-m".to_owned(), format!("{memory_mb}M")]);
    all
}

fn disk(name: &str, file: &str, options: &str) -> [String; 4] {
    [
        "-blockdev".to_owned(),
        format!("driver=raw,node-name={name},{options},file.driver=file,file.filename={file},file.locking=off"),
        "-device".to_owned(),
        format!("virtio-blk-device,drive={name},serial={name}"),
    ]
}
