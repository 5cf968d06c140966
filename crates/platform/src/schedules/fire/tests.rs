//! A platform whose clock is held and whose tasks do not run: every tick is the test's own.

use livery_core::id::{RunId, ScheduleId};
use livery_core::{Error, RunStatus, Timestamp};
use livery_store::Json;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{FAILURES_MAX, HELD_MAX, tick};
use crate::agents::{AgentUpload, InlineAgent};
use crate::runs::{RunFilter, RunView};
use crate::schedules::{NewSchedule, SchedulePatch, ScheduleView};
use crate::testing::Node;
use crate::{Caller, Clock, PageRequest, Platform};

struct Site {
    platform: Platform,
    caller: Caller,
    clock: Clock,
    _data: TempDir,
}

fn at(text: &str) -> Timestamp {
    format!("2026-11-22T{text}Z").parse().unwrap()
}

fn read<T: for<'de> serde::Deserialize<'de>>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl Site {
    /// At noon, with an agent `hello` that takes `{name}`.
    async fn new() -> Self {
        let Node { platform, caller, clock, data } = Node::at(at("12:00:30")).await;
        let site = Self { platform, caller, clock, _data: data };
        site.agent("{type: object, properties: {name: {type: string}}, required: [name]}").await;
        site
    }

    async fn agent(&self, input: &str) {
        let agent_md =
            format!("---\nname: hello\ndescription: d\nmodel: scripted/a\ntools: []\ninput: {input}\n---\nHi.\n");
        let agent = json!({"agent_md": agent_md, "files": {"scripts/a.yaml": "dHVybnM6IFt7dGV4dDogaGl9XQ=="}});
        let upload = AgentUpload::Inline(read::<InlineAgent>(agent));
        self.platform.create_agent_version(&self.caller, upload).await.unwrap();
    }

    async fn create(&self, more: Value) -> ScheduleView {
        let mut body = json!({"name": "n", "agent": "hello", "input": {"name": "Ada"}, "cron": "*/10 * * * *", "time_zone": "UTC"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        match self.platform.create_schedule(&self.caller, read::<NewSchedule>(body)).await.unwrap() {
            crate::Posted::Fresh(view) => view,
            crate::Posted::Replayed(_) => unreachable!(),
        }
    }

    /// Sets the clock and lets what is due happen.
    async fn at(&self, time: &str) {
        self.clock.set(at(time));
        tick(&self.platform).await.unwrap();
    }

    async fn get(&self, schedule: &ScheduleView) -> ScheduleView {
        self.platform.get_schedule(&self.caller.principal, schedule.id).await.unwrap()
    }

    async fn patch(&self, schedule: &ScheduleView, patch: Value) -> Result<ScheduleView, Error> {
        self.platform.update_schedule(&self.caller, schedule.id, read::<SchedulePatch>(patch)).await
    }

    /// Its runs, oldest first.
    async fn runs(&self, schedule: ScheduleId) -> Vec<RunView> {
        let filter = RunFilter { schedule: Some(schedule), ..RunFilter::default() };
        let page = PageRequest { limit: 200, cursor: None };
        let mut runs = self.platform.list_runs(&self.caller.principal, filter, page).await.unwrap().data;
        runs.reverse();
        runs
    }

    async fn cancel(&self, run: RunId) {
        self.platform.cancel_run(&self.caller, run).await.unwrap();
    }

    /// What the organization's stream says about schedules: type, and what is particular to it.
    async fn notes(&self) -> Vec<(String, Value)> {
        let events = self.platform.store.org_events_after(self.caller.principal.org, 0, 1000).await.unwrap();
        let notes = events.into_iter().filter(|event| event.event_type.starts_with("schedule."));
        notes
            .map(|event| {
                (event.event_type, event.data.as_ref().map_or(Value::Null, |data: &Json| data.parse().unwrap()))
            })
            .collect()
    }

    /// Reasons and counts of what was skipped.
    async fn skipped(&self) -> Vec<(String, u64)> {
        let notes = self.notes().await.into_iter().filter(|(kind, _)| kind == "schedule.skipped");
        notes.map(|(_, data)| (data["reason"].as_str().unwrap().to_owned(), data["count"].as_u64().unwrap())).collect()
    }
}

#[tokio::test]
async fn a_slot_starts_one_run_with_what_the_schedule_says() {
    let site = Site::new().await;
    let schedule = site.create(json!({"metadata": {"team": "ops"}, "limits": {"max_turns": 3}})).await;
    assert_eq!(schedule.next_fire_at, Some(at("12:10:00")));
    site.at("12:09:59").await;
    assert!(site.runs(schedule.id).await.is_empty());
    site.at("12:10:00").await;
    site.at("12:10:01").await;
    let runs = site.runs(schedule.id).await;
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].input.as_str(), runs[0].metadata.as_str()), ("{\"name\":\"Ada\"}", "{\"team\":\"ops\"}"));
    let events = site.platform.events_after(&site.caller.principal, runs[0].id, 0, 10).await.unwrap().data;
    assert_eq!(events[0].data["schedule"], json!({"id": schedule.id, "slot": at("12:10:00")}));
    let after = site.get(&schedule).await;
    assert_eq!((after.last_run, after.last_slot_at), (Some(runs[0].id), Some(at("12:10:00"))));
    assert_eq!(after.next_fire_at, Some(at("12:20:00")));
}

#[tokio::test]
async fn two_nodes_that_saw_the_same_slot_start_one_run() {
    let site = Site::new().await;
    let schedule = site.create(json!({"overlap": "queue"})).await;
    let now = at("12:10:00");
    site.clock.set(now);
    let seen = site.platform.store.system_due_schedules(now, 10).await.unwrap();
    let fires = (0..6).map(|_| site.platform.fire(&seen[0], now));
    for fired in futures_util::future::join_all(fires).await {
        fired.unwrap();
    }
    assert_eq!(site.runs(schedule.id).await.len(), 1);
}

#[tokio::test]
async fn skip_starts_nothing_beside_a_run_under_way() {
    let site = Site::new().await;
    let schedule = site.create(json!({})).await;
    site.at("12:10:00").await;
    site.at("12:20:00").await;
    let runs = site.runs(schedule.id).await;
    assert_eq!((runs.len(), site.skipped().await), (1, vec![("overlap".to_owned(), 1)]));
    site.cancel(runs[0].id).await;
    site.at("12:30:00").await;
    assert_eq!(site.runs(schedule.id).await.len(), 2);
}

#[tokio::test]
async fn replace_cancels_the_run_under_way() {
    let site = Site::new().await;
    let schedule = site.create(json!({"overlap": "replace"})).await;
    site.at("12:10:00").await;
    site.at("12:20:00").await;
    let runs = site.runs(schedule.id).await;
    let states: Vec<_> = runs.iter().map(|run| run.status).collect();
    assert_eq!(states, [RunStatus::Cancelled, RunStatus::Queued]);
}

#[tokio::test]
async fn queued_runs_wait_for_their_turn_and_are_bounded() {
    let site = Site::new().await;
    let schedule = site.create(json!({"overlap": "queue", "cron": "* * * * *"})).await;
    for minute in 1..=14 {
        site.at(&format!("12:{minute:02}:00")).await;
    }
    let runs = site.runs(schedule.id).await;
    assert_eq!(runs.len() as u64, 1 + HELD_MAX);
    assert_eq!(site.skipped().await, vec![("queue_full".to_owned(), 1); 3]);
    let queued = || site.platform.store.system_count_queued();
    assert_eq!(queued().await.unwrap(), 1, "the others wait outside the queue");
    // One that is cancelled while it waits lets the next one go.
    site.cancel(runs[1].id).await;
    site.cancel(runs[0].id).await;
    tick(&site.platform).await.unwrap();
    tick(&site.platform).await.unwrap();
    assert_eq!(queued().await.unwrap(), 1);
    assert_eq!(site.runs(schedule.id).await[2].status, RunStatus::Queued);
}

#[tokio::test]
async fn what_was_missed_is_skipped_and_counted_or_made_up_for_once() {
    let site = Site::new().await;
    let none = site.create(json!({})).await;
    let last = site.create(json!({"catch_up": "last"})).await;
    site.at("15:05:00").await;
    assert!(site.runs(none.id).await.is_empty());
    let caught_up = site.runs(last.id).await;
    assert_eq!(caught_up.len(), 1);
    let events = site.platform.events_after(&site.caller.principal, caught_up[0].id, 0, 10).await.unwrap().data;
    assert_eq!(events[0].data["schedule"]["slot"], json!(at("15:00:00")));
    let mut skipped = site.skipped().await;
    skipped.sort();
    assert_eq!(skipped, [("missed".to_owned(), 17), ("missed".to_owned(), 18)]);
    assert_eq!(site.get(&none).await.next_fire_at, Some(at("15:10:00")));
    site.at("15:10:00").await;
    assert_eq!(site.runs(none.id).await.len(), 1);
}

#[tokio::test]
async fn a_clock_that_goes_back_brings_no_slot_a_second_time() {
    let site = Site::new().await;
    let schedule = site.create(json!({"overlap": "queue"})).await;
    site.at("12:10:00").await;
    site.at("11:55:00").await;
    let paused = site.patch(&schedule, json!({"paused": true})).await.unwrap();
    assert_eq!((paused.paused, paused.next_fire_at), (true, None));
    let resumed = site.patch(&schedule, json!({"paused": false, "jitter_s": 0})).await.unwrap();
    assert_eq!(resumed.next_fire_at, Some(at("12:20:00")), "12:10 was dealt with");
    site.at("12:10:00").await;
    assert_eq!(site.runs(schedule.id).await.len(), 1);
}

#[tokio::test]
async fn a_paused_schedule_misses_nothing_it_would_make_up_for() {
    let site = Site::new().await;
    let schedule = site.create(json!({"catch_up": "last"})).await;
    site.patch(&schedule, json!({"paused": true})).await.unwrap();
    site.at("14:00:00").await;
    let resumed = site.patch(&schedule, json!({"paused": false})).await.unwrap();
    assert_eq!(resumed.next_fire_at, Some(at("14:10:00")));
    tick(&site.platform).await.unwrap();
    assert!(site.runs(schedule.id).await.is_empty());
}

#[tokio::test]
async fn a_schedule_that_cannot_start_says_why_and_is_paused_in_the_end() {
    let site = Site::new().await;
    let schedule = site.create(json!({"cron": "* * * * *"})).await;
    // The latest version wants something else.
    site.agent("{type: object, properties: {month: {type: string}}, required: [month]}").await;
    for minute in 1..=FAILURES_MAX {
        site.at(&format!("12:{minute:02}:00")).await;
        assert_eq!(site.get(&schedule).await.failures, minute);
    }
    let paused = site.get(&schedule).await;
    assert!(paused.paused && paused.last_error.as_ref().is_some_and(|error| error.contains("month")), "{paused:?}");
    assert_eq!(paused.pause_reason, paused.last_error);
    let kinds: Vec<_> = site.notes().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "schedule.failed").count(), 10);
    assert_eq!(kinds.last().unwrap(), "schedule.paused");
    // It can be paused and resumed as it is; a change of what it starts is tried out.
    assert!(site.patch(&schedule, json!({"input": {"name": "Eve"}})).await.is_err());
    let healed = site.patch(&schedule, json!({"input": {"month": "10"}, "paused": false})).await.unwrap();
    assert_eq!((healed.failures, healed.pause_reason, healed.paused), (0, None, false));
    site.at("12:30:00").await;
    assert_eq!(site.runs(schedule.id).await.len(), 1);
    assert_eq!(site.get(&schedule).await.last_error, None);
}

#[tokio::test]
async fn a_run_out_of_turn_counts_as_one_under_way() {
    let site = Site::new().await;
    let schedule = site.create(json!({"paused": true})).await;
    site.platform.run_schedule(&site.caller, schedule.id).await.unwrap();
    site.patch(&schedule, json!({"paused": false})).await.unwrap();
    site.at("12:10:00").await;
    assert_eq!((site.runs(schedule.id).await.len(), site.skipped().await.len()), (1, 1));
}
