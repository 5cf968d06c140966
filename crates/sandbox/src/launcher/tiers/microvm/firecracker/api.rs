//! Asks Firecracker's API something, over its Unix socket: one connection for each request, and an end to every wait.
//!
//! Only the process beside Firecracker in its carrier does (`snapshot.rs`). Read next: `../../../../monitor.rs`, which reads the answers.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::launcher::setup;
use crate::monitor::{Answer, BODY_BYTES_MAX, HEAD_BYTES_MAX};

/// Between two bytes of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Asks until `until`. The error has the API's own words where it has some.
pub(super) fn ask(socket: &Path, method: &str, path: &str, body: &Value, until: Instant) -> io::Result<()> {
    let mut stream = connect(socket, until)?;
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    stream.write_all(request.as_bytes())?;
    let answer = hear(&mut stream, until)?;
    if answer.is_good() {
        return Ok(());
    }
    let fault = answer.fault.unwrap_or_else(|| "it does not say why".to_owned());
    Err(io::Error::other(format!("{method} {path}: {}: {fault}", answer.status)))
}

/// The socket is there a few milliseconds after Firecracker is.
fn connect(socket: &Path, until: Instant) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket) {
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => setup::nap(),
            Ok(stream) => return Ok(stream),
        }
    }
}

fn hear(stream: &mut UnixStream, until: Instant) -> io::Result<Answer> {
    let (mut heard, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        if let Some(answer) = Answer::read(&heard).map_err(io::Error::other)? {
            return Ok(answer);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || heard.len() > HEAD_BYTES_MAX + BODY_BYTES_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use serde_json::json;

    use super::*;

    /// Asks a server that answers this and then holds the line.
    fn asked(answer: &'static [u8]) -> (io::Result<()>, String) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut heard, mut buffer) = (Vec::new(), [0; 1024]);
            while !heard.ends_with(b"}") {
                let count = stream.read(&mut buffer).unwrap();
                heard.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(answer).unwrap();
            // Until the other side has had enough.
            let _ = stream.read(&mut buffer);
            String::from_utf8(heard).unwrap()
        });
        let until = Instant::now() + Duration::from_millis(300);
        let outcome = ask(&socket, "PATCH", "/vm", &json!({ "state": "Paused" }), until);
        (outcome, server.join().unwrap())
    }

    #[test]
    fn a_request_is_as_the_api_wants_it_and_its_answer_is_heard() {
        let (outcome, request) = asked(b"HTTP/1.1 204 No Content\r\n\r\n");
        outcome.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("PATCH /vm HTTP/1.1\r\nHost: localhost\r\n") && head.ends_with("Content-Length: 18"));
        assert_eq!(body, "{\"state\":\"Paused\"}");
    }

    #[test]
    fn refusals_rubbish_and_silence_are_errors_with_an_end() {
        let said = |answer| asked(answer).0.unwrap_err();
        let fault = said(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 24\r\n\r\n{\"fault_message\":\"not!\"}");
        assert_eq!(fault.to_string(), "PATCH /vm: 400: not!");
        assert_eq!(said(b"HTTP/1.1 500 Oh\r\n\r\n").to_string(), "PATCH /vm: 500: it does not say why");
        assert!(said(b"220 mail.example ESMTP\r\n\r\n").to_string().contains("does not answer as its API does"));
        assert_eq!(said(b"HTTP/1.1 200 OK\r\nContent-Len").kind(), io::ErrorKind::TimedOut);
        let nobody = ask(Path::new("/no/such/socket"), "GET", "/", &json!({}), Instant::now());
        assert_eq!(nobody.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
