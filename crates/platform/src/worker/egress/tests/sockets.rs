//! WebSockets: opened like any request, without the credential to the program, and cut with what they were opened with.

use livery_broker::ws::{Event, Inlet, Kind, Sender};
use livery_core::EventType;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::scene::{KEY, NEXT_KEY, PATIENCE, Scene, assert_absent, until};
use crate::policies::NewPolicy;

const ASKED: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";

/// A program's side of one.
struct Talk {
    stream: DuplexStream,
    inlet: Inlet,
}

impl Talk {
    async fn open(scene: &Scene, headers: &str) -> Self {
        let mut stream = scene.connect();
        let host = scene.upstream.address;
        let head = format!("GET http://{host}/ws HTTP/1.1\r\nHost: {host}\r\n{ASKED}{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(!answer.contains("permessage-deflate"), "{answer}");
        Self { stream, inlet: Inlet::new(Sender::Upstream) }
    }

    async fn say(&mut self, event: Event) {
        self.stream.write_all(&event.encode(Sender::Program, || [1, 2, 3, 4])).await.unwrap();
    }

    async fn hear(&mut self) -> Event {
        let heard = async {
            loop {
                if let Some(event) = self.inlet.take().unwrap() {
                    return event;
                }
                let mut bytes = [0; 4096];
                let count = self.stream.read(&mut bytes).await.unwrap();
                assert!(count > 0, "it hung up without a word");
                self.inlet.push(&bytes[..count]);
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("nothing is said")
    }
}

fn text(text: &str) -> Event {
    Event::Message(Kind::Text, text.as_bytes().to_vec())
}

/// C3, A19: the credential goes up in the opening, no byte of it comes down, and the log has both sides of the account.
#[tokio::test]
async fn a19_a_program_talks_without_the_credential_and_the_log_has_the_account() {
    let scene = Scene::new().await;
    let mut talk = Talk::open(&scene, "").await;
    let head = scene.upstream.seen()[0].head.clone();
    assert!(head.matches(KEY).count() == 1 && !head.contains("permessage") && !head.contains("dGhlIHN"), "{head}");
    let logged = &scene.upstream.seen()[0].logged;
    assert!(logged.iter().any(|event| event == "egress.requested"), "the intent is committed first: {logged:?}");
    talk.say(text("hello")).await;
    assert_eq!(talk.hear().await, text("you said hello"));
    talk.say(text("key")).await;
    assert_eq!(talk.hear().await, text("[REDACTED:acme]"));
    talk.say(Event::Ping(b"p".to_vec())).await;
    assert_eq!(talk.hear().await, Event::Pong(b"p".to_vec()));
    talk.say(Event::Close(Some(1000), "bye".to_owned())).await;
    assert_eq!(talk.hear().await, Event::Close(Some(1000), String::new()));
    let requested = &scene.events(EventType::EgressRequested).await[0];
    assert_eq!((&requested["method"], &requested["speech"]), (&json!("GET"), &json!("websocket")));
    let finished = &scene.told(EventType::EgressFinished, 1).await[0];
    assert_eq!((&finished["outcome"], &finished["close_code"]), (&json!("answered"), &json!(1000)), "{finished}");
    assert_eq!((&finished["request_messages"], &finished["request_bytes"]), (&json!(2), &json!(8)));
    assert_eq!((&finished["response_messages"], &finished["response_bytes"]), (&json!(2), &json!(14 + 15)));
    assert_eq!(scene.events(EventType::EgressRedacted).await.len(), 1);
    assert_absent(&scene.log().await);
}

/// A24, R4: in its slot the placeholder makes room for the key; in a message it ends the conversation, and goes no further.
#[tokio::test]
async fn a24_a_placeholder_in_a_message_closes_it_and_is_told() {
    let scene = Scene::new().await;
    let token = scene.placeholder();
    let mut talk = Talk::open(&scene, &format!("X-Key: {token}\r\n")).await;
    assert!(scene.upstream.seen()[0].head.contains(&format!("\r\nx-key: {KEY}\r\n")));
    let (one, two) = token.split_at(20);
    talk.say(text(one)).await;
    talk.say(text(two)).await;
    let closed = loop {
        match talk.hear().await {
            Event::Message(..) => {}
            other => break other,
        }
    };
    assert_eq!(closed, Event::Close(Some(1008), "livery: placeholder_misplaced".to_owned()));
    assert_eq!(scene.told(EventType::EgressDenied, 1).await[0]["rule"], "placeholder_in_body");
    assert_eq!(scene.told(EventType::EgressFinished, 1).await[0]["outcome"], "placeholder_misplaced");
    // As a subprotocol it is in the wrong place from the beginning.
    let host = scene.upstream.address;
    let astray =
        format!("GET http://{host}/ws HTTP/1.1\r\nHost: {host}\r\n{ASKED}Sec-WebSocket-Protocol: {token}\r\n\r\n");
    assert!(scene.say(astray).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(scene.upstream.seen().len(), 1);
}

/// C4, F5: what a conversation was opened with is revoked or replaced, and it ends with a word that says so.
#[tokio::test]
async fn c4_f5_revoking_or_rotating_ends_what_is_open() {
    for is_rotated in [true, false] {
        let scene = Scene::new().await;
        let mut talk = Talk::open(&scene, "").await;
        talk.say(text("hello")).await;
        assert_eq!(talk.hear().await, text("you said hello"));
        if is_rotated {
            scene.rotate(NEXT_KEY).await;
        } else {
            scene.revoke().await;
        }
        assert_eq!(talk.hear().await, Event::Close(Some(1001), "livery: revoked".to_owned()));
        assert_eq!(scene.told(EventType::EgressFinished, 1).await[0]["outcome"], "revoked");
    }
}

/// F4: with the run ends what it says.
#[tokio::test]
async fn f4_the_end_of_the_run_ends_what_is_open() {
    let scene = Scene::new().await;
    let mut talk = Talk::open(&scene, "").await;
    scene.node.platform.running.cancel(scene.row.id);
    until("the run ends", || async { scene.run().await.status.is_terminal() }).await;
    assert!(matches!(talk.hear().await, Event::Close(Some(1001), _)));
}

/// A WebSocket is no read: nobody looks at what is said on it. A policy that permits reads alone permits none.
#[tokio::test]
async fn a_policy_for_reads_permits_no_conversation() {
    let scene = Scene::new().await;
    let permit = "permit (principal, action in Action::\"read\", resource);".to_owned();
    let new = NewPolicy { name: "p".into(), text: permit, application: None };
    scene.node.platform.create_policy(&scene.node.caller, new).await.unwrap();
    let host = scene.upstream.address;
    let refused = scene.say(format!("GET http://{host}/ws HTTP/1.1\r\nHost: {host}\r\n{ASKED}\r\n")).await;
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains("\"code\":\"policy\""), "{refused}");
    assert!(scene.upstream.seen().is_empty());
}
