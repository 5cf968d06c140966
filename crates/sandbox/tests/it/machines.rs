//! What is special about a machine: its own kernel and next to no devices, an end when it resets, and a monitor without rights.
//!
//! Read next: `machines/monitor.rs`, which looks at the monitor from the host, and `machines/tiny.rs`, a kernel that fails.

pub(crate) mod monitor;
mod tiny;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use livery_sandbox::{Error, Exec, LostReason, Microvm, Monitor, Spec, Status, Tier, Tool};

use self::monitor::{Process, devices};
use crate::checks;
use crate::house::{As, House, PATIENCE, USER, everyone, machine_walls, machines, output, sha256, until};
use crate::lifetime::{cgroups, is_alive};
use crate::tiers::refusal;

/// What QEMU's smallest machine is made of, other than what it was given: clock, timer, interrupts, a serial line, places for virtio.
const OWN: [&str; 10] = [
    "acpi-ged-x86",
    "fw_cfg_io",
    "ioapic",
    "isa-i8259",
    "isa-pit",
    "isa-serial",
    "isabus-bridge",
    "kvmvapic",
    "mc146818rtc",
    "virtio-mmio",
];

/// What a machine was given.
const GIVEN: [(&str, usize); 3] = [("virtio-blk-device", 2), ("virtio-serial-device", 1), ("virtserialport", 1)];

#[tokio::test]
async fn a_machines_own_kernel_answers_behind_a_monitor_without_rights() {
    for wall in machine_walls() {
        let house = House::open(wall);
        let report = house.sandboxes.tier(Tier::Microvm).await.unwrap();
        assert!(report.status != Status::Unusable && report.trial.is_some(), "{report:?}");
        assert!(
            report.sha256 == Some(machines().unwrap().monitor.tool().sha256.clone()) && report.version.is_some(),
            "{report:?}"
        );
        // Where QEMU plays the processor, whoever asks for a machine has one, and no minimum is met by it.
        assert_eq!(report.dev_only, report.status == Status::Degraded, "{report:?}");
        assert_eq!(house.sandboxes.choose(Tier::Microvm, false, None).await.unwrap(), Tier::Microvm);
        let stronger = house.sandboxes.choose(Tier::Gvisor, true, None).await;
        assert_eq!(stronger.is_ok(), !report.dev_only, "{stronger:?}");
        let (sandbox, neighbour) = (house.sandbox("one").await, house.sandbox("two").await);
        let host = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_ne!(output(&sandbox, "uname -r").await, host.trim());
        assert_eq!(output(&sandbox, "ls /proc/sys/net/ipv4/conf").await, "all\ndefault\nlo");
        assert_eq!(output(&sandbox, "awk '{print $4}' /proc/partitions; ls /proc/bus /proc/tty | wc -w").await, "2");
        let monitors = Process::all(&house);
        assert_eq!(monitors.len(), 2, "{monitors:?}");
        let ids: Vec<u32> = monitors.iter().map(|monitor| monitor.uid).collect();
        if wall.user == As::Root {
            let own = house.config.uid_first..house.config.uid_first + house.config.uid_count;
            assert!(ids.iter().all(|id| own.contains(id)) && ids[0] != ids[1], "{ids:?}");
        } else {
            assert!(ids.iter().all(|id| [USER, rustix::process::geteuid().as_raw()].contains(id)), "{ids:?}");
        }
        for monitor in &monitors {
            monitor.assert_has_no_rights();
            monitor.assert_holds_little();
        }
        // Any monitor that is started like this one has these devices and no others: two disks, one stream.
        let arguments = monitors[0].arguments();
        let found = devices(&house, &arguments, &[]);
        let given: BTreeMap<&str, usize> = GIVEN.into();
        for (name, count) in &found {
            assert!(OWN.contains(&name.as_str()) || given.get(name.as_str()) == Some(count), "{count} {name}");
        }
        assert!(GIVEN.iter().all(|(name, _)| found.contains_key(*name)), "{found:?}");
        // The control: with a card, one is seen.
        let wider = ["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"];
        let wider = devices(&house, &arguments, &wider);
        assert!(wider.contains_key("virtio-net-device") && !found.contains_key("virtio-net-device"), "{wider:?}");
        neighbour.kill("test").await.unwrap();
        sandbox.kill("test").await.unwrap();
        until("the monitors are gone", || monitors.iter().all(|monitor| !is_alive(monitor.pid))).await;
        // A machine that resets while it runs is over: a kernel without memory ends by a triple fault.
        let bomb = house.sandboxes.create(Spec { memory_mb: 64, ..house.spec("bomb") }).await.unwrap();
        let monitor = Process::all(&house).pop().unwrap();
        let script = "while :; do head -c 40000000 /dev/zero | tail -c 40000000 | sleep 6000 & done";
        let error = bomb.exec(Exec { timeout: 4 * PATIENCE, ..Exec::shell(script) }, |_, _| {}).await.unwrap_err();
        assert!(matches!(error, Error::Lost(ref lost) if lost.reason == LostReason::OutOfMemory), "{error}");
        until("its monitor is gone", || !is_alive(monitor.pid)).await;
        resets_at_once(wall).await;
        checks::held(wall, &[49]);
    }
}

/// A clock that ran at another speed would cut commands off before their time, or let them go on for long.
#[tokio::test]
async fn a_machines_clock_runs_as_fast_as_its_hosts() {
    for wall in machine_walls().into_iter().take(1) {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let look = || async { output(&sandbox, "date +%s%N").await.parse::<u128>().unwrap() };
        let outer = Instant::now();
        let first = look().await;
        let inner = Instant::now();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let least = inner.elapsed().as_nanos();
        let inside = look().await - first;
        let most = outer.elapsed().as_nanos();
        // Generous: clocks of a machine whose processor is played were once faster by half and more.
        assert!(inside > least * 8 / 10 && inside < most * 12 / 10, "{inside} inside, {least} to {most} outside");
    }
}

/// A kernel that has the processor reset before it says a word: its machine is a start that failed, and nothing of it is left.
async fn resets_at_once(wall: crate::house::Wall) {
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = temp.path().join("kernel");
    let bytes = tiny::kernel();
    fs::write(&path, &bytes).unwrap();
    let house = House::open_with(wall, |config| {
        let kernel = Tool { path: path.clone(), sha256: sha256(&bytes) };
        config.microvm = Some(Microvm { kernel, modules: None, ..machines().unwrap() });
    });
    for round in 0..2 {
        let error = house.sandboxes.create(house.spec(&format!("reset-{round}"))).await.unwrap_err();
        assert!(matches!(error, Error::Start { .. }), "{wall:?}: {error:?}");
    }
    until("no monitor is left", || Process::all(&house).is_empty()).await;
    let groups = cgroups(&house);
    assert!(groups.iter().all(|group| !group.contains("reset-")), "{groups:?}");
    // The control: a monitor that is not told to end starts its machine anew, for ever.
    tiny::boots_again_and_again(&path);
    checks::control(&[49]);
}

#[tokio::test]
async fn a_monitor_kernel_or_module_that_is_not_the_one_that_was_meant_is_refused() {
    let walls = machine_walls();
    if walls.is_empty() {
        return;
    }
    let microvm = machines().unwrap();
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // Changed by one byte, under the digest of what it was.
    let tampered = |tool: &Tool, name: &str| {
        let path = temp.path().join(name);
        let mut bytes = fs::read(&tool.path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        Tool { path, ..tool.clone() }
    };
    let other = Tool { path: "/bin/true".into(), sha256: sha256(&fs::read("/bin/true").unwrap()) };
    let missing = Tool { path: "/no/such/kernel".into(), ..microvm.kernel.clone() };
    let cases = [
        (
            Microvm { monitor: Monitor::Qemu(tampered(microvm.monitor.tool(), "qemu")), ..microvm.clone() },
            "has the SHA-256",
        ),
        (Microvm { kernel: tampered(&microvm.kernel, "kernel"), ..microvm.clone() }, "has the SHA-256"),
        (
            Microvm { modules: microvm.modules.as_ref().map(|tool| tampered(tool, "modules")), ..microvm.clone() },
            "has the SHA-256",
        ),
        (Microvm { monitor: Monitor::Qemu(other), ..microvm.clone() }, "it is no QEMU"),
        (Microvm { kernel: missing, ..microvm.clone() }, "No such file"),
    ];
    for wall in walls {
        for (microvm, why) in &cases {
            let house = House::open_with(wall.user, |config| config.microvm = Some(microvm.clone()));
            let detail = refusal(&house, Tier::Microvm).await;
            assert!(detail.contains(why), "{wall:?}: {detail}");
            let report = house.sandboxes.tier(Tier::Microvm).await.unwrap();
            assert!(report.status == Status::Unusable && report.trial.is_none(), "{report:?}");
            assert!(house.sandboxes.choose(Tier::Microvm, true, None).await.is_err());
            assert_eq!(house.sandboxes.tier(Tier::Container).await.unwrap().status, Status::Ok);
        }
        checks::held(wall, &[47]);
    }
    // The control: as they were, they are taken.
    let house = House::open_with(everyone()[0], |config| config.microvm = Some(microvm.clone()));
    assert_ne!(house.sandboxes.tier(Tier::Microvm).await.unwrap().status, Status::Unusable);
    checks::control(&[47]);
    // Without KVM, nothing is given that was not switched on.
    let house = House::open_with(everyone()[0], |config| config.microvm = Some(Microvm { tcg: false, ..microvm }));
    let report = house.sandboxes.tier(Tier::Microvm).await.unwrap();
    assert!(!report.dev_only && (report.status == Status::Ok || report.fix.unwrap().contains("--microvm-tcg")));
}
