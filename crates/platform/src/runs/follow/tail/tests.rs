//! Many readers, one read: nobody misses anything, and nobody is given what is older than his ring.

use std::sync::Arc;

use livery_core::id::RunId;
use livery_core::{Event, Timestamp};
use serde_json::json;
use tokio::task::JoinSet;

use super::Look;
use crate::Posted;
use crate::runs::{Followed, StartRun};
use crate::testing::Node;

const HEARD_NOTHING: Look = Look { ring: 0, unrung: false };

async fn node() -> (Node, RunId) {
    let node = Node::at(Timestamp::from_micros(1_700_000_000_000_000)).await;
    let agent_md = "---\nname: hello\nmodel: scripted/a\ntools: []\n---\nHi.\n";
    let files = json!({"scripts/a.yaml": "dHVybnM6IFt7dGV4dDogaGl9XQ=="});
    let body = json!({"agent": {"agent_md": agent_md, "files": files}});
    let request: StartRun = serde_json::from_value(body).unwrap();
    match node.platform.start_run(&node.caller, request).await.unwrap() {
        Posted::Fresh(view) => (node, view.id),
        Posted::Replayed(_) => unreachable!("no key was sent"),
    }
}

fn numbers(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

#[tokio::test]
async fn a_read_counts_for_no_ring_after_it() {
    let (node, run) = node().await;
    let (platform, org) = (&node.platform, node.caller.principal.org);
    let (mut bell, one, same) =
        (platform.store.subscribe_run(run), platform.tails.of(org, run), platform.tails.of(org, run));
    let look = |share, after, look| super::Shared::look(share, &platform.store, after, look);
    let heard = Look { ring: bell.newest_ring(), unrung: false };
    let begin = numbers(&look(&one, 0, heard).await.unwrap());
    assert_eq!(begin, [1]);

    platform.cancel_run(&node.caller, run).await.unwrap();
    // Shared while nobody rang; a ring is worth a read of its own.
    assert_eq!(numbers(&look(&same, 0, heard).await.unwrap()), begin);
    assert!(look(&same, 1, heard).await.unwrap().is_empty());
    let rung = Look { ring: bell.newest_ring(), unrung: false };
    assert!(rung.ring > heard.ring);
    let news = numbers(&look(&same, 1, rung).await.unwrap());
    assert!(!news.is_empty() && news[0] == 2, "{news:?}");
    assert_eq!(numbers(&look(&one, 1, heard).await.unwrap()), news, "and everybody has it");
}

#[tokio::test]
async fn readers_at_other_places_are_served_too() {
    let (node, run) = node().await;
    let (platform, org) = (&node.platform, node.caller.principal.org);
    platform.cancel_run(&node.caller, run).await.unwrap();
    let share = platform.tails.of(org, run);
    let look = |after| share.look(&platform.store, after, HEARD_NOTHING);
    // Ahead of everything, then behind what the tail begins with, then in its midst.
    assert!(look(999).await.unwrap().is_empty());
    let all = numbers(&look(0).await.unwrap());
    assert!(all.len() >= 2 && all[0] == 1);
    let fresh = platform.tails.of(org, run);
    assert_eq!(numbers(&fresh.look(&platform.store, 1, HEARD_NOTHING).await.unwrap()), all[1..]);
    drop((share, fresh));
    assert!(platform.tails.runs.lock().unwrap().is_empty(), "the last reader takes the tail along");
    let stranger = platform.tails.of(livery_core::id::OrgId::from_bits(7), run);
    assert!(stranger.look(&platform.store, 0, HEARD_NOTHING).await.unwrap().is_empty(), "another tenant's run is none");
}

/// Readers who wait hold little, however much their runs have to say; nobody misses any of it.
#[test]
fn what_is_kept_is_little_and_has_no_gap() {
    let event = |seq: u64, bytes: usize| Event {
        seq,
        run_id: RunId::from_bits(1),
        event_type: livery_core::EventType::ToolFinished,
        at: Timestamp::from_micros(1),
        actor: "worker".to_owned(),
        digest: String::new(),
        data: json!("x".repeat(bytes)),
        deleted: false,
    };
    let mut read = super::Read::default();
    read.add((1..=40).map(|seq| event(seq, 100_000)).collect());
    assert_eq!(read.behind(0).len(), 40, "whoever had them read has all of them");
    read.trim();
    assert!(read.bytes <= super::BYTES_MAX && read.last() == 40 && !read.behind(39).is_empty());
    assert_eq!(numbers(&read.behind(0))[0], read.after + 1);
    read.add((41..=300).map(|seq| event(seq, 1)).collect());
    read.trim();
    assert_eq!((read.events.len(), read.after, read.last()), (100, 200, 300));
    read.add(vec![event(301, 2 << 20)]);
    read.trim();
    assert_eq!((numbers(&read.behind(0)), read.after), (vec![301], 300));
}

/// A place that never was is the end: its reader sees what happens next and comes to an end, and nobody else's reads are drawn
/// there.
#[tokio::test]
async fn a_reader_from_the_future_begins_at_the_end() {
    let (node, run) = node().await;
    let mut follow = node.platform.follow_run(&node.caller.principal, run, u64::MAX).await.unwrap();
    node.platform.cancel_run(&node.caller, run).await.unwrap();
    let mut seen = Vec::new();
    let read = async {
        while let Some(item) = follow.next().await {
            if let Followed::Event(event) = item.unwrap() {
                seen.push(event.seq);
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), read).await.expect("it waits for ever");
    assert!(seen.first() == Some(&2) && seen.is_sorted(), "{seen:?}");
}

#[tokio::test]
async fn many_readers_each_get_everything_once_and_in_order() {
    let (node, run) = node().await;
    let mut readers = JoinSet::new();
    for after in 0..40 {
        let mut follow = node.platform.follow_run(&node.caller.principal, run, after % 2).await.unwrap();
        readers.spawn(async move {
            let mut seen = Vec::new();
            while let Some(item) = follow.next().await {
                if let Followed::Event(event) = item.unwrap() {
                    seen.push(event.seq);
                }
            }
            (after % 2, seen)
        });
    }
    node.platform.cancel_run(&node.caller, run).await.unwrap();
    let org = node.caller.principal.org;
    let stored: Vec<u64> =
        node.platform.store.events_after(org, run, 0, 1000).await.unwrap().iter().map(|event| event.seq).collect();
    while let Some(done) = readers.join_next().await {
        let (after, seen) = done.unwrap();
        assert_eq!(seen, stored[usize::try_from(after).unwrap()..]);
    }
}
