//! The whole conversation with a bus of our own making, which is as unhelpful as a test wants it. The real one is in
//! `crates/livery/tests/it/vault/keyring.rs`.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::wire::{PREFIX, Writer, lengths};
use super::{Keyring, KeyringError};

/// What a member is answered with: the types and the body, or the name of a refusal.
type Answer = Result<(&'static str, Writer), &'static str>;

/// Serves one connection; for each call that `answer` has no answer to, it hangs up. The members that were called.
fn serve(mut stream: UnixStream, mut answer: impl FnMut(&str) -> Option<Answer>) -> Vec<String> {
    let mut called = Vec::new();
    for (expected, said) in [("\0AUTH EXTERNAL\r\n", "DATA\r\n"), ("DATA\r\n", "OK 0123\r\n"), ("BEGIN\r\n", "")] {
        let mut line = vec![0; expected.len()];
        if stream.read_exact(&mut line).is_err() {
            return called;
        }
        assert_eq!(line, expected.as_bytes());
        stream.write_all(said.as_bytes()).unwrap();
    }
    loop {
        let mut prefix = [0; PREFIX];
        if stream.read_exact(&mut prefix).is_err() {
            return called;
        }
        let (header, body) = lengths(&prefix).unwrap();
        let mut rest = vec![0; header + body];
        stream.read_exact(&mut rest).unwrap();
        let serial = u32::from_le_bytes(prefix[8..12].try_into().unwrap());
        let text = String::from_utf8_lossy(&rest[..header]).into_owned();
        let member = MEMBERS.iter().find(|member| text.contains(&format!("\0{member}\0"))).unwrap();
        called.push((*member).to_owned());
        let answer = if *member == "Hello" { Some(Ok(("s", texts(&[":1.7"])))) } else { answer(member) };
        let Some(answer) = answer else { return called };
        // Nobody asked for this one.
        stream.write_all(&message(4, 0, ("", &[]), &Writer::new())).unwrap();
        let message = match &answer {
            Ok((signature, body)) => message(2, serial, (signature, &[]), body),
            Err(name) => message(3, serial, ("", name.as_bytes()), &Writer::new()),
        };
        if stream.write_all(&message).is_err() {
            return called;
        }
    }
}

const MEMBERS: &[&str] = &["Hello", "OpenSession", "SearchItems", "Unlock", "ReadAlias", "CreateItem", "GetSecret"];

fn message(kind: u8, to: u32, (signature, name): (&str, &[u8]), body: &Writer) -> Vec<u8> {
    let mut out = Writer::new();
    [b'l', kind, 0, 1].into_iter().for_each(|byte| out.byte(byte));
    out.number(u32::try_from(body.as_slice().len()).unwrap());
    out.number(9);
    out.array(8, |out| {
        if kind != 4 {
            out.byte(5);
            out.variant("u", |out| out.number(to));
        }
        if !name.is_empty() {
            out.align(8);
            out.byte(4);
            out.variant("s", |out| out.text(std::str::from_utf8(name).unwrap()));
        }
        if !signature.is_empty() {
            out.align(8);
            out.byte(8);
            out.variant("g", |out| out.signature(signature));
        }
    });
    out.align(8);
    [out.as_slice(), body.as_slice()].concat()
}

fn texts(texts: &[&str]) -> Writer {
    let mut body = Writer::new();
    texts.iter().for_each(|text| body.text(text));
    body
}

/// Entries that are open, and entries that are locked.
fn found(open: &[&str], locked: &[&str]) -> Option<Answer> {
    let mut body = Writer::new();
    for paths in [open, locked] {
        body.array(4, |body| paths.iter().for_each(|path| body.text(path)));
    }
    Some(Ok(("aoao", body)))
}

fn session() -> Option<Answer> {
    let mut body = Writer::new();
    body.variant("s", |body| body.text(""));
    body.text("/session");
    Some(Ok(("vo", body)))
}

fn unlocked(prompt: &str) -> Option<Answer> {
    let mut body = Writer::new();
    body.array(4, |_| ());
    body.text(prompt);
    Some(Ok(("aoo", body)))
}

fn value(value: &[u8]) -> Option<Answer> {
    let mut body = texts(&["/session"]);
    body.bytes(b"");
    body.bytes(value);
    body.text("text/plain");
    Some(Ok(("(oayays)", body)))
}

/// The entry of a bus that answers like this.
fn bus(mut answer: impl FnMut(&str) -> Option<Answer> + Send + 'static) -> (Keyring, JoinHandle<Vec<String>>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        serve(stream, &mut answer)
    });
    let address = format!("tcp:host=x,port=1;unix:path={},guid=12", path.display());
    (Keyring::parse("keyring:livery/root", &address).unwrap(), thread, folder)
}

/// What asking for the key comes to.
async fn ask(answer: impl FnMut(&str) -> Option<Answer> + Send + 'static) -> Result<Option<Vec<u8>>, KeyringError> {
    let (entry, thread, _folder) = bus(answer);
    let key = entry.root_key().await;
    thread.join().unwrap();
    key.map(|key| key.map(|key| key.expose_secret().to_vec()))
}

fn usual(member: &str, then: impl FnOnce(&str) -> Option<Answer>) -> Option<Answer> {
    if member == "OpenSession" { session() } else { then(member) }
}

const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

#[tokio::test]
async fn an_address_names_a_service_and_an_entry() {
    let parse = |text: &str| Keyring::parse(text, "unix:path=/x");
    assert!(parse("keyring:livery/root").is_ok() && parse("keyring:a.b-c/d_e@f").is_ok());
    for bad in [
        "",
        "keyring:",
        "keyring:livery",
        "keyring:/root",
        "keyring:a/",
        "keyring:a/b/c",
        "keyring:a b/c",
        "livery/root",
    ] {
        assert_eq!(parse(bad), Err(KeyringError::Address), "{bad}");
    }
    assert_eq!(parse(&format!("keyring:a/{}", "x".repeat(65))), Err(KeyringError::Address));
    for nowhere in ["", "tcp:host=x,port=1", "unix:path=/nowhere/bus", "unix:abstract=livery-nobody-%41"] {
        let gone = Keyring::parse("keyring:livery/root", nowhere).unwrap().root_key().await.map(drop);
        assert!(matches!(gone, Err(KeyringError::NoBus(_))), "{nowhere}: {gone:?}");
    }
}

#[tokio::test]
async fn the_entrys_value_is_the_key() {
    let key = ask(|member| {
        usual(member, |member| match member {
            "SearchItems" => found(&["/item"], &[]),
            _ => value(format!("{KEY}\n").as_bytes()),
        })
    })
    .await;
    assert_eq!(key, Ok(Some(KEY.as_bytes().to_vec())));
    assert_eq!(ask(|member| usual(member, |_| found(&[], &[]))).await, Ok(None));
    let unlocked = ask(|member| {
        usual(member, |member| match member {
            "SearchItems" => found(&[], &["/item"]),
            "Unlock" => unlocked("/"),
            _ => value(KEY.as_bytes()),
        })
    })
    .await;
    assert_eq!(unlocked, Ok(Some(KEY.as_bytes().to_vec())));
}

#[tokio::test]
async fn what_keeps_the_key_back_is_said() {
    let locked = ask(|member| {
        usual(member, |member| if member == "Unlock" { unlocked("/prompt") } else { found(&[], &["/item"]) })
    })
    .await;
    assert_eq!(locked, Err(KeyringError::Locked));
    for (open, shut) in [(&["/a", "/b"][..], &[][..]), (&["/a"], &["/b"]), (&[], &["/a", "/b"])] {
        assert_eq!(ask(move |member| usual(member, |_| found(open, shut))).await, Err(KeyringError::Several));
    }
    let none = ask(|_| Some(Err("org.freedesktop.DBus.Error.ServiceUnknown"))).await;
    assert_eq!(none, Err(KeyringError::NoService));
    let refused = ask(|member| usual(member, |_| Some(Err("x.\u{1b}[31mNo")))).await;
    assert_eq!(refused, Err(KeyringError::Refused("x.[31mNo".to_owned())));
    for no_key in ["", "short", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH", &"A".repeat(2000)] {
        let no_key = no_key.to_owned();
        let answer = ask(move |member| {
            usual(
                member,
                |member| {
                    if member == "SearchItems" { found(&["/item"], &[]) } else { value(no_key.as_bytes()) }
                },
            )
        })
        .await;
        assert_eq!(answer, Err(KeyringError::NoKey));
    }
    let (entry, thread, _folder) = bus(|member| {
        usual(member, |member| match member {
            "ReadAlias" => Some(Ok(("o", texts(&["/"])))),
            _ => found(&[], &[]),
        })
    });
    assert_eq!(entry.create_root_key().await.map(drop), Err(KeyringError::NoDefault));
    assert_eq!(thread.join().unwrap(), ["Hello", "OpenSession", "SearchItems", "ReadAlias"], "nothing is made");
}

#[tokio::test]
async fn a_bus_that_makes_no_sense_is_refused() {
    assert!(matches!(ask(|_| None).await, Err(KeyringError::NoBus(_))), "it hung up");
    let other_types = ask(|member| usual(member, |_| Some(Ok(("s", texts(&["/item"])))))).await;
    assert_eq!(other_types, Err(KeyringError::Malformed));
    let too_many = ask(|member| usual(member, |_| found(&["/a"; 17], &[]))).await;
    assert_eq!(too_many, Err(KeyringError::Malformed));
    let too_long = ask(|member| {
        usual(member, |_| {
            let mut body = Writer::new();
            body.bytes(&vec![0; 70_000]);
            Some(Ok(("aoao", body)))
        })
    })
    .await;
    assert_eq!(too_long, Err(KeyringError::Malformed));
}

#[tokio::test]
async fn a_key_is_made_once_and_is_what_is_there_afterwards() {
    let mut kept = false;
    let (entry, thread, _folder) = bus(move |member| {
        usual(member, |member| match member {
            "SearchItems" => found(if kept { &["/item"] } else { &[] }, &[]),
            "ReadAlias" => Some(Ok(("o", texts(&["/login"])))),
            "Unlock" => unlocked("/"),
            "CreateItem" => {
                kept = true;
                Some(Ok(("oo", texts(&["/item", "/"]))))
            }
            _ => value(KEY.as_bytes()),
        })
    });
    assert!(entry.create_root_key().await.unwrap().ct_eq(KEY.as_bytes()));
    let called = thread.join().unwrap();
    let steps =
        ["Hello", "OpenSession", "SearchItems", "ReadAlias", "Unlock", "CreateItem", "SearchItems", "GetSecret"];
    assert_eq!(called, steps);
}
