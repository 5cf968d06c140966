//! `livery runs`: look at runs and stop them.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{cell, client, print, print_json, replay, say, shell, table};
use crate::cli::Runs;
use crate::client::Client;
use crate::show::{Paint, event_line, label_model, one_line, summary};
use crate::sse::EventStream;

pub(super) async fn runs(command: Runs) -> anyhow::Result<ExitCode> {
    match command {
        Runs::List { status, agent, schedule, limit, json, server } => {
            let filters = [("status", status), ("agent", agent), ("schedule", schedule)];
            let query = filters.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", escape(&value?))));
            let path = format!("/v1/runs?limit={limit}{}", query.collect::<String>());
            list(&client(&server)?.get(&path).await?, json)?;
        }
        Runs::Get { id, json, server } => {
            let run = client(&server)?.get(&format!("/v1/runs/{}", escape(&id))).await?;
            if json { print_json(&run)? } else { print(&describe(&run))? }
        }
        Runs::Events { id, follow, after, json, server } => {
            events(&client(&server)?, &escape(&id), follow, after, json).await?
        }
        Runs::Egress { id, json, server } => egress(&client(&server)?, &escape(&id), json).await?,
        Runs::Shell { id, command, server } => {
            return shell::shell(&client(&server)?, &escape(&id), command.as_deref()).await;
        }
        Runs::Cancel { id, server } => {
            let run = client(&server)?.post(&format!("/v1/runs/{}/cancel", escape(&id)), &json!({})).await?;
            say(&format!(
                "{} is {}",
                cell(&run["id"]),
                if run["finished_at"].is_null() { "stopping".to_owned() } else { cell(&run["status"]) }
            ));
        }
        Runs::Export { id, out, server } => {
            let bundle = client(&server)?.get_bytes(&format!("/v1/runs/{}/bundle", escape(&id))).await?;
            std::fs::write(&out, &bundle).with_context(|| format!("cannot write {}", out.display()))?;
            say(&format!("the run is in {}, with everything it said and was told", out.display()));
        }
        Runs::Replay { id, offline: Some(file), json, .. } => return replay::offline(&file, &id, json),
        Runs::Replay { id, live, json, server, .. } => {
            let (client, id) = (client(&server)?, escape(&id));
            if live {
                let run = client.post(&format!("/v1/runs/{id}/replay"), &json!({"mode": "live"})).await?;
                return replay::started(&run, json);
            }
            return replay::replay(&client, &id, json).await;
        }
        Runs::Fork { id, from_seq, input, model, agent, json, server } => {
            let mut body = json!({"from_seq": from_seq});
            let input = input.as_deref().map(super::run::read_input).transpose()?;
            for (name, value) in
                [("input", input), ("model", model.map(Value::from)), ("agent", agent.map(Value::from))]
            {
                if let Some(value) = value {
                    body[name] = value;
                }
            }
            let run = client(&server)?.post(&format!("/v1/runs/{}/fork", escape(&id)), &body).await?;
            return replay::started(&run, json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Percent-encodes what a person typed for a path or a query.
pub(super) fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%5F", "_")
        .replace("%2D", "-")
}

fn list(page: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(page);
    }
    let rows = page["data"].as_array().into_iter().flatten();
    let rows = rows.map(|run| {
        let agent = match run["agent"]["version"].as_u64() {
            Some(version) => format!("{}@{version}", cell(&run["agent"]["name"])),
            None => format!("{} (inline)", cell(&run["agent"]["name"])),
        };
        vec![cell(&run["id"]), cell(&run["status"]), agent, label_model(&cell(&run["model"])), cell(&run["created_at"])]
    });
    print(&table(&["run", "status", "agent", "model", "created"], rows.collect()))?;
    if !page["next_cursor"].is_null() {
        say("(there are more; raise --limit)");
    }
    Ok(())
}

fn describe(run: &Value) -> String {
    let mut text = format!("{} {}\n{}\n", cell(&run["id"]), cell(&run["status"]), summary(run));
    if !run["error"].is_null() {
        text.push_str(&format!(
            "error {}: {}\n",
            cell(&run["error"]["code"]),
            one_line(&cell(&run["error"]["message"]))
        ));
    }
    if !run["output"].is_null() {
        text.push_str(&format!("output {}\n", serde_json::to_string_pretty(&run["output"]).unwrap_or_default()));
    }
    for artifact in run["artifacts"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "artifact {} {} ({} bytes)\n",
            cell(&artifact["id"]),
            one_line(&cell(&artifact["path"])),
            artifact["bytes"]
        ));
    }
    text
}

async fn egress(client: &Client, id: &str, json: bool) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let page = client.get(&format!("/v1/runs/{id}/egress?after={after}&limit=1000")).await?;
        for event in page["data"].as_array().into_iter().flatten() {
            print(&if json { event.to_string() } else { egress_line(event) })?;
        }
        match page["next_after"].as_u64() {
            Some(next) if next > after => after = next,
            _ => return Ok(()),
        }
    }
}

/// One line for a person: what happened, through which slot, to where.
fn egress_line(event: &Value) -> String {
    let (data, kind) = (&event["data"], cell(&event["type"]));
    let what = match kind.as_str() {
        "egress.requested" => format!(
            "{} {}://{}{}",
            cell(&data["method"]),
            cell(&data["scheme"]),
            cell(&data["host"]),
            cell(&data["path"])
        ),
        "egress.finished" => format!("{} {}", cell(&data["outcome"]), cell(&data["status"])),
        "egress.denied" => format!("{}: {}", cell(&data["rule"]), cell(&data["reason"])),
        _ => cell(&data["location"]),
    };
    // A path is the model's words: it may hold anything that a terminal would obey.
    one_line(&format!("{}  {kind}  {}  {what}", cell(&event["at"]), cell(&data["slot"])))
}

async fn events(client: &Client, id: &str, follow: bool, mut after: u64, json: bool) -> anyhow::Result<()> {
    let paint = Paint::stdout();
    let show = |event: &Value| match (json, event_line(event, paint)) {
        (true, _) => print(&event.to_string()),
        (false, Some(line)) => print(&line),
        (false, None) => Ok(()),
    };
    if follow {
        let mut stream = EventStream::new(client.events(id, after).await?);
        while let Some(event) = stream.next().await? {
            show(&event)?;
        }
        return Ok(());
    }
    loop {
        let page = client.get(&format!("/v1/runs/{id}/events?after={after}&limit=1000")).await?;
        let data = page["data"].as_array().cloned().unwrap_or_default();
        for event in &data {
            show(event)?;
        }
        match (data.is_empty(), page["next_after"].as_u64()) {
            (false, Some(next)) => after = next,
            _ => return Ok(()),
        }
    }
}
