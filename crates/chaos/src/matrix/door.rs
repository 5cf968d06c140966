//! What has a run made: a caller, a schedule's time, or a message to a trigger. Each repeats itself until it is answered for
//! good, the way a caller, a clock and a sender do.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::cell::Life;
use super::scenario::Scenario;
use crate::http::Client;
use crate::node::{LOOK_EVERY, PATIENCE};

/// Which way a run comes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Door {
    /// `POST /v1/runs`.
    #[default]
    Caller,
    /// The slot of a schedule.
    Schedule,
    /// A message to a trigger.
    Trigger,
    /// `POST /v1/runs` for an end user, whose workspace outlives the run.
    EndUser,
}

/// The next full minute, and what a node may need to come back.
const SLOT_MAX: Duration = Duration::from_secs(120);
/// What the sender of messages proves itself with.
const SENDER_SECRET: &str = "sender-secret-0000000000";
/// The header field with the id of a message.
const MESSAGE_ID: &str = "x-message-id";

impl Life {
    /// Has the run made; its id.
    pub(super) async fn begin(&mut self, scenario: &Scenario, name: &str, more: &Value) -> anyhow::Result<String> {
        let agent = scenario.agent(name);
        match scenario.door {
            Door::Caller => {
                let mut run = json!({"agent": agent, "input": {}});
                run.as_object_mut().into_iter().zip(more.as_object()).for_each(|(run, more)| run.extend(more.clone()));
                let run = self.post("/v1/runs", "run", &run).await?;
                Ok(run["id"].as_str().context("a run without an id")?.to_owned())
            }
            Door::Schedule => {
                self.post("/v1/agents", "agent", &agent).await?;
                self.fired().await
            }
            Door::Trigger => {
                self.post("/v1/agents", "agent", &agent).await?;
                self.sent().await
            }
            Door::EndUser => {
                self.post("/v1/agents", "agent", &agent).await?;
                let user = self.post("/v1/end_users", "user", &json!({"external_id": "one"})).await?;
                let user = user["id"].as_str().context("an end user without an id")?;
                let headers = [JSON, &[("idempotency-key", "run"), ("livery-on-behalf-of", user)]].concat();
                let run = json!({"agent": super::scenario::AGENT}).to_string();
                let run = self.ask("POST", "/v1/runs", &headers, run.as_bytes()).await?;
                Ok(run["id"].as_str().context("a run without an id")?.to_owned())
            }
        }
    }

    /// What is wrong with the workspace of the run's end user, which has to have been saved once.
    pub(super) async fn saved_once(&mut self) -> anyhow::Result<Option<String>> {
        let workspaces = self.ask("GET", "/v1/workspaces", &[], b"").await?;
        let [workspace] = workspaces["data"].as_array().map_or(&[][..], Vec::as_slice) else {
            return Ok(Some(format!("there is not one workspace: {workspaces}")));
        };
        let id = workspace["id"].as_str().context("a workspace without an id")?;
        let snapshots = self.ask("GET", &format!("/v1/workspaces/{id}/snapshots"), &[], b"").await?;
        let rows = snapshots["data"].as_array().map_or(&[][..], Vec::as_slice);
        let is_one = matches!(rows, [row] if row["id"] == workspace["snapshot"] && row["origin"] == "run");
        Ok((!is_one).then(|| format!("not saved once: {workspace}, {snapshots}")))
    }

    /// The run of a schedule's one slot.
    async fn fired(&mut self) -> anyhow::Result<String> {
        let schedule = json!({"name": "each minute", "agent": super::scenario::AGENT, "cron": "* * * * *",
            "time_zone": "UTC", "catch_up": "last"});
        let schedule = self.post("/v1/schedules", "schedule", &schedule).await?;
        let schedule = schedule["id"].as_str().context("a schedule without an id")?;
        let begun = Instant::now();
        let run = loop {
            let runs = self.ask("GET", "/v1/runs?limit=10", &[], b"").await?;
            if let Some(run) = runs["data"][0]["id"].as_str() {
                break run.to_owned();
            }
            anyhow::ensure!(begun.elapsed() < SLOT_MAX, "the slot never fires");
            tokio::time::sleep(LOOK_EVERY).await;
        };
        // Before the next minute.
        self.ask("PATCH", &format!("/v1/schedules/{schedule}"), JSON, br#"{"paused": true}"#).await?;
        Ok(run)
    }

    /// The run of a message that its sender repeats until it is believed.
    async fn sent(&mut self) -> anyhow::Result<String> {
        let trigger = json!({"name": "messages", "agent": super::scenario::AGENT, "secret": SENDER_SECRET,
            "verification": {"kind": "bearer", "id_header": MESSAGE_ID}});
        let trigger = self.post("/v1/triggers", "trigger", &trigger).await?;
        let path = format!("/v1/triggers/{}/events", trigger["id"].as_str().context("a trigger without an id")?);
        let headers = [JSON, &[(MESSAGE_ID, "message-1")]].concat();
        let begun = Instant::now();
        loop {
            self.revive().await?;
            let sender = Client { key: SENDER_SECRET.to_owned(), ..self.client() };
            match sender.send("POST", &path, &headers, b"{}").await {
                Ok((status, answer)) if (200..300).contains(&status) => {
                    return Ok(answer["run"].as_str().context("a receipt without a run")?.to_owned());
                }
                other => anyhow::ensure!(begun.elapsed() < PATIENCE, "the message is not taken: {other:?}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
