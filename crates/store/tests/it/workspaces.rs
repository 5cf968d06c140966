//! Workspaces: one for each agent and end user of a tenant; the present state changes by compare-and-set, and nothing is lost.

use futures_util::FutureExt;
use livery_core::id::{EndUserId, FileId, OrgId, RunId, SnapshotId, WorkspaceId};
use livery_store::{
    EndUserRow, FileRole, FileRow, Kept, NewSnapshot, Page, SNAPSHOTS_ASIDE_MAX, SNAPSHOTS_MAX, SnapshotOrigin,
    WorkspaceFilter, WorkspaceRow,
};

use crate::conformance;
use crate::world::{Tenant, World, at, bits};

const QUOTA: u64 = 1_000_000;

async fn end_user(world: &World, tenant: &Tenant) -> EndUserId {
    let (id, org, application) = (EndUserId::from_bits(bits()), tenant.org, tenant.app);
    let row = EndUserRow { id, org, application, external_id: id.to_string(), name: None, created_at: at(0) };
    world.write(move |tx| async move { tx.insert_end_user(&row).await }.boxed()).await;
    id
}

async fn open(world: &World, org: OrgId, agent: &'static str, user: EndUserId) -> Option<WorkspaceRow> {
    let id = WorkspaceId::from_bits(bits());
    world.write(move |tx| async move { tx.open_workspace(org, id, agent, user, at(1)).await }.boxed()).await
}

fn snapshot(tenant: &Tenant, workspace: WorkspaceId, bytes: u64) -> NewSnapshot {
    let id = bits();
    let file = FileRow {
        id: FileId::from_bits(id),
        org: tenant.org,
        application: Some(tenant.app),
        name: "workspace.tgz".into(),
        content_type: "application/gzip".into(),
        bytes,
        sha256: format!("{id:064x}"),
        storage_path: format!("files/{id}"),
        created_at: at(2),
    };
    let (org, id, run) = (tenant.org, SnapshotId::from_bits(id), Some(RunId::from_bits(id)));
    let second = i64::try_from(id.bits()).unwrap();
    NewSnapshot { org, workspace, id, run, file, quota_bytes: QUOTA, at: at(second) }
}

async fn save(world: &World, base: Option<SnapshotId>, new: &NewSnapshot) -> Kept {
    let new = new.clone();
    world.write(move |tx| async move { tx.save_workspace(base, &new).await }.boxed()).await
}

/// A workspace of the first tenant with one saved state of 100 bytes.
async fn saved(world: &World) -> (WorkspaceId, NewSnapshot) {
    let user = end_user(world, &world.one).await;
    let workspace = open(world, world.one.org, "hello", user).await.unwrap().id;
    let first = snapshot(&world.one, workspace, 100);
    assert_eq!(save(world, None, &first).await, Kept::Current);
    (workspace, first)
}

async fn present(world: &World, workspace: WorkspaceId) -> Option<SnapshotId> {
    world.store.get_workspace(world.one.org, workspace).await.unwrap().unwrap().snapshot
}

async fn listed(world: &World, workspace: WorkspaceId) -> Vec<(SnapshotId, SnapshotOrigin)> {
    let page = Page { limit: 100, ..Page::default() };
    let list = world.store.list_workspace_snapshots(world.one.org, workspace, &page).await.unwrap();
    list.data.into_iter().map(|row| (row.id, row.origin)).collect()
}

async fn has_file(world: &World, new: &NewSnapshot) -> bool {
    world.store.get_file(new.org, new.file.id).await.unwrap().is_some()
}

conformance! {
    async fn an_agent_has_one_workspace_for_each_end_user(world) {
        let (org, other) = (world.one.org, world.two.org);
        let (mine, theirs) = (end_user(&world, &world.one).await, end_user(&world, &world.one).await);
        let first = open(&world, org, "hello", mine).await.unwrap();
        assert_eq!((first.snapshot, first.application), (None, world.one.app));
        assert_eq!(open(&world, org, "hello", mine).await, Some(first.clone()), "the same one again");
        assert_ne!(open(&world, org, "hello", theirs).await.unwrap().id, first.id);
        assert_ne!(open(&world, org, "other", mine).await.unwrap().id, first.id);
        assert_eq!(open(&world, other, "hello", mine).await, None, "another tenant's end user");
        let count = |filter: WorkspaceFilter| async {
            let filter = filter;
            world.store.list_workspaces(org, &filter, &Page::default()).await.unwrap().data.len()
        };
        assert_eq!(count(WorkspaceFilter::default()).await, 3);
        assert_eq!(count(WorkspaceFilter { agent: Some("hello".into()), ..WorkspaceFilter::default() }).await, 2);
        assert_eq!(count(WorkspaceFilter { end_user: Some(theirs), ..WorkspaceFilter::default() }).await, 1);
        assert_eq!(count(WorkspaceFilter { application: Some(world.two.app), ..WorkspaceFilter::default() }).await, 0);
    }

    async fn a_workspace_is_of_its_tenant_alone(world) {
        let (workspace, first) = saved(&world).await;
        let other = world.two.org;
        assert_eq!(world.store.get_workspace(other, workspace).await.unwrap(), None);
        assert_eq!(world.store.get_workspace_snapshot(other, workspace, first.id).await.unwrap(), None);
        let page = Page::default();
        assert_eq!(world.store.list_workspaces(other, &WorkspaceFilter::default(), &page).await.unwrap().data, []);
        assert_eq!(world.store.list_workspace_snapshots(other, workspace, &page).await.unwrap().data, []);
        let foreign = snapshot(&world.two, workspace, 1);
        assert_eq!(save(&world, Some(first.id), &foreign).await, Kept::Gone);
        let id = first.id;
        let done = world.write(move |tx| async move {
            Ok([
                tx.restore_workspace(other, workspace, id, at(9)).await?,
                tx.delete_workspace_snapshot(other, workspace, id, at(9)).await?,
                tx.delete_workspace(other, workspace, at(9)).await?,
                tx.keep_present(other, workspace, None, at(9)).await?.1.is_some(),
            ])
        }.boxed()).await;
        assert_eq!(done, [false; 4]);
        assert_eq!(present(&world, workspace).await, Some(first.id));
    }

    async fn a_save_takes_the_place_of_the_state_it_was_begun_from(world) {
        let (workspace, first) = saved(&world).await;
        let second = snapshot(&world.one, workspace, 200);
        assert_eq!(save(&world, Some(first.id), &second).await, Kept::Current);
        assert_eq!(present(&world, workspace).await, Some(second.id));
        assert_eq!(listed(&world, workspace).await, [(second.id, SnapshotOrigin::Run)]);
        assert!(!has_file(&world, &first).await && has_file(&world, &second).await);
    }

    async fn of_two_saves_from_one_state_the_second_is_kept_aside(world) {
        let (workspace, first) = saved(&world).await;
        let news: Vec<NewSnapshot> = (0..4).map(|_| snapshot(&world.one, workspace, 10)).collect();
        let kept = futures_util::future::join_all(news.iter().map(|new| save(&world, Some(first.id), new))).await;
        assert_eq!(kept.iter().filter(|kept| **kept == Kept::Current).count(), 1, "{kept:?}");
        assert_eq!(kept.iter().filter(|kept| **kept == Kept::Aside).count(), 3, "{kept:?}");
        let winner = news[kept.iter().position(|kept| *kept == Kept::Current).unwrap()].id;
        assert_eq!(present(&world, workspace).await, Some(winner));
        for new in &news {
            assert!(has_file(&world, new).await, "nothing is lost");
        }
        assert_eq!(listed(&world, workspace).await.len(), 4);
    }

    async fn of_what_is_kept_aside_the_oldest_goes(world) {
        let (workspace, first) = saved(&world).await;
        let mut news = Vec::new();
        for _ in 0..SNAPSHOTS_ASIDE_MAX + 2 {
            let new = snapshot(&world.one, workspace, 10);
            assert_eq!(save(&world, None, &new).await, Kept::Aside);
            news.push(new);
        }
        assert!(!has_file(&world, &news[0]).await && !has_file(&world, &news[1]).await);
        assert!(has_file(&world, &news[2]).await && has_file(&world, &first).await);
        assert_eq!(listed(&world, workspace).await.len(), SNAPSHOTS_ASIDE_MAX + 1);
    }

    async fn a_state_that_somebody_asked_for_stays_and_can_be_restored(world) {
        let (workspace, first) = saved(&world).await;
        let org = world.one.org;
        let keep = world.write(move |tx| async move { tx.keep_present(org, workspace, Some("before"), at(5)).await }.boxed());
        let (kept, named) = keep.await;
        assert_eq!((kept, named.map(|row| (row.id, row.name))), (Kept::Current, Some((first.id, Some("before".into())))));
        let second = snapshot(&world.one, workspace, 200);
        assert_eq!(save(&world, Some(first.id), &second).await, Kept::Current);
        assert!(has_file(&world, &first).await);
        let restore = |id| world.write(move |tx| async move { tx.restore_workspace(org, workspace, id, at(6)).await }.boxed());
        assert!(restore(first.id).await);
        assert_eq!(present(&world, workspace).await, Some(first.id));
        assert_eq!(listed(&world, workspace).await, [(second.id, SnapshotOrigin::Replaced), (first.id, SnapshotOrigin::Command)]);
        assert!(!restore(SnapshotId::from_bits(7)).await);
        // A run that began before the restoring does not undo it.
        let late = snapshot(&world.one, workspace, 10);
        assert_eq!(save(&world, Some(second.id), &late).await, Kept::Aside);
        assert_eq!(present(&world, workspace).await, Some(first.id));
        let delete = |id| world.write(move |tx| async move { tx.delete_workspace_snapshot(org, workspace, id, at(7)).await }.boxed());
        assert!(!delete(first.id).await, "the present state");
        assert!(delete(second.id).await && !delete(second.id).await);
        assert!(!has_file(&world, &second).await);
    }

    async fn what_was_deleted_is_not_made_again(world) {
        let (workspace, first) = saved(&world).await;
        let org = world.one.org;
        let delete = || world.write(move |tx| async move { tx.delete_workspace(org, workspace, at(5)).await }.boxed());
        assert!(delete().await && !delete().await);
        let second = snapshot(&world.one, workspace, 200);
        assert_eq!(save(&world, Some(first.id), &second).await, Kept::Gone);
        assert!(!has_file(&world, &first).await && !has_file(&world, &second).await);
        assert_eq!(world.store.get_workspace(org, workspace).await.unwrap(), None);
    }

    async fn the_snapshots_of_an_application_have_a_limit(world) {
        let (workspace, first) = saved(&world).await;
        let large = snapshot(&world.one, workspace, QUOTA);
        assert_eq!(save(&world, Some(first.id), &large).await, Kept::Current, "what it takes the place of is not counted");
        let more = snapshot(&world.one, workspace, 1);
        assert_eq!(save(&world, None, &more).await, Kept::Full { used_bytes: QUOTA });
        assert_eq!((present(&world, workspace).await, has_file(&world, &more).await), (Some(large.id), false));
        let user = end_user(&world, &world.two).await;
        let theirs = open(&world, world.two.org, "hello", user).await.unwrap().id;
        assert_eq!(save(&world, None, &snapshot(&world.two, theirs, 5)).await, Kept::Current, "another tenant has its own");
    }

    async fn a_workspace_has_so_many_snapshots(world) {
        let (workspace, _) = saved(&world).await;
        for number in 1..=SNAPSHOTS_MAX {
            let new = snapshot(&world.one, workspace, 1);
            let kept = world.write(move |tx| async move { tx.keep_snapshot(&new, Some("named")).await }.boxed()).await;
            assert_eq!(kept, if number < SNAPSHOTS_MAX { Kept::Aside } else { Kept::TooMany });
        }
    }

    async fn a_snapshot_whose_file_a_run_was_given_goes_and_the_file_stays(world) {
        let (workspace, first) = saved(&world).await;
        let (org, file) = (world.one.org, first.file.id);
        let run = world.queued().await;
        world.write(move |tx| async move { tx.attach_file(org, run, FileRole::Input, "seed.tgz", file).await }.boxed()).await;
        let second = snapshot(&world.one, workspace, 200);
        assert_eq!(save(&world, Some(first.id), &second).await, Kept::Current);
        assert_eq!(listed(&world, workspace).await, [(second.id, SnapshotOrigin::Run)]);
        assert!(has_file(&world, &first).await, "it is that run's too");
        let file = second.file.id;
        world.write(move |tx| async move { tx.attach_file(org, run, FileRole::Input, "more.tgz", file).await }.boxed()).await;
        assert!(world.write(move |tx| async move { tx.delete_workspace(org, workspace, at(5)).await }.boxed()).await);
        assert!(has_file(&world, &second).await && world.store.get_workspace(org, workspace).await.unwrap().is_none());
    }

    async fn a_snapshot_is_of_the_application_of_its_workspace(world) {
        let (workspace, first) = saved(&world).await;
        let mut second = snapshot(&world.one, workspace, 200);
        second.file.application = None;
        assert_eq!(save(&world, Some(first.id), &second).await, Kept::Current);
        let file = world.store.get_file(world.one.org, second.file.id).await.unwrap().unwrap();
        assert_eq!(file.application, Some(world.one.app), "as a key of the whole organization leaves it");
    }

    async fn a_state_that_is_kept_already_keeps_its_name(world) {
        let (workspace, first) = saved(&world).await;
        let org = world.one.org;
        let keep = |name| world.write(move |tx| async move { tx.keep_present(org, workspace, name, at(5)).await }.boxed());
        assert_eq!(keep(Some("before")).await.0, Kept::Current);
        for name in [Some("after"), None] {
            let (kept, row) = keep(name).await;
            assert_eq!((kept, row.map(|row| (row.id, row.name))), (Kept::Already, Some((first.id, Some("before".into())))));
        }
        // With another state it goes on.
        assert_eq!(save(&world, Some(first.id), &snapshot(&world.one, workspace, 1)).await, Kept::Current);
        assert_eq!(keep(Some("after")).await.0, Kept::Current);
    }
}
