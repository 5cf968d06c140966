//! `livery demo`: the main job on real input, in a minute and without a key. Two tenants run their agents side by side, each
//! in a sandbox of its own; events come live, the end comes as a signed webhook, and neither tenant sees the other's run.

mod report;
mod tenant;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use livery_testkit::WebhookSink;
use serde_json::{Value, json};

use self::report::Finding;
use self::tenant::{Tenant, Told};
use super::{cell, print, print_json, say};
use crate::cli;
use crate::client::{Client, Problem};
use crate::engine::{Ground, Keep, NamedProvider, Observe, Running, named_provider, runtime};
use crate::workbench::Workbench;

/// The longest wait for the webhooks after the runs ended.
const WEBHOOKS_MAX: Duration = Duration::from_secs(20);

pub(super) fn demo(args: cli::Demo) -> anyhow::Result<ExitCode> {
    crate::logging::start_quiet();
    let model = args.model.clone().or_else(model_of_environment);
    let provider = named_provider(model.as_deref(), args.base_url.as_deref())?;
    let mut workbench = Workbench::new("livery-demo", &args.engine, provider.as_ref())?;
    workbench.allow_loopback();
    let ground = Ground::prepare(workbench.path(), workbench.engine(), Keep::ForOneCommand, None)?;
    let outcome = runtime()?.block_on(show(ground, &workbench, model.as_deref(), provider.as_ref(), args.json));
    workbench.clear();
    outcome
}

/// A key in the environment means a real model; without one the examples play their scripts.
fn model_of_environment() -> Option<String> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("ANTHROPIC_API_KEY") {
        return Some("anthropic/claude-sonnet-4-6".to_owned());
    }
    set("OPENAI_API_KEY").then(|| "openai/gpt-5-mini".to_owned())
}

async fn show(
    ground: Ground,
    workbench: &Workbench,
    model: Option<&str>,
    provider: Option<&NamedProvider>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let running =
        Running::start(ground, ([127, 0, 0, 1], 0).into(), workbench.engine(), provider, Observe::default()).await?;
    say(&format!("Livery serves at {}", running.url()));
    let sink = WebhookSink::start().await.context("cannot listen for webhooks")?;
    let outcome = play(&running, &sink, model).await;
    sink.stop().await;
    running.stop().await?;
    let findings = outcome?;
    if json {
        print_json(&report::as_json(&findings))?;
    } else {
        print(&report::as_table(&findings))?;
    }
    Ok(if findings.iter().all(|finding| finding.ok) { ExitCode::SUCCESS } else { ExitCode::from(crate::exit::FAILED) })
}

/// Everything there is to see, in order; each finding says what was seen.
async fn play(running: &Running, sink: &WebhookSink, model: Option<&str>) -> anyhow::Result<Vec<Finding>> {
    let first = running.bootstrap.as_ref().context("the new data directory was not new")?;
    let operator = Client::new(&running.url(), &first.api_key)?;
    let other = operator.post("/v1/organizations", &json!({"name": "second tenant"})).await?;
    let tenants = [
        Tenant::settle("first", operator.clone(), "invoice-reconcile", json!({"month": "2026-10"}), sink).await?,
        Tenant::settle(
            "second",
            Client::new(&running.url(), &cell(&other["api_key"]))?,
            "support-triage",
            ticket(),
            sink,
        )
        .await?,
    ];
    let (left, right) = tokio::join!(tenants[0].run(model), tenants[1].run(model));
    let told = [left?, right?];
    let mut findings: Vec<Finding> = told.iter().map(report::of_run).collect();
    findings.push(webhooks(sink, &tenants, &told).await);
    findings.push(walls(&tenants, &told).await?);
    Ok(findings)
}

fn ticket() -> Value {
    json!({
        "ticket": "Hi, you charged my card TWICE for invoice 2026-114. My account is overdrawn and rent is due on Friday. Please fix this!",
        "customer": {"name": "Mara Lind", "plan": "team", "since": "2024-03-01"},
    })
}

/// Every run's end has to arrive once per tenant, signed with that tenant's own secret.
async fn webhooks(sink: &WebhookSink, tenants: &[Tenant; 2], told: &[Told; 2]) -> Finding {
    let deliveries = sink.wait_for(told.len(), WEBHOOKS_MAX).await.unwrap_or_else(|| sink.deliveries());
    let verified = tenants.iter().zip(told).filter(|(tenant, told)| {
        let mine = deliveries.iter().filter(|delivery| delivery.json()["data"]["run_id"] == told.run["id"]);
        let good = mine.filter(|delivery| delivery.verify(&tenant.webhook_secret).is_ok());
        good.count() == 1
    });
    let verified = verified.count();
    Finding {
        what: "signed webhooks".into(),
        ok: verified == told.len() && deliveries.len() == told.len(),
        seen: format!("{} received, {verified} signatures verified", deliveries.len()),
    }
}

/// Each tenant asks for the other's run, its events and its cancellation: all of it has to look as if it did not exist.
async fn walls(tenants: &[Tenant; 2], told: &[Told; 2]) -> anyhow::Result<Finding> {
    let mut refused = 0;
    let mut asked = 0;
    for (tenant, other) in [(&tenants[0], &told[1]), (&tenants[1], &told[0])] {
        let run = cell(&other.run["id"]);
        let answers = [
            tenant.client.get(&format!("/v1/runs/{run}")).await,
            tenant.client.get(&format!("/v1/runs/{run}/events")).await,
            tenant.client.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await,
        ];
        for answer in answers {
            asked += 1;
            match answer {
                Ok(_) => {}
                Err(error) => match error.downcast_ref::<Problem>() {
                    Some(problem) if problem.0.status == 404 => refused += 1,
                    _ => bail!(error),
                },
            }
        }
    }
    Ok(Finding {
        what: "tenants kept apart".into(),
        ok: refused == asked,
        seen: format!("{refused} of {asked} looks at the other's run answered 404"),
    })
}
