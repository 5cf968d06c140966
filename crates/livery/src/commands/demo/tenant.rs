//! One tenant of the demo: its agent, its webhook, its run.

use anyhow::Context as _;
use include_dir::{Dir, DirEntry, include_dir};
use livery_core::agent::Folder;
use livery_core::agent::folder::Builder;
use livery_testkit::WebhookSink;
use serde_json::{Value, json};

use super::super::{cell, say};
use crate::client::Client;
use crate::show::{Paint, event_line};
use crate::sse::EventStream;

/// The repository's own examples, inside the binary: the demo works anywhere.
static EXAMPLES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../examples");

/// A tenant with everything set up for its run.
pub(super) struct Tenant {
    pub(super) name: &'static str,
    pub(super) client: Client,
    pub(super) webhook_secret: String,
    agent: String,
    input: Value,
}

/// What a tenant saw of its run.
pub(super) struct Told {
    pub(super) tenant: &'static str,
    pub(super) run: Value,
    /// Stored events that came, with their sequences in order and without a gap.
    pub(super) events: u64,
    pub(super) in_order: bool,
    /// Live-only news in between.
    pub(super) live: u64,
}

impl Tenant {
    /// Stores the example agent and a webhook endpoint for its end.
    pub(super) async fn settle(
        name: &'static str,
        client: Client,
        example: &str,
        input: Value,
        sink: &WebhookSink,
    ) -> anyhow::Result<Self> {
        let zip = livery_platform::agents::archive::write(&folder(example)?)?;
        let agent = client.post_bytes("/v1/agents", "application/zip", zip.into()).await?;
        let ends = ["run.succeeded", "run.failed", "run.cancelled", "run.timed_out"];
        let webhook = client.post("/v1/webhooks", &json!({"url": sink.url(), "events": ends})).await?;
        let agent = format!("{}@{}", cell(&agent["name"]), agent["version"]);
        Ok(Self { name, client, webhook_secret: cell(&webhook["secret"]), agent, input })
    }

    /// Runs the agent and shows its events while they come.
    pub(super) async fn run(&self, model: Option<&str>) -> anyhow::Result<Told> {
        let mut body = json!({"agent": self.agent, "input": self.input, "metadata": {"tenant": self.name}});
        if let Some(model) = model {
            body["model"] = model.into();
        }
        let run = self.client.post("/v1/runs", &body).await?;
        let id = cell(&run["id"]);
        let paint = Paint::stderr();
        let mut told = Told { tenant: self.name, run, events: 0, in_order: true, live: 0 };
        let mut stream = EventStream::new(self.client.events(&id, 0).await?);
        while let Some(event) = stream.next().await.context("the event stream broke off")? {
            match event["seq"].as_u64() {
                Some(seq) => {
                    told.in_order &= seq == told.events + 1;
                    told.events += 1;
                }
                None => told.live += 1,
            }
            if let Some(line) = event_line(&event, paint) {
                say(&format!("{} {line}", paint.dim(&format!("{:<7}│", self.name))));
            }
        }
        told.run = self.client.get(&format!("/v1/runs/{id}")).await?;
        Ok(told)
    }
}

fn folder(example: &str) -> anyhow::Result<Folder> {
    let dir = EXAMPLES.get_dir(example).with_context(|| format!("there is no example {example}"))?;
    let mut builder = Builder::new();
    add(dir, example, &mut builder)?;
    builder.finish().map_err(|findings| anyhow::anyhow!("the example {example} is broken: {findings:?}"))
}

fn add(dir: &Dir<'_>, root: &str, builder: &mut Builder) -> anyhow::Result<()> {
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(dir) => add(dir, root, builder)?,
            DirEntry::File(file) => {
                let path = file.path().strip_prefix(root)?.to_string_lossy().into_owned();
                builder.add(&path, file.contents().to_vec(), false);
            }
        }
    }
    Ok(())
}
