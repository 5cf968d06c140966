//! Approvals and policies: of one tenant, decided once, used once, and no answer is slept through.

use futures_util::FutureExt;
use livery_core::RunStatus;
use livery_core::event::EventType;
use livery_core::id::{ApprovalId, KeyId, PolicyId};
use livery_store::{ApprovalFilter, ApprovalRow, ApprovalStatus, Decision, Json, Lease, NewEvent, Page, PolicyRow};
use serde_json::json;

use crate::conformance;
use crate::world::{Tenant, World, at, bits};

fn asked(lease: &Lease, expires: i64) -> ApprovalRow {
    ApprovalRow {
        id: ApprovalId::from_bits(bits()),
        org: lease.org,
        application: None,
        end_user: None,
        run: lease.run,
        call_id: "call_1".into(),
        subject: Json::of(&json!({"kind": "call"})).unwrap(),
        digest: "d".into(),
        card: "    request: POST".into(),
        reason: "why".into(),
        policy: Json::of(&json!({"version": 1})).unwrap(),
        status: ApprovalStatus::Pending,
        requested_at: at(1),
        expires_at: at(expires),
        scope: None,
        decided_at: None,
        decided_by: None,
        decided_for: None,
        note: None,
        use_by: None,
        used_at: None,
    }
}

fn yes(id: ApprovalId, now: i64) -> Decision {
    Decision {
        id,
        scope: Some("once"),
        at: at(now),
        by: KeyId::from_bits(1),
        on_behalf_of: None,
        note: Some("fine".into()),
        use_by: Some(at(now + 100)),
    }
}

fn event(event_type: EventType) -> NewEvent {
    NewEvent::new(event_type, "test", at(1), &json!({})).unwrap()
}

async fn insert(world: &World, row: &ApprovalRow) {
    let row = row.clone();
    world.write(move |tx| async move { tx.insert_approval(&row).await }.boxed()).await;
}

async fn decide(world: &World, decision: Decision) -> bool {
    let org = world.one.org;
    world.write(move |tx| async move { tx.decide_approval(org, &decision).await }.boxed()).await
}

async fn status(world: &World, id: ApprovalId) -> ApprovalStatus {
    world.store.get_approval(world.one.org, id).await.unwrap().unwrap().status
}

fn policy(tenant: &Tenant, content: &str) -> PolicyRow {
    PolicyRow {
        id: PolicyId::from_bits(bits()),
        org: tenant.org,
        application: None,
        name: "p".into(),
        content: content.into(),
        version: 1,
        created_by: KeyId::from_bits(1),
        created_at: at(1),
        updated_at: at(1),
    }
}

conformance! {
    async fn an_approval_is_of_its_tenant_alone(world) {
        let lease = world.running().await;
        let row = asked(&lease, 100);
        insert(&world, &row).await;
        let (id, other, run) = (row.id, world.two.org, lease.run);
        assert_eq!(world.store.get_approval(lease.org, id).await.unwrap(), Some(row.clone()));
        assert_eq!(world.store.get_approval(other, id).await.unwrap(), None);
        let filters = [
            ApprovalFilter::default(),
            ApprovalFilter { status: Some(ApprovalStatus::Pending), ..Default::default() },
            ApprovalFilter { run: Some(run), ..Default::default() },
        ];
        for filter in filters {
            assert_eq!(world.store.list_approvals(lease.org, &filter, &Page::default()).await.unwrap().data, std::slice::from_ref(&row));
            assert_eq!(world.store.list_approvals(other, &filter, &Page::default()).await.unwrap().data, []);
        }
        assert_eq!(world.store.approvals_of(lease.org, run).await.unwrap().len(), 1);
        assert_eq!(world.store.approvals_of(other, run).await.unwrap(), []);
        let changed = world.write(move |tx| async move {
            tx.tell_approval(other, id).await?;
            Ok((
                tx.decide_approval(other, &yes(id, 2)).await?,
                tx.expire_approval(other, id, at(500)).await?,
                tx.use_approval(other, id, at(3)).await?,
                tx.look_at_approvals(other, run).await?.len(),
            ))
        }.boxed()).await;
        assert_eq!(changed, (false, false, false, 0));
        assert_eq!(status(&world, id).await, ApprovalStatus::Pending);
    }

    async fn of_many_decisions_one_stands_and_one_yes_is_one_use(world) {
        let lease = world.running().await;
        let row = asked(&lease, 100);
        insert(&world, &row).await;
        let (org, id) = (lease.org, row.id);
        let all = (0..6).map(|turn| {
            let decision = Decision { scope: (turn % 2 == 0).then_some("once"), ..yes(id, 5) };
            decide(&world, decision)
        });
        let decided = futures_util::future::join_all(all).await;
        assert_eq!(decided.iter().filter(|done| **done).count(), 1);
        let uses = (0..6).map(|_| world.write(move |tx| async move { tx.use_approval(org, id, at(6)).await }.boxed()));
        let used = futures_util::future::join_all(uses).await.into_iter().filter(|used| *used).count();
        let expected = if status(&world, id).await == ApprovalStatus::Denied { 0 } else { 1 };
        assert_eq!(used, expected);
    }

    async fn time_ends_the_asking_and_the_using(world) {
        let lease = world.running().await;
        let (late, unused, open) = (asked(&lease, 100), asked(&lease, 100), asked(&lease, 100));
        for row in [&late, &unused, &open] {
            insert(&world, row).await;
        }
        let org = lease.org;
        assert!(!decide(&world, yes(late.id, 100)).await, "its time is over");
        assert!(decide(&world, yes(unused.id, 50)).await);
        let (late_id, unused_id, open_id) = (late.id, unused.id, open.id);
        let done = world.write(move |tx| async move {
            Ok([
                tx.expire_approval(org, open_id, at(99)).await?,
                tx.expire_approval(org, late_id, at(100)).await?,
                tx.expire_approval(org, unused_id, at(200)).await?,
                tx.use_approval(org, unused_id, at(150)).await?,
            ])
        }.boxed()).await;
        assert_eq!(done, [false, true, false, false]);
        assert_eq!(status(&world, late.id).await, ApprovalStatus::Expired);
    }

    async fn a_run_that_is_over_has_nothing_to_decide(world) {
        let lease = world.running().await;
        let row = asked(&lease, 100);
        insert(&world, &row).await;
        world.write(move |tx| async move {
            tx.finish_run(&lease, &crate::world::ended(RunStatus::Failed), &[event(EventType::RunFailed)]).await
        }.boxed()).await;
        assert!(!decide(&world, yes(row.id, 5)).await);
    }

    /// However a decision and the wait for it fall together: the run is due at once.
    async fn no_answer_is_slept_through(world) {
        for _ in 0..8 {
            let lease = world.running().await;
            let row = asked(&lease, 100_000);
            insert(&world, &row).await;
            let (org, run, id) = (lease.org, lease.run, row.id);
            let waits = world.write(move |tx| async move {
                let rows = tx.look_at_approvals(org, run).await?;
                let answered = rows.iter().any(|row| row.status != ApprovalStatus::Pending);
                tx.wait_run(&lease, &[event(EventType::RunWaiting)]).await?;
                tx.enqueue(org, run, if answered { at(5) } else { at(100_000) }).await
            }.boxed());
            let decides = world.write(move |tx| async move {
                assert!(tx.decide_approval(org, &yes(id, 5)).await?);
                tx.append_unleased(org, run, &[event(EventType::ApprovalDecided)]).await?;
                tx.hurry_run(org, run, at(5)).await
            }.boxed());
            futures_util::future::join(waits, decides).await;
            let claimed = world.claim("worker", 10, 10).await;
            assert_eq!(claimed.len(), 1, "the run is due");
            let lease = claimed[0].lease;
            world.write(move |tx| async move {
                tx.finish_run(&lease, &crate::world::ended(RunStatus::Succeeded), &[event(EventType::RunSucceeded)]).await
            }.boxed()).await;
        }
    }

    async fn a_policy_is_of_its_tenant_and_every_change_counts(world) {
        let row = policy(&world.one, "one");
        let (org, id, other) = (row.org, row.id, world.two.org);
        let new = row.clone();
        world.write(move |tx| async move { tx.insert_policy(&new).await }.boxed()).await;
        assert_eq!(world.store.policy_revision(org).await.unwrap(), 1);
        assert_eq!(world.store.policies_for(org, world.one.app.into()).await.unwrap(), std::slice::from_ref(&row));
        assert_eq!(world.store.policies_for(other, None).await.unwrap(), []);
        assert_eq!(world.store.get_policy(other, id).await.unwrap(), None);
        let foreign = PolicyRow { org: other, ..row.clone() };
        let touched = world.write(move |tx| async move {
            Ok((tx.replace_policy(&foreign).await?, tx.delete_policy(other, id).await?))
        }.boxed()).await;
        assert_eq!(touched, (false, false));
        let replaced = PolicyRow { content: "two".into(), ..row.clone() };
        let (first, second) = (replaced.clone(), replaced);
        assert!(world.write(move |tx| async move { tx.replace_policy(&first).await }.boxed()).await);
        assert!(!world.write(move |tx| async move { tx.replace_policy(&second).await }.boxed()).await, "it is version 2 now");
        assert_eq!(world.store.policy_revision(org).await.unwrap(), 2);
        let of_app = PolicyRow { application: Some(world.one.app), ..policy(&world.one, "of the application") };
        world.write(move |tx| async move { tx.insert_policy(&of_app).await }.boxed()).await;
        assert_eq!(world.store.policies_for(org, None).await.unwrap().len(), 1, "runs of no application");
        assert_eq!(world.store.policies_for(org, Some(world.one.app)).await.unwrap().len(), 2);
        assert_eq!(world.store.list_policies(org, None, &Page::default()).await.unwrap().data.len(), 2);
        assert!(world.write(move |tx| async move { tx.delete_policy(org, id).await }.boxed()).await);
        assert_eq!(world.store.policy_revision(org).await.unwrap(), 4);
        assert_eq!(world.store.policy_revision(other).await.unwrap(), 0);
    }
}
