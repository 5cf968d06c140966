//! Which DNS servers are asked, and how: a stub of our own with no hosts file and no search list.
//!
//! Without `--resolver` the servers are those of `/etc/resolv.conf`, read again when the file changes: a laptop moves
//! between networks. A host without any is no error until a name is looked up, because literal addresses and `localhost`
//! need none.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;

/// Longest time an answer is kept, whatever its TTL says.
const CACHE_MAX: Duration = Duration::from_secs(60);
/// Names kept.
const CACHE_NAMES: u64 = 512;
/// Longest wait for one DNS server before the next is asked.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Servers asked at most.
const SERVERS_MAX: usize = 4;
/// Largest `resolv.conf` looked at, in bytes.
const RESOLV_CONF_BYTES_MAX: u64 = 64 * 1024;

/// Where the servers come from.
pub(super) enum Dns {
    /// One server, given by the operator.
    Fixed(Option<TokioResolver>),
    /// The host's own.
    System { path: PathBuf, current: Mutex<Current> },
}

/// The resolver made from one state of the file.
#[derive(Default)]
pub(super) struct Current {
    changed: Option<SystemTime>,
    resolver: Option<TokioResolver>,
}

impl Dns {
    pub(super) fn new(server: Option<SocketAddr>) -> Self {
        match server {
            Some(server) => Self::Fixed(build(vec![name_server(server)])),
            None => Self::of_file(Path::new("/etc/resolv.conf")),
        }
    }

    pub(super) fn of_file(path: &Path) -> Self {
        Self::System { path: path.to_owned(), current: Mutex::default() }
    }

    /// The resolver to use now, or `None` when there is no server to ask.
    pub(super) fn resolver(&self) -> Option<TokioResolver> {
        let (path, current) = match self {
            Self::Fixed(resolver) => return resolver.clone(),
            Self::System { path, current } => (path, current),
        };
        let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.is_none() || changed != current.changed {
            *current = Current { changed, resolver: build(system_servers(path)) };
        }
        current.resolver.clone()
    }
}

fn system_servers(path: &Path) -> Vec<NameServerConfig> {
    let small = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() <= RESOLV_CONF_BYTES_MAX);
    let text = if small { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
    parse_resolv_conf(text)
        .map(|(config, _)| config.name_servers().iter().take(SERVERS_MAX).cloned().collect())
        .unwrap_or_default()
}

fn build(servers: Vec<NameServerConfig>) -> Option<TokioResolver> {
    if servers.is_empty() {
        return None;
    }
    // From the servers alone: a search list or domain of the host must not complete a tenant's name.
    let config = ResolverConfig::from_name_servers(servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = SERVER_TIMEOUT;
    options.attempts = 1;
    options.cache_size = CACHE_NAMES;
    options.positive_max_ttl = Some(CACHE_MAX);
    options.negative_max_ttl = Some(CACHE_MAX);
    options.preserve_intermediates = true;
    builder.build().ok()
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}
