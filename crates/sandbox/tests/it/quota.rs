//! Disk and files: no run fills the host's disk or takes its last file, and a neighbour never notices.

use livery_sandbox::{Error, Exec, LostReason, Sandbox, Spec};

use crate::checks;
use crate::house::{House, output, shell, walls, walls_with_a_machine};

async fn is_well(neighbour: &Sandbox) {
    assert_eq!(output(neighbour, "echo fine > file; cat file; rm file").await, "fine");
}

/// Files without end: a watch that counted to the last of them would never be done.
const INODE_BOMB: &str =
    "i=0; while :; do mkdir d$i; (cd d$i; seq 1 2000 | xargs touch); i=$((i+1)); [ $i -lt 200 ] || sleep 600; done";

#[tokio::test]
async fn an_inode_bomb_ends_its_run() {
    for wall in walls() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        let spec = Spec { disk_mb: 64, ..house.spec("bomb") };
        let bomb = house.sandboxes.create(spec).await.unwrap();
        let error = bomb.exec(Exec::shell(INODE_BOMB), |_, _| {}).await.unwrap_err();
        let text = error.to_string();
        let by_names = text == "the sandbox was lost: /workspace has more than 16384 files and folders";
        // Folders and their names take blocks too, and whichever is seen first is said.
        let by_bytes = text == "the sandbox was lost: /workspace grew beyond its limit of 64 MiB";
        assert!(by_names || by_bytes, "{wall:?}: {text}");
        is_well(&neighbour).await;
        bomb.kill("test").await.unwrap();
        house.sandboxes.remove_workspace("bomb").await.unwrap();
        is_well(&neighbour).await;
        checks::held(wall, &[38]);
    }
}

#[tokio::test]
async fn empty_files_and_further_names_of_one_file_are_counted() {
    for wall in walls() {
        let house = House::open(wall);
        let script = "mkdir a; (cd a; seq 1 9000 | xargs touch); cp -rl a b; sleep 600";
        let spec = Spec { disk_mb: 8, ..house.spec("names") };
        let sandbox = house.sandboxes.create(spec).await.unwrap();
        let error = sandbox.exec(Exec::shell(script), |_, _| {}).await.unwrap_err();
        assert!(matches!(error, Error::Lost(ref lost) if lost.reason == LostReason::DiskFull), "{wall:?}: {error}");
    }
}

#[tokio::test]
async fn sparse_files_are_what_they_take_and_none_is_longer_than_the_limit() {
    for wall in walls_with_a_machine() {
        let house = House::open(wall);
        let sandbox = house.sandboxes.create(Spec { disk_mb: 8, ..house.spec("sparse") }).await.unwrap();
        let result =
            shell(&sandbox, "truncate -s 1T huge && echo made; truncate -s 9M more && echo made; echo done").await;
        // Whether by an error or by SIGXFSZ.
        assert_eq!(String::from_utf8_lossy(&result.stdout), "done\n", "{wall:?}: {result:?}");
        // Two hundred holes of 8 MiB take no room, so nothing ends the run.
        let made = "i=0; while [ $i -lt 200 ]; do truncate -s 8M hole$i || exit 1; i=$((i+1)); done; ls | grep -c hole";
        assert_eq!(output(&sandbox, made).await, "200", "{wall:?}");
        is_well(&sandbox).await;
        assert!(sandbox.lost().borrow().is_none());
    }
}

#[tokio::test]
async fn the_hosts_last_files_are_kept_and_whoever_has_most_goes() {
    for wall in walls() {
        // More than any file system has: every sandbox is too much.
        let house = House::open_with(wall, |config| config.inode_reserve_percent = 100);
        if rustix::fs::statvfs(&house.config.state_dir).unwrap().f_files == 0 {
            eprintln!("SKIPPED: the host's reserve of files, because this file system makes room as it goes");
            return;
        }
        let (small, large) = (house.sandbox("small").await, house.sandbox("large").await);
        let error = large.exec(Exec::shell("seq 1 3000 | xargs touch; sleep 600"), |_, _| {}).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the sandbox was lost: the host is short of files"), "{wall:?}: {text}");
        is_well(&small).await;
    }
}
