use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_core::Timestamp;
use livery_core::connector::{MailServer, MailTls};
use proptest::prelude::*;

use super::message::{Attachment, Message, MessageId, MessageRefused, Wanted};
use super::{Bad, Reply, searched};
use crate::scrub::Matcher;

fn server() -> MailServer {
    MailServer {
        host: "mail.example.com".into(),
        port: 587,
        tls: MailTls::Starttls,
        from: "Ada Lovelace <ada@example.com>".parse().unwrap(),
        recipients: Vec::new(),
        recipients_max: 20,
    }
}

fn wanted() -> Wanted {
    Wanted { to: vec!["bob@example.com".into()], subject: "Hello".into(), text: "Hi.".into(), ..Wanted::default() }
}

fn rendered(wanted: Wanted) -> String {
    let message = Message::new(&server(), wanted).unwrap();
    let id = MessageId::of("run_1", "call_1", &message.from().address);
    String::from_utf8(message.render(&id, Timestamp::from_micros(1_440_938_160_000_000))).unwrap()
}

#[test]
fn a_message_is_what_it_should_be_to_the_byte() {
    let expected = "From: \"Ada Lovelace\"\r\n <ada@example.com>\r\nTo: bob@example.com\r\nSubject: Hello\r\n\
        Date: Sun, 30 Aug 2015 12:36:00 +0000\r\nMessage-ID: ID\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHi.\r\n";
    let id = MessageId::of("run_1", "call_1", &"ada@example.com".parse().unwrap());
    assert_eq!(rendered(wanted()), expected.replace("Message-ID: ID", &format!("Message-ID: {}", id.as_str())));
    assert_ne!(id, MessageId::of("run_1", "call_2", &"ada@example.com".parse().unwrap()));
    assert!(id.as_str().parse::<MessageId>().is_ok());
}

#[test]
fn hidden_recipients_are_in_no_line_and_in_the_envelope() {
    let wanted = Wanted { bcc: vec!["eve@example.com".into()], cc: vec!["BOB@example.com".into()], ..wanted() };
    let message = Message::new(&server(), wanted.clone()).unwrap();
    let all: Vec<String> = message.recipients().into_iter().map(String::from).collect();
    assert_eq!(all, ["bob@example.com", "eve@example.com"], "each once");
    assert!(!rendered(wanted).contains("eve"));
}

#[test]
fn text_html_and_files_are_parts() {
    let file = Attachment { name: "Größe.csv".into(), bytes: b"a;b\n".repeat(100) };
    let wanted = Wanted { html: Some("<p>Hé</p>".into()), attachments: vec![file.clone()], ..wanted() };
    let text = rendered(wanted);
    for part in ["multipart/mixed;", "multipart/alternative;", "<p>H=C3=A9</p>", "filename*=utf-8''Gr%C3%B6%C3%9Fe.csv"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.lines().all(|line| line.len() <= 998 && line.is_ascii()));
    assert!(text.replace("\r\n", "").contains(&STANDARD.encode(&file.bytes)));
}

#[test]
fn a_subject_of_any_language_is_one_folded_header() {
    let subject = "Die Größe ".repeat(30);
    let text = rendered(Wanted { subject: subject.clone(), ..wanted() });
    let words = text.split("Subject: ").nth(1).unwrap().split("\r\nDate").next().unwrap();
    let decoded: Vec<u8> = words
        .split("\r\n ")
        .flat_map(|word| STANDARD.decode(word.strip_prefix("=?utf-8?B?").unwrap().strip_suffix("?=").unwrap()).unwrap())
        .collect();
    assert_eq!(String::from_utf8(decoded).unwrap(), subject);
    assert!(rendered(Wanted { subject: "=?utf-8?B?eA==?=".into(), ..wanted() }).contains("=?utf-8?B?PT91"));
}

#[test]
fn what_could_end_a_line_is_refused() {
    let refused = |change: &dyn Fn(&mut Wanted)| {
        let mut wanted = wanted();
        change(&mut wanted);
        Message::new(&server(), wanted).unwrap_err().rule()
    };
    for end in ["\r\nBcc: eve@evil.example", "\n", "\r", "\0", "\u{85}"] {
        assert_eq!(refused(&|wanted| wanted.subject = format!("a{end}")), "message", "{end:?}");
        assert_eq!(refused(&|wanted| wanted.to = vec![format!("bob@example.com{end}")]), "address", "{end:?}");
        assert_eq!(refused(&|wanted| wanted.in_reply_to = Some(format!("<a@b{end}>"))), "message", "{end:?}");
        let file = Attachment { name: format!("a{end}"), bytes: Vec::new() };
        assert_eq!(refused(&|wanted| wanted.attachments = vec![file.clone()]), "message", "{end:?}");
    }
    assert_eq!(refused(&|wanted| wanted.to = vec!["bob@example.com> SIZE=1".into()]), "address");
    assert_eq!(refused(&|wanted| wanted.to.clear()), "recipients_max");
    assert_eq!(refused(&|wanted| wanted.subject.clear()), "message");
    let large = Attachment { name: "a".into(), bytes: vec![0; super::ATTACHMENTS_BYTES_MAX + 1] };
    assert_eq!(refused(&|wanted| wanted.attachments = vec![large.clone()]), "message");
    let mut narrow = server();
    narrow.recipients = vec!["example.com".parse().unwrap()];
    let outside = Wanted { bcc: vec!["eve@evil.example".into()], ..wanted() };
    assert!(matches!(Message::new(&narrow, outside), Err(MessageRefused::Recipients(_))));
}

/// A domain that is allowed is not the first stop on the way to another one.
#[test]
fn a_recipient_names_no_other_host() {
    let mut narrow = server();
    narrow.recipients = vec!["example.com".parse().unwrap()];
    for address in ["eve%evil.example@example.com", "evil.example!eve@example.com"] {
        for part in [|one| Wanted { to: one, ..wanted() }, |one| Wanted { bcc: one, ..wanted() }] {
            let refused = Message::new(&narrow, part(vec![address.to_owned()])).unwrap_err();
            assert_eq!((refused.rule(), &refused), ("address", &MessageRefused::Routed), "{address}");
        }
    }
    let hidden = rendered(Wanted { to: Vec::new(), bcc: vec!["bob@example.com".into()], ..wanted() });
    assert!(!hidden.contains("To:") && hidden.contains("\r\nSubject: Hello"), "{hidden}");
}

#[test]
fn every_part_is_in_the_digest() {
    let digest = |wanted: Wanted| Message::new(&server(), wanted).unwrap().digest();
    let own = digest(wanted());
    let file = |bytes: &[u8]| vec![Attachment { name: "a".into(), bytes: bytes.to_vec() }];
    let others = [
        digest(Wanted { to: vec!["eve@example.com".into()], ..wanted() }),
        digest(Wanted { cc: vec!["eve@example.com".into()], ..wanted() }),
        digest(Wanted { bcc: vec!["eve@example.com".into()], ..wanted() }),
        digest(Wanted { subject: "Hello!".into(), ..wanted() }),
        digest(Wanted { text: "Hi!".into(), ..wanted() }),
        digest(Wanted { html: Some("Hi.".into()), ..wanted() }),
        digest(Wanted { in_reply_to: Some("<a@b>".into()), ..wanted() }),
        digest(Wanted { attachments: file(b"1"), ..wanted() }),
        digest(Wanted { attachments: file(b"2"), ..wanted() }),
    ];
    let all: std::collections::BTreeSet<_> = others.iter().chain([&own]).collect();
    assert_eq!(all.len(), others.len() + 1);
}

#[test]
fn a_reply_is_read_strictly() {
    let read = |text: &str| {
        Reply::parse(text.as_bytes()).map(|read| read.map(|(reply, end)| (reply.code, reply.lines.len(), end)))
    };
    assert_eq!(read("250 ok\r\n"), Ok(Some((250, 1, 8))));
    assert_eq!(read("250\r\n"), Ok(Some((250, 1, 5))));
    assert_eq!(read("250-a\r\n250 b\r\nrest"), Ok(Some((250, 2, 14))));
    for unfinished in ["", "2", "250 ok", "250 ok\r", "250-a\r\n", "250-a\r\n250"] {
        assert_eq!(read(unfinished), Ok(None), "{unfinished:?}");
    }
    for bad in [
        "250 ok\n",
        "25\r\n",
        "2x0 a\r\n",
        "150 a\r\n",
        "650 a\r\n",
        "250-a\r\n251 b\r\n",
        "250a\r\n",
        "HTTP/1.1 400 x\r\n",
    ] {
        assert_eq!(read(bad), Err(Bad::Malformed), "{bad:?}");
    }
    assert_eq!(read(&"a".repeat(5000)), Err(Bad::TooLong));
    assert_eq!(read(&"250-a\r\n".repeat(100)), Err(Bad::TooLong));
}

#[test]
fn every_form_of_a_login_is_searched_for() {
    let secret = b"ada@example.com:correct-horse-battery";
    let secrets = searched(secret);
    let matcher = Matcher::new(&secrets.iter().collect::<Vec<_>>(), "mail").unwrap();
    let plain = STANDARD.encode(b"\0ada@example.com\0correct-horse-battery");
    for echo in [
        "correct-horse-battery".to_owned(),
        STANDARD.encode("correct-horse-battery"),
        plain.clone(),
        STANDARD.encode(&plain),
    ] {
        let shown = matcher.scrub_whole(format!("535 {echo} no").as_bytes()).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains("[REDACTED:mail]") && !shown.contains(&echo[echo.len() - 8..]), "{shown}");
    }
    assert!(matcher.scrub_whole(b"535 ada@example.com is unknown").is_none(), "a user name is no secret");
}

proptest! {
    /// However a reply is cut, it is the same one, and reading it never goes beyond its end.
    #[test]
    fn a_reply_does_not_depend_on_where_it_is_cut(bytes in "[2-5][0-9]{2}[ -][a-z\\r\\n0-9 -]{0,200}") {
        let whole = Reply::parse(bytes.as_bytes());
        for cut in 0..bytes.len() {
            match Reply::parse(&bytes.as_bytes()[..cut]) {
                Ok(None) => {}
                early => prop_assert_eq!(&early, &whole),
            }
        }
    }

    #[test]
    fn text_comes_back_out_of_its_lines(text in "(?s).{0,300}") {
        let encoded = super::encode::quoted_printable(&text);
        prop_assert!(encoded.lines().all(|line| line.len() <= 76 && line.is_ascii()));
        let joined = encoded.replace("=\r\n", "");
        let mut decoded = Vec::new();
        let mut rest = joined.as_bytes();
        while let Some((first, more)) = rest.split_first() {
            rest = more;
            if *first == b'=' {
                decoded.push(u8::from_str_radix(std::str::from_utf8(&more[..2]).unwrap(), 16).unwrap());
                rest = &more[2..];
            } else {
                decoded.push(*first);
            }
        }
        let expected = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n") + "\r\n";
        prop_assert_eq!(String::from_utf8(decoded).unwrap(), expected);
    }
}
