//! Answers are read as they come, whatever the pieces; a broken one is an error and never a wait.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::{Connection, Target};

/// Serves these pieces, one write each, to one connection; compares the answers to as many requests.
fn check(pieces: &[&str], expected: &[Result<(u16, &str), &str>]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target { address: listener.local_addr().unwrap(), api_key: "lvk_x".to_owned() };
    let pieces: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0u8; 4096];
        let read = stream.read(&mut request).unwrap();
        for piece in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
            stream.flush().unwrap();
        }
        // Closing with an unread request would throw away what was sent.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let mut connection = Connection::new(target);
    for &expected in expected {
        let seen = connection.send("POST", "/v1/runs", "prefer: wait=1\r\n", b"{}");
        match (seen, expected) {
            (Ok(answer), Ok((status, body))) => {
                assert_eq!((answer.status, String::from_utf8_lossy(&answer.body).as_ref()), (status, body));
            }
            (Err(error), Err(text)) => assert!(format!("{error:#}").contains(text), "{error:#}"),
            (seen, expected) => panic!("{seen:?}, expected {expected:?}"),
        }
    }
    drop(connection);
    let request = server.join().unwrap();
    assert!(request.starts_with("POST /v1/runs HTTP/1.1\r\nhost: 127.0.0.1:"), "{request}");
    assert!(request.contains("prefer: wait=1\r\nauthorization: Bearer lvk_x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"), "{request}");
}

#[test]
fn two_answers_in_odd_pieces() {
    check(
        &[
            "HTTP/1.1 200 OK\r\nContent-Le",
            "ngth: 2\r\n\r\no",
            "kHTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n2\r\n",
            "hi\r\n4;x=y\r\n you\r\n0\r\n\r\n",
        ],
        &[Ok((200, "ok")), Ok((202, "hi you"))],
    );
}

#[test]
fn broken_answers() {
    let closed = Err("in the middle of an answer");
    check(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"], &[closed]);
    check(&["HTTP/1.1 204 No Content\r\n\r\nnonsense\r\n\r\n"], &[Ok((204, "")), Err("is no status line")]);
    check(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"], &[Err("a chunk of size")]);
}
