//! A message through aiosmtpd, a mail server of other people's making, with `STARTTLS` and a login.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use livery_core::connector::MailTls;

use super::{PASSWORD, USER, at, sent};
use crate::call::timeouts;
use crate::tls::{Authority, broker};

const SERVER: &str = r#"
import asyncio, ssl, sys
from aiosmtpd.smtp import AuthResult, SMTP

class Handler:
    async def handle_DATA(self, server, session, envelope):
        with open(sys.argv[2], "wb") as out:
            out.write(repr((envelope.mail_from, envelope.rcpt_tos)).encode() + b"\n" + envelope.original_content)
        return "250 taken"

def login(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (sys.argv[3].encode(), sys.argv[4].encode()))

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])

async def main():
    def session():
        return SMTP(Handler(), hostname="localhost", tls_context=context, require_starttls=True, auth_required=True, authenticator=login)
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"#;

/// Stopped with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::print_stdout, reason = "a skip is said aloud")]
fn start(folder: &tempfile::TempDir, authority: &Authority) -> Option<(Running, u16)> {
    let python = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/smtp/venv/bin/python"));
    if !python.exists() {
        println!("SKIPPED: aiosmtpd is not installed; `cargo xtask setup` does it");
        return None;
    }
    let (script, pem) = (folder.path().join("server.py"), folder.path().join("server.pem"));
    std::fs::write(&script, SERVER).unwrap();
    std::fs::write(&pem, authority.identity(&["localhost"])).unwrap();
    let mut command = Command::new(python);
    command.arg(&script).arg(&pem).arg(folder.path().join("mail")).args([USER, PASSWORD]);
    let mut child = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Some((child, line.trim().parse().expect("the server says its port")))
}

#[tokio::test]
async fn a_real_mail_server_takes_it() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let Some((_server, port)) = start(&folder, &authority) else { return };
    let server = at("localhost", port, MailTls::Starttls);
    let mailed = sent(&broker(Some(&authority.pem)), &server, timeouts()).await.unwrap();
    assert_eq!(mailed.said, "250 taken");
    let mail = std::fs::read_to_string(folder.path().join("mail")).unwrap();
    assert!(mail.starts_with("('ada@example.com', ['bob@example.com', 'zoe@example.com'])\n"), "{mail}");
    assert!(mail.ends_with("\r\n\r\n.\r\n..two\r\nQUIT\r\n.\r\n"), "{mail:?}");
    assert!(mail.contains("Subject: =?utf-8?B?"), "{mail}");
}
