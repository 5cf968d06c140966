//! Messages through mail servers that do not play fair, and through one that does.

mod real;

use std::net::SocketAddr;
use std::time::Duration;

use livery_broker::error::{DenyReason, Phase, TlsFailure};
use livery_broker::mail::{Mailed, Mailing, Message, MessageId, Unmailed, Wanted, Why};
use livery_broker::{Broker, Credential, Error, Secret, Slot, Timeouts};
use livery_core::Timestamp;
use livery_core::connector::{MailServer, MailTls};
use livery_testkit::FakeSmtp;
use livery_testkit::fake_smtp::{Ended, Evil, Tls};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::call::{tenant, timeouts};
use crate::tls::{Authority, broker};

const USER: &str = "ada@example.com";
const PASSWORD: &str = "correct-horse-battery-staple";

fn at(host: &str, port: u16, tls: MailTls) -> MailServer {
    let from = "Ada Lovelace <ada@example.com>".parse().unwrap();
    MailServer { host: host.to_owned(), port, tls, from, recipients: Vec::new(), recipients_max: 20 }
}

fn message(server: &MailServer) -> Message {
    let wanted = Wanted {
        to: vec!["bob@example.com".into()],
        bcc: vec!["zoe@example.com".into()],
        subject: "Größe".into(),
        text: ".\r\n..two\nQUIT\r\n.".into(),
        ..Wanted::default()
    };
    Message::new(server, wanted).unwrap()
}

async fn sent(broker: &Broker, server: &MailServer, timeouts: Timeouts) -> Result<Mailed, Unmailed> {
    let credential = Credential {
        slot: Slot::Smtp,
        secret: Secret::from(format!("{USER}:{PASSWORD}")),
        owner: "con_1/post".to_owned(),
        version: 1,
        at: Timestamp::from_micros(0),
    };
    let message = message(server);
    let id = MessageId::of("run", "call", &message.from().address);
    let bytes = message.render(&id, Timestamp::from_micros(0));
    let sent = broker.send_mail(Mailing { tenant: tenant(1), server, credential, timeouts }, &message, &bytes);
    tokio::time::timeout(Duration::from_secs(60), sent).await.expect("every wait has an end")
}

/// A server behind TLS of either kind.
async fn behind_tls(fake: FakeSmtp, acceptor: TlsAcceptor, implicit: bool) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (stream, tls) = match implicit {
                true => (stream, Tls::Implicit),
                false => match fake.serve(stream, Tls::Offered).await {
                    Ok(Ended::Tls(stream)) => (stream, Tls::Begun),
                    _ => continue,
                },
            };
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            assert_eq!(stream.get_ref().1.alpn_protocol(), None);
            let _ = fake.serve(stream, tls).await;
        }
    });
    (address, tasks)
}

fn fake(evil: Evil) -> FakeSmtp {
    FakeSmtp::new(evil, USER, PASSWORD)
}

#[tokio::test]
async fn a_message_arrives_whole_over_both_kinds_of_tls_and_by_both_logins() {
    let authority = Authority::new();
    for (implicit, evil) in [(true, Evil::None), (false, Evil::None), (false, Evil::LoginOnly)] {
        let fake = fake(evil);
        let (address, _tasks) = behind_tls(fake.clone(), authority.acceptor(&["localhost"], |_| {}), implicit).await;
        let tls = if implicit { MailTls::Implicit } else { MailTls::Starttls };
        let server = at("localhost", address.port(), tls);
        let mailed = sent(&broker(Some(&authority.pem)), &server, timeouts()).await.unwrap();
        assert_eq!((mailed.said.as_str(), mailed.findings.len()), ("250 queued as 1", 0));
        let mail = fake.mails().pop().unwrap();
        assert_eq!(mail.from, "ada@example.com");
        assert_eq!(mail.recipients, ["bob@example.com", "zoe@example.com"]);
        assert!(mail.data.ends_with("\r\n\r\n.\r\n..two\r\nQUIT\r\n.\r\n"), "{:?}", mail.data);
        assert!(!mail.data.contains("zoe"), "hidden");
        assert_eq!(fake.commands().iter().filter(|one| one.starts_with("QUIT")).count(), 1);
    }
}

#[tokio::test]
async fn without_starttls_or_with_words_behind_it_no_login_is_said() {
    let authority = Authority::new();
    for (evil, expected) in [(Evil::Strip, Why::NoTls), (Evil::Inject, Why::Injected)] {
        let fake = fake(evil);
        let (address, _tasks) = behind_tls(fake.clone(), authority.acceptor(&["localhost"], |_| {}), false).await;
        let server = at("localhost", address.port(), MailTls::Starttls);
        let unmailed = sent(&broker(Some(&authority.pem)), &server, timeouts()).await.unwrap_err();
        // What was sent in one piece may still arrive in two: then it is a broken handshake.
        let is_broken = unmailed.why == Why::Way(Error::Tls { why: TlsFailure::Handshake });
        assert!(unmailed.why == expected || (evil == Evil::Inject && is_broken), "{:?}", unmailed.why);
        assert!(!unmailed.perhaps_sent);
        assert!(fake.commands().iter().all(|one| !one.starts_with("AUTH") && !one.starts_with("MAIL")));
    }
}

/// F10, for mail.
#[tokio::test]
async fn f10_a_certificate_that_does_not_hold_gets_no_login() {
    let (own, other) = (Authority::new(), Authority::new());
    for (acceptor, why) in [
        (own.acceptor(&["evil.example"], |_| {}), TlsFailure::WrongName),
        (other.acceptor(&["localhost"], |_| {}), TlsFailure::Untrusted),
    ] {
        let fake = fake(Evil::None);
        let (address, _tasks) = behind_tls(fake.clone(), acceptor, false).await;
        let server = at("localhost", address.port(), MailTls::Starttls);
        let unmailed = sent(&broker(Some(&own.pem)), &server, timeouts()).await.unwrap_err();
        assert_eq!(unmailed.why, Why::Way(Error::Tls { why }));
        assert_eq!(fake.commands(), ["EHLO [127.0.0.1]", "STARTTLS"]);
    }
}

/// Without TLS, to an allowed private address: what a hostile server says, and what is told of it.
async fn to(evil: Evil, timeouts: Timeouts) -> (FakeSmtp, Result<Mailed, Unmailed>) {
    let fake = fake(evil);
    let (address, _tasks) = fake.listen().await.unwrap();
    let result = sent(&broker(None), &at("127.0.0.1", address.port(), MailTls::None), timeouts).await;
    (fake, result)
}

#[tokio::test]
async fn hostile_replies_have_an_end_and_send_nothing() {
    for (evil, kind) in [
        (Evil::Endless(8 << 20), "bad_gateway"),
        (Evil::ManyLines, "bad_gateway"),
        (Evil::Http, "bad_gateway"),
        (Evil::Unasked, "bad_gateway"),
        (Evil::NoLogin, "login"),
        (Evil::EchoRefusing, "login"),
        (Evil::Busy, "refused"),
        (Evil::RefuseLast, "recipient_refused"),
        (Evil::Small, "too_large"),
    ] {
        let (fake, result) = to(evil, timeouts()).await;
        let unmailed = result.unwrap_err();
        assert_eq!((unmailed.why.kind(), unmailed.perhaps_sent), (kind, false), "{evil:?}: {:?}", unmailed.why);
        assert!(fake.mails().is_empty(), "{evil:?}");
        assert!(!unmailed.why.to_string().contains(PASSWORD), "{}", unmailed.why);
    }
}

#[tokio::test]
async fn a_server_that_is_silent_is_waited_for_only_so_long() {
    let short = Timeouts { first_byte: Duration::from_millis(300), idle: Duration::from_millis(300), ..timeouts() };
    let (_, result) = to(Evil::Silent, short).await;
    let unmailed = result.unwrap_err();
    assert_eq!((unmailed.why, unmailed.perhaps_sent), (Why::Way(Error::Timeout { phase: Phase::FirstByte }), false));
}

#[tokio::test]
async fn after_the_whole_message_nobody_knows_without_a_word() {
    let short = Timeouts { idle: Duration::from_millis(300), ..timeouts() };
    for evil in [Evil::SilentAtEnd, Evil::CutAtEnd, Evil::NeitherAtEnd] {
        let (fake, result) = to(evil, short).await;
        assert!(result.unwrap_err().perhaps_sent, "{evil:?}");
        assert_eq!(fake.mails().len(), 1, "{evil:?}: and indeed it was");
    }
}

/// A1, A11 for mail: an echoed login is taken out of what is shown, and counted.
#[tokio::test]
async fn a1_a11_a_login_that_comes_back_is_taken_out_and_told() {
    let (_, result) = to(Evil::EchoRefusing, timeouts()).await;
    let unmailed = result.unwrap_err();
    assert_eq!((unmailed.why, unmailed.findings.len()), (Why::Login(535), 1));
    assert_eq!(unmailed.findings[0].place.to_string(), "reply");
    let (_, result) = to(Evil::EchoAccepting, timeouts()).await;
    let mailed = result.unwrap();
    assert_eq!((mailed.said.as_str(), mailed.findings.len()), ("250 queued for [REDACTED:post]", 2));
}

#[tokio::test]
async fn where_it_may_not_go_nobody_is_dialled() {
    let denied = |reason| Why::Way(Error::Denied { reason });
    let guarded = Broker::new(livery_broker::BrokerConfig {
        resolver: Some(crate::call::NO_RESOLVER.parse().unwrap()),
        ..Default::default()
    })
    .unwrap();
    for (broker, host, tls, why) in [
        (&guarded, "127.0.0.1", MailTls::Implicit, denied(DenyReason::PrivateAddress)),
        (&guarded, "169.254.169.254", MailTls::Starttls, denied(DenyReason::Metadata)),
        (&broker(None), "8.8.8.8", MailTls::None, denied(DenyReason::PlaintextUpstream)),
    ] {
        let unmailed = sent(broker, &at(host, 587, tls), timeouts()).await.unwrap_err();
        assert_eq!((unmailed.why, unmailed.dialled), (why, None), "{host}");
    }
    let odd = sent(&guarded, &at("127.0.0.1", 22, MailTls::Starttls), timeouts()).await.unwrap_err();
    assert_eq!(odd.why.kind(), "bad_request");
}
