//! What is typed at a shell, or fed to it, on its way there. Pure.

/// The key that means something after a line's end.
const ESCAPE: u8 = b'~';
/// Ctrl-D: the end of the input, or of a piece of a line.
const EOT: u8 = 4;
/// Most bytes of a line before they are pushed on: a terminal holds 4,095 of one line, and drops the rest.
const LINE_BYTES_MAX: usize = 3072;

/// A person's keys. At the beginning of a line `~.` leaves, and `~~` is one `~`.
#[derive(Debug)]
pub(super) struct Keys {
    is_line_start: bool,
    is_escaped: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Self { is_line_start: true, is_escaped: false }
    }
}

impl Keys {
    /// What of it goes on, and whether the person leaves; then what follows does not.
    pub(super) fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len() + 1);
        for byte in typed {
            let was_escaped = std::mem::take(&mut self.is_escaped);
            match *byte {
                b'.' if was_escaped => return (out, true),
                ESCAPE if was_escaped => out.push(ESCAPE),
                ESCAPE if self.is_line_start => {
                    self.is_escaped = true;
                    continue;
                }
                byte => {
                    out.extend(was_escaped.then_some(ESCAPE));
                    out.push(byte);
                }
            }
            self.is_line_start = matches!(byte, b'\r' | b'\n');
        }
        (out, false)
    }
}

/// A program's bytes, for a terminal that takes lines: longer ones are pushed on in pieces.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// Bytes since the last end of a line or piece.
    open: usize,
}

impl Feed {
    /// What goes on.
    pub(super) fn pass(&mut self, fed: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(fed.len() + fed.len() / LINE_BYTES_MAX + 1);
        for byte in fed {
            out.push(*byte);
            self.open = if *byte == b'\n' { 0 } else { self.open + 1 };
            if self.open == LINE_BYTES_MAX {
                out.push(EOT);
                self.open = 0;
            }
        }
        out
    }

    /// The end of it.
    pub(super) fn finish(self) -> Vec<u8> {
        // After a piece of a line the first one only pushes that.
        vec![EOT; if self.open > 0 { 2 } else { 1 }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&str]) -> (String, bool) {
        let (mut keys, mut all) = (Keys::default(), Vec::new());
        for piece in pieces {
            let (bytes, leaves) = keys.pass(piece.as_bytes());
            all.extend(bytes);
            if leaves {
                return (String::from_utf8(all).unwrap(), true);
            }
        }
        (String::from_utf8(all).unwrap(), false)
    }

    #[test]
    fn a_tilde_and_a_dot_leave_at_the_beginning_of_a_line_alone() {
        for (pieces, out, leaves) in [
            (&["~."][..], "", true),
            (&["~", "."], "", true),
            (&["ls\r", "~", ".never"], "ls\r", true),
            (&["ls\n~."], "ls\n", true),
            (&["a~."], "a~.", false),
            (&["~~."], "~.", false),
            (&["~x~."], "~x~.", false),
            (&["~\r~."], "~\r", true),
            (&["~/bin\r"], "~/bin\r", false),
        ] {
            assert_eq!(typed(pieces), (out.to_owned(), leaves), "{pieces:?}");
        }
    }

    #[test]
    fn long_lines_are_pushed_on_in_pieces() {
        let mut feed = Feed::default();
        assert_eq!(feed.pass(b"a\nb"), b"a\nb");
        let long = vec![b'x'; LINE_BYTES_MAX];
        let out = feed.pass(&long);
        assert_eq!(
            (out.len(), out.iter().position(|byte| *byte == EOT)),
            (LINE_BYTES_MAX + 1, Some(LINE_BYTES_MAX - 1))
        );
        assert_eq!(feed.finish(), [EOT, EOT]);
        assert_eq!(Feed::default().finish(), [EOT]);
    }
}
