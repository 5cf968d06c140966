//! What an image is called: `host`, or a name with a tag, a digest or both, as registries write it.
//!
//! Which images there are is decided where they are kept.

use std::fmt;
use std::str::FromStr;

/// The built-in image: the host's own `/usr`, allow-listed.
pub const IMAGE_HOST: &str = "host";
/// Longest name of an image.
pub const IMAGE_CHARS_MAX: usize = 256;
/// The tag of a name that has none.
pub const TAG_DEFAULT: &str = "latest";
/// Longest tag.
const TAG_CHARS_MAX: usize = 128;
/// What one registry's own tools leave out of the names of its images, and so do we.
const UNSAID: [&str; 4] = ["docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/"];

/// The name of an image: `debian`, `debian:12`, `registry.example:5000/team/tools@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    /// Without tag and digest.
    pub repository: String,
    /// After the colon.
    pub tag: Option<String>,
    /// The SHA-256 after `@sha256:`, as 64 hexadecimal digits in lower case.
    pub digest: Option<String>,
}

/// A text that names no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name of an image: write NAME, NAME:TAG or NAME@sha256:DIGEST, the name in lower case")]
pub struct NoImageRef;

impl ImageRef {
    /// Whether it is the machine's own.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.repository == IMAGE_HOST
    }

    /// The name it is kept under: with its tag, without a digest.
    #[must_use]
    pub fn tagged(&self) -> String {
        format!("{}:{}", self.repository, self.tag.as_deref().unwrap_or(TAG_DEFAULT))
    }

    /// The same image by its digest too: `NAME:TAG@sha256:…`.
    #[must_use]
    pub fn pinned(&self, digest: &str) -> String {
        format!("{}@sha256:{digest}", self.tagged())
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@sha256:{digest}"))
    }
}

impl FromStr for ImageRef {
    type Err = NoImageRef;

    fn from_str(text: &str) -> Result<Self, NoImageRef> {
        if text.len() > IMAGE_CHARS_MAX {
            return Err(NoImageRef);
        }
        let (rest, digest) = match text.split_once("@sha256:") {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        // A colon before a slash is a port's.
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.to_owned())),
            _ => (rest, None),
        };
        let short = UNSAID.iter().find_map(|unsaid| repository.strip_prefix(unsaid));
        let is_plain = tag.is_none() && digest.is_none();
        // What is left out must not change what the rest means when it is read again.
        let good = short.is_none_or(|short| short != IMAGE_HOST && host_of(short).is_none());
        let repository = short.unwrap_or(repository);
        let good = good
            && is_repository(repository)
            && tag.as_deref().is_none_or(is_tag)
            && digest.as_deref().is_none_or(is_digest)
            && (repository != IMAGE_HOST || is_plain);
        if good { Ok(Self { repository: repository.to_owned(), tag, digest }) } else { Err(NoImageRef) }
    }
}

/// The registry that a repository's name begins with, if it does.
#[must_use]
pub fn host_of(repository: &str) -> Option<&str> {
    let (first, _) = repository.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

/// Whether this is a SHA-256 as it is written in names.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tag(text: &str) -> bool {
    (1..=TAG_CHARS_MAX).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Parts with slashes between them; the first of several may be a host with a port.
fn is_repository(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let part = |part: &str| {
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
    };
    match text.split_once('/') {
        None => part(text),
        Some((first, rest)) => {
            let (host, port) = first.split_once(':').map_or((first, None), |(host, port)| (host, Some(port)));
            part(host) && port.is_none_or(|port| port.parse::<u16>().is_ok()) && rest.split('/').all(part)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_registries_write_them() {
        let digest = "a".repeat(64);
        let read = |text: &str| text.parse::<ImageRef>().map(|image| image.to_string());
        for text in
            ["host", "debian", "debian:12", "a.b/c_d/e-f:1.0-rc", "reg.example:5000/team/tools:v1", "localhost:5000/x"]
        {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
        assert_eq!(read(&format!("a:b@sha256:{digest}")), Ok(format!("a:b@sha256:{digest}")));
        assert_eq!(read("docker.io/library/busybox:1"), Ok("busybox:1".to_owned()));
        assert_eq!("busybox".parse::<ImageRef>().unwrap().tagged(), "busybox:latest");
        assert_eq!("busybox".parse::<ImageRef>().unwrap().pinned(&digest), format!("busybox:latest@sha256:{digest}"));
        assert!(read("host").is_ok() && "host".parse::<ImageRef>().unwrap().is_host());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(257);
        for text in [
            "",
            "../x",
            "a b",
            "A",
            "a/",
            "/a",
            "a//b",
            "a:",
            "a:.x",
            "host:1",
            "a@sha256:12",
            "a@md5:00",
            ".a",
            "a-",
            "a:b:c",
            "h:99999/a",
            "a/../b",
            "a\0",
            "docker.io/docker.io/x",
            "docker.io/library/docker.io/library/x",
            "index.docker.io/docker.io/x",
            "docker.io/evil.example/x",
            "docker.io/localhost/x",
            "docker.io/evil:5000/x",
            "docker.io/library/host",
            &long,
        ] {
            assert_eq!(text.parse::<ImageRef>(), Err(NoImageRef), "{text:?}");
        }
    }
}
