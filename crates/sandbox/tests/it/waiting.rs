//! Sandboxes that wait for a run: whose they become, what they cost when nobody comes, and that nothing of them is left.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use livery_sandbox::Spec;
use serde_json::json;

use crate::house::{House, isolates, until};
use crate::isolate::js;

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

#[tokio::test]
async fn who_comes_after_the_first_gets_one_that_waited_and_nobody_elses() {
    for wall in isolates() {
        let mut house = House::open(wall);
        house.sandboxes.create(Spec::new("container")).await.unwrap();
        house.sandboxes.tier(wall.tier).await.unwrap();
        assert_eq!(waiting(&house).len(), 0, "nobody wanted one");
        let first = house.sandbox("first").await;
        assert_eq!(js(&first, "1").await, json!(1));
        until("two wait", || waiting(&house).len() == 2).await;
        let before = waiting(&house);

        let second = house.sandbox("second").await;
        assert!(before.contains(&workspace(&house, "second")), "it is one of those that waited");
        assert_eq!(
            js(&second, "Deno.writeTextFileSync('mine', 'second'); [...Deno.readDirSync('.')].length").await,
            json!(1)
        );
        let third = house.sandbox("third").await;
        assert_eq!(js(&third, "[...Deno.readDirSync('.')].length").await, json!(0));
        assert_ne!(workspace(&house, "second"), workspace(&house, "third"));
        // They are told by their new names: alone, limited, listed, ended.
        assert!(second.usage().await.unwrap().wall.as_secs() < 3600);
        assert_eq!(house.sandboxes.workspaces().await.unwrap(), ["container", "first", "second", "third"]);
        let end = second.kill("test").await.unwrap();
        assert!(end.was_alive && end.processes_gone && end.cgroups_removed, "{end:?}");
        drop(second);

        // A run that has a workspace keeps it, whoever waits.
        until("two wait again", || waiting(&house).len() == 2 && waiting(&house).is_disjoint(&before)).await;
        let again = house.sandbox("second").await;
        assert_eq!(js(&again, "Deno.readTextFileSync('mine')").await, json!("second"));

        // One of another shape is another start, and those that wait become of that shape.
        until("the one that was given up is replaced", || waiting(&house).len() == 2).await;
        let (before, old_names) = (waiting(&house), names(&house));
        let small = Spec { memory_mb: 64, ..house.spec("small") };
        house.sandboxes.create(small).await.unwrap();
        assert!(!before.contains(&workspace(&house, "small")));
        until("those of the old shape are gone", || names(&house).len() == 2 && names(&house).is_disjoint(&old_names))
            .await;

        // A platform that dies leaves none to the next one.
        house = house.abandon();
        house.reopen();
        house.sandboxes.grants().await.unwrap();
        until("none is left", || waiting(&house).is_empty()).await;
        let trash = house.config.state_dir.join("trash");
        until("nor its folder", || std::fs::read_dir(&trash).unwrap().count() == 0).await;
    }
}
