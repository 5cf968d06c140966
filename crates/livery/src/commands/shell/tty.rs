//! The person's own terminal: raw while a shell has it, as it was before however that ends; its size; the signals that end this
//! process.

use std::io::IsTerminal as _;
use std::sync::{Mutex, Once, PoisonError};

use anyhow::Context as _;
use livery_broker::ws::{Event, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::End;

/// The size of a terminal that does not say it.
const USUAL: (u16, u16) = (80, 24);
/// Most columns, and most rows.
const SIDE_MAX: u16 = 1000;

/// Undoes what a shell may have had the terminal do. First what was begun is ended; the cursor is kept around what would move it:
/// leaving the second screen, the whole screen as what scrolls. Then modes, character sets, colours and the cursor's form.
const CALM: &[u8] =
    b"\x18\x1b[?2026l\x1b7\x1b[?1049l\x1b[!p\x1b7\x1b[?6l\x1b[r\x1b8\x1b[4l\x1b[?1l\x1b>\x1b[?5l\x1b[?7h\
    \x1b[?12l\x1b[?25h\x1b[?2004l\x1b(B\x1b)B\x0f\x1b[0 q\x1b[0m";
/// How long a terminal that takes nothing is waited for with it.
const CALM_MAX: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What is to be put back.
struct Before {
    /// How the terminal was set, where standard input is one.
    settings: Option<Termios>,
}

static BEFORE: Mutex<Option<Before>> = Mutex::new(None);
static ON_PANIC: Once = Once::new();

/// The terminal while a shell has it, in raw mode where it is what is typed at; dropping it puts it back. A panic does too, before
/// it is told.
pub(super) struct Seat(());

impl Seat {
    /// # Errors
    /// The terminal cannot be set.
    pub(super) fn take(is_terminal: bool) -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        let settings = is_terminal.then(|| tcgetattr(&stdin)).transpose().context("this terminal cannot be read")?;
        let raw = settings.clone().map(|mut raw| {
            raw.make_raw();
            raw
        });
        ON_PANIC.call_once(|| {
            let earlier = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                earlier(info);
            }));
        });
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Before { settings });
        let seat = Self(());
        if let Some(raw) = raw {
            tcsetattr(&stdin, OptionalActions::Drain, &raw).context("this terminal cannot be set to raw mode")?;
        }
        Ok(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    calm();
    if let Some(settings) = before.settings {
        // A terminal that is gone needs nothing any more.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &settings);
    }
}

/// Past the buffer and its lock: a writer may be stuck with it.
fn calm() {
    let stdout = std::io::stdout();
    let mut ready = [PollFd::new(&stdout, PollFlags::OUT)];
    if stdout.is_terminal() && poll(&mut ready, Some(&CALM_MAX)).is_ok_and(|count| count > 0) {
        let _ = rustix::io::write(&stdout, CALM);
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

#[cfg(test)]
mod tests {
    use livery_core::terminal::{Keep, Sieve};

    use super::*;

    /// What a shell may switch is switched back: a mode that passes later and is forgotten here is found.
    #[test]
    fn every_mode_that_passes_is_undone() {
        let calm = std::str::from_utf8(CALM).unwrap();
        let passes = |sequence: &str| Sieve::new(Keep::Display).pass(sequence.as_bytes()) == sequence;
        let mut found = 0;
        for mode in 0..10_000 {
            if !passes(&format!("\u{1b}[?{mode}h")) {
                continue;
            }
            found += 1;
            let undone = match mode {
                // What a terminal does by itself.
                7 | 25 => format!("\u{1b}[?{mode}h"),
                // Others ways to the second screen.
                47 | 1047 | 1048 => "\u{1b}[?1049l".to_owned(),
                _ => format!("\u{1b}[?{mode}l"),
            };
            assert!(calm.contains(&undone), "{mode}");
        }
        assert!(found > 8, "{found}");
        for mode in (0..10_000).filter(|mode| passes(&format!("\u{1b}[{mode}h"))) {
            assert!(calm.contains(&format!("\u{1b}[{mode}l")), "{mode}");
        }
        // The scroll region, the character sets, colours, and the cursor's form.
        for part in ["\u{1b}[!p", "\u{1b}[r", "\u{1b}(B", "\u{1b})B", "\u{f}", "\u{1b}>", "\u{1b}[0m", "\u{1b}[0 q"] {
            assert!(calm.contains(part), "{part:?}");
        }
    }
}
