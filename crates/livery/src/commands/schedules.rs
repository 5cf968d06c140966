//! `livery schedules`: create, look at, pause, run and delete schedules, and see when they fire.

use std::process::ExitCode;

use clap::ValueEnum as _;
use serde_json::{Value, json};

use super::run::read_input;
use super::runs::escape;
use super::{cell, client, print, print_json, say, table};
use crate::cli::{NewSchedule, Schedules};
use crate::client::Client;
use crate::show::one_line;

pub(super) async fn schedules(command: Schedules) -> anyhow::Result<ExitCode> {
    match command {
        Schedules::Create(new) => create(&new).await?,
        Schedules::List { json, server } => list(&client(&server)?.get("/v1/schedules?limit=100").await?, json)?,
        Schedules::Show { id, json, server } => {
            let schedule = client(&server)?.get(&path(&id)).await?;
            if json { print_json(&schedule)? } else { print(&describe(&schedule))? }
        }
        Schedules::Pause { id, server } => pause(&client(&server)?, &id, true).await?,
        Schedules::Resume { id, server } => pause(&client(&server)?, &id, false).await?,
        Schedules::Run { id, json, server } => {
            let run = client(&server)?.post(&format!("{}/run", path(&id)), &json!({})).await?;
            if json { print_json(&run)? } else { print(&cell(&run["id"]))? }
        }
        Schedules::Delete { id, server } => {
            client(&server)?.delete(&path(&id)).await?;
            say(&format!("{id} is deleted"));
        }
        Schedules::Preview { what, time_zone, count, after, json, server } => {
            preview(&client(&server)?, (what, time_zone), count, after, json).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("/v1/schedules/{}", escape(id))
}

async fn create(new: &NewSchedule) -> anyhow::Result<()> {
    let word = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
    let body = json!({
        "name": new.name,
        "agent": new.agent,
        "input": read_input(&new.input)?,
        "cron": new.cron,
        "time_zone": new.time_zone,
        "overlap": word(new.overlap.to_possible_value()),
        "catch_up": word(new.catch_up.to_possible_value()),
        "jitter_s": new.jitter,
    });
    let schedule = client(&new.server)?.post("/v1/schedules", &body).await?;
    if new.json {
        return print_json(&schedule);
    }
    say(&format!("fires next at {}", cell(&schedule["next_fire_at"])));
    print(&cell(&schedule["id"]))
}

async fn pause(client: &Client, id: &str, paused: bool) -> anyhow::Result<()> {
    let schedule = client.patch(&path(id), &json!({"paused": paused})).await?;
    say(&match paused {
        true => format!("{id} is paused"),
        false => format!("{id} fires next at {}", cell(&schedule["next_fire_at"])),
    });
    Ok(())
}

async fn preview(
    client: &Client,
    (what, time_zone): (String, String),
    count: u32,
    after: Option<String>,
    json: bool,
) -> anyhow::Result<()> {
    let (cron, time_zone) = if what.starts_with("sch_") {
        let schedule = client.get(&path(&what)).await?;
        (cell(&schedule["cron"]), cell(&schedule["time_zone"]))
    } else {
        (what, time_zone)
    };
    let after = after.map(|after| format!("&after={}", escape(&after))).unwrap_or_default();
    let query = format!("cron={}&time_zone={}&count={count}{after}", escape(&cron), escape(&time_zone));
    let preview = client.get(&format!("/v1/schedules/preview?{query}")).await?;
    if json {
        return print_json(&preview);
    }
    let fires = preview["data"].as_array().into_iter().flatten();
    let rows = fires.map(|fire| vec![cell(&fire["local"]), cell(&fire["at"])]).collect();
    print(&table(&[&time_zone, "UTC"], rows))
}

fn list(page: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(page);
    }
    let rows = page["data"].as_array().into_iter().flatten().map(|schedule| {
        let next = if schedule["paused"] == true { "paused".to_owned() } else { cell(&schedule["next_fire_at"]) };
        vec![
            cell(&schedule["id"]),
            cell(&schedule["name"]),
            cell(&schedule["agent"]),
            cell(&schedule["cron"]),
            cell(&schedule["time_zone"]),
            next,
        ]
    });
    print(&table(&["schedule", "name", "agent", "cron", "time zone", "next"], rows.collect()))
}

fn describe(schedule: &Value) -> String {
    let fields = [
        "id",
        "name",
        "agent",
        "cron",
        "time_zone",
        "overlap",
        "catch_up",
        "jitter_s",
        "paused",
        "pause_reason",
        "input",
        "next_fire_at",
        "last_slot_at",
        "last_run",
        "last_error",
        "created_at",
    ];
    let shown = fields.iter().filter(|field| !schedule[**field].is_null());
    shown.map(|field| format!("{field:<13} {}", one_line(&cell(&schedule[*field])))).collect::<Vec<_>>().join("\n")
}
