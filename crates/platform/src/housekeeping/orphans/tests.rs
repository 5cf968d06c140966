use std::path::PathBuf;
use std::time::Duration;

use livery_core::id::{FileId, OrgId, RunId};
use livery_store::SnapshotRow;
use serde_json::json;

use super::{Owner, owner_of, position, round};
use crate::objects::Place;
use crate::testing::Node;
use crate::{Caller, Clock, Platform, Posted};

#[test]
fn a_key_says_whose_bytes_it_holds() {
    let (org, file, run) = (OrgId::from_bits(7), FileId::from_bits(9), RunId::from_bits(11));
    let name = file.to_string();
    let end = &name[name.len() - 2..];
    assert_eq!(owner_of(&format!("files/{org}/{end}/{file}")), Owner::File(org, file));
    assert_eq!(owner_of(&format!("snapshots/{org}/{run}/42-00ab.tgz")), Owner::Copy(org, run));
    assert_eq!(owner_of(&format!("files/{org}/{end}/{file}.part")), Owner::Part);
    for unknown in ["files", "files/x/y/z", "snapshots/a/b/c.tgz", "probes/nod_x", "", "files/org/part"] {
        assert_eq!(owner_of(unknown), Owner::Unknown, "{unknown}");
    }
    assert_eq!(owner_of(&format!("files/{org}/zz/{file}")), Owner::Unknown, "in a folder that is not its own");
}

#[test]
fn a_round_goes_on_where_the_last_one_stopped() {
    assert_eq!(position(None), (0, None));
    assert_eq!(position(Some("files/a/b".into())), (0, Some("files/a/b".into())));
    assert_eq!(position(Some("snapshots".into())), (1, None));
    assert_eq!(position(Some("snapshots/x".into())), (1, Some("snapshots/x".into())));
    assert_eq!(position(Some("strange".into())), (0, None), "a cursor of another version begins again");
}

const LOOK: Duration = Duration::from_millis(1);

/// A node with a folder of its own for objects and a clock that the test moves.
struct Site {
    platform: Platform,
    caller: Caller,
    clock: Clock,
    objects: PathBuf,
    _folders: [tempfile::TempDir; 2],
}

impl Site {
    async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let objects = place.path().join("objects");
        let folder = Place::Folder(objects.clone());
        let node = Node::with(Clock::system().now(), |parts| parts.config.objects = folder).await;
        let Node { platform, caller, clock, data } = node;
        Self { platform, caller, clock, objects, _folders: [data, place] }
    }

    async fn upload(&self, content: &'static [u8]) -> FileId {
        let mut spool = self.platform.receive_file().await.unwrap();
        spool.write(content.into()).await.unwrap();
        let content = spool.finish().await.unwrap();
        match self.platform.upload_file(&self.caller, "a.txt", "text/plain", content).await.unwrap() {
            Posted::Fresh(view) => view.id,
            Posted::Replayed(_) => unreachable!(),
        }
    }

    /// A run at work with a copy of its workspace after event 3; the key of the copy.
    async fn copy(&self) -> (OrgId, RunId) {
        let agent_md = "---\nname: a\ndescription: d\nmodel: scripted/a\ntools: []\n---\nHi.\n";
        let agent = json!({"agent_md": agent_md, "files": {"scripts/a.yaml": "dHVybnM6IFt7dGV4dDogaGl9XQ=="}});
        let request = serde_json::from_value(json!({"agent": agent, "input": {}})).unwrap();
        self.platform.start_run(&self.caller, request).await.unwrap();
        let now = self.clock.now();
        let claim = self.platform.store.write(move |tx| {
            Box::pin(async move { tx.system_claim_runs("nod_x/1", now, now.plus_millis(60_000), 1).await })
        });
        let lease = claim.await.unwrap().remove(0).lease;
        let object_key = format!("snapshots/{}/{}/3-1.tgz", lease.org, lease.run);
        let row = SnapshotRow { seq: 3, object_key, bytes: 1, sha256: String::new(), created_at: now };
        let insert = self.platform.store.write(move |tx| {
            Box::pin(async move { tx.insert_snapshot(lease.org, lease.run, lease.epoch, &row).await })
        });
        assert!(insert.await.unwrap());
        (lease.org, lease.run)
    }

    fn plant(&self, key: &str) {
        let path = self.objects.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"x").unwrap();
    }

    async fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for folder in ["files", "snapshots"] {
            keys.extend(self.platform.objects.list(folder, None, 1000).await.unwrap().into_iter().map(|it| it.key));
        }
        keys
    }
}

#[tokio::test]
async fn only_old_bytes_without_a_row_go_and_all_of_them_do() {
    let site = Site::new().await;
    for content in [&b"one"[..], b"two", b"three"] {
        site.upload(content).await;
    }
    let (org, run) = site.copy().await;
    site.plant(&format!("snapshots/{org}/{run}/3-1.tgz"));
    let named = site.keys().await;
    assert_eq!(named.len(), 4);
    let mut orphans = ["2-1", "3-2", "30-1"].map(|copy| format!("snapshots/{org}/{run}/{copy}.tgz")).to_vec();
    for bits in 0..25_u128 {
        let name = FileId::from_bits(bits).to_string();
        orphans.push(format!("files/{org}/{}/{name}", &name[name.len() - 2..]));
    }
    orphans.push(format!("files/{org}/zz/cut-off.part"));
    orphans.iter().for_each(|key| site.plant(key));
    site.plant(&format!("files/{org}/zz/somebody-elses.txt"));
    let all = site.keys().await;

    assert_eq!(round(&site.platform, 1000, LOOK).await.unwrap(), 0);
    assert_eq!(site.keys().await, all, "what is young may still get its row");
    site.clock.set(site.clock.now().plus_millis(2 * super::AGE_MS));
    let mut removed = 0;
    // So many rounds of five come to the end of everything and begin again.
    for _ in 0..20 {
        removed += round(&site.platform, 5, LOOK).await.unwrap();
    }
    assert_eq!(removed, orphans.len());
    let mut left = named;
    left.push(format!("files/{org}/zz/somebody-elses.txt"));
    left.sort();
    assert_eq!(site.keys().await, left);
}
