//! `livery up`: serve until told to stop.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use livery_platform::retention::Retain;

use super::say;
use crate::engine::{Ground, Keep, Observe, Running, runtime};
use crate::{bootstrap, cli, exit, objects};

/// After which what the start alone needed is given back: by then the first looks at the queue and the clock are over.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or Ctrl-C; a second signal stops at once.
pub(super) fn up(args: cli::Up) -> anyhow::Result<ExitCode> {
    crate::logging::start(args.log_json);
    // Before anything is made: a bad address leaves nothing behind.
    let shared = args.place.shared()?;
    objects::place(&args.node)?;
    let ground = Ground::prepare(&args.data, &args.engine, Keep::ForGood, Some(&args.node))?;
    let ground = match shared {
        Some(database) => ground.on(database),
        None => ground,
    };
    if let Some(user) = ground.user() {
        tracing::info!(user, "left root; only the launcher keeps it");
    }
    runtime()?.block_on(serve(ground, args))
}

async fn serve(ground: Ground, args: cli::Up) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let data = ground.data.clone();
    let retain = Retain {
        payload_days: args.retain_payloads,
        delivery_days: (args.retain_deliveries > 0).then_some(args.retain_deliveries),
    };
    let observe = Observe {
        otlp_endpoint: args.otlp_endpoint.clone(),
        otlp_content: args.otlp_content,
        retain,
        workspace_bytes_max: Some(args.workspace_quota_mb.saturating_mul(1024 * 1024)),
    };
    let mut running = Running::start(ground, args.listen, &args.engine, None, observe).await?;
    if let Some(listen) = args.metrics_listen {
        let address = running.serve_metrics(listen)?;
        tracing::info!(%address, "serving metrics");
    }
    let url = running.url();
    let file = bootstrap::update(&data, &url)?;
    greet(&url, running.bootstrap.as_ref().map(|first| first.api_key.as_str()), file.as_deref());
    if tokio::time::timeout(SETTLED_AFTER, stop.asked()).await.is_err() {
        livery_sandbox::thin::give_back();
        stop.asked().await;
    }
    say("stopping; a second signal stops at once");
    tokio::select! {
        stopped = running.stop() => stopped.map(|()| ExitCode::SUCCESS),
        () = stop.asked() => Ok(ExitCode::from(exit::INTERRUPTED)),
    }
}

/// The first start shows the key once; later ones show where the server is.
fn greet(url: &str, key: Option<&str>, file: Option<&std::path::Path>) {
    say(&format!("Livery {} is ready at {url} (docs: {url}/docs)", env!("CARGO_PKG_VERSION")));
    if let (Some(key), Some(file)) = (key, file) {
        say(&format!("first API key, shown once: {key}"));
        say(&format!("it is also in {} (mode 0600)", file.display()));
    }
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
