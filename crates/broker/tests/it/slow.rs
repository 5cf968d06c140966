//! Upstreams that stall, drip, cut and reset; callers that go away.

use std::time::Duration;

use livery_broker::error::Phase;
use livery_broker::{Error, Outbound};

use crate::call::{broker, post, text};
use crate::upstream::{SOON, Step, Upstream, answer, write};

const SHORT: Duration = Duration::from_millis(60);
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const EVENT: &str = "9\r\ndata: 1\n\n\r\n";

async fn fails_with(script: Vec<Step>, change: impl FnOnce(&mut Outbound)) -> (Upstream, Error) {
    let upstream = Upstream::start(vec![script]).await;
    let mut call = post(&upstream.url());
    change(&mut call);
    let outcome = async {
        let inbound = broker().send(call).await?;
        text(inbound).await
    };
    let error = tokio::time::timeout(SOON, outcome).await.expect("nothing may hang").unwrap_err();
    (upstream, error)
}

#[tokio::test]
async fn e5_every_stall_ends_in_its_own_phase_and_closes_the_connection() {
    for (script, phase) in [
        (vec![Step::Stall], Phase::FirstByte),
        (vec![write("HTTP/1.1 200 OK\r\nx-a: "), Step::Stall], Phase::FirstByte),
        (vec![write("HTTP/1.1 103 Early Hints\r\n\r\n"), Step::Stall], Phase::FirstByte),
        (vec![write(HEAD), Step::Stall], Phase::Idle),
        (vec![write(HEAD), write(EVENT), Step::Stall], Phase::Idle),
        (vec![write(HEAD), write("9\r\ndata"), Step::Stall], Phase::Idle),
        (vec![write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"), Step::Stall], Phase::Idle),
    ] {
        let (upstream, error) = fails_with(script, |call| {
            call.timeouts.first_byte = SHORT;
            call.timeouts.idle = SHORT;
        })
        .await;
        assert_eq!(error, Error::Timeout { phase });
        assert!(error.retryable() && !error.nothing_sent());
        upstream.peer_closed().await;
    }
}

#[tokio::test]
async fn the_deadline_of_the_call_holds_in_every_phase() {
    let total = Error::Timeout { phase: Phase::Total };
    for script in [vec![Step::Stall], vec![write(HEAD), write(EVENT), Step::Stall]] {
        let (upstream, error) = fails_with(script, |call| call.timeouts.total = SHORT).await;
        assert_eq!(error, total);
        assert!(!error.retryable());
        upstream.peer_closed().await;
    }
}

#[tokio::test]
async fn a_drip_that_never_ends_meets_the_deadline() {
    let mut drip = vec![write(HEAD)];
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    for _ in 0..10_000 {
        drip.push(write(EVENT));
        drip.push(Step::Gate(std::sync::Arc::clone(&gate)));
    }
    let upstream = Upstream::start(vec![drip]).await;
    let mut call = post(&upstream.url());
    call.timeouts.total = Duration::from_millis(300);
    call.timeouts.idle = Duration::from_millis(250);
    let mut inbound = broker().send(call).await.unwrap();
    let mut events = 0;
    let error = loop {
        match inbound.body.next().await.unwrap() {
            Ok(piece) => {
                assert_eq!(piece, "data: 1\n\n");
                events += 1;
                gate.notify_one();
            }
            Err(error) => break error,
        }
    };
    // Each event came in time; the whole did not.
    assert!(events > 1);
    assert_eq!(error, Error::Timeout { phase: Phase::Total });
    assert!(inbound.body.next().await.is_none(), "after an error comes the end");
}

#[tokio::test]
async fn a_cut_or_reset_answer_is_an_error_that_can_be_retried() {
    for script in [
        vec![Step::Close],
        vec![Step::Reset],
        vec![write("HTTP/1.1 200"), Step::Close],
        vec![write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"), Step::Close],
        vec![write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"), Step::Reset],
        vec![write(HEAD), write(EVENT), Step::Close],
        vec![write(HEAD), write(EVENT), write("5\r\nda"), Step::Close],
        vec![write(HEAD), write(EVENT), Step::Reset],
    ] {
        let (_, error) = fails_with(script, |_| {}).await;
        assert_eq!(error, Error::Cut);
        assert!(error.retryable() && !error.nothing_sent());
    }
}

#[tokio::test]
async fn what_came_before_the_cut_is_delivered() {
    let upstream = Upstream::start(vec![vec![write(HEAD), write(EVENT), write(EVENT), Step::Close]]).await;
    let mut inbound = broker().send(post(&upstream.url())).await.unwrap();
    let mut text = Vec::new();
    let error = loop {
        match inbound.body.next().await.unwrap() {
            Ok(piece) => text.extend_from_slice(&piece),
            Err(error) => break error,
        }
    };
    assert_eq!((text.as_slice(), error), (b"data: 1\n\ndata: 1\n\n".as_slice(), Error::Cut));
}

#[tokio::test]
async fn broken_chunks_are_a_bad_gateway() {
    for chunk in ["zz\r\nxx\r\n", "2 2\r\nxx\r\n", "ffffffffffffffffff\r\nx", "1\r\nxx\r\n"] {
        let (_, error) = fails_with(vec![write(HEAD), write(chunk), Step::Close], |_| {}).await;
        assert_eq!(error, Error::BadGateway { why: "a body with broken framing" }, "{chunk:?}");
    }
}

#[tokio::test]
async fn a_closed_port_is_connect_failed() {
    let upstream = Upstream::start(vec![vec![answer("{}")]]).await;
    let url = upstream.url();
    drop(upstream);
    let outcome = async {
        // The listener closes when its task has been dropped, which the runtime does in its own time.
        loop {
            match broker().send(post(&url)).await {
                Err(Error::ConnectFailed) => break,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(SOON, outcome).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_closes_the_connection() {
    let upstream = Upstream::start(vec![vec![Step::Stall], vec![write(HEAD), write(EVENT), Step::Stall]]).await;
    let broker = broker();
    let call = broker.send(post(&upstream.url()));
    assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
    upstream.peer_closed().await;
    let mut inbound = broker.send(post(&upstream.url())).await.unwrap();
    inbound.body.next().await.unwrap().unwrap();
    drop(inbound);
    upstream.peer_closed().await;
}
