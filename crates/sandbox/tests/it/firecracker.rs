//! Machines of Firecracker's: with a real one where `LIVERY_TEST_FIRECRACKER` names it and KVM runs guests, and always with a stand-in.
//!
//! The stand-in (`../../examples/fake_firecracker`) is built here, as one static file. It is a real process behind the real carrier, with the
//! real guest and the real stream; the processor and the kernel are what it does not have. Each test says which of the two it saw.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use livery_sandbox::{Error, Microvm, Monitor, Spec, Status, Tier, Tool};

use crate::house::{As, House, PATIENCE, USER, everyone, machines, output, sha256};
use crate::machines::monitor::Process;
use crate::tiers::refusal;

/// Where its source is.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fake_firecracker/main.rs");
const BUSYBOX: &str = "/usr/bin/busybox";

fn tool(path: PathBuf) -> Tool {
    let sha256 = sha256(&fs::read(&path).unwrap());
    Tool { path, sha256 }
}

/// The stand-in, built once.
fn built() -> Result<&'static Path, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        if let Err(error) = fs::File::options().read(true).write(true).open("/dev/kvm") {
            return Err(format!("/dev/kvm cannot be opened ({error}), without which no Firecracker is looked at"));
        }
        if !Path::new(BUSYBOX).exists() {
            return Err(format!("there is no {BUSYBOX}: `cargo xtask setup` brings it"));
        }
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("firecracker-{}", std::process::id()));
        let mut rustc = Command::new(option_env!("RUSTC").unwrap_or("rustc"));
        rustc.args(["--edition", "2024", "-Ctarget-feature=+crt-static", "-Crelocation-model=static", "-Cpanic=abort"]);
        let done = rustc.arg("-o").arg(&program).arg(SOURCE).output().map_err(|error| format!("rustc: {error}"))?;
        if done.status.success() { Ok(program) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
    });
    built.as_deref().map_err(Clone::clone)
}

/// The stand-in as a configuration, or a loud word that it could not be tried.
fn fake() -> Option<Microvm> {
    let program = built().inspect_err(|why| eprintln!("SKIPPED: the stand-in for Firecracker, because {why}")).ok()?;
    eprintln!("TRIED WITH A STAND-IN: a process that speaks Firecracker's configuration and vsock, without a machine");
    let monitor = Monitor::Firecracker(tool(program.to_owned()));
    Some(Microvm { monitor, kernel: tool(BUSYBOX.into()), modules: None, tcg: false, snapshot_mb: None })
}

/// A copy of a program with something at its end, by which the stand-in behaves otherwise.
fn marked(folder: &Path, program: &Path, mark: &str) -> Tool {
    let path = folder.join(mark.replace('/', "-"));
    fs::write(&path, [&fs::read(program).unwrap()[..], b"\nFAKE:", mark.as_bytes()].concat()).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    tool(path)
}

fn house(user: As, microvm: &Microvm) -> House {
    let mut house = House::open_with(user, |config| {
        config.microvm = Some(microvm.clone());
        // The launcher's youngest process is the machine that was asked for.
        config.waiting = Some(0);
        let disks = std::env::temp_dir().join("livery-test-disks");
        fs::create_dir_all(&disks).unwrap();
        let _ = fs::set_permissions(&disks, PermissionsExt::from_mode(0o777));
        config.disks_dir = Some(disks);
    });
    house.wall.tier = Tier::Microvm;
    house
}

/// What holds of either, with programs that a busybox has.
async fn answers(user: As, microvm: &Microvm) {
    let house = house(user, microvm);
    let report = house.sandboxes.tier(Tier::Microvm).await.unwrap();
    assert!(report.status == Status::Ok && report.trial.is_some() && !report.dev_only, "{report:?}");
    assert_eq!(report.sha256.as_ref(), Some(&microvm.monitor.tool().sha256));
    assert!(report.detail.starts_with("Firecracker") && report.version.is_some(), "{report:?}");
    // It is the real thing: it is given in place of a weaker one, and meets every minimum.
    let stronger = house.sandboxes.choose(Tier::Gvisor, true, Some(Tier::Gvisor)).await;
    assert_eq!(stronger.unwrap(), Tier::Microvm);
    let sandbox = house.sandbox("one").await;
    assert_eq!(output(&sandbox, "echo fine; id -u >/dev/null; ls /workspace").await, "fine");
    sandbox.put("note", b"kept", 0o644).await.unwrap();
    assert_eq!(output(&sandbox, "cat note").await, "kept");
    let monitor = Process::under(&house);
    monitor.assert_has_no_rights();
    let first = house.config.uid_first;
    let expected = if user == As::Root { first..first + house.config.uid_count } else { USER..USER + 1 };
    assert!(expected.contains(&monitor.uid), "{}", monitor.uid);
    let mut root: Vec<String> = fs::read_dir(format!("/proc/{}/root", monitor.pid)).unwrap().map(name).collect();
    root.sort();
    assert_eq!(
        root,
        ["dev", "image", "initramfs", "kernel", "probe.json", "tmp", "workspace"],
        "nothing else is there"
    );
    let mut devices: Vec<String> = fs::read_dir(format!("/proc/{}/root/dev", monitor.pid)).unwrap().map(name).collect();
    devices.sort();
    assert_eq!(devices, ["kvm", "null", "urandom"]);
    // The door is closed: nobody in the carrier is heard by calling again.
    let door = format!("/proc/{}/root/tmp/vsock_17401", monitor.pid);
    let again = std::os::unix::net::UnixStream::connect(&door).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::ConnectionRefused);
    let end = sandbox.kill("the test is over").await.unwrap();
    assert!(end.processes_gone && end.cgroups_removed, "{end:?}");
    assert!(!Path::new(&format!("/proc/{}", monitor.pid)).exists(), "Firecracker outlived its run");
}

/// Who can open the host's KVM: root's launcher gives a copy of it to its runs, an ordinary user's has what the host gives.
fn users() -> Vec<As> {
    let is_open = fs::metadata("/dev/kvm").is_ok_and(|kvm| kvm.permissions().mode() & 0o006 == 0o006);
    let (mut users, all) = (everyone(), everyone().len());
    users.retain(|user| *user == As::Root || is_open);
    if users.len() < all {
        eprintln!("SKIPPED: Firecracker of an ordinary user, because /dev/kvm is closed to him");
    }
    users
}

fn name(entry: std::io::Result<fs::DirEntry>) -> String {
    entry.unwrap().file_name().into_string().unwrap()
}

#[tokio::test]
async fn a_machine_of_firecrackers_answers() {
    let Some(microvm) = fake() else { return };
    for user in users() {
        answers(user, &microvm).await;
    }
}

#[tokio::test]
async fn a_machine_of_the_real_firecracker_answers() {
    let Some(path) = std::env::var_os("LIVERY_TEST_FIRECRACKER").map(PathBuf::from) else {
        eprintln!("SKIPPED: the real Firecracker, because LIVERY_TEST_FIRECRACKER names none");
        return;
    };
    let Ok(Microvm { kernel, modules, .. }) = machines() else {
        eprintln!("SKIPPED: the real Firecracker, because there is no kernel: `cargo xtask setup` brings it");
        return;
    };
    let microvm = Microvm { monitor: Monitor::Firecracker(tool(path)), kernel, modules, tcg: false, snapshot_mb: None };
    let report = house(everyone()[0], &microvm).sandboxes.tier(Tier::Microvm).await.unwrap();
    if report.status == Status::Unusable {
        eprintln!("SKIPPED: the real Firecracker, because {}", report.detail);
        return;
    }
    eprintln!("TRIED WITH THE REAL FIRECRACKER {:?}", report.version);
    for user in users() {
        answers(user, &microvm).await;
    }
}

#[tokio::test]
async fn two_machines_have_a_stream_each() {
    let Some(microvm) = fake() else { return };
    let house = house(everyone()[0], &microvm);
    let (one, two) = tokio::join!(house.sandbox("one"), house.sandbox("two"));
    assert_eq!(output(&one, "echo one > mine; cat mine").await, "one");
    assert_eq!(output(&two, "ls; echo two > mine; cat mine").await, "two");
    assert_eq!(output(&one, "cat mine").await, "one");
}

#[tokio::test]
async fn a_firecracker_that_cannot_be_used_is_refused_with_the_reason() {
    let Some(microvm) = fake() else { return };
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let real = microvm.monitor.tool().clone();
    let with = |monitor: Tool| Microvm { monitor: Monitor::Firecracker(monitor), ..microvm.clone() };
    let kernel = |kernel: Tool| Microvm { kernel, ..microvm.clone() };
    let cases = [
        (with(Tool { sha256: "0".repeat(64), ..real.clone() }), "has the SHA-256", "put the right file back"),
        (with(Tool { path: "/no/such/firecracker".into(), ..real.clone() }), "No such file", ""),
        (with(tool("/bin/true".into())), "it is no Firecracker: it does not say its version", "1.10 or later"),
        (with(marked(temp.path(), &real.path, "1.7.0")), "it is Firecracker 1.7.0, which is too old", "1.10 or later"),
        (with(marked(temp.path(), &real.path, "$(id)")), "it is no Firecracker: it does not say", "1.10 or later"),
        (kernel(tool("/etc/os-release".into())), "invalid kernel image", "/dev/kvm works"),
        (kernel(marked(temp.path(), Path::new(BUSYBOX), "panic")), "Kernel panic", "/dev/kvm works"),
        (kernel(marked(temp.path(), Path::new(BUSYBOX), "hang")), "KVM did not boot a machine within 4 s", "--qemu"),
    ];
    for (microvm, why, fix) in cases {
        let house = house(everyone()[0], &microvm);
        let detail = refusal(&house, Tier::Microvm).await;
        assert!(detail.contains(why) && detail.contains(fix), "{why}: {detail}");
        assert!(house.sandboxes.choose(Tier::Microvm, true, None).await.is_err());
        // The control: the tiers that are there.
        assert_eq!(house.sandboxes.tier(Tier::Container).await.unwrap().status, Status::Ok);
    }
}

#[tokio::test]
async fn a_machine_that_never_calls_is_given_up_and_taken_down() {
    let Some(microvm) = fake() else { return };
    let temp = tempfile::tempdir().unwrap();
    let microvm = Microvm { kernel: marked(temp.path(), Path::new(BUSYBOX), "deaf"), ..microvm };
    let house = house(everyone()[0], &microvm);
    let spec = Spec { wall_clock: Duration::from_secs(3), ..house.spec("deaf") };
    match house.sandboxes.create(spec).await {
        Err(Error::Start { step, detail }) => {
            assert!(step == "starting" && detail.starts_with("it was not ready within"), "{step}: {detail}");
        }
        other => panic!("{other:?}"),
    }
    // It is gone when its workspace can be removed.
    let began = Instant::now();
    while let Err(error) = house.sandboxes.remove_workspace("deaf").await {
        assert!(began.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The file in which the stand-in writes down how a machine was greeted.
async fn greeting(sandbox: &livery_sandbox::Sandbox) -> (String, u64) {
    let text = output(sandbox, "cat /greeting").await;
    let (random, clock) = text.split_once(' ').unwrap();
    (random.to_owned(), clock.parse().unwrap())
}

#[tokio::test]
async fn machines_of_a_snapshot_are_never_the_same_twice() {
    let Some(microvm) = fake() else { return };
    for user in users() {
        never_twice(&house(user, &Microvm { snapshot_mb: Some(48), ..microvm.clone() })).await;
    }
}

async fn never_twice(house: &House) {
    let report = house.sandboxes.tier(Tier::Microvm).await.unwrap();
    assert_eq!(report.detail, "Firecracker, and no network; with 48 MB of memory, from a snapshot");
    let spec = |id: &str| Spec { memory_mb: 48, ..house.spec(id) };
    let (one, two) = tokio::join!(house.sandboxes.create(spec("one")), house.sandboxes.create(spec("two")));
    let (one, two) = (one.unwrap(), two.unwrap());
    let ((first, at), (second, _)) = (greeting(&one).await, greeting(&two).await);
    assert!(first.len() == 128 && first != second && first != "0".repeat(128), "{first} {second}");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    assert!(now.abs_diff(u128::from(at)) < 3_600_000_000_000, "the hour is {at}, not {now}");
    assert_eq!(output(&one, "echo one > mine; cat mine").await, "one");
    assert_eq!(output(&two, "ls; echo two > mine; cat mine").await, "two");
    // The process beside Firecracker is gone, and cannot change what others start from.
    let monitor = Process::under(house);
    let root = format!("/proc/{}/root", monitor.pid);
    let mut files: Vec<String> = fs::read_dir(format!("{root}/snapshot")).unwrap().map(name).collect();
    files.sort();
    assert_eq!(files, ["memory", "state"]);
    let written = fs::File::options().write(true).open(format!("{root}/snapshot/memory")).unwrap_err();
    assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    // Another size has no snapshot, and boots.
    let other = house.sandboxes.create(Spec { memory_mb: 49, ..house.spec("other") }).await.unwrap();
    assert_eq!(output(&other, "ls /greeting 2>&1 | wc -l; cat /greeting 2>&1 | head -c 4").await, "1\ncat:");
}

#[tokio::test]
async fn without_its_snapshot_a_machine_boots_and_the_tier_says_why() {
    let Some(microvm) = fake() else { return };
    let temp = tempfile::tempdir().unwrap();
    for (mark, why) in [("no-wait", "process 1 would not wait"), ("no-snapshot", "400"), ("no-restore", "400")] {
        let kernel = marked(temp.path(), Path::new(BUSYBOX), mark);
        let house = house(everyone()[0], &Microvm { kernel, snapshot_mb: Some(48), ..microvm.clone() });
        let report = house.sandboxes.tier(Tier::Microvm).await.unwrap();
        assert!(report.status == Status::Ok && report.detail.contains("; no snapshot ("), "{report:?}");
        assert!(report.detail.contains(why), "{mark}: {}", report.detail);
        let sandbox = house.sandboxes.create(Spec { memory_mb: 48, ..house.spec("one") }).await.unwrap();
        assert_eq!(output(&sandbox, "echo fine").await, "fine");
    }
}
