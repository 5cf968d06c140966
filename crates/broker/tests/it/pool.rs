//! Who shares a connection with whom, and how many calls one tenant may have in flight.

use livery_broker::transport::Upload;
use livery_broker::{Broker, Error, Limits};

use crate::call::{broker, config, credential, post, tenant, text};
use crate::upstream::{SOON, Step, Upstream, answer, write};

#[tokio::test]
async fn connections_are_reused_by_the_same_credential_alone() {
    let upstream = Upstream::start(vec![vec![answer("{}")]]).await;
    let broker = broker();
    let send = async |organization, owner: &str, version| {
        let mut call = post(&upstream.url());
        call.tenant = tenant(organization);
        let mut changed = credential("some-other-key-0123456789");
        changed.owner = owner.to_owned();
        changed.version = version;
        call.credential = Some(changed);
        text(broker.send(call).await.unwrap()).await.unwrap();
        upstream.seen().connections
    };
    assert_eq!(send(1, "prv_1", 1).await, 1);
    assert_eq!(send(1, "prv_1", 1).await, 1, "reused");
    assert_eq!(send(2, "prv_1", 1).await, 2, "another tenant");
    assert_eq!(send(1, "prv_2", 1).await, 3, "another credential");
    assert_eq!(send(1, "prv_1", 2).await, 4, "another version");
    assert_eq!(send(1, "prv_1", 2).await, 4, "reused");
    broker.forget(tenant(1), "prv_1");
    assert_eq!(send(1, "prv_1", 2).await, 5, "forgotten");
    assert_eq!(send(1, "prv_2", 1).await, 5, "another credential's stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_the_same_time_get_their_own_answers() {
    let upstream = Upstream::start(vec![vec![Step::Echo]]).await;
    let broker = broker();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..200u32 {
        let (broker, mut call) = (broker.clone(), post(&upstream.url()));
        call.tenant = tenant(u128::from(n % 4));
        call.body = format!("call {n}").into();
        call.idempotency_key = Some(n.to_string());
        calls.spawn(async move { (n, text(broker.send(call).await.unwrap()).await.unwrap()) });
    }
    while let Some(done) = calls.join_next().await {
        let (n, answer) = done.unwrap();
        assert_eq!(answer, format!("call {n}"));
    }
    assert_eq!(upstream.seen().requests.len(), 200);
}

#[tokio::test]
async fn a_pooled_connection_the_upstream_closed_is_no_error() {
    // Each answer promises to stay and closes instead: the next call finds the dead connection in the pool, or finds out
    // when it has already written. With an idempotency key either is as good as a fresh start.
    let upstream = Upstream::start(vec![vec![answer("{}"), Step::Close]]).await;
    let broker = broker();
    for n in 0..20 {
        let mut call = post(&upstream.url());
        call.idempotency_key = Some(format!("call-{n}"));
        assert_eq!(text(broker.send(call).await.unwrap()).await.unwrap(), "{}");
    }
    assert_eq!(upstream.seen().requests.len(), 20);
}

#[tokio::test]
async fn a_body_that_is_finished_early_gives_its_connection_back_if_little_is_left() {
    let events =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
    let upstream = Upstream::start(vec![
        vec![write(events), write("9\r\ndata: 2\n\n\r\n0\r\n\r\n")],
        vec![write(events), Step::Stall],
        vec![answer("{}")],
    ])
    .await;
    let broker = broker();
    for connections in [1, 1] {
        let mut inbound = broker.send(post(&upstream.url())).await.unwrap();
        inbound.body.next().await.unwrap().unwrap();
        inbound.body.finish().await;
        assert_eq!(upstream.seen().connections, connections);
    }
    upstream.peer_closed().await;
    text(broker.send(post(&upstream.url())).await.unwrap()).await.unwrap();
    assert_eq!(upstream.seen().connections, 2);
}

/// C3, C4: an answer that is over ends its request: what a program goes on sending leaves nobody's account, and goes nowhere.
#[tokio::test]
async fn c3_c4_a_body_is_not_sent_behind_its_answer() {
    for dropped in [false, true] {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let upstream = Upstream::start(vec![vec![write(head), Step::Listen]]).await;
        let (pieces, body) = tokio::sync::mpsc::channel(1);
        pieces.send(Ok(bytes::Bytes::from_static(b"first"))).await.unwrap();
        let pieces_of =
            futures_util::stream::unfold(body, |mut body| async { body.recv().await.map(|one| (one, body)) });
        let mut call = post(&upstream.url());
        call.body = Upload::Pieces { first: "first".into(), pieces: Box::pin(pieces_of), length: None };
        let broker = broker();
        let inbound = broker.send(call).await.unwrap();
        if dropped {
            drop(inbound);
        } else {
            assert_eq!(text(inbound).await.unwrap(), "{}");
        }
        let sent = async { while pieces.send(Ok("more".into())).await.is_ok() {} };
        tokio::time::timeout(SOON, sent).await.expect("it is sent without end");
        // Broken off, so that no part of it passes for the whole.
        assert!(!upstream.heard().await.ends_with(b"0\r\n\r\n"));
    }
}

#[tokio::test]
async fn one_tenant_cannot_use_all_there_is() {
    let upstream = Upstream::start(vec![vec![Step::Stall]]).await;
    let limits = Limits { in_flight_per_tenant_max: 2, ..Limits::default() };
    let broker = Broker::new(livery_broker::BrokerConfig { limits, ..config() }).unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (broker, call) = (broker.clone(), post(&upstream.url()));
        waiting.spawn(async move { broker.send(call).await.map(|_| ()) });
    }
    let both_sent = async {
        while upstream.seen().requests.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, both_sent).await.unwrap();
    assert_eq!(broker.send(post(&upstream.url())).await.unwrap_err(), Error::Busy);
    let mut other = post(&upstream.url());
    other.tenant = tenant(2);
    other.timeouts.first_byte = std::time::Duration::from_millis(50);
    assert!(matches!(broker.send(other).await.unwrap_err(), Error::Timeout { .. }), "another tenant is not affected");
    waiting.shutdown().await;
    let mut again = post(&upstream.url());
    again.timeouts.first_byte = std::time::Duration::from_millis(50);
    assert!(
        matches!(broker.send(again).await.unwrap_err(), Error::Timeout { .. }),
        "what was abandoned is counted out"
    );
}
