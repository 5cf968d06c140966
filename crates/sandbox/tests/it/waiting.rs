//! Sandboxes that wait for a run: whose they become, what they cost when nobody comes, and that nothing of them is left.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use livery_sandbox::{Sandbox, Spec, Tier};

use crate::house::{House, PATIENCE, Wall, isolates, until, walls_with_machines};
use crate::lifetime::{kill_9, of_threads};

/// Every wall behind which sandboxes wait, and how many do.
fn slow_walls() -> Vec<(Wall, usize)> {
    let others = walls_with_machines().into_iter().filter(|wall| wall.tier != Tier::Container);
    let most = |wall: Wall| if wall.tier == Tier::Microvm { 1 } else { 2 };
    others.chain(isolates()).map(|wall| (wall, most(wall))).collect()
}

fn open(wall: Wall) -> House {
    House::open_with(wall, |config| config.waiting = None)
}

/// The folders of those that wait, by inode.
fn waiting(house: &House) -> BTreeSet<u64> {
    let entries = std::fs::read_dir(house.config.state_dir.join("workspaces")).unwrap().flatten();
    let waits = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("waiting-");
    entries.filter(waits).filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.ino()).collect()
}

/// Their names: unlike the number of a folder, one is never given twice.
fn names(house: &House) -> BTreeSet<String> {
    let entries = std::fs::read_dir(house.config.state_dir.join("workspaces")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("waiting-")).collect()
}

fn workspace(house: &House, id: &str) -> u64 {
    std::fs::metadata(house.config.state_dir.join("workspaces").join(id)).unwrap().ino()
}

/// The files of a workspace, as a run sees them.
async fn files(sandbox: &Sandbox) -> Vec<String> {
    let entries = sandbox.list("/workspace", 1, 10).await.unwrap().entries;
    entries.into_iter().map(|entry| entry.path).filter(|path| path != "lost+found").collect()
}

/// A run of this shape that got one which had waited: not before that one has booted.
async fn adopted(house: &House, shape: &Spec) -> (String, Sandbox) {
    let began = std::time::Instant::now();
    for number in 0.. {
        let before = waiting(house);
        let id = format!("next-{number}");
        let sandbox = house.sandboxes.create(Spec { id: id.clone(), ..shape.clone() }).await.unwrap();
        if before.contains(&workspace(house, &id)) {
            return (id, sandbox);
        }
        sandbox.kill("it waited for nobody").await.unwrap();
        house.sandboxes.remove_workspace(&id).await.unwrap();
        assert!(began.elapsed() < PATIENCE, "nobody gets one that waits");
    }
    unreachable!("the loop ends before its numbers do")
}

#[tokio::test]
async fn who_comes_after_the_first_gets_one_that_waited_and_nobody_elses() {
    for (wall, most) in slow_walls() {
        let mut house = open(wall);
        house.sandboxes.create(Spec::new("container")).await.unwrap();
        house.sandboxes.tier(wall.tier).await.unwrap();
        assert_eq!(waiting(&house).len(), 0, "nobody wanted one");
        let first = house.sandbox("first").await;
        first.put("/workspace/mine", b"first", 0o644).await.unwrap();
        until("as many wait as are to", || waiting(&house).len() == most).await;
        let (id, second) = adopted(&house, &house.spec("")).await;
        assert!(files(&second).await.is_empty());
        second.put("/workspace/mine", b"second", 0o644).await.unwrap();
        // They are told by their new names: alone, limited, listed, ended.
        assert!(second.usage().await.unwrap().wall.as_secs() < 3600);
        assert_eq!(house.sandboxes.workspaces().await.unwrap(), ["container", "first", id.as_str()]);
        let end = second.kill("test").await.unwrap();
        assert!(end.was_alive && end.processes_gone, "{end:?}");
        drop(second);

        // A run that has a workspace keeps it, whoever waits.
        let own = workspace(&house, &id);
        until("as many wait again", || waiting(&house).len() == most && !waiting(&house).contains(&own)).await;
        let again = house.sandbox(&id).await;
        assert_eq!(again.get("/workspace/mine", 0, 10).await.unwrap().bytes, b"second");

        // A platform that dies leaves none to the next one.
        house = house.abandon();
        house.reopen();
        house.sandboxes.grants().await.unwrap();
        until("none is left", || waiting(&house).is_empty()).await;
        let trash = house.config.state_dir.join("trash");
        until("nor its folder", || std::fs::read_dir(&trash).unwrap().count() == 0).await;
    }
}

#[tokio::test]
async fn the_kinds_that_were_wanted_last_wait_and_no_others() {
    for (wall, most) in slow_walls().into_iter().filter(|(wall, _)| wall.tier != Tier::Microvm) {
        let house = open(wall);
        let of = |memory_mb| Spec { memory_mb, ..house.spec(&format!("of-{memory_mb}")) };
        let mut all = Vec::new();
        for memory_mb in [101, 102, 103] {
            all.push(house.sandboxes.create(of(memory_mb)).await.unwrap());
        }
        until("three kinds wait", || waiting(&house).len() == 3 * most).await;
        let three = names(&house);
        // Another kind has no room before the oldest has had its time.
        let began = std::time::Instant::now();
        while names(&house).is_superset(&three) {
            house.sandboxes.create(of(104)).await.unwrap().kill("test").await.unwrap();
            assert!(began.elapsed() < PATIENCE);
        }
        until("the oldest kind made room", || {
            let now = names(&house);
            now.len() == 3 * most && now.intersection(&three).count() == 2 * most
        })
        .await;
        // One of the older kinds.
        let (_, small) = adopted(&house, &of(102)).await;
        drop((all, small));
    }
}

#[tokio::test]
async fn who_wants_none_to_wait_has_none() {
    for (wall, _) in slow_walls().into_iter().filter(|(wall, _)| wall.tier != Tier::Microvm) {
        let house = House::open_with(wall, |config| config.waiting = Some(0));
        for id in ["first", "second"] {
            house.sandbox(id).await.kill("test").await.unwrap();
            assert!(waiting(&house).is_empty());
        }
        let house = House::open_with(wall, |config| config.waiting = Some(1));
        let first = house.sandbox("first").await;
        until("one waits", || waiting(&house).len() == 1).await;
        drop(first);
    }
}

/// What dies while it waits leaves nothing, and its place is not filled before somebody asks again.
#[tokio::test]
async fn the_death_of_one_that_waits_leaves_nothing() {
    for (wall, most) in slow_walls().into_iter().filter(|(wall, _)| wall.tier != Tier::Microvm) {
        let house = open(wall);
        house.sandbox("first").await.kill("test").await.unwrap();
        until("as many wait as are to", || waiting(&house).len() == most).await;
        let before = names(&house);
        for child in of_threads(house.launcher_pid, "children").split_whitespace() {
            kill_9(child.parse().unwrap());
        }
        until("their folders are gone", || names(&house).is_disjoint(&before)).await;
        let trash = house.config.state_dir.join("trash");
        until("for good", || std::fs::read_dir(&trash).unwrap().count() == 0).await;
        house.sandbox("second").await.kill("test").await.unwrap();
        until("others wait after the next run", || waiting(&house).len() == most).await;
    }
}

/// Who waited takes a place when it becomes a run's.
#[tokio::test]
async fn no_more_runs_than_there_may_be_get_one_that_waited() {
    for (wall, most) in slow_walls().into_iter().filter(|(wall, _)| wall.tier != Tier::Microvm) {
        let house = House::open_with(wall, |config| (config.waiting, config.sandboxes_max) = (None, 2));
        let first = house.sandbox("first").await;
        until("as many wait as are to", || waiting(&house).len() == most).await;
        let other = house.sandboxes.create(Spec::new("other")).await.unwrap();
        let refused = house.sandboxes.create(house.spec("third")).await.unwrap_err().to_string();
        assert!(refused.contains("2 sandboxes are alive"), "{refused}");
        other.kill("test").await.unwrap();
        drop(other);
        house.sandbox("third").await;
        drop(first);
    }
}
