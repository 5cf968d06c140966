use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use super::Writer;
use crate::Error;
use crate::doorbell::Doorbells;
use crate::error::Result;
use crate::reader::{Lane, Readers};
use crate::sql::{Statement, args};
use crate::sqlite::{Access, Connection};
use crate::tx::Tx;

const SET: Statement = Statement::new("SET", "insert into meta (key, value) values ($1, 'x')");
const COUNT: Statement = Statement::new("COUNT", "select count(*) from meta");
const ORPHAN: Statement =
    Statement::new("ORPHAN", "insert into org_streams (org_id, last_seq) values ('org_nobody', 1)");

fn start(folder: &Path) -> (Writer, Arc<Readers>) {
    let path = folder.join("test.db");
    let mut connection = Connection::open(&path, Access::Write).unwrap();
    connection.migrate().unwrap();
    (Writer::start(path.clone(), connection, Doorbells::new(), None).unwrap(), Readers::new(path, 1))
}

async fn stored(readers: &Arc<Readers>) -> i64 {
    let count = readers.read(Lane::Scan, |connection| connection.fetch_optional::<(i64,)>(COUNT, &[])).await.unwrap();
    count.unwrap().0
}

fn set(key: String) -> impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<()>> + Send + 'static {
    move |tx| async move { tx.execute(SET, args![key]).await.map(drop) }.boxed()
}

/// A commit that fails: the foreign key is checked only then.
fn poison(tx: &mut Tx) -> BoxFuture<'_, Result<()>> {
    async move {
        tx.sqlite()?.control("pragma defer_foreign_keys = on")?;
        tx.execute(ORPHAN, args![]).await.map(drop)
    }
    .boxed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_fails_its_whole_batch_and_nothing_after() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, readers) = start(folder.path());
    let (entered, held) = std::sync::mpsc::sync_channel::<()>(1);
    // Holds the writer until the others are queued, so that they share one batch with the poison.
    let hold = writer.write(move |_| async move { held.recv().map_err(Error::bug) }.boxed());
    let neighbours = join_all((0..3).map(|index| writer.write(set(format!("before {index}")))));
    let poisoned = writer.write(poison);
    let release = async {
        while writer.queue.capacity() > super::QUEUE_MAX - 4 {
            tokio::task::yield_now().await;
        }
        entered.send(()).unwrap();
    };
    let (hold, neighbours, poisoned, ()) = tokio::join!(hold, neighbours, poisoned, release);
    let failed = |result: &Result<()>| matches!(result, Err(Error::NotFound { .. }));
    assert!(
        failed(&hold) && failed(&poisoned) && neighbours.iter().all(failed),
        "{hold:?} {poisoned:?} {neighbours:?}"
    );
    assert_eq!(stored(&readers).await, 0);
    writer.write(set("after".into())).await.unwrap();
    assert_eq!(stored(&readers).await, 1);
    writer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_a_panic_and_a_wait_undo_themselves_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, readers) = start(folder.path());
    let failing = writer.write(|tx| {
        async move {
            tx.execute(SET, args!["half"]).await?;
            Err::<(), _>(Error::NotFound { what: "test" })
        }
        .boxed()
    });
    let panicking = writer.write(|tx| {
        async move {
            tx.execute(SET, args!["half"]).await?;
            panic!("a bug in an operation")
        }
        .boxed()
    });
    let panicking = async { panicking.await.map(|(): ()| ()) };
    let waiting = writer.write(|tx| {
        async move {
            tx.execute(SET, args!["half"]).await?;
            tokio::task::yield_now().await;
            Ok(())
        }
        .boxed()
    });
    let fine = writer.write(set("whole".into()));
    let (failing, panicking, waiting, fine) = tokio::join!(failing, panicking, waiting, fine);
    assert!(matches!(waiting, Err(Error::Database(_))), "{waiting:?}");
    assert!(matches!(failing, Err(Error::NotFound { what: "test" })), "{failing:?}");
    assert!(matches!(panicking, Err(Error::Database(_))), "{panicking:?}");
    fine.unwrap();
    assert_eq!(stored(&readers).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_write_is_not_started_and_a_closed_writer_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, readers) = start(folder.path());
    let (entered, held) = std::sync::mpsc::sync_channel::<()>(1);
    let hold = writer.write(move |_| async move { held.recv().map_err(Error::bug) }.boxed());
    let abandon = async {
        // Gone before its turn can come, because the writer is held.
        assert!(tokio::time::timeout(Duration::ZERO, writer.write(set("gone".into()))).await.is_err());
        entered.send(()).unwrap();
    };
    let (hold, ()) = tokio::join!(hold, abandon);
    hold.unwrap();
    writer.write_if_idle(set("optional".into()));
    writer.close().await;
    assert_eq!(stored(&readers).await, 1, "what was queued before the close is done, what was abandoned is not");
    assert!(matches!(writer.write(set("late".into())).await, Err(Error::Closed)));
}

/// The database may not grow: the write that needs to is refused with its reason, the small ones around it stand, and
/// when there is room again all is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_needs_room_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, readers) = start(folder.path());
    let limit =
        |pages: i64| writer.write(move |tx| async move { tx.sqlite()?.pragma("max_page_count", pages) }.boxed());
    let large = || {
        let statement = Statement::new("LARGE", "insert into meta (key, value) values ($1, $2)");
        writer.write(move |tx| {
            async move { tx.execute(statement, args!["large", "x".repeat(10_000_000)]).await.map(drop) }.boxed()
        })
    };
    limit(200).await.unwrap();
    let (before, refused, after) = tokio::join!(writer.write(set("a".into())), large(), writer.write(set("b".into())));
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    // One that shared the batch with it may have been undone with it, and was told so.
    let kept = [before, after].iter().filter(|result| result.is_ok()).count();
    assert_eq!(stored(&readers).await, i64::try_from(kept).unwrap());
    writer.write(set("small".into())).await.unwrap();
    limit(1_000_000).await.unwrap();
    large().await.unwrap();
    assert_eq!(stored(&readers).await, i64::try_from(kept).unwrap() + 2);
}
