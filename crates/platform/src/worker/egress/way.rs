//! The way out of a run's sandbox: made before it stands, opened in it, served until it is gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use livery_broker::proxy::placeholder::{Placeholder, Placeholders};
use livery_broker::proxy::{Direct, Lifetime, Proxy, Reach, Rewound};
use livery_core::agent::Network;
use livery_core::connector::{HostPattern, Scheme};
use livery_core::id::ConnectionId;
use livery_core::{Error, Result};
use livery_sandbox::{Flow, Relay, Sandbox};
use livery_store::RunRow;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::database::{self, Cancels};
use super::gate::{Route, RunGate};
use super::key::placeholder_key;
use super::variables;
use super::watch::Watch;
use crate::Platform;

/// Where the proxy is, inside: below the ports the kernel hands out, and none that a program of an agent's would take.
pub(super) const PORT: u16 = 17_400;
/// The port of a host that names none.
const HTTPS_PORT: u16 = 443;
/// How long a program that connected may say nothing.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(60);
/// What the sandbox must trust: the run's own authority alone. Nothing else ever answers on this way, so the system's roots
/// would be of no use; and a program that looks at this file only, as most do, needs no second one.
pub(super) const AUTHORITY_FILE: &str = "/workspace/.livery/egress.pem";

/// A run's way out, before its sandbox stands.
pub(in crate::worker) struct Egress {
    platform: Platform,
    row: RunRow,
    pub(super) proxy: Arc<Proxy<RunGate>>,
}

impl Egress {
    /// The way out of this run's sandbox, if it has one, for the `time` the run may still take.
    ///
    /// # Errors
    /// Its connections cannot be read, or its certificates not be made.
    pub(in crate::worker) async fn of(
        platform: &Platform,
        row: &RunRow,
        network: &Network,
        time: Duration,
    ) -> Result<Option<Self>> {
        let hosts = match network {
            Network::Allow(hosts) => hosts.iter().map(|host| reach_of(host)).collect::<Vec<_>>(),
            Network::Broker => Vec::new(),
            Network::None => return Ok(None),
        };
        let routes = routes(platform, row).await?;
        if hosts.is_empty() && routes.is_empty() {
            return Ok(None);
        }
        let names = names(&hosts, &routes);
        let placeholders = Placeholders::new(routes.iter().map(Route::pinned).collect());
        let direct = Direct::new(platform.broker.clone(), row.org, hosts, time);
        let gate = RunGate {
            platform: platform.clone(),
            run: row.id,
            routes,
            direct,
            pace: Mutex::default(),
            watch: Watch::new(),
            cancels: Cancels::default(),
            time,
        };
        let now_s = u64::try_from(platform.clock.now().as_micros() / 1_000_000).unwrap_or_default();
        let proxy = Proxy::new(gate, names, placeholders, Lifetime { now_s, left: time }).map_err(Error::internal)?;
        Ok(Some(Self { platform: platform.clone(), row: row.clone(), proxy: Arc::new(proxy) }))
    }

    /// What programs in the sandbox are told.
    pub(in crate::worker) fn environment(&self) -> Vec<(String, String)> {
        variables::all(&self.proxy.gate().routes)
    }

    /// Opens it. A sandbox that an earlier life of the run has left standing has its way out, and keeps it.
    pub(in crate::worker) async fn open(self, sandbox: &Sandbox) -> std::result::Result<(), livery_sandbox::Error> {
        let Some(relay) = sandbox.relay(PORT).await? else { return Ok(()) };
        let authority = self.proxy.authority_pem().unwrap_or_default();
        sandbox.put(AUTHORITY_FILE, authority.as_bytes(), 0o644).await?;
        let tasks = self.platform.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = serve(relay, Arc::clone(&self.proxy)) => {}
                () = self.look() => {}
            }
        });
        Ok(())
    }

    /// Watches its connections, for as long as it is served.
    pub(super) async fn look(&self) {
        let gate = self.proxy.gate();
        let connections: Vec<ConnectionId> = gate.routes.iter().map(|route| route.connection).collect();
        if connections.is_empty() {
            return std::future::pending().await;
        }
        gate.watch.look(&self.platform, &self.row, &connections).await;
    }
}

/// Serves every connection until the sandbox is gone; then those that are open are cut.
async fn serve(mut relay: Relay, proxy: Arc<Proxy<RunGate>>) {
    // As many as a sandbox may have open: the relay hands out no more.
    let mut open = JoinSet::new();
    while let Some(flow) = relay.accept().await {
        while open.try_join_next().is_some() {}
        let proxy = Arc::clone(&proxy);
        open.spawn(async move {
            match Spoken::of(flow).await {
                Some((Spoken::Http, flow)) => proxy.serve(flow).await,
                Some((Spoken::Postgres, flow)) => database::serve(proxy.gate(), flow).await,
                None => {}
            }
        });
    }
}

/// What a program speaks.
enum Spoken {
    Http,
    Postgres,
}

impl Spoken {
    /// By its first byte: PostgreSQL begins with a length, which begins with nothing, and no method does.
    async fn of(mut flow: Flow) -> Option<(Self, Rewound<Flow>)> {
        let first = timeout(FIRST_BYTE_MAX, flow.read_u8()).await.ok()?.ok()?;
        let spoken = if first == 0 { Self::Postgres } else { Self::Http };
        Some((spoken, Rewound::new(vec![first], flow)))
    }
}

/// A way to each connection of the run, with its placeholder: the same in every life of the run, on every node.
async fn routes(platform: &Platform, row: &RunRow) -> Result<Vec<Route>> {
    let mut bound = platform.bound_connections(row).await?;
    // Programs send no mail: the tool is the only way.
    bound.retain(|_, bound| bound.connector.mail.is_none());
    if bound.is_empty() {
        return Ok(Vec::new());
    }
    let key = placeholder_key(platform).await?;
    let run = row.id.to_string();
    let route = |(slot, bound): (String, crate::connections::Bound)| {
        let placeholder = Placeholder::derived(&key, &[&run, &slot, &bound.connection.to_string()]);
        let placeholder = placeholder.map_err(Error::internal)?;
        Ok(Route { slot, connection: bound.connection, connector: bound.connector, placeholder })
    };
    bound.into_iter().map(route).collect()
}

/// The names the run's authority speaks for.
fn names(hosts: &[Reach], routes: &[Route]) -> Vec<String> {
    let origins = routes.iter().flat_map(|route| &route.connector.reach.origins);
    let of_routes = origins.filter(|origin| origin.scheme == Scheme::Https).filter_map(|origin| match &origin.host {
        HostPattern::Exact(host) if is_address(host) => None,
        host => Some(host.to_string()),
    });
    let mut names: Vec<String> = hosts.iter().map(|reach| reach.host.clone()).chain(of_routes).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Certificates of a run are for names; a connection at a bare address is for `call_api` alone.
fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok()
}

fn reach_of(host: &str) -> Reach {
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    Reach { host: name.to_owned(), port: port.parse().unwrap_or(HTTPS_PORT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_port_is_reached_at_https_alone() {
        let reach = |host| reach_of(host);
        assert_eq!(reach("api.example.com"), Reach { host: "api.example.com".into(), port: 443 });
        assert_eq!(reach("api.example.com:8443"), Reach { host: "api.example.com".into(), port: 8443 });
    }
}
