//! What a machine's own kernel says while it runs: next to nothing, and why when it fails.
//!
//! A kernel that has no memory left ends its machine, as a control group ends a container. Nobody outside counted that memory, so
//! the kernel's word is all there is; a run that has its kernel lie only names another end for itself. Read next: `live.rs`.

use std::os::fd::OwnedFd;

/// A kernel that says more than this in its life is not heard any further.
const HEARD_BYTES_MAX: usize = 64 * 1024;
/// Whose panics are about memory: the second one is said when no process could be ended any more.
const OUT_OF_MEMORY: [&[u8]; 2] =
    [b"Kernel panic - not syncing: Out of memory", b"Kernel panic - not syncing: System is deadlocked on memory"];

/// The console of a machine that runs.
pub(crate) struct Console {
    /// `None`: it has ended, or said too much.
    pipe: Option<OwnedFd>,
    heard: Vec<u8>,
}

impl Console {
    pub(crate) const fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe), heard: Vec::new() }
    }

    /// Takes in what is there, and never waits. Closes at the end, or where too much is said.
    pub(crate) fn listen(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(count) if count > 0 && self.heard.len() + count <= HEARD_BYTES_MAX => {
                    self.heard.extend_from_slice(&buffer[..count]);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                _ => break,
            }
        }
        self.pipe = None;
    }

    /// Whether the kernel gave up for want of memory.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        OUT_OF_MEMORY.iter().any(|word| self.heard.windows(word.len()).any(|heard| heard == *word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hears(text: &[u8]) -> Console {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let mut console = Console::new(read);
        for part in text.chunks(1000) {
            // Refused once it is not heard any more.
            let written = rustix::io::write(&write, part);
            assert!(written.is_ok() || console.pipe.is_none());
            console.listen();
        }
        console
    }

    #[test]
    fn memory_is_told_from_other_ends() {
        let panic = b"Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled\r\n";
        assert!(hears(panic).is_out_of_memory());
        assert!(hears(&[&[b'x'; 990][..], panic].concat()).is_out_of_memory(), "in two pieces");
        assert!(!hears(b"Kernel panic - not syncing: Attempted to kill init!\r\n").is_out_of_memory());
        let flooded = hears(&[b'x'; HEARD_BYTES_MAX + 5_000]);
        assert!(flooded.pipe.is_none() && flooded.heard.len() <= HEARD_BYTES_MAX);
    }
}
