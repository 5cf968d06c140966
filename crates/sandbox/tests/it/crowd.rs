//! Many at once, many one after the other, and the end of many: the host is as it was.
//!
//! With `LIVERY_LONG` set (`cargo xtask escape --long`) there are as many as are promised; otherwise fewer of the same.

use std::fs;

use livery_sandbox::{Exec, Spec, Tier};

use crate::checks;
use crate::house::{As, House, Wall, output, until, walls, walls_with_machines};
use crate::lifetime::{cgroups, is_alive, mounts_below, of_threads, run, traces};

fn is_long() -> bool {
    std::env::var_os("LIVERY_LONG").is_some()
}

/// How often a sandbox is made and ended. A kernel of its own takes its time to boot.
fn rounds(wall: Wall) -> usize {
    match (wall.tier, is_long()) {
        (Tier::Container, true) => 10_000,
        (Tier::Container, false) => 100,
        (Tier::Gvisor, true) => 300,
        (Tier::Gvisor, false) => 30,
        (_, true) => 30,
        (_, false) => 3,
    }
}

/// How many live when the platform ends.
fn at_the_end(wall: Wall) -> usize {
    match (wall.tier, is_long()) {
        (_, true) => 50,
        (Tier::Container | Tier::Gvisor, false) => 3,
        (_, false) => 1,
    }
}

/// How many do nothing at the same time.
fn idle(wall: Wall) -> usize {
    match (wall.tier, is_long()) {
        (Tier::Container, true) => 1_000,
        (_, true) => 50,
        (Tier::Container, false) => 50,
        (_, false) => 1,
    }
}

#[tokio::test]
async fn many_rounds_leave_nothing() {
    let own = || fs::read_dir("/proc/self/fd").unwrap().count();
    let own_before = own();
    for wall in walls_with_machines() {
        let house = House::open(wall);
        house.sandbox("warm").await.kill("test").await.unwrap();
        let launcher = house.launcher_pid;
        let count = |what: &str| fs::read_dir(format!("/proc/{launcher}/{what}")).map_or(0, Iterator::count);
        let children = || of_threads(launcher, "children");
        let snapshot = || (count("fd"), of_threads(launcher, "mountinfo").lines().count(), cgroups(&house));
        let before = snapshot();
        let one = house.sandbox("one").await;
        assert_ne!(snapshot(), before, "a sandbox that lives shows");
        checks::control(&[45]);
        one.kill("test").await.unwrap();
        drop(one);
        for round in 0..rounds(wall) {
            let sandbox = house.sandbox(&format!("round-{round}")).await;
            if round % 10 == 0 {
                output(&sandbox, "sleep 100 & touch file").await;
            }
            assert!(sandbox.kill("test").await.unwrap().cgroups_removed);
            drop(sandbox);
            house.sandboxes.remove_workspace(&format!("round-{round}")).await.unwrap();
        }
        until("the launcher holds what it held before", || snapshot() == before).await;
        until("no child is left", || children().is_empty()).await;
        checks::held(wall, &[45]);
    }
    // Tests in other threads have descriptors too: a leak here would be one for each of the rounds.
    assert!(own() < own_before + 150, "{} descriptors, {own_before} before", own());
}

#[tokio::test]
async fn the_platforms_end_takes_the_launcher_and_every_sandbox() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let mark = format!("6{}", std::process::id());
        let many = at_the_end(wall);
        for number in 0..many {
            let sandbox = house.sandbox(&format!("end-{number}")).await;
            sandbox.exec(Exec { background: true, ..Exec::new(["sleep", &mark]) }, |_, _| {}).await.unwrap();
            std::mem::forget(sandbox);
        }
        until("every sandbox works", || run(&house, &mark, many)).await;
        checks::control(&[44]);
        let launcher = house.launcher_pid;
        assert_eq!(cgroups(&house).is_empty(), wall.user == As::User);
        // What SIGKILL of the platform does to the launcher: its socket closes, and nothing is said.
        let house = house.abandon();
        until("sandboxes and launcher end", || traces(&house, &mark).is_empty() && !is_alive(launcher)).await;
        assert!(cgroups(&house).is_empty(), "{wall:?}");
        // The next start finds nothing but workspaces, and everyone's is there.
        let mut house = house;
        house.reopen();
        assert_eq!(house.sandboxes.workspaces().await.unwrap().len(), many, "{wall:?}");
        assert_eq!(mounts_below(&house.config.state_dir), 0);
    }
}

#[tokio::test]
async fn many_that_do_nothing_live_side_by_side() {
    for wall in walls() {
        let many = idle(wall);
        let house = House::open_with(wall, |config| config.sandboxes_max = config.sandboxes_max.max(many));
        house.sandbox("warm").await.kill("test").await.unwrap();
        let before = cgroups(&house).len();
        let mut all = Vec::new();
        for number in 0..many {
            let spec = Spec { memory_mb: 64, ..house.spec(&format!("idle-{number}")) };
            let sandbox = house.sandboxes.create(spec).await.unwrap();
            sandbox.exec(Exec { background: true, ..Exec::new(["sleep", "3000"]) }, |_, _| {}).await.unwrap();
            all.push(sandbox);
        }
        for (number, sandbox) in all.iter().enumerate() {
            let script = format!("echo {number} > file; cat file");
            assert_eq!(output(sandbox, &script).await, number.to_string(), "{wall:?}");
        }
        for sandbox in all {
            let teardown = sandbox.kill("test").await.unwrap();
            assert!(teardown.processes_gone && teardown.cgroups_removed, "{wall:?} {teardown:?}");
        }
        assert_eq!(cgroups(&house).len(), before);
    }
}
