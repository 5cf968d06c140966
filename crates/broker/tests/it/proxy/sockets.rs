//! WebSockets through a tunnel: what opens one, what passes, and what an upstream that repeats the key gets across (A19).

use livery_broker::ws::{Event, Inlet, Kind, Sender, Violation};
use tokio_rustls::client::TlsStream;

use super::*;
use crate::upstream::{answer, write};

const ASKED: &str = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The program's side.
struct Talk {
    stream: TlsStream<DuplexStream>,
    inlet: Inlet,
}

impl Talk {
    async fn open(scene: &Scene) -> Self {
        let mut stream = scene.tls().await;
        send(&mut stream, opening(scene, ASKED)).await;
        let head = head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self { stream, inlet: Inlet::new(Sender::Upstream) }
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
        tokio::time::timeout(SOON, heard).await.expect("nothing is said")
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        send(&mut self.stream, bytes).await;
    }
}

fn opening(scene: &Scene, headers: &str) -> String {
    format!("GET /talk?a=1 HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", scene.authority())
}

fn said(event: &Event) -> Vec<u8> {
    event.encode(Sender::Program, || [9, 8, 7, 6])
}

fn text(text: impl Into<String>) -> Event {
    Event::Message(Kind::Text, text.into().into_bytes())
}

/// The upstream accepts, says this and goes on listening.
fn accepting(bytes: impl AsRef<[u8]>) -> Vec<Vec<Step>> {
    vec![vec![Step::Accept(""), write(bytes), Step::Listen]]
}

fn upstream_says(events: &[Event]) -> Vec<u8> {
    events.iter().flat_map(|event| event.encode(Sender::Upstream, || [0; 4])).collect()
}

/// A19: in text, in fragments, in binary, across two messages, in a ping and in the reason of a close.
#[tokio::test]
async fn a19_the_key_comes_back_in_no_message() {
    let encoded: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&KEY[..14], &KEY[14..27], &KEY[27..]];
    let mut bytes = upstream_says(&[
        text(format!("your key is {KEY}!")),
        Event::Message(Kind::Binary, [&[0, 255], KEY.as_bytes(), &[1]].concat()),
        text(encoded),
        text("between"),
    ]);
    // Fragments of three bytes, with a ping in between that holds the key too.
    for (at, piece) in KEY.as_bytes().chunks(3).enumerate() {
        let is_last = (at + 1) * 3 >= KEY.len();
        bytes.extend([if is_last { 0x80 } else { 0 } | u8::from(at == 0), u8::try_from(piece.len()).unwrap()]);
        bytes.extend(piece);
        if at == 2 {
            bytes.extend(upstream_says(&[Event::Ping(KEY.as_bytes().to_vec())]));
        }
    }
    bytes.extend(upstream_says(&[text("between")]));
    bytes.extend(upstream_says(&[
        text(parts[0]),
        text(parts[1]),
        text(parts[2]),
        Event::Close(Some(3000), KEY.to_owned()),
    ]));
    let scene = Scene::new(accepting(bytes)).await;
    let mut talk = Talk::open(&scene).await;
    let marker = "[REDACTED:prv_1]";
    assert_eq!(talk.hear().await, text(format!("your key is {marker}!")));
    assert_eq!(talk.hear().await, Event::Message(Kind::Binary, [&[0, 255], marker.as_bytes(), &[1]].concat()));
    assert_eq!(talk.hear().await, text(marker));
    assert_eq!(talk.hear().await, text("between"));
    assert_eq!(talk.hear().await, Event::Ping(Vec::new()));
    assert_eq!(talk.hear().await, text(marker));
    assert_eq!(talk.hear().await, text("between"));
    // What is delivered cannot be taken back: the first part alone was too short to be told from any other text.
    assert_eq!([talk.hear().await, talk.hear().await, talk.hear().await], [text(parts[0]), text(marker), text(marker)]);
    assert_eq!(talk.hear().await, Event::Close(Some(3000), String::new()));
}

/// A19: what is compressed cannot be searched, so it is neither offered nor taken.
#[tokio::test]
async fn a19_compression_is_never_agreed_on() {
    let offer = format!("{ASKED}Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    let scene =
        Scene::new(vec![vec![Step::Accept("sec-websocket-extensions: permessage-deflate\r\n"), Step::Listen]]).await;
    let answer = scene.ask(opening(&scene, &offer)).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(!scene.requests()[0].contains("extensions"), "{}", scene.requests()[0]);
    // A compressed frame without the agreement is no frame.
    let scene = Scene::new(accepting(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00")).await;
    let closed = Talk::open(&scene).await.hear().await;
    assert!(matches!(closed, Event::Close(Some(1002), _)), "{closed:?}");
}

/// E4: only the one answer to the broker's own key opens anything, and only where a WebSocket was asked for.
#[tokio::test]
async fn e4_nothing_but_the_right_answer_opens_a_tunnel() {
    let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    let head = "HTTP/1.1 101 Switching Protocols\r\n";
    for wrong in [
        "upgrade: websocket\r\nconnection: upgrade\r\n".to_owned(),
        // The answer to the program's key, which is never sent.
        format!("upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n"),
        "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: \r\n".to_owned(),
    ] {
        let scene = Scene::new(vec![vec![write(format!("{head}{wrong}\r\nraw bytes"))]]).await;
        let answer = scene.ask(opening(&scene, ASKED)).await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && !answer.contains("raw bytes"), "{wrong}: {answer}");
    }
    for more in ["sec-websocket-accept: x\r\n", "upgrade: h2c\r\n", "sec-websocket-protocol: chat\r\n"] {
        let scene = Scene::new(vec![vec![Step::Accept(more), write("raw bytes")]]).await;
        let answer = scene.ask(opening(&scene, ASKED)).await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && !answer.contains("raw bytes"), "{more}: {answer}");
    }
    // Nobody asked.
    let scene = Scene::new(vec![vec![Step::Accept(""), write("raw bytes")]]).await;
    let answer = scene.ask(get(&scene, "/", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && !answer.contains("raw bytes"), "{answer}");
}

#[tokio::test]
async fn an_opening_that_is_none_is_refused_and_any_other_answer_is_an_answer() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let version = "Sec-WebSocket-Version: 13\r\n";
    for broken in [
        ASKED.replace(version, ""),
        ASKED.replace("13", "8"),
        format!("{ASKED}{version}"),
        ASKED.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        ASKED.replace("Connection: keep-alive, Upgrade\r\n", ""),
        format!("{ASKED}Content-Length: 3\r\n"),
        format!("{ASKED}Upgrade: h2c\r\n"),
    ] {
        let answer = scene.ask(opening(&scene, &broken)).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{broken}: {answer}");
    }
    assert_eq!(scene.upstream.seen().connections, 0);
    let answer = scene.ask(opening(&scene, &format!("{ASKED}Connection: close\r\n"))).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("{}"), "{answer}");
}

/// The credential is in its slot, the placeholder nowhere, and a subprotocol that was offered is agreed on.
#[tokio::test]
async fn the_opening_has_the_key_and_a_key_of_its_own() {
    let scene =
        Scene::new(vec![vec![Step::Accept("sec-websocket-protocol: chat\r\nx-kept: yes\r\n"), Step::Listen]]).await;
    let mut stream = scene.tls().await;
    let own = format!(
        "{ASKED}Authorization: Bearer {}\r\nSec-WebSocket-Protocol: superchat, chat\r\nOrigin: https://x\r\n",
        scene.placeholder.as_str()
    );
    send(&mut stream, opening(&scene, &own)).await;
    let opened = head(&mut stream).await;
    assert!(opened.starts_with("HTTP/1.1 101 ") && opened.contains("sec-websocket-protocol: chat\r\n"), "{opened}");
    assert!(opened.contains("x-kept: yes\r\n") && opened.matches("sec-websocket-accept").count() == 1, "{opened}");
    let request = scene.requests().pop().unwrap();
    assert!(request.starts_with("GET /talk?a=1 HTTP/1.1\r\n") && !request.contains("lvp_"), "{request}");
    assert!(request.contains(&format!("\r\nauthorization: Bearer {KEY}\r\n")), "{request}");
    assert!(request.contains("\r\nupgrade: websocket\r\n") && request.contains("superchat, chat"), "{request}");
    assert!(!request.contains("dGhlIHNhbXBsZSBub25jZQ=="), "{request}");
}

/// Messages go up as they are, masked anew; closes and their codes go through; both sides get an end.
#[tokio::test]
async fn messages_go_up_whole_and_a_close_goes_through() {
    let scene = Scene::new(accepting("")).await;
    let mut talk = Talk::open(&scene).await;
    talk.say(b"\x01\x83\x00\x00\x00\x00Hel\x89\x80\x01\x02\x03\x04\x80\x82\x00\x00\x00\x00lo").await;
    assert_eq!(talk.hear().await, Event::Pong(Vec::new()));
    talk.say(said(&Event::Close(Some(4001), "enough".to_owned()))).await;
    assert_eq!(talk.hear().await, Event::Close(Some(4001), String::new()));
    assert_eq!(rest(&mut talk.stream).await, "");
    let heard = scene.upstream.heard().await;
    let mut inlet = Inlet::new(Sender::Program);
    inlet.push(&heard);
    let mut events = Vec::new();
    while let Some(event) = inlet.take().unwrap() {
        events.push(event);
    }
    let enough = Event::Close(Some(4001), "enough".to_owned());
    assert_eq!(events, [Event::Ping(Vec::new()), text("Hello"), enough]);
    assert!(!heard.windows(5).any(|bytes| bytes == b"Hello"), "masks are made anew, and are none of zeros");
}

/// A24, R4: a placeholder in a message closes it with a word; nothing of it went up.
#[tokio::test]
async fn a24_a_placeholder_in_a_message_goes_no_further() {
    let scene = Scene::new(accepting("")).await;
    let mut talk = Talk::open(&scene).await;
    talk.say(said(&text(format!("store {}", scene.placeholder.as_str())))).await;
    assert_eq!(talk.hear().await, Event::Close(Some(1008), "livery: placeholder_misplaced".to_owned()));
    let mut inlet = Inlet::new(Sender::Program);
    inlet.push(&scene.upstream.heard().await);
    assert_eq!(inlet.take(), Ok(Some(Event::Close(Some(1001), String::new()))));
}

/// Whoever breaks the protocol or a limit is told with which code; the other side gets an end, too.
#[tokio::test]
async fn what_breaks_the_protocol_closes_both_sides() {
    for (bytes, violation) in [
        (b"\x81\x05Hello".to_vec(), Violation::Masking),
        (b"\x81\x81\x00\x00\x00\x00\xff".to_vec(), Violation::Utf8),
        ([b"\x82\xff".as_slice(), &(2_u64 << 20).to_be_bytes()].concat(), Violation::TooLarge),
        (b"\x83\x80\x00\x00\x00\x00".to_vec(), Violation::Reserved),
    ] {
        let scene = Scene::new(accepting("")).await;
        let mut talk = Talk::open(&scene).await;
        talk.say(&bytes).await;
        let Event::Close(code, reason) = talk.hear().await else { panic!("{violation:?}") };
        assert_eq!((code, reason.starts_with("livery: ")), (Some(violation.close_code()), true), "{reason}");
        assert!(scene.upstream.heard().await.starts_with(b"\x88\x82"), "the upstream is told that it is over");
    }
    // The upstream's own: masked as if it were a client, and gone without a word.
    let scene = Scene::new(accepting(said(&text("Hello")))).await;
    assert!(matches!(Talk::open(&scene).await.hear().await, Event::Close(Some(1002), _)));
    let scene = Scene::new(vec![vec![Step::Accept(""), Step::Close]]).await;
    assert!(matches!(Talk::open(&scene).await.hear().await, Event::Close(Some(1001), _)));
}
