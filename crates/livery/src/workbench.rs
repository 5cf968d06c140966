//! A data directory for one command: made new, gone afterwards. `run` and `demo` work on one.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli;
use crate::engine::NamedProvider;

/// A directory below the system's temporary one, and the flags of an engine in it.
pub(crate) struct Workbench {
    path: PathBuf,
    engine: cli::Engine,
}

impl Workbench {
    /// A new, private name (the directory itself is made by whoever will own it). A loopback `--base-url` was named by the
    /// operator in person, so that very address is allowed.
    pub(crate) fn new(name: &str, engine: &cli::Engine, provider: Option<&NamedProvider>) -> anyhow::Result<Self> {
        let random = livery_platform::ids::Ids::default().mint(livery_platform::Clock::system().now());
        let path = std::env::temp_dir().join(format!("{name}-{random:032x}"));
        let mut engine = engine.clone();
        if let Some(base_url) = provider.and_then(|provider| provider.base_url.as_deref()) {
            engine.allow_upstream.extend(loopback_of(base_url)?);
        }
        Ok(Self { path, engine })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The flags.
    pub(crate) const fn engine(&self) -> &cli::Engine {
        &self.engine
    }

    /// Allows this process's own receivers on loopback (the demo's webhook sink).
    pub(crate) fn allow_loopback(&mut self) {
        self.engine.allow_upstream.push("127.0.0.1/32".into());
    }

    /// Removes the directory. What cannot be removed is said: it may hold a run's files.
    pub(crate) fn clear(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path)
            && self.path.exists()
        {
            tracing::warn!(path = %self.path.display(), %error, "a temporary directory could not be removed");
        }
    }
}

/// The networks of a base URL that is on this machine.
fn loopback_of(base_url: &str) -> anyhow::Result<Vec<String>> {
    let uri: http::Uri = base_url.parse().with_context(|| format!("--base-url {base_url} is no URL"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost" {
        return Ok(vec!["127.0.0.1/32".into(), "::1/128".into()]);
    }
    Ok(match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if ip.is_loopback() => vec![format!("{ip}/32")],
        Ok(IpAddr::V6(ip)) if ip.is_loopback() => vec![format!("{ip}/128")],
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::loopback_of;

    #[test]
    fn only_loopback_is_allowed_by_naming_it() {
        assert_eq!(loopback_of("http://127.0.0.1:8080/v1").unwrap(), ["127.0.0.1/32"]);
        assert_eq!(loopback_of("http://[::1]:8080/v1").unwrap(), ["::1/128"]);
        assert_eq!(loopback_of("http://localhost:1/v1").unwrap().len(), 2);
        assert!(loopback_of("http://10.0.0.1/v1").unwrap().is_empty());
        assert!(loopback_of("https://api.example.com/v1").unwrap().is_empty());
    }
}
