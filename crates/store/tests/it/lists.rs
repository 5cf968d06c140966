//! Lists: newest first, whole and without repeats while rows are added, cursors bound to their list.

use futures_util::FutureExt;
use livery_core::RunStatus;
use livery_core::id::{EndUserId, RunId};
use livery_store::{EndUserRow, Error, Json, Page, RunFilter};
use serde_json::json;

use crate::conformance;
use crate::world::{World, accepted, at, bits, finish, new_run};

fn page(limit: u32, cursor: Option<String>) -> Page {
    Page { limit, cursor }
}

async fn found(world: &World, filter: &RunFilter) -> Vec<RunId> {
    let list = world.store.list_runs(world.one.org, filter, &page(100, None)).await.unwrap();
    list.data.into_iter().map(|run| run.id).collect()
}

conformance! {
    async fn a_walk_sees_each_run_once_while_others_are_added(world) {
        let mut expected = Vec::new();
        for _ in 0..23 {
            expected.push(accepted(&world.store, new_run(&world.one)).await);
        }
        accepted(&world.store, new_run(&world.two)).await;
        expected.reverse();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let list = world.store.list_runs(world.one.org, &RunFilter::default(), &page(5, cursor)).await.unwrap();
            seen.extend(list.data.into_iter().map(|run| run.id));
            accepted(&world.store, new_run(&world.one)).await;
            cursor = list.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
    }

    /// Twelve inputs of nearly a mebibyte each: pages stay small and the walk still sees every run.
    async fn a_page_of_huge_runs_is_cut_and_the_walk_goes_on(world) {
        let mut expected = Vec::new();
        for _ in 0..12 {
            let mut run = new_run(&world.one);
            run.input = Json::of(&"x".repeat(1_000_000)).unwrap();
            expected.push(accepted(&world.store, run).await);
        }
        expected.reverse();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let list = world.store.list_runs(world.one.org, &RunFilter::default(), &page(100, cursor)).await.unwrap();
            assert!((1..=4).contains(&list.data.len()), "{} runs in one page", list.data.len());
            seen.extend(list.data.into_iter().map(|run| run.id));
            cursor = list.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
    }

    async fn runs_of_the_same_moment_are_ordered_by_id(world) {
        let mut expected = Vec::new();
        for _ in 0..4 {
            let mut run = new_run(&world.one);
            run.created_at = at(7);
            expected.push(accepted(&world.store, run).await);
        }
        expected.reverse();
        let filter = RunFilter::default();
        let first = world.store.list_runs(world.one.org, &filter, &page(2, None)).await.unwrap();
        let second = world.store.list_runs(world.one.org, &filter, &page(2, first.next_cursor)).await.unwrap();
        let seen: Vec<_> = first.data.into_iter().chain(second.data).map(|run| run.id).collect();
        assert_eq!((seen, second.next_cursor), (expected, None));
    }

    async fn a_cursor_of_another_tenant_or_filter_is_refused(world) {
        for _ in 0..3 {
            accepted(&world.store, new_run(&world.one)).await;
            accepted(&world.store, new_run(&world.two)).await;
        }
        let all = RunFilter::default();
        let cursor = world.store.list_runs(world.two.org, &all, &page(1, None)).await.unwrap().next_cursor;
        let foreign = world.store.list_runs(world.one.org, &all, &page(1, cursor.clone())).await;
        assert!(matches!(foreign, Err(Error::InvalidCursor)));
        let failed = RunFilter { status: Some(RunStatus::Failed), ..RunFilter::default() };
        let other = world.store.list_runs(world.two.org, &failed, &page(1, cursor.clone())).await;
        assert!(matches!(other, Err(Error::InvalidCursor)));
        let code = livery_core::Error::from(other.unwrap_err()).code();
        assert_eq!(code, "invalid_cursor");
        assert!(world.store.list_agents(world.two.org, None, &page(1, cursor)).await.is_err());
    }

    /// Each filter alone, and all of them together, against runs that each miss by one.
    async fn filters_find_what_they_name_and_nothing_else(world) {
        let (org, app) = (world.one.org, world.one.app);
        let end_user = EndUserId::from_bits(bits());
        world.write(move |tx| async move {
            let user = EndUserRow { id: end_user, org, application: app, external_id: "u".into(), name: None, created_at: at(0) };
            tx.insert_end_user(&user).await
        }.boxed()).await;
        let plain = accepted(&world.store, new_run(&world.one)).await;
        let mut named = new_run(&world.one);
        named.agent_name = "other".into();
        let named = accepted(&world.store, named).await;
        let mut anonymous = new_run(&world.one);
        anonymous.application = None;
        let anonymous = accepted(&world.store, anonymous).await;
        let mut personal = new_run(&world.one);
        personal.end_user = Some(end_user);
        let personal = accepted(&world.store, personal).await;
        let mut tagged = new_run(&world.one);
        tagged.metadata = Json::of(&json!({"ticket": "42", "urgent": true, "team": "ops"})).unwrap();
        let (tagged, tagged_at) = (tagged.id, { let at = tagged.created_at; accepted(&world.store, tagged).await; at });
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());

        let check = |filter: RunFilter, expected: Vec<RunId>| {
            let world = &world;
            async move { assert_eq!(found(world, &filter).await, expected, "{filter:?}") }
        };
        let none = RunFilter::default;
        check(none(), vec![tagged, personal, anonymous, named, plain]).await;
        check(RunFilter { agent: Some("other".into()), ..none() }, vec![named]).await;
        check(RunFilter { application: Some(app), ..none() }, vec![tagged, personal, named, plain]).await;
        check(RunFilter { end_user: Some(end_user), ..none() }, vec![personal]).await;
        check(RunFilter { status: Some(RunStatus::Running), ..none() }, vec![]).await;
        check(RunFilter { metadata: vec![pair("ticket", "42")], ..none() }, vec![tagged]).await;
        check(RunFilter { metadata: vec![pair("urgent", "true"), pair("team", "ops")], ..none() }, vec![tagged]).await;
        check(RunFilter { metadata: vec![pair("ticket", "42"), pair("team", "dev")], ..none() }, vec![]).await;
        check(RunFilter { metadata: vec![pair("ticket", "4")], ..none() }, vec![]).await;
        check(RunFilter { created_after: Some(tagged_at), ..none() }, vec![tagged]).await;
        check(RunFilter { created_before: Some(tagged_at), ..none() }, vec![personal, anonymous, named, plain]).await;
        let all = RunFilter {
            status: Some(RunStatus::Queued),
            agent: Some("hello".into()),
            application: Some(app),
            end_user: None,
            metadata: vec![pair("ticket", "42"), pair("team", "ops"), pair("urgent", "true")],
            created_after: Some(tagged_at),
            created_before: Some(tagged_at.plus_millis(1)),
            schedule: None,
            trigger: None,
        };
        check(all.clone(), vec![tagged]).await;
        check(RunFilter { agent: Some("other".into()), ..all.clone() }, vec![]).await;
        check(RunFilter { end_user: Some(end_user), agent: Some("other".into()), ..none() }, vec![]).await;
        let four = RunFilter { metadata: vec![pair("k", "v"); 4], ..none() };
        assert!(world.store.list_runs(org, &four, &page(1, None)).await.is_err());

        let lease = world.running().await;
        check(RunFilter { status: Some(RunStatus::Running), ..none() }, vec![lease.run]).await;
        finish(&world.store, lease, RunStatus::Succeeded).await.unwrap();
        check(RunFilter { status: Some(RunStatus::Running), ..none() }, vec![]).await;
        check(RunFilter { status: Some(RunStatus::Succeeded), ..none() }, vec![lease.run]).await;
    }
}
