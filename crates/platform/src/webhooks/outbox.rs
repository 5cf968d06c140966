//! The outbox: what endpoints are told is written in the transaction that makes it true.

use livery_core::event::EventType;
use livery_core::id::{AppId, DeliveryId, OrgId, RunId, WebhookEventId, WebhookId};
use livery_core::{Result, RunStatus};
use livery_store::{Json, NewDelivery, NewEvent, NewRun, RunRow, Tx};
use serde_json::json;

use crate::Platform;
use crate::runs::StoredWebhook;

/// What the deliveries of one run have in common.
#[derive(Clone)]
pub(crate) struct Outbox {
    platform: Platform,
    org: OrgId,
    application: Option<AppId>,
    run: RunId,
    metadata: Json,
    webhook: Option<StoredWebhook>,
}

/// Where one delivery goes.
struct Address {
    webhook: Option<WebhookId>,
    url: String,
    sealed_secret: Option<String>,
}

impl Outbox {
    /// Of a run about to be accepted.
    pub(crate) fn of_new_run(platform: Platform, run: &NewRun, webhook: Option<StoredWebhook>) -> Self {
        Self {
            platform,
            org: run.org,
            application: run.application,
            run: run.id,
            metadata: run.metadata.clone(),
            webhook,
        }
    }

    /// Of a stored run.
    pub(crate) fn of_run(platform: Platform, run: &RunRow) -> Result<Self> {
        let webhook = run.webhook.as_ref().map(Json::parse).transpose()?;
        let (org, application, id) = (run.org, run.application, run.id);
        Ok(Self { platform, org, application, run: id, metadata: run.metadata.clone(), webhook })
    }

    /// Writes the deliveries for those of `events` (at `first_seq`, …) that tell of the run's state.
    pub(crate) async fn append(&self, tx: &mut Tx, first_seq: u64, events: &[NewEvent]) -> livery_store::Result<()> {
        for (seq, event) in (first_seq..).zip(events) {
            let Some(status) = status_after(event.event_type) else { continue };
            for address in self.addresses(tx, event.event_type).await? {
                self.insert(tx, seq, event, status, address).await?;
            }
        }
        Ok(())
    }

    /// Endpoints that listen, and the one named in the run, which hears how it ended whatever it listens to; each once.
    async fn addresses(&self, tx: &mut Tx, event_type: EventType) -> livery_store::Result<Vec<Address>> {
        let listening = tx.matching_webhooks(self.org, self.application, event_type.as_str()).await?;
        let mut addresses: Vec<Address> = listening
            .into_iter()
            .map(|row| Address { webhook: Some(row.id), url: row.url, sealed_secret: None })
            .collect();
        if event_type.terminal_status().is_none() {
            return Ok(addresses);
        }
        match &self.webhook {
            Some(StoredWebhook::Endpoint(id)) if addresses.iter().all(|address| address.webhook != Some(*id)) => {
                addresses.push(Address { webhook: Some(*id), url: String::new(), sealed_secret: None });
            }
            Some(StoredWebhook::Inline { url, sealed_secret }) => {
                addresses.push(Address { webhook: None, url: url.clone(), sealed_secret: Some(sealed_secret.clone()) });
            }
            _ => {}
        }
        Ok(addresses)
    }

    async fn insert(
        &self,
        tx: &mut Tx,
        seq: u64,
        event: &NewEvent,
        status: RunStatus,
        address: Address,
    ) -> livery_store::Result<()> {
        let event_type = event.event_type.as_str();
        let body = json!({
            "type": event_type,
            "timestamp": event.at,
            "data": {
                "run_id": self.run,
                "seq": seq,
                "status": status,
                "organization": self.org,
                "application": self.application,
                "metadata": self.metadata,
            },
        });
        let delivery = NewDelivery {
            id: DeliveryId::from_bits(self.platform.mint()),
            org: self.org,
            webhook: address.webhook,
            run: self.run,
            seq,
            event_id: WebhookEventId::from_bits(self.platform.mint()),
            event_type: event_type.to_owned(),
            url: address.url,
            sealed_secret: address.sealed_secret,
            body: body.to_string(),
            created_at: event.at,
        };
        tx.insert_delivery(&delivery).await
    }
}

/// Whether webhooks tell of this event.
pub(crate) fn is_told(event_type: EventType) -> bool {
    status_after(event_type).is_some()
}

/// The run's state after an event that webhooks tell of.
const fn status_after(event_type: EventType) -> Option<RunStatus> {
    match event_type {
        EventType::RunQueued => Some(RunStatus::Queued),
        EventType::RunStarted | EventType::RunResumed | EventType::RunRecovered => Some(RunStatus::Running),
        EventType::RunWaiting => Some(RunStatus::Waiting),
        other => other.terminal_status(),
    }
}
