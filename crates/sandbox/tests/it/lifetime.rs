//! However an end comes, nothing is left: no process, cgroup, mount, descriptor or folder but the workspaces.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use livery_sandbox::{Error, Exec, LostReason, Tier};

use crate::checks;
use crate::house::{House, output, shell, until, until_running, walls, walls_with_machines};

/// Every process whose environment or command names `mark`.
fn processes(mark: &str) -> Vec<String> {
    let all = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
    let commands = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .filter(|command| command.contains(mark))
        .collect()
}

/// What the host sees of a command named `mark`: its own processes, or those of the kernels it runs on.
pub(crate) fn traces(house: &House, mark: &str) -> Vec<String> {
    if house.wall.tier == Tier::Container {
        return processes(mark);
    }
    let all = fs::read_dir("/proc").unwrap().flatten();
    let of = |file: &'static str| move |entry: fs::DirEntry| fs::read_to_string(entry.path().join(file)).ok();
    if house.wall.tier == Tier::Microvm {
        // An ordinary user's machines are in no group of their own; where their disks come from is told all the same.
        let folder = house.config.state_dir.canonicalize().unwrap().join("workspaces");
        let name = folder.iter().skip(2).collect::<std::path::PathBuf>().display().to_string();
        return all.filter_map(of("mountinfo")).filter(|mounts| mounts.contains(&name)).collect();
    }
    let group = livery_sandbox::launcher::cgroup_name(&house.config.state_dir.canonicalize().unwrap());
    all.filter_map(of("cgroup")).filter(|groups| groups.contains(&group)).collect()
}

/// Whether `count` commands named `mark` run: on the host's kernel each is seen, and of a machine nothing but its monitor.
pub(crate) fn run(house: &House, mark: &str, count: usize) -> bool {
    let seen = traces(house, mark).len();
    match house.wall.tier {
        Tier::Container => seen == count,
        Tier::Microvm => seen > 0,
        _ => seen > count,
    }
}

/// Every cgroup folder of a house's launcher.
pub(crate) fn cgroups(house: &House) -> BTreeSet<String> {
    let name = livery_sandbox::launcher::cgroup_name(&house.config.state_dir.canonicalize().unwrap());
    let below = |folder: &Path| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.is_dir())
            .collect::<Vec<_>>()
    };
    let mut found = BTreeSet::new();
    for parent in below(Path::new("/sys/fs/cgroup"))
        .iter()
        .map(|p| p.join(&name))
        .chain([Path::new("/sys/fs/cgroup").join(&name)])
    {
        if parent.is_dir() {
            found.insert(parent.display().to_string());
            found.extend(below(&parent).iter().map(|p| p.display().to_string()));
        }
    }
    found
}

pub(crate) fn mounts_below(folder: &Path) -> usize {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|l| l.contains(&folder.display().to_string()))
        .count()
}

/// A file of every thread of a process: the launcher is a thread of the test harness here.
pub(crate) fn of_threads(pid: u32, file: &str) -> String {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.map(|thread| fs::read_to_string(thread.path().join(file)).unwrap()).collect()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

pub(crate) fn kill_9(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

#[tokio::test]
async fn a_service_managers_sigterm_is_for_the_platform_alone() {
    use rustix::process::Signal;
    for wall in walls() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        for number in [Signal::TERM, Signal::INT, Signal::HUP] {
            signal(house.launcher_pid, number);
            assert_eq!(output(&sandbox, "sleep 0.02; echo fine").await, "fine", "{wall:?}");
        }
        // And commands start with every signal as usual: SIGTERM ends them.
        assert_eq!(shell(&sandbox, "kill -TERM $$; echo alive").await.signal, Some(15));
        house.sandbox("two").await;
    }
}

#[tokio::test]
async fn daemons_die_with_their_sandbox() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let mark = format!("8{}", std::process::id());
        // Its own session, parent gone, signals ignored.
        output(&sandbox, &format!("trap '' HUP TERM; (setsid sleep {mark} >/dev/null 2>&1 &) ; (setsid setsid sleep {mark} &) >/dev/null 2>&1; echo")).await;
        until_running(&sandbox, "sleep", 2).await;
        until("the host sees them", || run(&house, &mark, 2)).await;
        let teardown = sandbox.kill("test").await.unwrap();
        assert!(teardown.processes_gone);
        assert!(traces(&house, &mark).is_empty());
        drop(sandbox);
        // Dropping the last handle is a kill as well.
        let sandbox = house.sandbox("two").await;
        sandbox.exec(Exec { background: true, ..Exec::new(["sleep", &mark]) }, |_, _| {}).await.unwrap();
        drop(sandbox);
        until("a dropped sandbox dies", || traces(&house, &mark).is_empty()).await;
        checks::held(wall, &[43]);
        // They did run before.
        checks::control(&[43]);
    }
}

#[tokio::test]
async fn the_launchers_sigkill_takes_every_sandbox_and_the_next_one_sweeps() {
    for wall in walls_with_machines() {
        let mut house = House::open(wall);
        let mark = format!("7{}", std::process::id());
        let sandbox = house.sandbox("one").await;
        sandbox.exec(Exec { background: true, ..Exec::new(["sleep", &mark]) }, |_, _| {}).await.unwrap();
        output(&sandbox, "echo kept > file").await;
        kill_9(house.launcher_pid);
        until("sandboxes die with the launcher", || traces(&house, &mark).is_empty()).await;
        let mut lost = sandbox.lost();
        let lost = lost.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!(lost.reason, LostReason::LauncherGone);
        assert!(matches!(house.sandboxes.create(house.spec("two")).await, Err(Error::LauncherGone)));
        house.reopen();
        // The id can be used again at once, and the workspace is as it was.
        let sandbox = house.sandbox("one").await;
        assert_eq!(output(&sandbox, "cat file").await, "kept");
        house.sandboxes.shutdown().await.unwrap();
        assert!(cgroups(&house).is_empty(), "{wall:?}");
        assert_eq!(mounts_below(&house.config.state_dir), 0);
        checks::held(wall, &[44]);
    }
}

/// The launcher of a house with a keeper.
fn kept(house: &House) -> u32 {
    of_threads(house.launcher_pid, "children").trim().parse().unwrap()
}

#[tokio::test]
async fn a_launcher_that_dies_is_started_again_by_its_keeper() {
    for wall in walls() {
        let house = House::open_with(wall, |config| config.restarts = true);
        let mark = format!("6{}", std::process::id());
        for time in 0..3 {
            let sandbox = house.sandbox("one").await;
            if time > 0 {
                assert_eq!(output(&sandbox, "cat file").await, "kept", "the workspace is as it was");
            }
            sandbox.exec(Exec { background: true, ..Exec::new(["sleep", &mark]) }, |_, _| {}).await.unwrap();
            let waits = tokio::spawn({
                let sandbox = sandbox.clone();
                async move { sandbox.exec(Exec::new(["sleep", "300"]), |_, _| {}).await }
            });
            output(&sandbox, "echo kept > file").await;
            let launcher = kept(&house);
            kill_9(launcher);
            until("sandboxes die with the launcher", || traces(&house, &mark).is_empty()).await;
            let mut lost = sandbox.lost();
            let lost = lost.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            assert_eq!(lost.reason, LostReason::LauncherGone);
            assert!(matches!(waits.await.unwrap(), Err(Error::Lost(_) | Error::LauncherGone)));
            // What is asked now is answered by the next one.
            house.sandboxes.grants().await.unwrap();
            assert!(!house.sandboxes.is_over());
            assert_ne!(kept(&house), launcher);
            // The handle of a sandbox that went ends no later one of its id.
            let later = house.sandbox("one").await;
            assert!(matches!(sandbox.kill("it is over").await, Err(Error::LauncherGone)));
            drop(sandbox);
            assert_eq!(output(&later, "echo alive").await, "alive");
            later.kill("next").await.unwrap();
        }
        // The keeper takes the launcher and everything else along.
        let (sandbox, launcher) = (house.sandbox("two").await, kept(&house));
        sandbox.exec(Exec { background: true, ..Exec::new(["sleep", &mark]) }, |_, _| {}).await.unwrap();
        kill_9(house.launcher_pid);
        until("all of it ends", || traces(&house, &mark).is_empty() && !is_alive(launcher)).await;
        assert!(matches!(house.sandboxes.create(house.spec("three")).await, Err(Error::LauncherGone)));
        assert!(house.sandboxes.is_over());
    }
}

#[tokio::test]
async fn a_keeper_ends_with_its_launcher_when_that_is_asked() {
    for wall in walls() {
        let house = House::open_with(wall, |config| config.restarts = true);
        house.sandbox("one").await;
        let launcher = kept(&house);
        house.sandboxes.shutdown().await.unwrap();
        assert!(!is_alive(launcher) && !is_alive(house.launcher_pid), "{wall:?}");
        assert!(cgroups(&house).is_empty(), "{wall:?}");
        assert_eq!(mounts_below(&house.config.state_dir), 0);
    }
}

#[tokio::test]
async fn a_hostile_workspace_is_removed_whole() {
    for wall in walls() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let script = "mkdir -p closed/inner && touch closed/inner/f && chmod 0 closed/inner closed; ln -s / root; ln -s /etc/passwd p; \
                      mkfifo pipe; i=0; while [ $i -lt 120 ]; do mkdir d; cd d; i=$((i+1)); done; touch end; \
                      cd /workspace; seq 1 3000 | sed s/^/f/ | xargs touch; chmod 0 .";
        assert_eq!(shell(&sandbox, script).await.exit_code, Some(0));
        sandbox.kill("test").await.unwrap();
        house.sandboxes.remove_workspace("one").await.unwrap();
        assert!(matches!(house.sandboxes.remove_workspace("one").await, Err(Error::Unknown)));
        assert!(house.sandboxes.workspaces().await.unwrap().is_empty());
        let trash = house.config.state_dir.join("trash");
        assert!(fs::read_dir(&trash).is_ok_and(|mut left| left.next().is_none()));
        assert!(Path::new("/etc/passwd").exists());
    }
}

#[tokio::test]
async fn a_guest_that_sends_rubbish_or_dies_is_cut_off() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        // The only way to reach the channel is as process 1; what a taken-over guest could do is tested on the wire
        // (`livery-guest`) and by ending it here from outside.
        let sandbox = house.sandbox("one").await;
        let children = of_threads(house.launcher_pid, "children");
        let guest: u32 = children.split_whitespace().next().unwrap().parse().unwrap();
        kill_9(guest);
        let error = sandbox.exec(Exec::shell("echo"), |_, _| {}).await.unwrap_err();
        assert!(matches!(error, Error::Lost(ref lost) if lost.reason == LostReason::GuestExited), "{error}");
        checks::held(wall, &[34]);
        let next = house.sandbox("one").await;
        assert_eq!(output(&next, "echo fine").await, "fine");
        checks::control(&[34]);
    }
}
