//! A run that waits for a person: it holds no worker, no sandbox and no connection, only its rows. It is due again when the
//! first of its approvals runs out; an answer makes it due at once.

use livery_core::{EventType, Result};
use livery_store::{ApprovalStatus, Lease, NewEvent, Progress};
use serde_json::json;

use super::step::ACTOR;
use crate::Platform;
use crate::approvals::decided_event;
use crate::effects::{EffectKind, Phase};
use crate::webhooks::Outbox;

/// Puts a run down until somebody answers, or nobody did in time.
pub(super) async fn wait(platform: &Platform, lease: Lease, outbox: &Outbox, progress: Progress) {
    platform.reached(EffectKind::RunWait, Phase::Before);
    if let Err(error) = put_down(platform, lease, outbox.clone(), progress).await {
        tracing::warn!(run = %lease.run, %error, "a run could not be put into `waiting`; its lease runs out");
    }
    platform.reached(EffectKind::RunWait, Phase::Committed);
}

async fn put_down(platform: &Platform, lease: Lease, outbox: Outbox, progress: Progress) -> Result<()> {
    let (now, node) = (platform.clock.now(), platform.clone());
    let write = platform.store.write(move |tx| {
        Box::pin(async move {
            // The approvals before the run: see `livery_store`'s `approvals` for why.
            let rows = tx.look_at_approvals(lease.org, lease.run).await?;
            let (open, mut answered): (Vec<_>, Vec<_>) =
                rows.into_iter().partition(|row| row.status == ApprovalStatus::Pending);
            // Nobody asks again for one whose policy went away meanwhile. Left as it is, it would be due for ever.
            let (late, open): (Vec<_>, Vec<_>) = open.into_iter().partition(|row| row.expires_at <= now);
            for mut row in late {
                if tx.expire_approval(lease.org, row.id, now).await? {
                    row.status = ApprovalStatus::Expired;
                    answered.push(row);
                }
            }
            let mut events = Vec::new();
            for row in &answered {
                events.push(decided_event(row, row.decided_at.unwrap_or(now))?);
            }
            let first = open.iter().map(|row| row.expires_at).min();
            let ids: Vec<_> = open.iter().map(|row| row.id).collect();
            let data = json!({"approvals": ids, "until": first});
            events.push(NewEvent::new(EventType::RunWaiting, ACTOR, now, &data)?);
            tx.update_run_progress(&lease, &progress, &[]).await?;
            let first_seq = tx.wait_run(&lease, &events).await?;
            outbox.append(tx, first_seq, &events).await?;
            node.reached(EffectKind::RunWait, Phase::During);
            let row = tx.get_run(lease.org, lease.run).await?;
            let is_due = !answered.is_empty() || row.is_some_and(|row| row.cancel_requested_at.is_some());
            let due = first.filter(|_| !is_due).unwrap_or(now);
            tx.enqueue(lease.org, lease.run, due).await
        })
    });
    Ok(write.await?)
}
