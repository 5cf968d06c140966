//! Export and import: everything that is in one database is in the other, byte for byte, or nothing is.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt;
use livery_core::RunStatus;
use livery_store::{Answer, Error, IdempotencyKey, Manifest, Piece, Place, Rows, Store};
use tokio::sync::mpsc;

use crate::rows::new_key;
use crate::server::Database;
use crate::world::{World, append, at, finish};

/// The lines of each table. Their order is the engine's own.
type Lines = BTreeMap<String, BTreeSet<String>>;

async fn exported(place: Place<'_>) -> (Manifest, Vec<Rows>, Lines) {
    let (send, mut receive) = mpsc::channel(2);
    let collect = async {
        let mut pieces = Vec::new();
        while let Some(rows) = receive.recv().await {
            pieces.push(rows);
        }
        pieces
    };
    let (manifest, pieces) = tokio::join!(Store::system_export(place, send), collect);
    let mut lines = Lines::new();
    for piece in &pieces {
        lines.entry(piece.table.clone()).or_default().extend(piece.lines.lines().map(str::to_owned));
    }
    (manifest.unwrap(), pieces, lines)
}

async fn imported(place: Place<'_>, pieces: Vec<Rows>, end: Option<Manifest>) -> Result<Manifest, Error> {
    let (send, receive) = mpsc::channel(2);
    let feed = async move {
        for piece in pieces {
            if send.send(Piece::Rows(piece)).await.is_err() {
                return;
            }
        }
        if let Some(end) = end {
            drop(send.send(Piece::End(end)).await);
        }
    };
    tokio::join!(Store::system_import(place, receive), feed).0
}

/// A SQLite database with rows of every kind: numbers, texts, bytes, nulls, references.
async fn full() -> World {
    let world = World::sqlite().await;
    let lease = world.running().await;
    for number in 0..5 {
        append(&world.store, lease, number).await.unwrap();
    }
    finish(&world.store, lease, RunStatus::Succeeded).await.unwrap();
    world.queued().await;
    let (key, org) = (new_key(&world.one, 200), world.one.org);
    world
        .write(move |tx| {
            async move {
                tx.insert_api_key(&key).await?;
                let idempotency =
                    IdempotencyKey { org, scope: "s".into(), key: "k \" ü".into(), fingerprint: "f".into() };
                let answer = Answer { status: 202, headers: Vec::new(), body: (0..=255).collect() };
                tx.idempotency_store(&idempotency, &answer, at(0), at(9)).await.map(drop)
            }
            .boxed()
        })
        .await;
    world.store.clone().close().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_to_postgres_and_back() {
    let Some(database) = Database::new().await else { return };
    let world = full().await;
    let path = world.path();
    let (manifest, pieces, lines) = exported(Place::File(&path)).await;
    assert!(lines["runs"].len() == 2 && lines["agent_files"].len() == 2 && lines["idempotency"].len() == 1);
    let there = database.options();
    imported(Place::Postgres(&there), pieces, Some(manifest.clone())).await.unwrap();
    let (moved, pieces, there_lines) = exported(Place::Postgres(&there)).await;
    assert_eq!(there_lines, lines);
    assert_eq!((&moved.schema, moved.tables.len()), (&manifest.schema, manifest.tables.len()));

    let folder = tempfile::tempdir().unwrap();
    let back = folder.path().join("livery.db");
    imported(Place::File(&back), pieces, Some(moved)).await.unwrap();
    assert_eq!(exported(Place::File(&back)).await.2, lines);

    let store = Store::connect(&there).await.unwrap();
    let page = livery_store::Page::default();
    let runs = store.list_runs(world.one.org, &Default::default(), &page).await.unwrap().data;
    assert_eq!(runs.len(), 2);
    let over = runs.iter().find(|run| run.status == RunStatus::Succeeded).unwrap();
    let events = store.events_after(world.one.org, over.id, 0, 100).await.unwrap();
    assert!(events.iter().map(|event| event.seq).eq(1..=over.last_seq));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_interrupted_altered_or_not_empty_changes_nothing() {
    let Some(database) = Database::new().await else { return };
    let world = full().await;
    let path = world.path();
    let (manifest, pieces, lines) = exported(Place::File(&path)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("livery.db");
    let there = database.options();
    for place in [Place::File(&file), Place::Postgres(&there)] {
        let cut = imported(place, pieces.clone(), None).await;
        assert!(matches!(cut, Err(Error::Corrupt { .. })), "{cut:?}");
        let mut fewer = pieces.clone();
        fewer.retain(|piece| piece.table != "run_queue");
        let altered = imported(place, fewer, Some(manifest.clone())).await;
        assert!(matches!(altered, Err(Error::Corrupt { .. })), "{altered:?}");
        assert!(exported(place).await.2.is_empty(), "nothing of either is there");
        imported(place, pieces.clone(), Some(manifest.clone())).await.unwrap();
        let again = imported(place, pieces.clone(), Some(manifest.clone())).await;
        assert!(matches!(&again, Err(Error::Unavailable { reason }) if reason.contains("not empty")), "{again:?}");
        assert_eq!(exported(place).await.2, lines);
    }
}
