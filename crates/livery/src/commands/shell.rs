//! `livery runs shell`: this terminal becomes one in the sandbox of a run.
//!
//! A person's terminal is put into raw mode, and put back however this ends; where standard input is no terminal, its bytes go in
//! until their end, and what is shown goes to standard output. The socket's two directions, the person and the signals are one
//! `select`. Read next: `shell/tty.rs` for the terminal, `shell/keys.rs` for what is typed, `livery_broker::ws` for the frames.

mod keys;
mod tty;

use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use livery_broker::ws::{Event, Inlet, Kind, Sender, encoded};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use self::keys::{Feed, Keys};
use super::say;
use crate::client::Client;
use crate::exit;
use crate::show::one_line;

/// The subprotocol.
const PROTOCOL: &str = "livery.shell.v1";
/// A server says something every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a server may take to answer the person's leaving.
const LEAVING: Duration = Duration::from_secs(2);
/// Bytes read at once, here and there.
const READ_BYTES: usize = 16 * 1024;
/// Things said that wait for the socket. An answer to a ping that finds no room is left out.
const WAITING_MAX: usize = 16;

type Socket = TokioIo<Upgraded>;

/// How it ended.
enum End {
    /// As the server says.
    Closed(Value),
    /// The person left, and the server did not answer in time.
    Left,
    /// Nobody takes what is shown any more.
    Unread,
    /// This process was asked to end.
    Signal(u8),
    /// The connection broke.
    Broken(String),
}

/// Sits down at a shell in the run `id` (escaped).
pub(super) async fn shell(client: &Client, id: &str, command: Option<&str>) -> anyhow::Result<ExitCode> {
    let is_terminal = std::io::stdin().is_terminal();
    let (columns, rows) = if is_terminal { tty::size() } else { (80, 24) };
    let mut path = format!("/v1/runs/{id}/shell?columns={columns}&rows={rows}&plain={}", !is_terminal);
    if let Some(command) = command {
        path.push_str(&format!("&command={}", super::runs::escape(command)));
    }
    let socket = client.websocket(&path, PROTOCOL).await?;
    let seat = tty::Seat::take(is_terminal)?;
    let end = attend(socket, is_terminal).await;
    drop(seat);
    outcome(end?, is_terminal)
}

/// Everything at once, until the first of it ends; then what was shown is written out.
async fn attend(socket: Socket, is_terminal: bool) -> anyhow::Result<End> {
    let (mut from, to) = split(socket);
    let (words, said) = mpsc::channel(WAITING_MAX);
    let (shown, printed) = printer();
    let mut signals = tty::Signals::new()?;
    let end = tokio::select! {
        biased;
        end = hear(&mut from, &words, &shown) => end,
        end = write(to, said) => end,
        end = person(&words, is_terminal) => end,
        number = signals.next() => End::Signal(number),
        end = tty::resizes(&words, is_terminal) => end?,
    };
    drop(shown);
    // Whoever reads it may have stopped reading.
    let _ = timeout(LEAVING, printed).await;
    Ok(end)
}

fn outcome(end: End, is_terminal: bool) -> anyhow::Result<ExitCode> {
    let code = |code: i64| ExitCode::from(u8::try_from(code.clamp(0, 255)).unwrap_or(exit::FAILED));
    let left = || if is_terminal { "\nleft the shell" } else { "the shell is closed" };
    match end {
        End::Closed(closed) => {
            let number = |name: &str| closed[name].as_i64();
            match (closed["reason"].as_str().unwrap_or_default(), number("exit_code"), number("signal")) {
                ("exited", Some(status), _) => Ok(code(status)),
                ("exited", None, Some(signal)) => Ok(code(128 + signal)),
                ("closed", ..) => {
                    say(left());
                    Ok(ExitCode::SUCCESS)
                }
                ("key_revoked", ..) => {
                    say("the shell was closed: the API key may open none any more");
                    Ok(ExitCode::from(exit::REFUSED))
                }
                (reason, ..) => bail!("the shell was closed by the server: {}", meaning(reason)),
            }
        }
        End::Left => {
            say(left());
            Ok(ExitCode::SUCCESS)
        }
        End::Unread => Ok(ExitCode::SUCCESS),
        End::Signal(number) => Ok(ExitCode::from(number.saturating_add(128))),
        End::Broken(why) => Err(anyhow!(why)),
    }
}

/// A server's word in a person's.
fn meaning(reason: &str) -> String {
    match reason {
        "run_over" => "the run is over".to_owned(),
        "sandbox_gone" => "the run has given its sandbox back, or lost it".to_owned(),
        "idle" => "nothing was typed or shown for too long".to_owned(),
        "time_limit" => "it lasted as long as a shell may".to_owned(),
        "server_stopping" => "the server stops".to_owned(),
        "key_unchecked" => "the server could not check the API key".to_owned(),
        other => one_line(other),
    }
}

/// What the server says: bytes to show, pings, how it ended.
async fn hear(from: &mut ReadHalf<Socket>, words: &mpsc::Sender<Event>, shown: &mpsc::Sender<Vec<u8>>) -> End {
    let mut inlet = Inlet::new(Sender::Upstream);
    let mut room = vec![0; READ_BYTES];
    loop {
        match inlet.take() {
            Ok(None) => match timeout(SILENCE_MAX, from.read(&mut room)).await {
                Ok(Ok(count @ 1..)) => inlet.push(&room[..count]),
                Ok(_) => return End::Broken("the connection to the server broke off".to_owned()),
                Err(_) => return End::Broken("the server says nothing any more".to_owned()),
            },
            Ok(Some(Event::Message(Kind::Binary, bytes))) => {
                if shown.send(bytes).await.is_err() {
                    return End::Unread;
                }
            }
            Ok(Some(Event::Message(Kind::Text, text))) => {
                let message: Value = serde_json::from_slice(&text).unwrap_or_default();
                if message["type"] == "closed" {
                    return End::Closed(message);
                }
            }
            Ok(Some(Event::Ping(payload))) => drop(words.try_send(Event::Pong(payload))),
            Ok(Some(Event::Pong(_))) => {}
            Ok(Some(Event::Close(_, reason))) => {
                return End::Broken(format!("the server closed the connection: {}", one_line(&reason)));
            }
            Err(violation) => return End::Broken(format!("the server sent {}", violation.text())),
        }
    }
}

/// Writes what is said.
async fn write(mut to: WriteHalf<Socket>, mut said: mpsc::Receiver<Event>) -> End {
    while let Some(event) = said.recv().await {
        let Some(bytes) = encoded(&event, Sender::Program) else {
            return End::Broken("this machine gives no randomness".to_owned());
        };
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            // Its last words, if there are any, are still to be read.
            break;
        }
    }
    sleep(LEAVING).await;
    End::Broken("the connection to the server broke off".to_owned())
}

/// What is typed, or fed, until its end.
async fn person(words: &mpsc::Sender<Event>, is_terminal: bool) -> End {
    let mut typed = reader();
    let (mut keys, mut feed) = (Keys::default(), Feed::default());
    while let Some(bytes) = typed.recv().await {
        let (bytes, leaves) = if is_terminal { keys.pass(&bytes) } else { (feed.pass(&bytes), false) };
        if !bytes.is_empty() && words.send(Event::Message(Kind::Binary, bytes)).await.is_err() {
            break;
        }
        if leaves {
            return leave(words).await;
        }
    }
    if is_terminal {
        return leave(words).await;
    }
    let _ = words.send(Event::Message(Kind::Binary, feed.finish())).await;
    // Its program has the last word.
    std::future::pending().await
}

/// Says goodbye; the answer is heard elsewhere.
async fn leave(words: &mpsc::Sender<Event>) -> End {
    let close = Event::Message(Kind::Text, json!({"type": "close"}).to_string().into_bytes());
    let _ = timeout(LEAVING, words.send(close)).await;
    sleep(LEAVING).await;
    End::Left
}

/// Standard input, read on a thread: a read of a terminal cannot be given up, and nobody waits for this one.
fn reader() -> mpsc::Receiver<Vec<u8>> {
    let (typed, read) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut room = vec![0; READ_BYTES];
        loop {
            match std::io::stdin().lock().read(&mut room) {
                Ok(count @ 1..) if typed.blocking_send(room[..count].to_vec()).is_ok() => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    });
    read
}

/// Standard output, written on a thread: one that is not read stops what is heard, and not the person. Resolves when all of it
/// is written, or cannot be.
fn printer() -> (mpsc::Sender<Vec<u8>>, tokio::sync::oneshot::Receiver<()>) {
    let (shown, mut pieces) = mpsc::channel::<Vec<u8>>(1);
    let (done, printed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        while let Some(piece) = pieces.blocking_recv() {
            let mut out = std::io::stdout().lock();
            if out.write_all(&piece).and_then(|()| out.flush()).is_err() {
                break;
            }
        }
        drop(pieces);
        let _ = done.send(());
    });
    (shown, printed)
}
