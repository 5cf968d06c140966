//! Agents: versions count up, the same folder is the same version, inline agents are kept once.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use futures_util::future::join_all;
use livery_core::id::AgentId;
use livery_store::{AgentSelector, Error, Page, Saved};

use crate::conformance;
use crate::world::{bits, new_agent};

conformance! {
    async fn versions_count_up_and_the_same_folder_is_no_new_one(world) {
        let (org, app) = (world.one.org, world.one.app);
        let save = |digest: &'static str| world.store.write(move |tx| async move {
            tx.insert_agent_version(&new_agent(org, app, AgentId::from_bits(bits()), "hello", digest)).await
        }.boxed());
        let (same, saved) = save("d1").await.unwrap();
        assert_eq!((same.id, same.version, saved), (world.one.agent.id, Some(1), Saved::Unchanged));
        let (second, saved) = save("d2").await.unwrap();
        assert_eq!((second.version, saved), (Some(2), Saved::Created));
        assert_eq!(save("d1").await.unwrap().0.version, Some(3), "going back is a step forward");

        let find = async |which| world.store.find_agent(org, "hello", &which).await.unwrap().and_then(|row| row.version);
        assert_eq!(find(AgentSelector::Latest).await, Some(3));
        assert_eq!(find(AgentSelector::Version(2)).await, Some(2));
        assert_eq!(find(AgentSelector::Version(4)).await, None);
        assert_eq!(find(AgentSelector::Tag("latest".into())).await, Some(3));
        assert_eq!(find(AgentSelector::Tag("stable".into())).await, None);
        world.write(move |tx| async move { tx.set_agent_tag(org, "hello", "stable", 1).await }.boxed()).await;
        world.write(move |tx| async move { tx.set_agent_tag(org, "hello", "stable", 2).await }.boxed()).await;
        assert_eq!(find(AgentSelector::Tag("stable".into())).await, Some(2));
        let missing = world.store.write(move |tx| async move { tx.set_agent_tag(org, "hello", "x", 9).await }.boxed());
        assert!(matches!(missing.await, Err(Error::NotFound { .. })));

        let listed = world.store.list_agents(org, None, &Page::default()).await.unwrap().data;
        assert_eq!(listed.iter().map(|row| row.version).collect::<Vec<_>>(), [Some(3)]);
        let versions = world.store.list_agent_versions(org, None, "hello", &Page::default()).await.unwrap().data;
        assert_eq!(versions.iter().map(|row| row.version).collect::<Vec<_>>(), [Some(3), Some(2), Some(1)]);
        let files = world.store.agent_files(org, second.id).await.unwrap();
        assert_eq!((files.len(), files[0].path.as_str(), files[0].mode), (1, "scripts/a.yaml", 0o644));
        assert_eq!(files[0].bytes, b"turns: []");
    }

    async fn concurrent_saves_get_different_versions(world) {
        let (org, app) = (world.one.org, world.one.app);
        let saves = (0..10).map(|index| world.store.write(move |tx| async move {
            let agent = new_agent(org, app, AgentId::from_bits(bits()), "busy", &format!("d{index}"));
            Ok(tx.insert_agent_version(&agent).await?.0.version)
        }.boxed()));
        let versions: BTreeSet<_> = join_all(saves).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(versions, (1..=10).map(Some).collect());
    }

    async fn an_inline_agent_is_kept_once_and_is_no_version(world) {
        let (org, app) = (world.one.org, world.one.app);
        let save = |digest: &'static str| world.store.write(move |tx| async move {
            tx.insert_inline_agent(&new_agent(org, app, AgentId::from_bits(bits()), "hello", digest)).await
        }.boxed());
        let (first, saved) = save("i1").await.unwrap();
        assert_eq!((first.version, saved), (None, Saved::Created));
        let (again, saved) = save("i1").await.unwrap();
        assert_eq!((again.id, saved), (first.id, Saved::Unchanged));
        assert_ne!(save("i2").await.unwrap().0.id, first.id);
        let latest = world.store.find_agent(org, "hello", &AgentSelector::Latest).await.unwrap().unwrap();
        assert_eq!(latest.id, world.one.agent.id);
        assert_eq!(world.store.list_agents(org, None, &Page::default()).await.unwrap().data.len(), 1);
        assert_eq!(world.store.get_agent(org, first.id).await.unwrap().unwrap().digest, "i1");
    }
}
