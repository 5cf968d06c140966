//! Schedules: a slot is claimed once, by whoever is first; runs of one wait in order; delayed runs wait for their time.

use futures_util::FutureExt;
use livery_core::RunStatus;
use livery_core::id::{KeyId, RunId, ScheduleId};
use livery_store::{Error, Json, Page, RunFilter, ScheduleRow, Slot};
use serde_json::json;

use crate::conformance;
use crate::world::{Tenant, World, accepted, at, bits, finish, new_run};

fn new_schedule(tenant: &Tenant) -> ScheduleRow {
    ScheduleRow {
        id: ScheduleId::from_bits(bits()),
        org: tenant.org,
        application: Some(tenant.app),
        end_user: None,
        created_by: KeyId::from_bits(1),
        name: "nightly".into(),
        cron: "0 2 * * *".into(),
        time_zone: "Europe/Vienna".into(),
        overlap: "skip".into(),
        catch_up: "none".into(),
        jitter_s: 5,
        request: Json::of(&json!({"agent": "hello"})).unwrap(),
        revision: 1,
        paused_at: None,
        pause_reason: None,
        next_slot_at: Some(at(100)),
        next_fire_at: Some(at(103)),
        last_slot_at: None,
        last_run: None,
        last_error: None,
        failures: 0,
        created_at: at(1),
        updated_at: at(1),
    }
}

async fn inserted(world: &World, row: ScheduleRow) -> ScheduleRow {
    let stored = row.clone();
    world.write(move |tx| async move { tx.insert_schedule(&stored).await }.boxed()).await;
    row
}

async fn get(world: &World, row: &ScheduleRow) -> ScheduleRow {
    world.store.get_schedule(row.org, row.id).await.unwrap().unwrap()
}

fn slot(expected: i64, next: i64) -> Slot {
    Slot { expected: at(expected), dealt: at(expected), next: Some((at(next), at(next + 3))) }
}

async fn claim(world: &World, row: &ScheduleRow, revision: u64, slot: Slot) -> bool {
    let (org, id) = (row.org, row.id);
    world.write(move |tx| async move { tx.claim_schedule(org, id, revision, slot).await }.boxed()).await
}

/// One owner's change.
async fn update(world: &World, row: &ScheduleRow) -> bool {
    let row = row.clone();
    world.write(move |tx| async move { tx.update_schedule(&row).await }.boxed()).await
}

/// A run of the schedule, accepted and held or queued.
async fn run_of(world: &World, row: &ScheduleRow, held: bool) -> RunId {
    let mut run = new_run(&world.one);
    run.schedule = Some(row.id);
    let (org, id, schedule) = (run.org, run.id, row.id);
    accepted(&world.store, run).await;
    world
        .write(move |tx| {
            async move {
                match held {
                    true => tx.hold_schedule_run(org, schedule, id).await,
                    false => tx.enqueue(org, id, at(0)).await,
                }
            }
            .boxed()
        })
        .await;
    id
}

async fn release(world: &World) -> u64 {
    world.write(|tx| async move { tx.system_release_held_runs(at(5)).await }.boxed()).await
}

conformance! {
    async fn a_schedule_is_what_was_written(world) {
        let row = inserted(&world, new_schedule(&world.one)).await;
        assert_eq!(get(&world, &row).await, row);
        assert_eq!(world.store.get_schedule(world.two.org, row.id).await.unwrap(), None, "of its tenant alone");
        let listed = world.store.list_schedules(world.one.org, Some(world.one.app), &Page::default()).await.unwrap();
        assert_eq!(listed.data, std::slice::from_ref(&row));
        assert_eq!(world.store.list_schedules(world.two.org, None, &Page::default()).await.unwrap().data, []);
        let (org, app) = (world.one.org, world.one.app);
        assert_eq!(world.write(move |tx| async move { tx.count_schedules(org, Some(app)).await }.boxed()).await, 1);
        let (other, id) = (world.two.org, row.id);
        let foreign = world.store.write(move |tx| async move { tx.delete_schedule(other, id).await }.boxed()).await;
        assert!(matches!(foreign, Err(Error::NotFound { .. })));
        world.write(move |tx| async move { tx.delete_schedule(org, id).await }.boxed()).await;
        assert_eq!(world.store.get_schedule(org, id).await.unwrap(), None);
    }

    async fn a_slot_is_claimed_once(world) {
        let row = inserted(&world, new_schedule(&world.one)).await;
        assert_eq!(world.store.system_next_schedule_at().await.unwrap(), Some(at(103)));
        assert_eq!(world.store.system_due_schedules(at(102), 10).await.unwrap(), []);
        assert_eq!(world.store.system_due_schedules(at(103), 10).await.unwrap(), std::slice::from_ref(&row));
        // Many nodes saw the same row.
        let claims = (0..8).map(|_| claim(&world, &row, 1, slot(100, 200)));
        let won = futures_util::future::join_all(claims).await.into_iter().filter(|won| *won).count();
        assert_eq!(won, 1);
        let after = get(&world, &row).await;
        assert_eq!((after.last_slot_at, after.next_slot_at, after.next_fire_at), (Some(at(100)), Some(at(200)), Some(at(203))));
        assert_eq!(world.store.system_due_schedules(at(103), 10).await.unwrap(), []);
        assert!(!claim(&world, &row, 2, slot(200, 300)).await, "another revision");
        assert!(claim(&world, &row, 1, Slot { expected: at(200), dealt: at(400), next: None }).await);
        assert_eq!(world.store.system_next_schedule_at().await.unwrap(), None, "it fires no more");
    }

    async fn a_claim_that_is_undone_leaves_the_slot(world) {
        let row = inserted(&world, new_schedule(&world.one)).await;
        let (org, id) = (row.org, row.id);
        let undone: Result<(), Error> = world.store.write(move |tx| async move {
            assert!(tx.claim_schedule(org, id, 1, slot(100, 200)).await?);
            Err(Error::NotFound { what: "agent" })
        }.boxed()).await;
        undone.unwrap_err();
        assert_eq!(get(&world, &row).await, row);
    }

    async fn a_change_voids_what_was_read_before_it(world) {
        let row = inserted(&world, new_schedule(&world.one)).await;
        let mut changed = ScheduleRow { name: "other".into(), paused_at: Some(at(50)), ..row.clone() };
        assert!(update(&world, &changed).await);
        assert!(!update(&world, &changed).await, "of two changes, the second has to look again");
        assert!(!claim(&world, &row, 1, slot(100, 200)).await);
        assert!(!claim(&world, &row, 2, slot(100, 200)).await, "paused");
        assert_eq!(world.store.system_due_schedules(at(500), 10).await.unwrap(), []);
        changed.revision = 2;
        assert_eq!(get(&world, &row).await, changed, "where it stands is not the owner's");
        let (org, id) = (row.org, row.id);
        world.write(move |tx| async move { tx.move_schedule(org, id, Some((at(600), at(601)))).await }.boxed()).await;
        assert_eq!(get(&world, &row).await.next_fire_at, Some(at(601)));
    }

    async fn failures_in_a_row_pause_a_schedule_and_a_run_ends_the_row(world) {
        let row = inserted(&world, new_schedule(&world.one)).await;
        let (org, id) = (row.org, row.id);
        let fail = || world.write(move |tx| async move {
            tx.note_schedule_failure(org, id, &"é".repeat(900), 3, at(9)).await
        }.boxed());
        assert!(!fail().await && !fail().await);
        let run = run_of(&world, &row, false).await;
        world.write(move |tx| async move { tx.note_schedule_run(org, id, run).await }.boxed()).await;
        let healed = get(&world, &row).await;
        assert_eq!((healed.failures, healed.last_error, healed.last_run), (0, None, Some(run)));
        assert!(!fail().await && !fail().await && fail().await);
        let paused = get(&world, &row).await;
        assert_eq!((paused.failures, paused.paused_at), (3, Some(at(9))));
        assert_eq!(paused.pause_reason.unwrap().chars().count(), 500);
    }

    async fn runs_of_a_schedule_wait_for_their_turn(world) {
        let row = inserted(&world, new_schedule(&world.one)).await;
        let (org, id) = (row.org, row.id);
        let first = run_of(&world, &row, false).await;
        let lease = world.claim("worker", 10, 1).await[0].lease;
        let (second, third) = (run_of(&world, &row, true).await, run_of(&world, &row, true).await);
        let live = world.write(move |tx| async move { tx.live_schedule_runs(org, id, 10).await }.boxed()).await;
        assert_eq!(live, [first, second, third]);
        assert_eq!(world.write(move |tx| async move { tx.count_held_runs(org, id).await }.boxed()).await, 2);
        assert_eq!(release(&world).await, 0, "the first is under way");
        assert!(world.claim("worker", 11, 10).await.is_empty());
        finish(&world.store, lease, RunStatus::Failed).await.unwrap();
        assert_eq!((release(&world).await, release(&world).await), (1, 0), "one at a time");
        let claimed = world.claim("worker", 12, 10).await;
        assert_eq!(claimed.iter().map(|claimed| claimed.run.id).collect::<Vec<_>>(), [second]);
        assert_eq!(world.store.system_count_held_runs().await.unwrap(), 1);
        finish(&world.store, claimed[0].lease, RunStatus::Succeeded).await.unwrap();
        assert_eq!(release(&world).await, 1);
        let filter = RunFilter { schedule: Some(id), ..RunFilter::default() };
        let listed = world.store.list_runs(org, &filter, &Page::default()).await.unwrap().data;
        assert_eq!(listed.iter().map(|run| run.id).collect::<Vec<_>>(), [third, second, first]);
        assert_eq!(world.store.list_runs(world.two.org, &filter, &Page::default()).await.unwrap().data, []);
    }

    async fn a_delayed_run_is_claimed_when_its_time_has_come(world) {
        let mut run = new_run(&world.one);
        (run.start_at, run.created_at) = (Some(at(90)), at(2));
        let (org, id) = (run.org, run.id);
        accepted(&world.store, run).await;
        world.write(move |tx| async move { tx.enqueue(org, id, at(90)).await }.boxed()).await;
        assert_eq!(world.store.system_next_start_at(at(2)).await.unwrap(), Some(at(90)));
        assert!(world.claim("worker", 89, 10).await.is_empty());
        assert_eq!(world.store.system_next_start_at(at(90)).await.unwrap(), None, "it is due");
        let claimed = world.claim("worker", 90, 10).await;
        assert_eq!((claimed[0].run.id, claimed[0].run.start_at), (id, Some(at(90))));
    }
}
