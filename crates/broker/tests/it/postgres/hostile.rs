//! Servers that say what they should not.

use livery_broker::postgres::Question;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::program::message;
use super::{PASSWORD, Site, assert_absent, log_in, server};
use crate::call::broker;

/// A way to the site's server that is taken over at the first statement of the extended protocol: from then on these are the
/// server's words.
async fn taken_over(site: &Site, words: Vec<u8>) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, real) = (listener.local_addr().unwrap().port(), site.server(true).port);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(("127.0.0.1", real)).await.unwrap();
            let (mut asked, mut answered) = ([0; 16 * 1024], [0; 16 * 1024]);
            loop {
                tokio::select! {
                    count = near.read(&mut asked) => {
                        let Ok(count @ 1..) = count else { break };
                        match asked[0] {
                            b'P' => near.write_all(&words).await.unwrap(),
                            _ => far.write_all(&asked[..count]).await.unwrap(),
                        }
                    }
                    count = far.read(&mut answered) => {
                        let Ok(count @ 1..) = count else { break };
                        near.write_all(&answered[..count]).await.unwrap();
                    }
                }
            }
        }
    });
    (port, tasks)
}

fn spellings() -> Vec<String> {
    let bytes = PASSWORD.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        PASSWORD.to_owned(),
        PASSWORD.chars().rev().collect(),
        hex.to_uppercase(),
        format!("\\x{hex}"),
        bytes.iter().map(|byte| format!("%{byte:02X}")).collect(),
        bytes.iter().map(|byte| format!("\\u{byte:04x}")).collect(),
        bytes.iter().map(|byte| format!("&#{byte};")).collect(),
        PASSWORD[3..24].to_owned(),
    ]
}

fn row(values: &[&str]) -> Vec<u8> {
    let mut body = [0, u8::try_from(values.len()).unwrap()].to_vec();
    for value in values {
        body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(value.as_bytes());
    }
    message(b'D', &[&body])
}

fn columns(names: &[&str]) -> Vec<u8> {
    let mut body = [0, u8::try_from(names.len()).unwrap()].to_vec();
    for name in names {
        body.extend([name.as_bytes(), &[0; 7], &25_u32.to_be_bytes()[..], &[0; 8]].concat());
    }
    message(b'T', &[&body])
}

/// F11: wherever a server puts the password, a model does not get it.
#[tokio::test]
async fn f11_a_password_that_comes_back_is_taken_out() {
    let Some(site) = Site::new().await else { return };
    let question = Question { text: "select 1".into(), parameters: vec![], rows_max: 10, bytes_max: 1 << 20 };
    for spelled in spellings() {
        let fields = [
            ("S", spelled.as_str()),
            ("V", spelled.as_str()),
            ("C", &spelled[spelled.len() / 3..]),
            ("M", &spelled),
            ("D", &spelled),
            ("H", &spelled),
        ];
        let error: Vec<u8> =
            fields.iter().flat_map(|(tag, text)| [tag.as_bytes(), text.as_bytes(), &[0]].concat()).collect();
        let (begin, ready) = ([message(b'1', &[]), message(b'2', &[])].concat(), message(b'Z', &[b"I"]));
        let good = [
            columns(&["a", &spelled]),
            message(b'N', &[&error, &[0]]),
            message(b'S', &[b"TimeZone\0", spelled.as_bytes(), &[0]]),
            row(&["b", &spelled]),
            message(b'C', &[spelled.as_bytes(), &[0]]),
        ];
        for words in [good.concat(), message(b'E', &[&error, &[0]])] {
            let (port, _tasks) = taken_over(&site, [begin.clone(), words, ready.clone()].concat()).await;
            let server = server(port, &site.database, true);
            let mut session = log_in(&broker(), &server).await.unwrap();
            let answer = session.ask(&server, &question).await;
            let shown = match answer {
                Ok(answer) => json!([format!("{:?}", answer.columns), answer.rows, answer.command]).to_string(),
                Err(failure) => failure.to_string(),
            };
            assert_absent(&shown);
            assert!(!shown.contains(&spelled), "{shown}");
            // What is too short to be searched for is not handed out in pieces by fields that are no text.
            assert!(shown.starts_with("[") || shown.starts_with("ERROR XX000: "), "{shown}");
            assert!(session.redactions().0 > 0);
        }
    }
}

/// F11: a server that asks for anything but SCRAM is told nothing that the password could be read from.
#[tokio::test]
async fn f11_a_login_that_gives_the_password_away_is_broken_off() {
    let authentication = |kind: u32, rest: &[u8]| message(b'R', &[&kind.to_be_bytes(), rest]);
    let offers = [
        authentication(0, b""),
        authentication(3, b""),
        authentication(5, b"salt"),
        authentication(7, b""),
        authentication(9, b""),
        authentication(10, b"SCRAM-SHA-1\0PLAIN\0\0"),
        authentication(10, b"SCRAM-SHA-256-PLUS\0\0"),
        authentication(11, b"r=x,s=QSXCR+Q6sek8bf92,i=4096"),
        [authentication(10, b"SCRAM-SHA-256\0\0"), authentication(0, b"")].concat(),
        [authentication(10, b"SCRAM-SHA-256\0\0"), authentication(3, b"")].concat(),
        [authentication(10, b"SCRAM-SHA-256\0\0"), authentication(12, b"v=")].concat(),
        [message(b'N', &[b"\0"]), message(b'Z', &[b"I"])].concat(),
    ];
    for offer in offers {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = server(listener.local_addr().unwrap().port(), "shop", true);
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&offer).await.unwrap();
            let mut heard = Vec::new();
            // It may be cut off with a reset.
            let _ = stream.read_to_end(&mut heard).await;
            heard
        };
        let broker = broker();
        let (outcome, heard) = tokio::join!(log_in(&broker, &server), serving);
        let Err(failure) = outcome else { panic!("it is let in") };
        assert!(failure.nothing_sent(), "{failure}");
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert_absent(&heard);
        assert!(!heard.contains("p="), "a proof was sent: {heard}");
    }
}
