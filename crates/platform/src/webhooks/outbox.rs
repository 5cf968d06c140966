//! The outbox: what endpoints are told is written in the transaction that makes it true.

use livery_broker::Target;
use livery_core::event::EventType;
use livery_core::id::{AppId, DeliveryId, OrgId, RunId, WebhookEventId, WebhookId};
use livery_core::{Result, RunStatus, Timestamp};
use livery_store::{Json, NewDelivery, NewEvent, NewRun, RunRow, Tx, WebhookRow};
use serde_json::{Value, json};

use crate::Platform;
use crate::runs::StoredWebhook;

/// Longest body, in bytes: what Standard Webhooks asks senders to stay under.
const BODY_BYTES_MAX: usize = 20_000;

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
    destination: String,
    sealed_secret: Option<String>,
    /// Why nothing is sent there.
    cancelled: Option<String>,
}

impl Address {
    fn of_endpoint(row: WebhookRow) -> Self {
        let cancelled = row.disabled_at.map(|_| {
            format!("the webhook is disabled: {}", row.disabled_reason.as_deref().unwrap_or("no reason is known"))
        });
        Self { webhook: Some(row.id), destination: row.id.to_string(), url: row.url, sealed_secret: None, cancelled }
    }

    /// The run goes on naming it: that it was not told is part of the record.
    fn of_deleted(id: WebhookId) -> Self {
        let cancelled = Some("the webhook was deleted before the run ended".to_owned());
        Self { webhook: Some(id), url: String::new(), destination: id.to_string(), sealed_secret: None, cancelled }
    }

    fn of_run(url: &str, sealed_secret: &str) -> Self {
        // What the guard refuses later is refused here already: then the address as it is.
        let destination = Target::full_url(url).map_or_else(|_| url.to_owned(), |target| target.origin());
        let (url, sealed_secret) = (url.to_owned(), Some(sealed_secret.to_owned()));
        Self { webhook: None, url, destination, sealed_secret, cancelled: None }
    }
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
        let mut addresses: Vec<Address> = listening.into_iter().map(Address::of_endpoint).collect();
        if event_type.terminal_status().is_none() {
            return Ok(addresses);
        }
        match &self.webhook {
            Some(StoredWebhook::Endpoint(id)) if addresses.iter().all(|address| address.webhook != Some(*id)) => {
                addresses.push(match tx.webhook(self.org, *id).await? {
                    Some(row) => Address::of_endpoint(row),
                    None => Address::of_deleted(*id),
                });
            }
            Some(StoredWebhook::Inline { url, sealed_secret }) => addresses.push(Address::of_run(url, sealed_secret)),
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
        let mut data = json!({
            "run_id": self.run,
            "seq": seq,
            "status": status,
            "organization": self.org,
            "application": self.application,
            "metadata": self.metadata,
        });
        if let Some(approval) = approval_of(event) {
            data["approval"] = approval;
        }
        let delivery = NewDelivery {
            id: DeliveryId::from_bits(self.platform.mint()),
            org: self.org,
            webhook: address.webhook,
            run: self.run,
            seq,
            event_id: WebhookEventId::from_bits(self.platform.mint()),
            event_type: event_type.to_owned(),
            url: address.url,
            destination: address.destination,
            sealed_secret: address.sealed_secret,
            body: body_of(event_type, event.at, data),
            cancelled: address.cancelled,
            created_at: event.at,
        };
        tx.insert_delivery(&delivery).await
    }
}

/// A message's body, within [`BODY_BYTES_MAX`]: what a caller chose the size of is left out of one that is too long, and the
/// message says so.
pub(super) fn body_of(event_type: &str, at: Timestamp, mut data: Value) -> String {
    let body = |data: &Value| json!({"type": event_type, "timestamp": at, "data": data}).to_string();
    let whole = body(&data);
    if whole.len() <= BODY_BYTES_MAX {
        return whole;
    }
    data["metadata"] = json!({});
    data["metadata_omitted"] = json!(true);
    body(&data)
}

/// The approval an event is about.
fn approval_of(event: &NewEvent) -> Option<Value> {
    let is_about_one = matches!(event.event_type, EventType::ApprovalRequested | EventType::ApprovalDecided);
    let data: Value = is_about_one.then(|| event.data.parse().ok()).flatten()?;
    data.get("approval").cloned()
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
        EventType::RunWaiting | EventType::ApprovalRequested | EventType::ApprovalDecided => Some(RunStatus::Waiting),
        other => other.terminal_status(),
    }
}

#[cfg(test)]
mod tests {
    use livery_core::Timestamp;
    use serde_json::{Value, json};

    use super::{BODY_BYTES_MAX, body_of};

    #[test]
    fn a_body_that_would_be_too_long_goes_without_the_metadata_and_says_so() {
        let body = |bytes: usize| {
            let data = json!({"run_id": "run_1", "metadata": {"note": "x".repeat(bytes)}});
            let body = body_of("run.succeeded", Timestamp::from_micros(0), data);
            assert!(body.len() <= BODY_BYTES_MAX);
            serde_json::from_str::<Value>(&body).unwrap()["data"].clone()
        };
        assert_eq!(body(16_000)["metadata"]["note"].as_str().map(str::len), Some(16_000));
        assert_eq!(body(16_000).get("metadata_omitted"), None);
        assert_eq!(body(20_000), json!({"run_id": "run_1", "metadata": {}, "metadata_omitted": true}));
    }
}
