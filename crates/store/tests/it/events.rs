//! The log: gapless, ordered, payload apart, heard of after the commit.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use livery_core::event::EventType;
use livery_store::{Error, Json, OrgEvent};
use serde_json::{Value, json};

use crate::conformance;
use crate::world::{append, at, event};

/// SHA-256 of `{"number":1}`.
const DIGEST: &str = "3d6a916e86efba9105154ea95dda8d8da47df173d931c23e7a346c7babd81a3e";

conformance! {
    async fn concurrent_appends_leave_no_gap(world) {
        let lease = world.running().await;
        let tasks = (0..20).map(|task| {
            let store = world.store.clone();
            tokio::spawn(async move {
                for number in 0..10 {
                    append(&store, lease, task * 10 + number).await.unwrap();
                }
            })
        });
        join_all(tasks).await.into_iter().for_each(Result::unwrap);
        let events = world.store.events_after(lease.org, lease.run, 0, 1000).await.unwrap();
        let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=201).collect::<Vec<_>>());
        let numbers: BTreeSet<u64> = events[1..].iter().map(|event| event.data["number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..200).collect());
        assert_eq!(world.store.get_run(lease.org, lease.run).await.unwrap().unwrap().last_seq, 201);
    }

    async fn a_reader_that_takes_the_bell_first_misses_nothing(world) {
        let lease = world.running().await;
        let store = world.store.clone();
        let reader = tokio::spawn(async move {
            let mut bell = store.subscribe_run(lease.run);
            let mut seen = Vec::new();
            while seen.last() != Some(&101) {
                let after = seen.last().copied().unwrap_or(0);
                let events = store.events_after(lease.org, lease.run, after, 7).await.unwrap();
                if events.is_empty() {
                    tokio::time::timeout(Duration::from_secs(20), bell.rung()).await.unwrap();
                }
                seen.extend(events.into_iter().map(|event| event.seq));
            }
            seen
        });
        for number in 0..100 {
            append(&world.store, lease, number).await.unwrap();
        }
        assert_eq!(reader.await.unwrap(), (1..=101).collect::<Vec<_>>());
    }

    async fn headers_come_without_payloads_and_stay_without_them(world) {
        let lease = world.running().await;
        append(&world.store, lease, 1).await.unwrap();
        let headers = world.store.event_headers_after(lease.org, lease.run, 1, 10).await.unwrap();
        let events = world.store.stored_events_after(lease.org, lease.run, 1, 10).await.unwrap();
        assert_eq!((headers.len(), headers[0].seq, headers[0].digest.as_str()), (1, 2, DIGEST));
        assert_eq!((&headers[0].actor, &headers[0].event_type, headers[0].at), (&events[0].actor, &events[0].event_type, events[0].at));
        world.store.write(move |tx| Box::pin(async move { tx.delete_run_payloads(lease.org, lease.run).await })).await.unwrap();
        assert_eq!(world.store.event_headers_after(lease.org, lease.run, 1, 10).await.unwrap(), headers);
        assert_eq!(world.store.event_headers_after(world.two.org, lease.run, 0, 10).await.unwrap(), [], "another tenant's");
    }

    async fn several_events_take_consecutive_places(world) {
        let lease = world.running().await;
        let first = world.write(move |tx| async move {
            let events = [EventType::ToolRequested, EventType::ToolStarted, EventType::ToolFinished];
            tx.append_run_events(&lease, &events.map(|kind| event(kind, 0))).await
        }.boxed()).await;
        assert_eq!(first, 2);
        let page = world.store.events_after(lease.org, lease.run, 2, 1).await.unwrap();
        assert_eq!((page.len(), page[0].seq, page[0].event_type), (1, 3, EventType::ToolStarted));
        assert!(world.store.events_after(lease.org, lease.run, 4, 10).await.unwrap().is_empty());
    }

    async fn a_deleted_payload_leaves_header_and_digest(world) {
        let lease = world.running().await;
        append(&world.store, lease, 1).await.unwrap();
        let before = world.store.stored_events_after(lease.org, lease.run, 1, 1).await.unwrap().remove(0);
        assert_eq!(before.data, Some(Json::of(&json!({"number": 1})).unwrap()));
        assert_eq!(before.digest, DIGEST);
        let (mine, theirs) = (lease.org, world.two.org);
        let deleted = world.write(move |tx| async move {
            Ok((tx.delete_run_payloads(theirs, lease.run).await?, tx.delete_run_payloads(mine, lease.run).await?))
        }.boxed()).await;
        assert_eq!(deleted, (0, 2));
        let after = world.store.system_events_of(lease.run).await.unwrap().remove(1);
        assert_eq!((after.data.clone(), after.digest.as_str(), after.seq), (None, DIGEST, 2));
        assert_eq!(after.into_event(lease.run).unwrap().data, Value::Null);
    }

    async fn a_long_log_is_read_to_its_end(world) {
        let lease = world.running().await;
        world.write(move |tx| async move {
            for batch in 0..25 {
                let events: Vec<_> = (0..100).map(|number| event(EventType::LogWritten, batch * 100 + number)).collect();
                tx.append_run_events(&lease, &events).await?;
            }
            Ok(())
        }.boxed()).await;
        let all = world.store.system_events_of(lease.run).await.unwrap();
        assert!(all.iter().map(|event| event.seq).eq(1..=2501));
    }

    async fn large_payloads_come_in_smaller_pages(world) {
        let lease = world.running().await;
        for _ in 0..5 {
            world.write(move |tx| async move {
                let mut large = event(EventType::LogWritten, 1);
                large.data = Json::of(&"x".repeat(250 * 1024)).unwrap();
                tx.append_run_events(&lease, &vec![large; 5]).await
            }.boxed()).await;
        }
        let page = world.store.events_after(lease.org, lease.run, 0, 1000).await.unwrap();
        assert!(page.iter().map(|event| event.seq).eq(1..=17), "16 of 250 KiB fit into 4 MiB: {}", page.len());
        let all = world.store.system_events_of(lease.run).await.unwrap();
        assert!(all.iter().map(|event| event.seq).eq(1..=26));
    }

    async fn an_organization_has_a_stream_of_its_own(world) {
        let org = world.one.org;
        let event = |number: u64| OrgEvent {
            event_type: "api_key.created".into(),
            actor: "key_1".into(),
            on_behalf_of: None,
            at: at(1),
            data: Json::of(&number).unwrap(),
        };
        let tasks = (0..20).map(|number| {
            world.store.write(move |tx| async move { tx.append_org_event(org, &event(number)).await }.boxed())
        });
        let seqs: BTreeSet<u64> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(seqs, (1..=20).collect());
        let events = world.store.org_events_after(org, 15, 100).await.unwrap();
        assert!(events.iter().map(|event| event.seq).eq(16..=20));
        assert_eq!(events[0].event_type, "api_key.created");
        assert!(world.store.org_events_after(world.two.org, 0, 100).await.unwrap().is_empty());
        let nobody = livery_core::id::OrgId::from_bits(u128::MAX);
        let refused = world.store.write(move |tx| async move { tx.append_org_event(nobody, &event(1)).await }.boxed());
        assert!(matches!(refused.await, Err(Error::NotFound { .. })));
    }
}
