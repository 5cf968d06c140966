//! `livery dev`: tools for people who develop agents or Livery itself.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use livery_llm::script::Script;
use livery_testkit::fake_model::{Config, FakeModel, Memory, Mode, Policy};
use serde_json::json;

use super::{print, say};
use crate::cli::{Dev, FakePolicy};

pub(super) async fn dev(command: Dev) -> anyhow::Result<ExitCode> {
    let Dev::FakeModel { listen, script, policy, api_key, record } = command;
    let mode = match (script, policy) {
        (Some(path), _) => {
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            match Script::parse(&path.display().to_string(), &text) {
                Ok(script) => Mode::Script(Arc::new(script)),
                Err(findings) => bail!("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
            }
        }
        (None, Some(FakePolicy::Obey)) => Mode::Policy(Policy::Obey),
        (None, Some(FakePolicy::Echo) | None) => Mode::Policy(Policy::Echo),
    };
    if !listen.ip().is_loopback() {
        bail!("--listen {listen}: the fake model listens on loopback only");
    }
    let config =
        Config { listen: Some(listen), key: Some(api_key), mode, memory: Memory::Count, record, ..Config::default() };
    let server = FakeModel::start(config).await.with_context(|| format!("cannot listen on {listen}"))?;
    print(&json!({"anthropic": server.anthropic_base_url(), "openai": server.openai_base_url()}).to_string())?;
    say("the fake model answers; stop it with Ctrl-C");
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}
