//! Two requests with one key at the same moment, where transactions overlap.

use std::time::Duration;

use livery_core::{Error, Timestamp};
use livery_testkit::Postgres;
use livery_testkit::postgres::Options;
use tokio::sync::oneshot;

use crate::testing::Node;
use crate::{Caller, Database, Idempotency, Posted};

/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

fn asked(caller: &Caller, fingerprint: &str) -> Caller {
    let idempotency = Idempotency { route: "POST /x", key: "key".into(), fingerprint: fingerprint.into() };
    Caller { idempotency: Some(idempotency), ..caller.clone() }
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
/// What two requests with one key are told when the second has looked for an answer before the first has one.
async fn told(fingerprints: [&'static str; 2]) -> Option<[Result<Posted<String>, Error>; 2]> {
    let postgres = match Postgres::start_with(Options { fsync: false, ..Options::default() }) {
        Ok(postgres) => postgres,
        Err(livery_testkit::postgres::Error::NotInstalled) => {
            eprintln!("SKIPPED: no Postgres server is installed; `cargo xtask setup` brings one");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let url = postgres.create_database("posts").unwrap();
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let node = Node::with(now, |parts| parts.database = Database::at_url(&url, None).unwrap()).await;
    let (platform, caller) = (node.platform.clone(), node.caller.clone());
    let (looked, looking) = oneshot::channel();
    let (go_on, going_on) = oneshot::channel::<()>();
    let (other, second) = (platform.clone(), asked(&caller, fingerprints[1]));
    let second = tokio::spawn(async move {
        let posting = other.post(&second, |tx| {
            Box::pin(async move {
                looked.send(()).unwrap();
                going_on.await.unwrap();
                tx.system_set_meta_once("second", "was here").await?;
                Ok("the second's answer".to_owned())
            })
        });
        posting.await
    });
    looking.await.unwrap();
    let first = asked(&caller, fingerprints[0]);
    let first = platform.post(&first, |_| Box::pin(async { Ok("the first's answer".to_owned()) })).await;
    go_on.send(()).unwrap();
    let second = tokio::time::timeout(PATIENCE, second).await.unwrap().unwrap();
    assert_eq!(platform.store.system_get_meta("second").await.unwrap(), None, "its work is undone");
    Some([first, second])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_twice_at_once_is_answered_once() {
    let Some(told) = told(["same", "same"]).await else { return };
    let [first, second] = told.map(Result::unwrap);
    assert_eq!(first, Posted::Fresh("the first's answer".to_owned()));
    assert_eq!(second, Posted::Replayed("\"the first's answer\"".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_under_the_same_key_at_once_is_refused() {
    let Some([first, second]) = told(["one", "another"]).await else { return };
    assert!(matches!(first, Ok(Posted::Fresh(_))));
    assert_eq!(second.unwrap_err(), Error::IdempotencyMismatch);
}
