//! An engine in this process: the launcher, the platform and the API server, from flags to the last drained run.
//!
//! Two steps, because of the order the kernel wants: [`Ground`] before the async runtime (the launcher starts while this
//! process may still be root, then root is left), [`Running`] inside it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use livery_broker::{BrokerConfig, Secret};
use livery_core::Error;
use livery_core::connector::Origin;
use livery_platform::images::IMAGES_DIR;
use livery_platform::organizations::Bootstrap;
use livery_platform::providers::{EnvironmentProvider, EnvironmentProviders, ProviderKind};
use livery_platform::retention::Retain;
use livery_platform::traces::Traces;
use livery_platform::{Clock, Config, Database, Parts, Platform};
use livery_sandbox::{LauncherProcess, SandboxConfig, Sandboxes, spawn_launcher};
use livery_server::Options;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bootstrap::{self, Waiting};
use crate::cli;
use crate::host::{self, User};
use crate::{exit, objects, otlp, root_keys};

/// What the launcher may take to say what this host gives.
const LAUNCHER_ANSWER: Duration = Duration::from_secs(10);
/// Where the launcher keeps its journal and the workspaces, below the data directory.
const SANDBOXES_DIR: &str = "sandboxes";

/// How long the data directory is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// A server's: until its operator removes it.
    ForGood,
    /// `run` and `demo`: the launcher, which may own what an ordinary user cannot remove, takes its part away.
    ForOneCommand,
}

/// A process made ready: data directory there, launcher started, root left.
pub(crate) struct Ground {
    pub(crate) data: PathBuf,
    database: Database,
    node: Option<cli::Node>,
    root_keys: root_keys::Named,
    launcher: Option<LauncherProcess>,
    user: Option<User>,
}

impl Ground {
    /// Prepares `data`; call it before any thread exists. `node`: what a server is among others. One that does not work on
    /// runs needs no launcher.
    pub(crate) fn prepare(
        data: &Path,
        engine: &cli::Engine,
        keep: Keep,
        node: Option<&cli::Node>,
    ) -> anyhow::Result<Self> {
        // Before anything is made, and as whoever started this: a token may be for root's eyes.
        let root_keys = root_keys::Named::read()?;
        let user = host::ordinary_user(engine.user.as_deref())?;
        host::private_dir(data, user.as_ref())?;
        let data = std::path::absolute(data)?;
        let sandboxes = SandboxConfig {
            ephemeral: keep == Keep::ForOneCommand,
            restarts: keep == Keep::ForGood,
            image_dirs: vec![livery_images::Store::new(data.join(IMAGES_DIR)).roots()],
            image_owner: user.as_ref().map(|user| user.uid),
            ..host::sandboxes(&data.join(SANDBOXES_DIR), &engine.carriers)?
        };
        let works = node.is_none_or(|node| node.roles.worker);
        let launcher = works.then(|| spawn_launcher(&sandboxes)).and_then(|started| match started {
            Ok(launcher) => Some(launcher),
            Err(error) => {
                tracing::error!(%error, "the launcher cannot be started; runs that need a sandbox will fail");
                None
            }
        });
        host::settle(user.as_ref())?;
        let database = Database::in_folder(&data);
        Ok(Self { data, database, node: node.cloned(), root_keys, launcher, user })
    }

    /// The same on another database.
    pub(crate) fn on(self, database: Database) -> Self {
        Self { database, ..self }
    }

    /// The user this process became, when it was root.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|user| user.name.as_str())
    }
}

/// A provider named on the command line (`--model`, `--base-url`).
pub(crate) struct NamedProvider {
    pub(crate) name: String,
    pub(crate) base_url: Option<String>,
}

/// What an operator wants to see and to keep of an engine's work.
#[derive(Debug, Default)]
pub(crate) struct Observe {
    /// The collector that gets traces.
    pub(crate) otlp_endpoint: Option<String>,
    /// Whether content goes along.
    pub(crate) otlp_content: bool,
    /// How long things are kept.
    pub(crate) retain: Retain,
    /// What the snapshots of one application may have together, in bytes; none: the default.
    pub(crate) workspace_bytes_max: Option<u64>,
}

/// An engine that serves.
pub(crate) struct Running {
    pub(crate) platform: Platform,
    pub(crate) address: SocketAddr,
    /// The first organization, when this start created it.
    pub(crate) bootstrap: Option<Bootstrap>,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
    metrics: Option<JoinHandle<std::io::Result<()>>>,
    exporting: Option<otlp::Exporting>,
}

impl Running {
    /// Opens the data directory, listens and starts working.
    pub(crate) async fn start(
        ground: Ground,
        listen: SocketAddr,
        engine: &cli::Engine,
        provider: Option<&NamedProvider>,
        observe: Observe,
    ) -> anyhow::Result<Self> {
        let listener = livery_server::listen(listen)
            .with_context(|| format!("cannot listen on {listen}; choose another address with --listen"))?;
        let address = listener.local_addr()?;
        let sandboxes = match ground.launcher {
            Some(launcher) => usable(Sandboxes::connect(launcher)?).await,
            None => None,
        };
        let (traces, exporting) = match &observe.otlp_endpoint {
            Some(endpoint) => {
                let (sink, exporting) = otlp::start(endpoint)?;
                (Traces { sink: Some(sink), content: observe.otlp_content }, Some(exporting))
            }
            None => (Traces::default(), None),
        };
        let mut config = config(&ground.data, ground.node.as_ref(), address)?;
        config.workspace_bytes_max = observe.workspace_bytes_max.unwrap_or(config.workspace_bytes_max);
        let parts = Parts {
            config: Config { traces, retain: observe.retain, ..config },
            database: ground.database,
            clock: Clock::system(),
            broker: broker_config(engine, address)?,
            root_keys: ground.root_keys.beside(&ground.data),
            environment: environment_providers(provider),
            sandboxes,
        };
        let platform = Platform::open(parts).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let (bootstrap, waiting) = first_key(&platform, &ground.data, &url_of(address)).await?;
        platform.start().await?;
        let shutdown = CancellationToken::new();
        let server =
            tokio::spawn(livery_server::serve(listener, platform.clone(), Options::default(), shutdown.clone()));
        // Whoever waits for the file finds a server.
        if let Some(waiting) = waiting {
            bootstrap::settle(&ground.data, waiting)?;
        }
        Ok(Self { platform, address, bootstrap, shutdown, server, metrics: None, exporting })
    }

    /// Serves the metrics on an address of their own; the address.
    pub(crate) fn serve_metrics(&mut self, listen: SocketAddr) -> anyhow::Result<SocketAddr> {
        let listener = livery_server::listen(listen).with_context(|| {
            format!("cannot listen on {listen} for metrics; choose another address with --metrics-listen")
        })?;
        let address = listener.local_addr()?;
        let serve = livery_server::serve_metrics(listener, self.platform.clone(), self.shutdown.clone());
        self.metrics = Some(tokio::spawn(serve));
        Ok(address)
    }

    /// Where the API is.
    pub(crate) fn url(&self) -> String {
        url_of(self.address)
    }

    /// Drains while the API is served and `/readyz` says no; then no new connection, and the database closes.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.platform.drain().await;
        self.shutdown.cancel();
        self.server.await??;
        if let Some(metrics) = self.metrics {
            metrics.await??;
        }
        self.platform.shutdown().await;
        if let Some(exporting) = self.exporting {
            exporting.flush().await;
        }
        Ok(())
    }
}

/// Founds the first organization, when there is none: its key is in a file before it is in the database. A file that an
/// earlier start left behind holds the first key, if the database knows it.
async fn first_key(
    platform: &Platform,
    data: &Path,
    url: &str,
) -> anyhow::Result<(Option<Bootstrap>, Option<Waiting>)> {
    let mut failure = None;
    let founded = platform.bootstrap(|first| {
        bootstrap::keep(data, url, first).map_err(|error| {
            let told = Error::internal(&error);
            failure = Some(error);
            told
        })
    });
    let founded = founded.await.map_err(|error| failure.unwrap_or_else(|| error.into()))?;
    let waiting = match (&founded, bootstrap::waiting(data)) {
        (Some(_), _) => Some(Waiting::Holds),
        (None, None) => None,
        (None, Some(key)) => Some(match platform.authenticate(&key).await {
            Ok(_) => Waiting::Holds,
            Err(Error::Unauthenticated { .. }) => Waiting::IsVoid,
            Err(error) => return Err(error.into()),
        }),
    };
    Ok((founded, waiting))
}

/// Where a server on this address is reached from its own machine.
fn url_of(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

/// The sandboxes, when the launcher says that this host can give them.
async fn usable(sandboxes: Sandboxes) -> Option<Sandboxes> {
    match tokio::time::timeout(LAUNCHER_ANSWER, sandboxes.grants()).await {
        Ok(Ok(grants)) => {
            tracing::info!(
                privileged = grants.privileged,
                memory = grants.memory,
                landlock = grants.landlock_abi,
                "sandboxes are there"
            );
            Some(sandboxes)
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "this host gives no sandboxes; `livery doctor` says why and how to fix it");
            None
        }
        Err(_) => {
            tracing::error!("the launcher did not answer; runs that need a sandbox will fail");
            None
        }
    }
}

fn config(data: &Path, node: Option<&cli::Node>, address: SocketAddr) -> anyhow::Result<Config> {
    let name = node.and_then(|node| node.name.clone()).unwrap_or_else(host_name);
    let mut config = Config::new(data.to_owned(), name);
    config.address = Some(address.to_string());
    config.public_url = Some(public_url(node.and_then(|node| node.public_url.as_deref()), address)?);
    if let Some(node) = node {
        config.roles = node.roles;
        if let Some(place) = objects::place(node)? {
            config.objects = place;
            config.snapshots = true;
        }
    }
    // Tests of recovery say where a debug build kills itself.
    #[cfg(debug_assertions)]
    if let Ok(point) = std::env::var("LIVERY_CRASH_AT") {
        let point = point.parse().map_err(|error| anyhow::anyhow!("LIVERY_CRASH_AT: {error}"))?;
        config.crash = livery_platform::crash::CrashPlan::at(point);
    }
    Ok(config)
}

/// Where browsers reach the API: an origin, compared to the letter by authorization servers.
fn public_url(said: Option<&str>, address: SocketAddr) -> anyhow::Result<String> {
    let Some(said) = said else { return Ok(url_of(address)) };
    let origin: Result<Origin, _> = said.trim_end_matches('/').parse();
    match origin {
        Ok(origin) if origin.is_exact() => Ok(origin.to_string()),
        _ => Err(exit::Usage(format!("--public-url {said}: not https://HOST, with a port if it has one")).into()),
    }
}

/// For people; the kernel always has one.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn broker_config(engine: &cli::Engine, address: SocketAddr) -> anyhow::Result<BrokerConfig> {
    let mut allow_upstream = Vec::new();
    for text in &engine.allow_upstream {
        allow_upstream.push(
            text.parse().with_context(|| {
                format!("--allow-upstream {text}: not a network such as 127.0.0.0/8 or 10.1.2.0/24")
            })?,
        );
    }
    Ok(BrokerConfig {
        allow_upstream,
        upstream_ca: engine.upstream_ca.clone(),
        resolver: engine.resolver,
        own_addresses: vec![address],
        ..BrokerConfig::default()
    })
}

/// `ANTHROPIC_API_KEY` and `OPENAI_API_KEY` make the providers of those names; `--base-url` makes the one of `--model`.
fn environment_providers(named: Option<&NamedProvider>) -> EnvironmentProviders {
    let key = |name: &str| std::env::var(name).ok().filter(|key| !key.is_empty()).map(Secret::from);
    let kinds = [
        ("anthropic", ProviderKind::Anthropic, "ANTHROPIC_API_KEY"),
        ("openai", ProviderKind::Openai, "OPENAI_API_KEY"),
    ];
    let mut providers: Vec<EnvironmentProvider> = kinds
        .into_iter()
        .filter_map(|(name, kind, variable)| {
            Some(EnvironmentProvider { name: name.to_owned(), kind, base_url: None, api_key: Some(key(variable)?) })
        })
        .collect();
    if let Some(NamedProvider { name, base_url: Some(base_url) }) = named {
        let (kind, variable) = match name.as_str() {
            "anthropic" => (ProviderKind::Anthropic, "ANTHROPIC_API_KEY"),
            "openai" => (ProviderKind::Openai, "OPENAI_API_KEY"),
            _ => (ProviderKind::OpenaiCompatible, "OPENAI_API_KEY"),
        };
        providers.push(EnvironmentProvider {
            name: name.clone(),
            kind,
            base_url: Some(base_url.clone()),
            api_key: key(variable),
        });
    }
    EnvironmentProviders::new(providers)
}

/// The provider of `--model PROVIDER/MODEL`.
pub(crate) fn named_provider(model: Option<&str>, base_url: Option<&str>) -> anyhow::Result<Option<NamedProvider>> {
    let Some(model) = model else { return Ok(None) };
    let Some((name, rest)) = model.split_once('/') else {
        bail!("--model {model}: write it PROVIDER/MODEL, such as openai/gpt-5-mini")
    };
    if name.is_empty() || rest.is_empty() {
        bail!("--model {model}: write it PROVIDER/MODEL, such as openai/gpt-5-mini");
    }
    Ok(Some(NamedProvider { name: name.to_owned(), base_url: base_url.map(str::to_owned) }))
}

/// A runtime for an engine: as many workers as the machine has cores.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")
}
