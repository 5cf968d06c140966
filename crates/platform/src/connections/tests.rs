//! Which connection fills a slot, who may name one, and what its value is bound to.

use livery_core::id::{AppId, ConnectionId, EndUserId, KeyId, RunId};
use livery_core::{Error, Timestamp};
use livery_store::{ApplicationRow, ConnectionRow, EndUserRow, RunRow};
use serde_json::{Value, json};

use super::{ConnectionPatch, ConnectionView, NewConnection, RotateConnection};
use crate::runs::{RunView, StartRun};
use crate::testing::Node;
use crate::{Caller, Platform, Posted};

const KEY: &str = "sk_test_0123456789abcdef";

struct Site {
    node: Node,
    /// The organization's first application, whose runs a key of the whole organization starts.
    app: AppId,
}

fn read<T: for<'de> serde::Deserialize<'de>>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn fresh<T>(posted: Posted<T>) -> T {
    match posted {
        Posted::Fresh(value) => value,
        Posted::Replayed(_) => panic!("nothing was sent twice"),
    }
}

impl Site {
    async fn new() -> Self {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let node = Node::at(now).await;
        let app = node.platform.store.list_applications(node.caller.principal.org).await.unwrap().last().unwrap().id;
        Self { node, app }
    }

    fn platform(&self) -> &Platform {
        &self.node.platform
    }

    async fn application(&self, name: &str) -> AppId {
        let row = ApplicationRow {
            id: AppId::from_bits(self.platform().mint()),
            org: self.node.caller.principal.org,
            name: name.into(),
            created_at: self.platform().now().plus_millis(1_000),
            minimum_tier: None,
        };
        let id = row.id;
        self.platform()
            .store
            .write(move |tx| Box::pin(async move { tx.insert_application(&row).await }))
            .await
            .unwrap();
        id
    }

    async fn end_user(&self, application: AppId) -> EndUserId {
        let id = EndUserId::from_bits(self.platform().mint());
        let row = EndUserRow {
            id,
            org: self.node.caller.principal.org,
            application,
            external_id: id.to_string(),
            name: None,
            created_at: Timestamp::from_micros(1),
        };
        self.platform().store.write(move |tx| Box::pin(async move { tx.insert_end_user(&row).await })).await.unwrap();
        id
    }

    /// The first key, for an end user or bound to an application.
    fn caller(&self, app: Option<AppId>, end_user: Option<EndUserId>) -> Caller {
        let mut caller = self.node.caller.clone();
        caller.principal.app = app;
        caller.on_behalf_of = end_user;
        caller
    }

    async fn create(&self, caller: &Caller, name: &str, connector: &str) -> ConnectionId {
        let body = json!({"name": name, "connector": connector, "credential": {"value": KEY}});
        fresh(self.platform().create_connection(caller, read::<NewConnection>(body)).await.unwrap()).id
    }

    async fn start(&self, caller: &Caller, slots: &str, named: Value) -> Result<RunView, Error> {
        let agent_md =
            format!("---\nname: a\ndescription: d\nmodel: scripted/a\ntools: []\nconnections: {slots}\n---\nHi.\n");
        let agent = json!({"agent_md": agent_md, "files": {"scripts/a.yaml": "dHVybnM6IFt7dGV4dDogaGl9XQ=="}});
        let request: StartRun = read(json!({"agent": agent, "connections": named}));
        self.platform().start_run(caller, request).await.map(fresh)
    }

    /// What `run.queued` says about the slot `pay`.
    async fn pay(&self, run: RunId) -> Value {
        let org = self.node.caller.principal.org;
        let events = self.platform().store.stored_events_after(org, run, 0, 1).await.unwrap();
        let data: Value = events[0].data.as_ref().unwrap().parse().unwrap();
        data["connections"]["pay"].clone()
    }

    async fn row(&self, run: RunId) -> RunRow {
        self.platform().store.get_run(self.node.caller.principal.org, run).await.unwrap().unwrap()
    }
}

fn refusal(result: Result<RunView, Error>) -> (String, String) {
    match result.unwrap_err() {
        Error::Invalid { errors, .. } => (errors[0].pointer.clone(), errors[0].detail.clone()),
        other => (other.code().to_owned(), other.to_string()),
    }
}

const PAY: &str = "{pay: {connector: stripe, required: true}}";

#[tokio::test]
async fn the_nearest_level_fills_a_slot() {
    let site = Site::new().await;
    let user = site.end_user(site.app).await;
    let (all, own, theirs) =
        (site.caller(None, None), site.caller(Some(site.app), None), site.caller(None, Some(user)));
    let (pointer, detail) = refusal(site.start(&theirs, PAY, json!({})).await);
    assert_eq!(pointer, "/connections/pay");
    assert!(detail.contains("connector stripe"), "{detail}");
    for (caller, level) in [(&all, "organization"), (&own, "application"), (&theirs, "end_user")] {
        let id = site.create(caller, "shared", "stripe").await;
        let run = site.start(&theirs, PAY, json!({})).await.unwrap();
        assert_eq!(site.pay(run.id).await, json!({"id": id, "version": 1, "level": level}));
        let bound = site.platform().bound_connections(&site.row(run.id).await).await.unwrap();
        assert_eq!((bound["pay"].connection, bound["pay"].slug.as_str()), (id, "shared"));
        assert!(bound["pay"].connector.idempotency_key);
    }
    // Another end user's run, and nobody's, get the application's.
    let other = site.caller(None, Some(site.end_user(site.app).await));
    for caller in [&other, &all, &own] {
        let run = site.start(caller, PAY, json!({})).await.unwrap();
        assert_eq!(site.pay(run.id).await["level"], "application");
    }
    let elsewhere = site.caller(Some(site.application("other").await), None);
    let run = site.start(&elsewhere, PAY, json!({})).await.unwrap();
    assert_eq!(site.pay(run.id).await["level"], "organization", "another application's is not offered");
}

#[tokio::test]
async fn of_several_the_one_named_like_the_slot_is_meant() {
    let site = Site::new().await;
    let caller = site.caller(None, None);
    let (one, two) = (site.create(&caller, "one", "stripe").await, site.create(&caller, "two", "stripe").await);
    for required in [true, false] {
        let slots = format!("{{pay: {{connector: stripe, required: {required}}}}}");
        let (pointer, detail) = refusal(site.start(&caller, &slots, json!({})).await);
        assert_eq!(pointer, "/connections/pay");
        assert!(detail.contains(&format!("one ({one})")) && detail.contains(&format!("two ({two})")), "{detail}");
    }
    let run = site.start(&caller, PAY, json!({"pay": two})).await.unwrap();
    assert_eq!(site.pay(run.id).await, json!({"id": two, "version": 1, "level": "run"}));
    let pay = site.create(&caller, "pay", "stripe").await;
    let run = site.start(&caller, PAY, json!({})).await.unwrap();
    assert_eq!(site.pay(run.id).await["id"], json!(pay));
    let run = site.start(&caller, "{mail: {connector: slack, required: false}}", json!({})).await.unwrap();
    assert_eq!(site.row(run.id).await.connections.as_str(), "{}", "an optional slot may stay empty");
}

/// F8: an end user's connection is for runs that act for that end user, and for others it does not exist.
#[tokio::test]
async fn f8_another_end_users_connection_is_refused() {
    let site = Site::new().await;
    let (a, b) = (site.end_user(site.app).await, site.end_user(site.app).await);
    let (for_a, for_b) = (site.caller(None, Some(a)), site.caller(None, Some(b)));
    let theirs = site.create(&for_a, "stripe", "stripe").await;
    assert!(site.start(&for_a, PAY, json!({"pay": theirs})).await.is_ok());
    let unknown = ConnectionId::from_bits(7);
    for caller in [&for_b, &site.caller(None, None), &site.caller(Some(site.app), None)] {
        let (foreign, none) = (
            refusal(site.start(caller, PAY, json!({"pay": theirs})).await),
            refusal(site.start(caller, PAY, json!({"pay": unknown})).await),
        );
        assert_eq!(foreign.0, "not_found");
        assert_eq!(foreign, none, "as if there were none");
    }
    // Who acts for B changes nothing of A's either.
    let rotate = || read::<RotateConnection>(json!({"credential": {"value": KEY}}));
    let refused = site.platform().rotate_connection(&for_b, theirs, rotate()).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
    assert!(matches!(site.platform().revoke_connection(&for_b, theirs).await, Err(Error::NotFound { .. })));
    // A run that was bound keeps its end user: the row is looked at again at every use.
    let run = site.start(&for_a, PAY, json!({})).await.unwrap();
    let mut row = site.row(run.id).await;
    row.end_user = Some(b);
    assert!(matches!(site.platform().bound_connections(&row).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn what_does_not_fit_a_slot_is_refused_by_its_place() {
    let site = Site::new().await;
    let caller = site.caller(None, None);
    let slack = site.create(&caller, "slack", "slack").await;
    assert_eq!(refusal(site.start(&caller, PAY, json!({"pay": slack})).await).0, "/connections/pay");
    assert_eq!(refusal(site.start(&caller, PAY, json!({"other": slack})).await).0, "/connections/other");
    let stripe = site.create(&caller, "stripe", "stripe").await;
    site.platform().revoke_connection(&caller, stripe).await.unwrap();
    let (pointer, detail) = refusal(site.start(&caller, PAY, json!({"pay": stripe})).await);
    assert!(pointer == "/connections/pay" && detail.contains("revoked"), "{detail}");
    assert_eq!(refusal(site.start(&caller, PAY, json!({})).await).0, "/connections/pay", "nor is it found by itself");
    let elsewhere = site.caller(Some(site.application("other").await), None);
    let own = site.create(&elsewhere, "own", "stripe").await;
    assert_eq!(refusal(site.start(&caller, PAY, json!({"pay": own})).await).0, "not_found", "another application's");
}

#[tokio::test]
async fn what_is_the_organizations_is_not_an_applications_to_change() {
    let site = Site::new().await;
    let (all, own) = (site.caller(None, None), site.caller(Some(site.app), None));
    let shared = site.create(&all, "shared", "stripe").await;
    assert_eq!(site.platform().get_connection(&own.principal, shared).await.unwrap().application, None);
    assert!(matches!(site.platform().revoke_connection(&own, shared).await, Err(Error::Forbidden { .. })));
    let elsewhere = site.caller(Some(site.application("other").await), None);
    let mine: ConnectionView =
        site.platform().get_connection(&own.principal, site.create(&own, "mine", "stripe").await).await.unwrap();
    assert_eq!(mine.application, Some(site.app));
    let unseen = site.platform().get_connection(&elsewhere.principal, mine.id).await;
    assert!(matches!(unseen, Err(Error::NotFound { .. })));
}

/// What the organization narrowed, an application's key narrows further and does not widen.
#[tokio::test]
async fn an_applications_key_does_not_widen_what_the_organization_narrowed() {
    let site = Site::new().await;
    let (mut all, own) = (site.caller(None, None), site.caller(Some(site.app), None));
    // The first key is bound to the first application; this one is not.
    all.principal.key = KeyId::from_bits(9);
    let body = json!({
        "name": "shop", "connector": "stripe", "credential": {"value": KEY}, "application": site.app,
        "settings": {"methods": ["GET"], "paths": ["/v1/invoices/**", "/v1/refunds"]},
    });
    let id = fresh(site.platform().create_connection(&all, read::<NewConnection>(body)).await.unwrap()).id;
    let patch = async |caller: &Caller, patch: Value| {
        site.platform().change_connection(caller, id, read::<ConnectionPatch>(patch)).await
    };
    for wider in [
        json!({"methods": null}),
        json!({"paths": null}),
        json!({"methods": ["GET", "POST"]}),
        json!({"paths": ["/v1/**"]}),
        json!({"paths": ["/v1/invoices/**", "/v1/customers"], "methods": ["GET"]}),
    ] {
        let answer = patch(&own, wider.clone()).await;
        assert!(matches!(answer, Err(Error::Forbidden { .. })), "{wider}: {answer:?}");
    }
    patch(&own, json!({"name": "renamed"})).await.unwrap();
    let narrower = patch(&own, json!({"methods": ["GET"], "paths": ["/v1/invoices/*"]})).await.unwrap();
    assert!(narrower.settings.as_str().contains(r#""methods":["GET"]"#), "{}", narrower.settings.as_str());
    assert!(matches!(patch(&own, json!({"methods": ["GET", "POST"]})).await, Err(Error::Forbidden { .. })));
    let wider = patch(&all, json!({"methods": null, "paths": null})).await.unwrap();
    assert_eq!(wider.settings.as_str(), "{}", "a key of the organization may");
    let body =
        json!({"name": "own", "connector": "stripe", "credential": {"value": KEY}, "settings": {"methods": ["GET"]}});
    let mine = fresh(site.platform().create_connection(&own, read::<NewConnection>(body)).await.unwrap()).id;
    let widen = read::<ConnectionPatch>(json!({"methods": null}));
    assert!(site.platform().change_connection(&own, mine, widen).await.is_ok(), "one that its own key made");
}

/// R6: what is opened is what is there now. A value that was moved to another row or version does not open.
#[tokio::test]
async fn a_value_is_opened_as_it_is_now_and_only_where_it_belongs() {
    let site = Site::new().await;
    let (caller, platform) = (site.caller(None, None), site.platform());
    let org = caller.principal.org;
    let id = site.create(&caller, "stripe", "stripe").await;
    let value = async || {
        platform.materialise(org, id).await.map(|opened| (opened.secret.expose_secret().to_vec(), opened.version))
    };
    assert_eq!(value().await, Ok((KEY.as_bytes().to_vec(), 1)));
    let rotate = read::<RotateConnection>(json!({"credential": {"value": "sk_test_fedcba9876543210"}}));
    assert_eq!(fresh(platform.rotate_connection(&caller, id, rotate).await.unwrap()).version, 2);
    assert_eq!(value().await, Ok((b"sk_test_fedcba9876543210".to_vec(), 2)));

    let other = site.create(&caller, "other", "stripe").await;
    let row = async |id| platform.store.get_connection(org, id).await.unwrap().unwrap();
    let (mine, theirs) = (row(id).await, row(other).await);
    for moved in [
        ConnectionRow { sealed_value: theirs.sealed_value.clone(), version: theirs.version, ..mine.clone() },
        ConnectionRow { version: 1, ..mine.clone() },
        ConnectionRow { version: 3, ..mine.clone() },
        ConnectionRow { id: other, ..mine.clone() },
    ] {
        assert!(matches!(platform.credential_of(&moved).await, Err(Error::Internal { .. })));
    }
    platform.revoke_connection(&caller, id).await.unwrap();
    assert!(matches!(value().await, Err(Error::Conflict { .. })));
    assert_eq!(row(id).await.sealed_value, None);
}
