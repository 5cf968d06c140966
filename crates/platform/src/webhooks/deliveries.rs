//! What was sent to an endpoint: the list, sending again, sending a test.

use livery_core::id::{DeliveryId, WebhookEventId, WebhookId};
use livery_core::{Error, Result};
use livery_store::{DeliveryFilter, DeliveryRow, DeliveryStatus};
use serde_json::json;

use super::attempt::{log_of, send};
use super::sign::Keys;
use super::{DeliveryView, WebhookTested, outbox};
use crate::audit::note;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// The event of a test message. No run has it, and nobody listens to it.
const TEST_EVENT: &str = "webhook.test";

impl Platform {
    /// What was sent to an endpoint, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an endpoint that is not the caller's.
    pub async fn list_deliveries(
        &self,
        principal: &Principal,
        id: WebhookId,
        filter: DeliveryFilter,
        page: PageRequest,
    ) -> Result<Page<DeliveryView>> {
        principal.require(Scope::WebhooksRead)?;
        self.visible_webhook(principal, id).await?;
        let list = self.store.list_deliveries(principal.org, id, filter, &page.into()).await?;
        Page::try_from_list(list, |row| Ok(delivery_view(row)))
    }

    /// Sends the event of a delivery once more, under the same event id, as a delivery of its own with all its attempts.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] while the delivery is pending or the endpoint is switched off.
    pub async fn redeliver(
        &self,
        caller: &Caller,
        id: WebhookId,
        delivery: DeliveryId,
    ) -> Result<Posted<DeliveryView>> {
        let principal = &caller.principal;
        principal.require(Scope::WebhooksWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let webhook = self.visible_webhook(principal, id).await?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        let row = self.store.get_delivery(org, delivery).await?.filter(|row| row.webhook == Some(id));
        let row = row.ok_or(Error::NotFound { what: "delivery" })?;
        let refused = match (webhook.disabled_at, row.status) {
            (Some(_), _) => Some("the webhook is disabled; enable it first"),
            (None, DeliveryStatus::Pending) => Some("the delivery is still pending"),
            _ => None,
        };
        if let Some(detail) = refused {
            return Err(Error::Conflict { code: "conflict", detail: detail.into() });
        }
        let new = DeliveryId::from_bits(self.mint());
        let view = delivery_view(DeliveryRow {
            id: new,
            redelivery_of: Some(delivery),
            attempt: 0,
            probes: 0,
            status: DeliveryStatus::Pending,
            next_attempt_at: now,
            last_status: None,
            last_error: None,
            attempt_log: None,
            created_at: now,
            delivered_at: None,
            ..row
        });
        self.post(caller, move |tx| {
            Box::pin(async move {
                tx.redeliver(org, id, delivery, new, now).await?;
                let data = json!({"webhook": id, "delivery": new, "redelivery_of": delivery});
                note(tx, org, "webhook.redelivered", now, actor, data).await?;
                Ok(view)
            })
        })
        .await
    }

    /// Sends a `webhook.test` message now, once, and says what came of it; also to an endpoint that is switched off.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn test_webhook(&self, caller: &Caller, id: WebhookId) -> Result<Posted<WebhookTested>> {
        let principal = &caller.principal;
        principal.require(Scope::WebhooksWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let row = self.visible_webhook(principal, id).await?;
        let begun = self.clock.now();
        let event_id = WebhookEventId::from_bits(self.mint());
        let data = json!({"webhook": id, "organization": row.org, "application": row.application});
        let body = outbox::body_of(TEST_EVENT, begun, data);
        let sent = match Keys::of_endpoint(self, &row, begun).await {
            Ok(keys) => send(self, row.org, &row.url, &keys, &event_id.to_string(), begun, body).await,
            Err(error) => Err(error),
        };
        let delivered = sent.as_ref().is_ok_and(|answered| answered.is_success());
        let tested = WebhookTested {
            event_id,
            delivered,
            status: sent.as_ref().ok().map(|answered| answered.status),
            error: match sent {
                Ok(_) if delivered => None,
                Ok(answered) => Some(format!("the receiver answered {}", answered.status)),
                Err(error) => Some(error),
            },
            duration_ms: self.clock.now().millis_since(begun),
        };
        self.post(caller, move |_| Box::pin(async move { Ok(tested) })).await
    }
}

fn delivery_view(row: DeliveryRow) -> DeliveryView {
    let pending = row.status == DeliveryStatus::Pending;
    DeliveryView {
        id: row.id,
        event_id: row.event_id,
        event_type: row.event_type,
        run_id: row.run,
        status: row.status.as_str().to_owned(),
        redelivery_of: row.redelivery_of,
        attempts: row.attempt,
        attempt_log: log_of(row.attempt_log.as_ref()),
        last_status: row.last_status,
        last_error: row.last_error,
        next_attempt_at: pending.then_some(row.next_attempt_at),
        delivered_at: row.delivered_at,
        created_at: row.created_at,
    }
}
