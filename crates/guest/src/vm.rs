//! What a host tells the guest of a virtual machine as it boots: a few numbers on the kernel's command line.
//!
//! Read next: `machine.rs`, which acts on them.

/// The first argument of a guest that is process 1 of a virtual machine.
pub const WORD: &str = "machine";
/// The first argument of one that only says that it is there, on the console.
pub const PROBE: &str = "probe";
/// What it says.
pub const BOOTED: &str = "the machine has booted";
/// The first argument of one that waits to be told what it is for: its machine becomes a snapshot.
pub const WAIT: &str = "wait";
/// What it says on its stream while it waits.
pub const WAITING: u8 = b'W';
/// Where the first file system has the kernel's modules, in the order of their names.
pub const MODULES: &str = "/modules";
/// The folder in it with those that only a machine with a vsock needs.
pub const VSOCK_MODULES: &str = "vsock";
/// Where the host of a machine with a vsock takes the guest's one call.
pub const HOST_PORT: u32 = 17_401;
/// Entries of the devices' folder that are looked at.
pub const DEVICES_MAX: usize = 4096;

/// Limits that the guest's own kernel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Processes and threads of the run's user, process 1 among them.
    pub processes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// `/tmp`, MiB.
    pub tmp_mb: u64,
    /// Where its stream is.
    pub stream: Stream,
}

/// What carries the bytes between host and guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// A port of virtio's console: it is there, and leads to the host.
    Port,
    /// A vsock: the guest calls its host on [`HOST_PORT`].
    Vsock,
}

impl Stream {
    const fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Vsock => "vsock",
        }
    }
}

impl Given {
    /// As arguments of process 1. On a kernel's command line they are words that mean nothing to it.
    #[must_use]
    pub fn encode(&self) -> String {
        let Self { processes, file_bytes, tmp_mb, stream } = self;
        format!("{WORD} {processes} {file_bytes} {tmp_mb} {}", stream.word())
    }

    /// From the arguments behind [`WORD`]. `None`: they are something else.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let (stream, numbers) = arguments.split_last()?;
        let stream = [Stream::Port, Stream::Vsock].into_iter().find(|known| known.word() == stream)?;
        let numbers: Vec<u64> = numbers.iter().map(|text| text.parse()).collect::<Result<_, _>>().ok()?;
        let [processes, file_bytes, tmp_mb] = numbers[..] else { return None };
        Some(Self { processes, file_bytes, tmp_mb, stream })
    }
}

/// Bytes of a greeting.
pub const GREETING_BYTES: usize = 256;
/// Bytes of it that nobody else has.
pub const RANDOM_BYTES: usize = 64;
const CLOCK_BYTES: usize = 8;

/// What makes one machine of a snapshot that many start from: said on its stream before anything of a run exists.
#[derive(Clone, PartialEq, Eq)]
pub struct Greeting {
    /// What it is for.
    pub given: Given,
    /// The host's clock, nanoseconds since 1970.
    pub clock_ns: u64,
    /// From the host's kernel, for this machine alone.
    pub random: [u8; RANDOM_BYTES],
}

impl Greeting {
    /// Always as long: a reader knows when it is there.
    #[must_use]
    pub fn encode(&self) -> [u8; GREETING_BYTES] {
        let mut bytes = [0; GREETING_BYTES];
        let given = self.given.encode();
        let parts = [&self.random[..], &self.clock_ns.to_le_bytes(), given.as_bytes()];
        for (place, byte) in bytes.iter_mut().zip(parts.concat()) {
            *place = byte;
        }
        bytes
    }

    /// `None`: it is something else.
    #[must_use]
    pub fn parse(bytes: &[u8; GREETING_BYTES]) -> Option<Self> {
        let (random, rest) = bytes.split_at(RANDOM_BYTES);
        let (clock, text) = rest.split_at(CLOCK_BYTES);
        let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0');
        let mut words = text.split(' ').map(str::to_owned);
        let is_given = words.next().is_some_and(|word| word == WORD);
        let given = Given::parse(&words.collect::<Vec<_>>()).filter(|_| is_given)?;
        Some(Self { given, clock_ns: u64::from_le_bytes(clock.try_into().ok()?), random: random.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_arrives() {
        for stream in [Stream::Port, Stream::Vsock] {
            let given = Given { processes: 257, file_bytes: 1 << 30, tmp_mb: 32, stream };
            let text = given.encode();
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            assert_eq!((words[0].as_str(), Given::parse(&words[1..])), (WORD, Some(given)));
            assert_eq!(Given::parse(&words), None);
            assert_eq!(Given::parse(&words[1..4]), None);
            assert_eq!(Given::parse(&words[2..]), None);
        }
        assert_eq!(Given::parse(&[]), None);
    }

    #[test]
    fn a_greeting_arrives_whole_or_is_none() {
        let given = Given { processes: u64::MAX, file_bytes: u64::MAX, tmp_mb: u64::MAX, stream: Stream::Vsock };
        let mut random = [0; RANDOM_BYTES];
        random.iter_mut().zip(1..).for_each(|(byte, value)| *byte = value);
        let greeting = Greeting { given, clock_ns: 1_800_000_000_123_456_789, random };
        let bytes = greeting.encode();
        assert!(Greeting::parse(&bytes) == Some(greeting));
        assert!(Greeting::parse(&[0; GREETING_BYTES]).is_none() && Greeting::parse(&[0xff; GREETING_BYTES]).is_none());
        let mut other = bytes;
        other[RANDOM_BYTES + CLOCK_BYTES] = b'x';
        assert!(Greeting::parse(&other).is_none());
    }
}
