//! Two requests with one key at the same moment, where transactions overlap.

use std::time::Duration;

use livery_broker::BrokerConfig;
use livery_core::{Error, Timestamp};
use livery_testkit::Postgres;
use livery_testkit::postgres::Options;
use tokio::sync::oneshot;

use crate::{Caller, Clock, Config, Database, Idempotency, Parts, Platform, Posted, RootKey};

/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

fn asked(caller: &Caller, fingerprint: &str) -> Caller {
    let idempotency = Idempotency { route: "POST /x", key: "key".into(), fingerprint: fingerprint.into() };
    Caller { idempotency: Some(idempotency), ..caller.clone() }
}

async fn node(url: &str) -> (Platform, Caller, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let parts = Parts {
        config: Config::new(data.path().to_owned(), "test".to_owned()),
        database: Database::at_url(url, None).unwrap(),
        clock: Clock::held_at(Timestamp::from_micros(1_700_000_000_000_000)),
        broker: BrokerConfig::default(),
        root_key: RootKey::File(data.path().join("root.key")),
        environment: Default::default(),
        sandboxes: None,
    };
    let platform = Platform::open(parts).await.unwrap();
    let key = platform.bootstrap(|_| Ok(())).await.unwrap().unwrap().api_key;
    let principal = platform.authenticate(&key).await.unwrap();
    let caller = Caller { principal, request_id: platform.new_request_id(), on_behalf_of: None, idempotency: None };
    (platform, caller, data)
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
    let (platform, caller, _data) = node(&postgres.create_database("posts").unwrap()).await;
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
