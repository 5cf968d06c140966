//! What is said has one form; a key is asked for at every heartbeat; the last words wait as long as they should.

use std::sync::atomic::{AtomicU32, Ordering};

use livery_platform::shell::ShellExit;
use tokio::io::duplex;

use super::*;

#[test]
fn what_is_said_has_one_form() {
    let read =
        |text: &str| json::parse(text.as_bytes()).ok().and_then(|value| serde_json::from_value::<Said>(value).ok());
    assert!(matches!(
        read(r#"{"type":"resize","columns":97,"rows":31}"#),
        Some(Said::Resize { columns: 97, rows: 31 })
    ));
    assert!(matches!(read(r#"{"type":"close"}"#), Some(Said::Close {})));
    for wrong in [
        "",
        "{}",
        "[]",
        r#"{"type":"open"}"#,
        r#"{"type":"close","why":"x"}"#,
        r#"{"type":"resize","columns":97}"#,
        r#"{"type":"resize","columns":97,"rows":31,"pixels":1}"#,
        r#"{"type":"resize","columns":70000,"rows":31}"#,
        r#"{"type":"resize","columns":-1,"rows":31}"#,
        r#"{"type":"close","type":"resize"}"#,
    ] {
        assert!(read(wrong).is_none(), "{wrong}");
    }
}

/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_millis(5);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it hangs")
}

#[tokio::test]
async fn a_key_that_nobody_can_speak_for_has_no_shell() {
    let unknown = || Error::Unavailable { detail: "busy".to_owned(), retry_after_s: 1 };
    let asked = AtomicU32::new(0);
    let count = || asked.fetch_add(1, Ordering::Relaxed);
    // It cannot be found out.
    let end = within(stay(BEAT, || {
        count();
        async { Err(unknown()) }
    }));
    assert_eq!(end.await, ShellEnd::Unchecked);
    assert_eq!(asked.swap(0, Ordering::Relaxed), SHELL_UNCHECKED_BEATS_MAX);
    // Nobody answers at all.
    let end = within(stay(BEAT, || {
        count();
        std::future::pending()
    }));
    assert_eq!(end.await, ShellEnd::Unchecked);
    assert_eq!(asked.swap(0, Ordering::Relaxed), SHELL_UNCHECKED_BEATS_MAX);
    // The control: failures that are not in a row end nothing; the first no does.
    let end = within(stay(BEAT, || {
        let turn = count();
        async move {
            match turn {
                20.. => Ok(false),
                turn if turn % SHELL_UNCHECKED_BEATS_MAX == 0 => Ok(true),
                _ => Err(unknown()),
            }
        }
    }));
    assert_eq!(end.await, ShellEnd::Revoked);
    assert_eq!(asked.load(Ordering::Relaxed), 21);
}

/// Says the last words of a shell that ended like this to somebody who reads nothing until `late` is over, or, without it, until the
/// server is done. What is read then.
async fn parting(end: ShellEnd, draining: &CancellationToken, late: Option<ShellEnd>) -> String {
    let (mut person, server) = duplex(64);
    let (mut from, to) = split(server);
    let (words, said) = mpsc::channel(WAITING_MAX);
    let saying = async move {
        let shown = Event::Message(Kind::Binary, vec![b'x'; 100_000]);
        let events = [shown, control(&json!({"type": "closed"})), Event::Close(Some(1000), String::new())];
        let talk = async move {
            for event in events {
                let _ = words.send(event).await;
            }
        };
        tokio::join!(talk, write(to, said));
    };
    let token = draining.clone();
    let served = tokio::spawn(async move {
        part(saying, drain(&mut from, false), patience(end, PATIENCE * 2, &token)).await;
    });
    match late {
        Some(end) => patience(end, PATIENCE, draining).await,
        None => within(served).await.unwrap(),
    }
    let mut all = Vec::new();
    within(person.read_to_end(&mut all)).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn what_an_ended_program_showed_last_waits_for_its_reader() {
    let (works, stops) = (CancellationToken::new(), CancellationToken::new());
    stops.cancel();
    let exited = ShellEnd::Exited(ShellExit::Code(0));
    // As late as would be too late for the last words of others.
    let late = parting(exited, &works, Some(ShellEnd::Closed));
    // The controls.
    let (read, closed, stopping) =
        tokio::join!(late, parting(ShellEnd::Closed, &works, None), parting(exited, &stops, None));
    assert!(read.len() > 100_000 && read.contains("closed"), "{}", read.len());
    for cut in [closed, stopping] {
        assert!(cut.len() < 1000 && !cut.contains("closed"), "{}", cut.len());
    }
}

#[test]
fn a_client_that_says_nothing_is_gone_and_a_shell_where_nothing_happens_is_idle() {
    let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
    let begun = Instant::now().checked_sub(hour).unwrap();
    let clocks = Clocks { begun, ..Clocks::new() };
    assert_eq!(clocks.end(minute, hour * 2), Some(ShellEnd::Disconnected));
    // While the program does not take what was typed, nothing is heard.
    clocks.is_deaf.store(true, Ordering::Relaxed);
    assert_eq!(clocks.end(minute, hour * 2), None);
    clocks.is_deaf.store(false, Ordering::Relaxed);
    clocks.note(&clocks.heard);
    assert_eq!(clocks.end(minute, hour * 2), None);
    assert_eq!(clocks.end(minute, minute), Some(ShellEnd::Idle));
    clocks.note(&clocks.moved);
    assert_eq!(clocks.end(minute, minute), None);
}
