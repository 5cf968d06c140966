//! Every fault strikes as often as it should, is understood by the decoder, and then things are as they should be.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use livery_llm::message::Message;
use livery_llm::provider::{Dialect, Options};
use livery_llm::request::ModelRequest;
use livery_llm::script::Script;
use livery_llm::stream::ModelErrorClass::{self, *};
use livery_llm::stream::ModelResponse;
use livery_testkit::fake_model::chaos::Delay;
use livery_testkit::fake_model::{Chaos, Fault, Mode};
use livery_testkit::{Config, FakeModel};

use crate::client::{ask, dialects, request};

async fn server(chaos: Vec<Chaos>) -> FakeModel {
    let yaml = "turns: [{text: 'Hü, 🐎!', tools: [{name: shell, arguments: {command: ls}}]}]";
    let mode = Mode::Script(Arc::new(Script::parse("s.yaml", yaml).unwrap()));
    FakeModel::start(Config { mode, chaos, piece_characters: 6, ..Config::default() }).await.unwrap()
}

fn status(status: u16, delay: Delay) -> Fault {
    Fault::Status { status, delay }
}

#[tokio::test]
async fn faults_that_fail() {
    let header = |text: &str| Delay::Header(text.to_owned());
    let table: Vec<(Fault, ModelErrorClass, Option<u64>)> = vec![
        (status(429, Delay::None), RateLimited, None),
        (status(429, header("7")), RateLimited, Some(7_000)),
        (status(429, header("soon")), RateLimited, None),
        (status(503, header("99999999999")), Overloaded, Some(86_400_000)),
        (status(529, Delay::Milliseconds(250)), Overloaded, Some(250)),
        (status(529, Delay::Date(-3_600)), Overloaded, Some(0)),
        (status(503, Delay::Text("41.724s".to_owned())), Overloaded, Some(41_724)),
        (status(500, Delay::Never), ServerError, None),
        (Fault::Quota, QuotaExhausted, None),
        (Fault::Overflow, ContextOverflow, None),
        (Fault::ErrorEvent { after: 2 }, ServerError, None),
        (Fault::Truncate { after: 3 }, StreamCut, None),
        (Fault::Truncate { after: 0 }, StreamCut, None),
        (Fault::Reset { after: 3 }, StreamCut, None),
        (Fault::Reset { after: 0 }, StreamCut, None),
        (Fault::HugeEvent { bytes: 17 * 1024 * 1024 }, BadGateway, None),
        (Fault::Html, BadGateway, None),
        (Fault::Gzip, BadGateway, None),
        (Fault::OtherJson, BadGateway, None),
        (Fault::Empty, StreamCut, None),
    ];
    for (fault, class, delay) in table {
        let server = server(vec![Chaos::first(2, fault.clone())]).await;
        // Two hits over all formats, not two each: the count is the server's.
        for dialect in dialects() {
            let error = ask(&server, &dialect, &request(vec![Message::user("Go.")]), true).await.unwrap_err();
            // An error event is each format's own.
            let class =
                if matches!(fault, Fault::ErrorEvent { .. }) && error.class == Overloaded { Overloaded } else { class };
            assert_eq!((error.class, error.retry_after_ms), (class, delay), "{fault:?} {dialect:?} {error:?}");
        }
        for dialect in dialects() {
            ask(&server, &dialect, &request(vec![Message::user("Go.")]), true).await.unwrap();
        }
        assert_eq!(server.requests().iter().filter(|request| request.fault.is_some()).count(), 2);
    }
}

#[tokio::test]
async fn a_date_says_when() {
    let server = server(vec![Chaos::always(status(429, Delay::Date(90)))]).await;
    let error = ask(&server, &dialects()[0], &request(vec![Message::user("Go.")]), true).await.unwrap_err();
    let delay = error.retry_after_ms.unwrap();
    assert!((80_000..=90_000).contains(&delay), "{delay}");
}

#[tokio::test]
async fn faults_that_only_look_bad() {
    let faults = [
        Fault::Pieces { bytes: 1 },
        Fault::Pieces { bytes: 7 },
        Fault::DuplicateStart { after: 1 },
        Fault::HugeEvent { bytes: 2 * 1024 * 1024 },
        Fault::WrongContentType,
        Fault::Comments,
        Fault::SlowHeaders { ms: 30 },
    ];
    for dialect in dialects() {
        let good = ask(&server(vec![]).await, &dialect, &request(vec![Message::user("Go.")]), true).await.unwrap();
        for fault in &faults {
            let server = server(vec![Chaos::always(fault.clone())]).await;
            let answer = ask(&server, &dialect, &request(vec![Message::user("Go.")]), true).await;
            assert_eq!(answer.unwrap(), good, "{fault:?} {dialect:?}");
        }
    }
}

async fn body_bytes(server: &FakeModel, dialect: &Dialect, asked: &ModelRequest) -> usize {
    let encoded = dialect.encode(asked, &Options { stream: true, ..Options::default() });
    let path = format!("/v1/{}", encoded.path.trim_start_matches("/v1/").trim_start_matches('/'));
    let response = crate::client::post(server.address(), &path, vec![], encoded.body).await.unwrap();
    assert_eq!(response.status(), 200);
    response.collect().await.unwrap().to_bytes().len()
}

const AT_ONCE: usize = 60;

#[tokio::test]
async fn cut_at_every_byte() {
    for dialect in dialects() {
        let server = server(vec![Chaos::always(Fault::CutAtEveryByte)]).await;
        let asked = request(vec![Message::user("Go.")]);
        let bytes = body_bytes(&server, &dialect, &asked).await;
        let mut answers = Vec::new();
        // More often than the body has bytes, so that every place has been the cut.
        for _ in 0..=bytes / AT_ONCE {
            let round = (0..AT_ONCE).map(|_| ask(&server, &dialect, &asked, true));
            for answer in futures_util::future::join_all(round).await {
                answers.push(ModelResponse { response_id: None, ..answer.unwrap() });
            }
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
}

#[tokio::test]
async fn faults_follow_one_another_and_count_by_body_when_asked() {
    let chaos = vec![
        Chaos::first(1, status(429, Delay::None)),
        Chaos::first(1, status(529, Delay::None)),
        Chaos::each(1, Fault::Html),
    ];
    let server = server(chaos).await;
    let dialect = &dialects()[1];
    let mut seen = Vec::new();
    for text in ["a", "b", "c", "c", "d", "d"] {
        let outcome = ask(&server, dialect, &request(vec![Message::user(text)]), true).await;
        seen.push(outcome.map_or_else(|error| format!("{:?}", error.class), |_| "ok".to_owned()));
    }
    assert_eq!(seen, ["RateLimited", "Overloaded", "BadGateway", "ok", "BadGateway", "ok"]);
}

#[tokio::test]
async fn a_stall_lasts_until_the_client_or_the_server_gives_up() {
    let server = server(vec![Chaos::always(Fault::Stall { after: 2 })]).await;
    let (dialect, request) = (dialects()[0].clone(), request(vec![Message::user("Go.")]));
    let waiting = tokio::time::timeout(Duration::from_millis(300), ask(&server, &dialect, &request, true)).await;
    assert!(waiting.is_err(), "{waiting:?}");
    tokio::time::timeout(Duration::from_secs(5), server.stop()).await.expect("the server stops although it stalls");
}
