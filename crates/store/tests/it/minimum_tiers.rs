//! What a tenant and its applications demand of their runs' tier.

use futures_util::FutureExt;
use livery_core::agent::Tier;
use livery_core::agent::sandbox::{Demander, Demands, MinimumTier};
use livery_core::id::{AppId, OrgId};
use livery_store::{ApplicationRow, Page};

use crate::conformance;
use crate::world::{World, at, bits, new_run};

async fn set(world: &World, org: OrgId, app: Option<AppId>, tier: Option<Tier>) -> bool {
    world.write(move |tx| async move { tx.set_minimum_tier(org, app, tier).await }.boxed()).await
}

async fn demands(world: &World, org: OrgId, app: Option<AppId>) -> [Option<Tier>; 2] {
    let Demands { organization, application } = world.store.demands_on_tier(org, app).await.unwrap();
    [organization, application]
}

conformance! {
    async fn every_tier_is_kept_for_its_own_tenant_and_application(world) {
        let (one, two) = (world.one.clone(), world.two.clone());
        assert_eq!(demands(&world, one.org, Some(one.app)).await, [None, None]);
        for &tier in Tier::ALL {
            assert!(set(&world, one.org, None, Some(tier)).await);
            assert!(!set(&world, one.org, None, Some(tier)).await, "{tier} is no change the second time");
            assert!(set(&world, one.org, Some(one.app), Some(tier)).await);
            assert!(!set(&world, one.org, Some(one.app), Some(tier)).await);
            assert_eq!(demands(&world, one.org, Some(one.app)).await, [Some(tier), Some(tier)]);
            assert_eq!(demands(&world, one.org, None).await, [Some(tier), None], "a run of no application");
            assert_eq!(demands(&world, one.org, Some(two.app)).await, [Some(tier), None], "of another's");
            assert_eq!(demands(&world, two.org, Some(two.app)).await, [None, None]);
            let organization = world.store.get_organization(one.org).await.unwrap().unwrap();
            let application = world.store.get_application(one.org, one.app).await.unwrap().unwrap();
            assert_eq!([organization.minimum_tier, application.minimum_tier], [Some(tier), Some(tier)]);
        }
        assert!(!set(&world, two.org, Some(one.app), Some(Tier::Gvisor)).await, "another tenant changes nothing");
        assert!(set(&world, one.org, None, None).await && set(&world, one.org, Some(one.app), None).await);
        assert!(!set(&world, one.org, None, None).await);
        assert_eq!(demands(&world, one.org, Some(one.app)).await, [None, None]);
        assert_eq!(demands(&world, OrgId::from_bits(bits()), None).await, [None, None], "a tenant that is not there");
    }

    async fn a_run_keeps_what_was_demanded_when_it_was_accepted(world) {
        let (mut free, mut bound) = (new_run(&world.one), new_run(&world.one));
        free.minimum_tier = None;
        let minimum = MinimumTier { tier: Tier::Gvisor, demanded_by: Demander::Application };
        bound.minimum_tier = Some(minimum);
        let ids = [free.id, bound.id];
        world.write(move |tx| async move {
            tx.insert_run(&free, &[]).await?;
            tx.insert_run(&bound, &[]).await
        }.boxed()).await;
        set(&world, world.one.org, None, Some(Tier::Microvm)).await;
        for (id, expected) in ids.into_iter().zip([None, Some(minimum)]) {
            assert_eq!(world.store.get_run(world.one.org, id).await.unwrap().unwrap().minimum_tier, expected);
        }
    }

    async fn applications_come_page_by_page_and_only_ones_own(world) {
        let tenant = world.one.clone();
        let mut expected = vec![tenant.app];
        for n in 1..=4 {
            let name = format!("app {n}");
            let row = ApplicationRow { id: AppId::from_bits(bits()), org: tenant.org, name, created_at: at(n), minimum_tier: None };
            expected.insert(0, row.id);
            world.write(move |tx| async move { tx.insert_application(&row).await }.boxed()).await;
        }
        let (mut seen, mut page) = (Vec::new(), Page { limit: 2, cursor: None });
        for _ in 0..5 {
            let list = world.store.page_applications(tenant.org, None, &page).await.unwrap();
            seen.extend(list.data.into_iter().map(|row| row.id));
            page.cursor = list.next_cursor;
            if page.cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
        let only = world.store.page_applications(tenant.org, Some(tenant.app), &Page::default()).await.unwrap();
        assert_eq!(only.data.into_iter().map(|row| row.id).collect::<Vec<_>>(), [tenant.app]);
        let theirs = world.store.page_applications(world.two.org, Some(tenant.app), &Page::default()).await.unwrap();
        assert!(theirs.data.is_empty());
    }
}
