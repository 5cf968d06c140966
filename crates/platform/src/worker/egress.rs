//! The way out of a run's sandbox: the hosts its agent names, through the broker's proxy and nothing else.
//!
//! Only a sandbox whose agent says `network: {allow: […]}` gets it. The sandbox learns an address on its own loopback and one
//! certificate; the certificate's key, and every rule, stay here. It is taken down with the sandbox: what is open is cut then.
//! Read next: `livery_broker::proxy`.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use livery_broker::Target;
use livery_broker::proxy::placeholder::Placeholders;
use livery_broker::proxy::{Answered, Asked, AuthorityFailed, Direct, Finding, Gate, Lifetime, Proxy, Reach, Refusal};
use livery_core::agent::Network;
use livery_core::id::RunId;
use livery_sandbox::{Relay, Sandbox};
use livery_store::RunRow;
use tokio::task::JoinSet;

use crate::Platform;

/// Where the proxy is, inside: below the ports the kernel hands out, and none that a program of an agent's would take.
const PORT: u16 = 17_400;
/// The port of a host that names none.
const HTTPS_PORT: u16 = 443;
/// What the sandbox must trust: the run's own authority alone. Nothing else ever answers on this way, so the system's roots
/// would be of no use; and a program that looks at this file only, as most do, needs no second one.
const AUTHORITY_FILE: &str = "/workspace/.livery/egress.pem";

/// How programs are told where the proxy is.
const PROXY_VARIABLES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
/// What they reach without it: their own machine.
const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// How programs are told whom to trust.
const AUTHORITY_VARIABLES: [&str; 9] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
];

/// Decides for one run, and says in the log what it tried.
struct RunGate {
    run: RunId,
    direct: Direct,
}

impl Gate for RunGate {
    fn admits(&self, origin: &Target) -> bool {
        self.direct.admits(origin)
    }

    async fn pass(&self, asked: Asked) -> Result<Answered, Refusal> {
        self.direct.pass(asked).await
    }

    fn found(&self, finding: Finding) {
        let what = finding.what.as_str();
        tracing::warn!(run = %self.run, host = finding.host, what, "a run tried to get out where it may not");
    }

    fn revoked(&self) -> impl Future<Output = ()> + Send {
        // Its rules are the run's from beginning to end; with the run goes its sandbox, and every connection.
        pending()
    }
}

/// A run's way out, before its sandbox stands.
pub(super) struct Egress {
    proxy: Arc<Proxy<RunGate>>,
}

impl Egress {
    /// The way out of this run's sandbox, if it has one, for the `time` the run may still take.
    pub(super) fn of(
        platform: &Platform,
        row: &RunRow,
        network: &Network,
        time: Duration,
    ) -> Result<Option<Self>, AuthorityFailed> {
        let reach = match network {
            Network::Allow(hosts) => hosts.iter().map(|host| reach_of(host)).collect::<Vec<_>>(),
            Network::None | Network::Broker => Vec::new(),
        };
        if reach.is_empty() {
            return Ok(None);
        }
        let mut names: Vec<String> = reach.iter().map(|reach| reach.host.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let direct = Direct::new(platform.broker.clone(), row.org, reach, time);
        let gate = RunGate { run: row.id, direct };
        let now_s = u64::try_from(platform.clock.now().as_micros() / 1_000_000).unwrap_or_default();
        let proxy = Proxy::new(gate, names, Placeholders::default(), Lifetime { now_s, left: time })?;
        Ok(Some(Self { proxy: Arc::new(proxy) }))
    }

    /// Opens it. A sandbox that an earlier life of the run has left standing has its way out, and keeps it.
    pub(super) async fn open(self, platform: &Platform, sandbox: &Sandbox) -> Result<(), livery_sandbox::Error> {
        let Some(relay) = sandbox.relay(PORT).await? else { return Ok(()) };
        let authority = self.proxy.authority_pem().unwrap_or_default();
        sandbox.put(AUTHORITY_FILE, authority.as_bytes(), 0o644).await?;
        platform.tasks.spawn(serve(relay, self.proxy));
        Ok(())
    }
}

/// What programs in a sandbox with a way out are told.
pub(super) fn environment() -> Vec<(String, String)> {
    let proxy = format!("http://127.0.0.1:{PORT}");
    let all = |names: &[&'static str], value: &str| -> Vec<(String, String)> {
        names.iter().map(|name| ((*name).to_owned(), value.to_owned())).collect()
    };
    let mut variables = all(&PROXY_VARIABLES, &proxy);
    variables.extend(all(&NO_PROXY_VARIABLES, "localhost,127.0.0.1,::1"));
    variables.extend(all(&AUTHORITY_VARIABLES, AUTHORITY_FILE));
    variables
}

/// Serves every connection until the sandbox is gone; then those that are open are cut.
async fn serve(mut relay: Relay, proxy: Arc<Proxy<RunGate>>) {
    // As many as a sandbox may have open: the relay hands out no more.
    let mut open = JoinSet::new();
    while let Some(flow) = relay.accept().await {
        while open.try_join_next().is_some() {}
        let proxy = Arc::clone(&proxy);
        open.spawn(async move { proxy.serve(flow).await });
    }
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
