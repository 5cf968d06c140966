//! Each limit ends the run that passed it, alone, and says which one it was.

use std::time::Duration;

use livery_sandbox::{Error, Exec, LostReason, Sandbox, Spec, Tier};

use crate::checks;
use crate::house::{
    As, House, PATIENCE, machine_walls, output, shell, until_running, walls, walls_with_a_machine, walls_with_machines,
};

async fn reason(sandbox: &Sandbox) -> (LostReason, String) {
    let mut lost = sandbox.lost();
    let lost = tokio::time::timeout(PATIENCE, lost.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    (lost.reason, lost.detail)
}

/// Whether a neighbour is unharmed.
async fn is_well(neighbour: &Sandbox) {
    assert_eq!(output(neighbour, "echo fine").await, "fine");
}

#[tokio::test]
async fn a_memory_bomb_ends_its_run_with_a_clear_reason() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        let spec = Spec { memory_mb: 64, ..house.spec("bomb") };
        let bomb = house.sandboxes.create(spec).await.unwrap();
        // Each process alone stays small enough for its own limits; together they are not.
        let script = "for i in 1 2 3 4; do (head -c 40000000 /dev/zero | tail -c 40000000 | sleep 6000) & done; wait";
        // A kernel that is short of memory looks long for what it could give up, the more so where a processor is played.
        let long = |script: &str| Exec { timeout: 4 * PATIENCE, ..Exec::shell(script) };
        let error = bomb.exec(long(script), |_, _| {}).await.unwrap_err();
        let Error::Lost(lost) = error else { panic!("{wall:?}: {error}") };
        assert_eq!(lost.reason, LostReason::OutOfMemory, "{wall:?}");
        assert_eq!(lost.detail, "its processes needed more memory than its limit of 64 MiB");
        is_well(&neighbour).await;
        // A single large process: the kernel kills or refuses it.
        let spec = Spec { memory_mb: 64, ..house.spec("one") };
        let one = house.sandboxes.create(spec).await.unwrap();
        let script_of_one = "head -c 900000000 /dev/zero | tail -n 1 | wc -c; [ $(head -c 900000000 /dev/zero | tail -n 1 | wc -c) = 900000001 ]";
        match one.exec(long(script_of_one), |_, _| {}).await {
            Err(Error::Lost(lost)) => assert_eq!(lost.reason, LostReason::OutOfMemory),
            Ok(result) => assert!(wall == As::User.into() && result.exit_code == Some(1), "{wall:?} {result:?}"),
            Err(error) => panic!("{error}"),
        }
        is_well(&neighbour).await;
        checks::held(wall, &[37]);
        // The control: where there is room the same is no bomb.
        let wide = house.sandboxes.create(Spec { memory_mb: 1024, ..house.spec("wide") }).await.unwrap();
        let script = script.replace("sleep 6000", "wc -c");
        assert_eq!(output(&wide, &script).await.lines().filter(|line| *line == "40000000").count(), 4, "{wall:?}");
        checks::control(&[37]);
    }
}

#[tokio::test]
async fn temporary_files_count_as_memory() {
    for wall in walls_with_a_machine() {
        let house = House::open(wall);
        let spec = Spec { memory_mb: 64, ..house.spec("tmp") };
        let sandbox = house.sandboxes.create(spec).await.unwrap();
        let result = shell(&sandbox, "head -c 50000000 /dev/zero > /tmp/a; echo $?").await;
        assert!(String::from_utf8_lossy(&result.stderr).contains("No space left"), "{wall:?} {result:?}");
        let result = shell(&sandbox, "rm /tmp/a; head -c 50000000 /dev/zero > /dev/shm/a").await;
        assert!(String::from_utf8_lossy(&result.stderr).contains("No space left"), "{wall:?} {result:?}");
    }
}

#[tokio::test]
async fn a_fork_bomb_is_held_and_its_run_goes_on() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        let spec = Spec { pids: 32, ..house.spec("forks") };
        let sandbox = house.sandboxes.create(spec).await.unwrap();
        let timeout = Duration::from_secs(2);
        let exec = Exec {
            timeout,
            ..Exec::shell("f() { f | f & }; f; i=0; while [ $i -lt 500 ]; do sleep 600 & i=$((i+1)); done; wait")
        };
        let result = sandbox.exec(exec, |_, _| {}).await.unwrap();
        assert!(result.exit_code != Some(0), "{wall:?} {result:?}");
        is_well(&neighbour).await;
        let usage = sandbox.usage().await.unwrap();
        // Beside the run's own: process 1, or the threads of what carries it.
        let most = if wall.tier == Tier::Container { 33 } else { 128 + 3 * 32 };
        assert!(usage.pids_peak.is_none_or(|peak| peak <= most), "{usage:?}");
        assert!(sandbox.lost().borrow().is_none());
        let teardown = sandbox.kill("test").await.unwrap();
        assert!(teardown.processes_gone && teardown.cgroups_removed);
        checks::held(wall, &[36]);
        // The control: where there is room there are as many as are wanted.
        let wide = house.sandbox("wide").await;
        output(&wide, "i=0; while [ $i -lt 60 ]; do sleep 600 & i=$((i+1)); done >/dev/null 2>&1").await;
        until_running(&wide, "sleep", 60).await;
        checks::control(&[36]);
    }
}

#[tokio::test]
async fn a_full_disk_ends_its_run() {
    for wall in walls() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        // One file alone hits the size limit and the command hears of it.
        let spec = Spec { disk_mb: 8, ..house.spec("file") };
        let sandbox = house.sandboxes.create(spec).await.unwrap();
        let result = shell(&sandbox, "head -c 20000000 /dev/zero > big; stat -c %s big").await;
        assert_eq!(result.stdout, b"8388608\n", "{wall:?} {result:?}");
        // Many files are seen by the watchdog.
        let spec = Spec { disk_mb: 8, ..house.spec("files") };
        let sandbox = house.sandboxes.create(spec).await.unwrap();
        let exec =
            Exec::shell("for i in 1 2 3 4 5 6; do mkdir -p d/$i; head -c 4000000 /dev/zero > d/$i/f; done; sleep 600");
        let error = sandbox.exec(exec, |_, _| {}).await.unwrap_err();
        assert_eq!(error.to_string(), "the sandbox was lost: /workspace grew beyond its limit of 8 MiB", "{wall:?}");
        let spec = Spec { disk_mb: 8, ..house.spec("deep") };
        let sandbox = house.sandboxes.create(spec).await.unwrap();
        let exec = Exec::shell("i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done; sleep 600");
        let error = sandbox.exec(exec, |_, _| {}).await.unwrap_err();
        assert!(matches!(error, Error::Lost(ref lost) if lost.reason == LostReason::DiskFull), "{wall:?} {error}");
        is_well(&neighbour).await;
        checks::held(wall, &[38]);
        let written = output(&neighbour, "head -c 20000000 /dev/zero > big; stat -c %s big").await;
        assert_eq!(written, "20000000", "where there is room it is whole");
        checks::control(&[38]);
        for id in ["file", "files", "deep"] {
            house.sandboxes.create(house.spec(id)).await.unwrap().kill("test").await.unwrap();
            house.sandboxes.remove_workspace(id).await.unwrap();
        }
    }
}

/// A machine's disk ends where it ends: the command hears of it, and nobody outside has to count.
#[tokio::test]
async fn a_machines_full_disk_is_an_error_to_its_commands() {
    for wall in machine_walls() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        let sandbox = house.sandboxes.create(Spec { disk_mb: 8, ..house.spec("small") }).await.unwrap();
        let fill = "head -c 20000000 /dev/zero > big; stat -c %s big; rm big; \
                    for i in 1 2 3 4 5 6; do head -c 4000000 /dev/zero > f$i || echo full; done; \
                    mkdir d; i=0; while touch d/$i; do i=$((i+1)); [ $i -lt 20000 ] || exit 9; done 2>/dev/null; echo over";
        let result = shell(&sandbox, fill).await;
        let said = String::from_utf8_lossy(&result.stdout).into_owned();
        let first: u64 = said.lines().next().unwrap().parse().unwrap();
        assert!((7 << 20..=8 << 20).contains(&first) && said.contains("full") && said.ends_with("over\n"), "{said}");
        assert!(String::from_utf8_lossy(&result.stderr).contains("No space left"), "{wall:?} {result:?}");
        // On the host it is one file, that has no more than was promised.
        let disk = std::fs::metadata(house.config.state_dir.join("workspaces/small/workspace.ext4")).unwrap();
        assert!(disk.len() < 64 << 20 && std::os::unix::fs::MetadataExt::blocks(&disk) * 512 <= disk.len(), "{disk:?}");
        // Room that is given back can be used again, and the run goes on.
        assert_eq!(output(&sandbox, "rm -r d f*; echo fine > file; cat file").await, "fine");
        is_well(&neighbour).await;
        let written = output(&neighbour, "head -c 20000000 /dev/zero > big; stat -c %s big").await;
        assert_eq!(written, "20000000", "where there is room it is whole");
        checks::held(wall, &[38]);
        checks::control(&[38]);
    }
}

#[tokio::test]
async fn the_hosts_reserve_ends_the_largest() {
    for wall in walls() {
        // More than any disk has: every sandbox is too much.
        let house = House::open_with(wall, |config| config.disk_reserve_mb = u64::MAX);
        let (small, large) = (house.sandbox("small").await, house.sandbox("large").await);
        let error = large.exec(Exec::shell("head -c 3000000 /dev/zero > f; sleep 600"), |_, _| {}).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the sandbox was lost: the host is short of disk space"), "{wall:?} {text}");
        is_well(&small).await;
    }
}

#[tokio::test]
async fn the_wall_clock_ends_a_run_whatever_it_does() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        // The time that a kernel takes to boot counts.
        let wall_clock = Duration::from_millis(if wall.tier == Tier::Microvm { 20_500 } else { 2500 });
        let spec = Spec { wall_clock, ..house.spec("late") };
        let sandbox = house.sandboxes.create(spec).await.unwrap();
        let error = sandbox.exec(Exec::shell("trap '' TERM INT; while :; do :; done"), |_, _| {}).await.unwrap_err();
        let expected = format!("the sandbox was lost: its wall clock of {} s ran out", wall_clock.as_secs_f64());
        assert_eq!(error.to_string(), expected, "{wall:?}");
        assert_eq!(reason(&sandbox).await.0, LostReason::WallClock);
        assert!(matches!(sandbox.get("x", 0, 1).await, Err(Error::Lost(_))));
        checks::held(wall, &[42]);
        if wall.user == As::Root && wall.tier == Tier::Container {
            // The control: with more time on its clock it goes on and on.
            let patient = house.sandbox("patient").await;
            let timeout = Duration::from_secs(3);
            let exec = Exec { timeout, ..Exec::shell("trap '' TERM INT; while :; do :; done") };
            assert!(patient.exec(exec, |_, _| {}).await.unwrap().timed_out);
            is_well(&patient).await;
            checks::control(&[42]);
        }
    }
}

#[tokio::test]
async fn descriptors_and_unread_input_are_bounded() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        assert_eq!(output(&sandbox, "ulimit -n; ulimit -c").await, "4096\n0");
        let exec = Exec { stdin: vec![0; 8_000_000], timeout: Duration::from_millis(500), ..Exec::shell("sleep 600") };
        assert!(sandbox.exec(exec, |_, _| {}).await.unwrap().timed_out);
        let exec = Exec { stdin: vec![0; 8_000_000], ..Exec::shell("exec <&-; sleep 0.2; echo done") };
        assert_eq!(sandbox.exec(exec, |_, _| {}).await.unwrap().stdout, b"done\n");
        checks::held(wall, &[39]);
        // The control: what is read arrives, and outside there may be more descriptors.
        let exec = Exec { stdin: vec![0; 8_000_000], ..Exec::shell("wc -c") };
        assert_eq!(sandbox.exec(exec, |_, _| {}).await.unwrap().stdout.trim_ascii(), b"8000000");
        let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert!(own.maximum.is_none_or(|most| most > 4096), "{own:?}");
        checks::control(&[39]);
    }
}
