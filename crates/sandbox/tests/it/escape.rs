//! From inside, the host is out of reach; and the same probe outside shows that each attempt could have succeeded.

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use livery_sandbox::{ArtifactLimits, Error, Exec, LostReason, Sandbox, Tier};

use crate::checks;
use crate::house::{As, House, PATIENCE, is_root, output, shell, until, until_running, walls_with_machines};
use crate::probe::{self, Facts};

/// What the host has and the sandbox must not find, alive for as long as this is.
pub(crate) struct Bait {
    pub(crate) facts: Facts,
    _listener: TcpListener,
    _abstract: std::os::unix::net::UnixListener,
    pub(crate) process: Child,
    shm: i32,
}

impl Bait {
    pub(crate) fn lay(house: &House) -> Self {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let id = std::process::id();
        let canary = format!("canary-{id}-{}", listener.local_addr().unwrap().port());
        let abstract_name =
            format!("livery-bait-{id}-{}", canary.len() + usize::from(listener.local_addr().unwrap().port()));
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let process = Command::new("sleep").arg("1000").env("CANARY", &canary).stdin(Stdio::null()).spawn().unwrap();
        let shm_key = i32::from(listener.local_addr().unwrap().port()) | 0x11_0000;
        // SAFETY: makes a segment of one page; removed when this is dropped.
        let shm = unsafe { libc::shmget(shm_key, 4096, libc::IPC_CREAT | 0o666) };
        assert!(shm >= 0);
        let facts = Facts {
            canary_reversed: canary.chars().rev().collect(),
            state_dir: house.config.state_dir.display().to_string(),
            port: listener.local_addr().unwrap().port(),
            udp_port: echo(),
            abstract_name,
            shm_key,
            own_kernel: house.wall.tier == Tier::Gvisor,
            machine: house.wall.tier == Tier::Microvm,
            in_host: house.wall.tier == Tier::Isolate,
        };
        let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
        Self { facts, _listener: listener, _abstract, process, shm }
    }
}

/// Answers datagrams to any of this host's addresses, a few of them, on the port that is returned.
fn echo() -> u16 {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 16];
        for _ in 0..16 {
            let Ok((count, from)) = socket.recv_from(&mut bytes) else { return };
            let _ = socket.send_to(&bytes[..count], from);
        }
    });
    port
}

impl Drop for Bait {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // SAFETY: removes the segment made above.
        unsafe { libc::shmctl(self.shm, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

const PROBE: [&str; 5] = ["--exact", "probe_process", "--nocapture", "--test-threads=1", "--quiet"];

/// Each attempt's name with what it got, `None` if it was held.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Option<String>> {
    assert!(text.contains("probe done"), "{text}");
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("held ") {
            found.insert(name.to_owned(), None);
        } else if let Some((name, got)) = line.strip_prefix("open ").and_then(|rest| rest.split_once(": ")) {
            found.insert(name.to_owned(), Some(got.to_owned()));
        }
    }
    assert_eq!(found.len(), probe::names().count(), "{text}");
    found
}

async fn put_probe(sandbox: &Sandbox) {
    let program = std::fs::read("/proc/self/exe").unwrap();
    sandbox.put("/workspace/probe", &program, 0o755).await.unwrap();
}

#[tokio::test]
async fn every_attempt_is_held_inside() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        output(&neighbour, "echo secret > secret").await;
        let bait = Bait::lay(&house);
        let sandbox = house.sandbox("hostile").await;
        put_probe(&sandbox).await;
        let argv = ["/workspace/probe"].into_iter().chain(PROBE);
        let env = vec![(probe::VARIABLE.to_owned(), bait.facts.encode())];
        let result = sandbox.exec(Exec { env, ..Exec::new(argv) }, |_, _| {}).await.unwrap();
        let text = String::from_utf8_lossy(&result.stdout).into_owned() + &String::from_utf8_lossy(&result.stderr);
        let open: Vec<_> = parse(&text).into_iter().filter(|(_, got)| got.is_some()).collect();
        assert!(open.is_empty(), "{wall:?}: {open:#?}");
        checks::held(wall, &probe::checks().into_keys().collect::<Vec<_>>());
    }
}

/// Outside these hold too: they are about what a fresh program is given, or need no sandbox to be refused.
const HELD_OUTSIDE: [&str; 2] = ["inherited_descriptors", "environment"];

#[tokio::test]
async fn the_control_outside_is_open() {
    if !is_root() {
        eprintln!("SKIPPED: the probe's control needs root");
        return;
    }
    let house = House::open(As::Root);
    let bait = Bait::lay(&house);
    let workspace = tempfile::tempdir().unwrap();
    // In a mount namespace of its own with a /workspace, so that what the probe writes stays out of the way.
    let script = "mount -t tmpfs none /mnt && mkdir -p /mnt/w && cd / && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["-m", "--propagation", "private", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(PROBE);
    let ran = command.env(probe::VARIABLE, bait.facts.encode()).current_dir(workspace.path()).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let held: Vec<String> = parse(&text).into_iter().filter(|(_, got)| got.is_none()).map(|(name, _)| name).collect();
    let unexpected: Vec<&String> = held.iter().filter(|name| !HELD_OUTSIDE.contains(&name.as_str())).collect();
    assert!(unexpected.is_empty(), "these attempts cannot fail: {unexpected:?}\n{text}");
    let open = |attempts: &[&str]| attempts.iter().any(|name| !held.iter().any(|held| held == name));
    let checks = probe::checks().into_iter().filter(|(_, attempts)| open(attempts)).map(|(check, _)| check);
    checks::control(&checks.collect::<Vec<_>>());
}

#[tokio::test]
async fn signals_stay_inside() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let mut bait = Bait::lay(&house);
        let (sandbox, neighbour) = (house.sandbox("hostile").await, house.sandbox("neighbour").await);
        neighbour.exec(Exec { background: true, ..Exec::new(["sleep", "1000"]) }, |_, _| {}).await.unwrap();
        let kills = sandbox.exec(Exec::shell("kill -9 1; kill -STOP 1; kill -9 -1"), |_, _| {}).await;
        assert!(matches!(kills, Ok(_) | Err(Error::Lost(_))), "{kills:?}");
        assert!(bait.process.try_wait().unwrap().is_none());
        until_running(&neighbour, "sleep", 1).await;
        checks::held(wall, &[20]);
        rustix::process::test_kill_process(rustix::process::Pid::from_child(&bait.process)).unwrap();
        checks::control(&[20]);
        // On Linux, process 1 of the hostile sandbox does not care. gVisor spares it nothing: who kills it ends his own run.
        if wall.tier != Tier::Gvisor {
            assert_eq!(output(&sandbox, "echo fine").await, "fine");
        } else {
            let lost = sandbox.lost().wait_for(Option::is_some).await.unwrap().clone().unwrap();
            assert_eq!(lost.reason, LostReason::GuestExited);
        }
    }
}

#[tokio::test]
async fn collected_files_are_plain_ones_of_the_workspace() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        assert!(sandbox.artifacts(ArtifactLimits::default()).await.unwrap().files.is_empty());
        let script = "mkdir -p outputs/sub; echo report > outputs/report.md; echo deep > outputs/sub/x.csv; ln -s /etc/passwd outputs/link; \
                      ln -s /etc outputs/folder; mkfifo outputs/pipe; truncate -s 1G outputs/sparse; printf x > \"$(printf 'outputs/bad\\nname')\"; \
                      ln outputs/report.md outputs/hard; chmod 4755 outputs/sub/x.csv";
        assert_eq!(shell(&sandbox, script).await.exit_code, Some(0));
        let found = sandbox.artifacts(ArtifactLimits::default()).await.unwrap();
        let mut read = Vec::new();
        for file in &found.files {
            read.push((file.path.as_str(), sandbox.artifact(&file.path, 0).await.unwrap().bytes));
            assert!(sandbox.artifact(&file.path, 100).await.unwrap().bytes.is_empty(), "the end of {}", file.path);
        }
        let report = || b"report\n".to_vec();
        assert_eq!(read, [("hard", report()), ("report.md", report()), ("sub/x.csv", b"deep\n".to_vec())]);
        let left: Vec<(&str, &str)> = found.left_out.iter().map(|(path, why)| (path.as_str(), *why)).collect();
        let expected = [
            ("bad\nname", "its name is not plain text"),
            ("folder", "a link"),
            ("link", "a link"),
            ("pipe", "not a regular file"),
            ("sparse", "too large"),
        ];
        assert_eq!(left, expected);
        // The folder itself being a link out is no way out either.
        assert_eq!(shell(&sandbox, "mv outputs away; ln -s /etc outputs").await.exit_code, Some(0));
        assert!(sandbox.artifacts(ArtifactLimits::default()).await.unwrap().files.is_empty());
        // A link to a host file leads to the sandbox's own view of that path.
        output(&sandbox, "ln -s /etc/shadow s; ln -s /proc/1/environ e; ln -s /proc/self/root/etc/passwd m").await;
        // gVisor shows its process 1's environment, in which there is nothing.
        let names = if wall.tier == Tier::Container { &["s", "e", "m"][..] } else { &["s", "m"] };
        for name in names {
            assert!(matches!(sandbox.get(name, 0, 100).await, Err(Error::Guest { .. })), "{name}");
        }
        checks::held(wall, &[7, 9]);
        // The control: whoever joined host paths would read it.
        let joined = house.config.state_dir.join("workspaces/one/outputs/shadow");
        if let Ok(text) = std::fs::read_to_string(joined) {
            assert_eq!(text, std::fs::read_to_string("/etc/shadow").unwrap());
            checks::control(&[7, 9]);
        }
    }
}

#[tokio::test]
async fn a_link_swapped_under_reads_and_writes_never_leads_out() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        // Renames, so that there always is a `d`: a missing one would be made by the writer, as a folder.
        output(&sandbox, "mkdir real; echo inside > real/f; ln -s real d").await;
        let swap = "while :; do for to in real /etc ../../..; do ln -s $to t; mv -T t d; done; done";
        sandbox.exec(Exec { background: true, ..Exec::shell(swap) }, |_, _| {}).await.unwrap();
        let began = std::time::Instant::now();
        let (mut seen, mut last) = (0, String::new());
        // For some time; longer where the machine is so slow that the inner file was never hit.
        while began.elapsed() < Duration::from_secs(2) || (seen == 0 && began.elapsed() < PATIENCE) {
            match sandbox.get("d/f", 0, 100).await {
                Ok(part) => {
                    assert_eq!(part.bytes, b"inside\n");
                    seen += 1;
                }
                Err(error) => last = error.to_string(),
            }
            // Failing is fine; writing outside the sandbox's own tree is not possible, as /etc there is read-only.
            let _ = sandbox.put("d/written", b"x", 0o644).await;
        }
        assert!(seen > 0, "{wall:?}: {last}");
        assert!(!std::path::Path::new("/etc/written").exists() && !std::path::Path::new("/written").exists());
        assert!(sandbox.lost().borrow().is_none());
        checks::held(wall, &[8]);
        if wall == As::Root.into() {
            // The control: whoever joined host paths would be led out before long.
            let joined = house.config.state_dir.join("workspaces/one/d/passwd");
            until("the link leads out", || std::fs::read(&joined).is_ok()).await;
            checks::control(&[8]);
        }
    }
}
