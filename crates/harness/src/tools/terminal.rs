//! The arguments of `terminal`, and the keys it can press.

use serde::{Deserialize, Serialize};

/// Seconds a call waits when it does not say.
pub const TERMINAL_WAIT_S_DEFAULT: u32 = 5;
/// Most seconds a call may ask for.
pub const TERMINAL_WAIT_S_MAX: u32 = 600;

/// Something done with a terminal, or with a command in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// What.
    pub action: TerminalAction,
    /// Which one, as `open` answered.
    #[serde(default)]
    pub terminal: Option<u64>,
    /// `open`: for `sh -c`; an interactive shell when absent.
    #[serde(default)]
    pub command: Option<String>,
    /// `open`: where; `/workspace` when absent.
    #[serde(default)]
    pub cwd: Option<String>,
    /// `write`: what is typed, first.
    #[serde(default)]
    pub input: Option<String>,
    /// `write`: keys pressed after it.
    #[serde(default)]
    pub keys: Vec<Key>,
    /// Seconds to wait for what it shows, at most [`TERMINAL_WAIT_S_MAX`].
    #[serde(default = "wait_s_default")]
    pub wait_s: u32,
    /// A regular expression to wait for.
    #[serde(default)]
    pub until: Option<String>,
    /// Where to read from; where the last call ended when absent.
    #[serde(default)]
    pub offset: Option<u64>,
    /// `open`, `resize`: lines.
    #[serde(default)]
    pub rows: Option<u16>,
    /// `open`, `resize`: characters of a line.
    #[serde(default)]
    pub columns: Option<u16>,
    /// `kill`: which command in the background.
    #[serde(default)]
    pub pid: Option<u32>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalAction {
    /// Start a program before a new one.
    Open,
    /// Type into it, and see what it shows.
    Write,
    /// See what it shows.
    Read,
    /// Say how large it is.
    Resize,
    /// Hang up.
    Close,
    /// Which terminals and commands in the background there are.
    List,
    /// End a command in the background.
    Kill,
}

impl TerminalAction {
    /// Whether it changes nothing.
    pub(super) const fn is_safe(self) -> bool {
        matches!(self, Self::Read | Self::List)
    }
}

/// A key that has no letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the key of its name")]
pub enum Key {
    Enter,
    Tab,
    Escape,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    CtrlC,
    CtrlD,
    CtrlZ,
}

/// Their names, as the schema has them.
pub(super) const KEYS: [&str; 11] =
    ["enter", "tab", "escape", "backspace", "up", "down", "left", "right", "ctrl-c", "ctrl-d", "ctrl-z"];

/// What a terminal sends for a key.
#[must_use]
pub const fn key_bytes(key: Key) -> &'static [u8] {
    match key {
        Key::Enter => b"\r",
        Key::Tab => b"\t",
        Key::Escape => b"\x1b",
        Key::Backspace => b"\x7f",
        Key::Up => b"\x1b[A",
        Key::Down => b"\x1b[B",
        Key::Left => b"\x1b[D",
        Key::Right => b"\x1b[C",
        Key::CtrlC => b"\x03",
        Key::CtrlD => b"\x04",
        Key::CtrlZ => b"\x1a",
    }
}

const fn wait_s_default() -> u32 {
    TERMINAL_WAIT_S_DEFAULT
}
