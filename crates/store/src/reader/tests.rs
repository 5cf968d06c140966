use std::path::Path;
use std::sync::Arc;

use super::{Lane, Readers};
use crate::Error;
use crate::sql::Statement;
use crate::sqlite::{Access, Connection};

/// Counts for hours.
const ENDLESS: Statement = Statement::new(
    "ENDLESS",
    "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n",
);
const COUNT: Statement = Statement::new("COUNT", "select count(*) from meta");

fn readers(folder: &Path, connections: usize) -> Arc<Readers> {
    let path = folder.join("test.db");
    Connection::open(&path, Access::Write).unwrap().migrate().unwrap();
    Readers::new(path, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_query_is_given_up_and_points_go_on_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let readers = readers(folder.path(), 2);
    let endless = |readers: Arc<Readers>| async move {
        readers.read(Lane::Scan, |connection| connection.fetch_optional::<(i64,)>(ENDLESS, &[])).await
    };
    let scans = [(); 3].map(|()| tokio::spawn(endless(Arc::clone(&readers))));
    while readers.scans.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    // Three scans want a connection, one has it; a point gets the other.
    let point = readers.read(Lane::Point, |connection| connection.fetch_optional::<(i64,)>(COUNT, &[])).await;
    assert_eq!(point.unwrap(), Some((0,)));
    assert!(scans.iter().any(|scan| !scan.is_finished()), "the point did not wait for the scans");
    for scan in scans {
        let answer = scan.await.unwrap();
        assert!(matches!(answer, Err(Error::Busy { .. })), "{answer:?}");
    }
    let after = readers.read(Lane::Scan, |connection| connection.fetch_optional::<(i64,)>(COUNT, &[])).await;
    assert_eq!(after.unwrap(), Some((0,)), "the connection is as good as new");
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let readers = readers(folder.path(), 1);
    let write = Statement::new("WRITE", "insert into meta (key, value) values ('a', 'b')");
    let refused = readers.read(Lane::Point, move |connection| connection.execute(write, &[])).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
}
