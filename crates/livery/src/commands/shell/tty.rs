//! The person's own terminal: raw while a shell has it, as it was before however that ends; its size; the signals that end this
//! process.

use std::sync::{Mutex, Once, PoisonError};

use anyhow::Context as _;
use livery_broker::ws::{Event, Kind};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::End;

/// The size of a terminal that does not say it.
const USUAL: (u16, u16) = (80, 24);
/// Most columns, and most rows.
const SIDE_MAX: u16 = 1000;

/// How the terminal was, while it is not.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static ON_PANIC: Once = Once::new();

/// The terminal in raw mode; dropping it puts it back. A panic does too, before it is told.
pub(super) struct Raw(());

impl Raw {
    /// # Errors
    /// The terminal cannot be set.
    pub(super) fn enter() -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).context("this terminal cannot be read")?;
        let mut raw = before.clone();
        raw.make_raw();
        ON_PANIC.call_once(|| {
            let earlier = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                earlier(info);
            }));
        });
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let set = tcsetattr(&stdin, OptionalActions::Drain, &raw).context("this terminal cannot be set to raw mode");
        set.map(|()| Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs nothing any more.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &before);
    }
}

/// Columns and rows, within what a sandbox takes.
pub(super) fn size() -> (u16, u16) {
    let Ok(size) = tcgetwinsize(std::io::stdin()) else { return USUAL };
    let side = |side: u16, usual| if side == 0 { usual } else { side.min(SIDE_MAX) };
    (side(size.ws_col, USUAL.0), side(size.ws_row, USUAL.1))
}

/// Says every change of it.
pub(super) async fn resizes(words: &mpsc::Sender<Event>, is_terminal: bool) -> anyhow::Result<End> {
    if !is_terminal {
        return std::future::pending().await;
    }
    let mut changed = signal(SignalKind::window_change())?;
    let mut last = size();
    loop {
        changed.recv().await;
        let (columns, rows) = size();
        if std::mem::replace(&mut last, (columns, rows)) == (columns, rows) {
            continue;
        }
        let resize = json!({"type": "resize", "columns": columns, "rows": rows}).to_string();
        if words.send(Event::Message(Kind::Text, resize.into_bytes())).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The signals that end this process, so that it ends in order.
pub(super) struct Signals([(u8, Signal); 4]);

impl Signals {
    /// # Errors
    /// They cannot be waited for.
    pub(super) fn new() -> std::io::Result<Self> {
        let of = |number: u8, kind| Ok::<_, std::io::Error>((number, signal(kind)?));
        Ok(Self([
            of(1, SignalKind::hangup())?,
            of(2, SignalKind::interrupt())?,
            of(3, SignalKind::quit())?,
            of(15, SignalKind::terminate())?,
        ]))
    }

    /// The number of the next one.
    pub(super) async fn next(&mut self) -> u8 {
        let [(hangup, a), (interrupt, b), (quit, c), (terminate, d)] = &mut self.0;
        tokio::select! {
            _ = a.recv() => *hangup,
            _ = b.recv() => *interrupt,
            _ = c.recv() => *quit,
            _ = d.recv() => *terminate,
        }
    }
}
