//! Copies of a workspace, for the day its node is gone: taken after steps that may have changed it, laid back where the run
//! goes on.
//!
//! A copy is packed and unpacked inside the run's sandbox ([`super::pack`]). A copy that is taken while further tools run may
//! hold a part of their work; its event says up to where it is whole.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use livery_core::{Error, Result};
use livery_sandbox::Sandbox;
use livery_store::{Lease, SnapshotRow};

use super::hands::Hands;
use super::pack::{self, Failed, What};
use crate::Platform;
use crate::patience::Pauses;

/// Largest copy, packed. A larger workspace is not copied, and the log of the node says so.
const COPY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The first pause after an object store refused a copy.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The last copy of a node that stops.
const LAST_COPY_TIME: Duration = Duration::from_secs(15);

/// The copies of one run.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// The event up to which a copy is wanted.
    wanted: AtomicU64,
    /// The event up to which there is one.
    taken: AtomicU64,
    busy: AtomicBool,
}

impl Copies {
    /// Notes that a copy of what is there after event `seq` is wanted. `true`: the caller is to [`Copies::take`] it now.
    pub(super) fn want(&self, seq: u64) -> bool {
        self.wanted.fetch_max(seq, Ordering::AcqRel);
        !self.busy.swap(true, Ordering::AcqRel)
    }

    /// Takes copies until none is wanted. A failure is said and costs nothing but the copy; while the object store is away,
    /// the copy waits for it and the run goes on.
    pub(super) async fn take(&self, hands: &Hands, lease: Lease) {
        let first = Pauses::between(PAUSE_FIRST, PAUSE_MAX);
        let mut pauses = first;
        loop {
            let seq = self.wanted.load(Ordering::Acquire);
            if seq > self.taken.load(Ordering::Acquire) {
                match copy(hands, lease, seq).await {
                    Ok(()) => pauses = first,
                    Err(error @ Error::Unavailable { .. }) => {
                        tracing::warn!(run = %lease.run, seq, %error, "the copy of a workspace waits");
                        pauses.pause().await;
                        continue;
                    }
                    Err(error) => tracing::warn!(run = %lease.run, seq, %error, "a workspace could not be copied"),
                }
                self.taken.fetch_max(seq, Ordering::AcqRel);
                continue;
            }
            self.busy.store(false, Ordering::Release);
            // Wanted between the look and the store: whoever sees it first goes on.
            if self.wanted.load(Ordering::Acquire) <= seq || self.busy.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }

    /// The last copy before this node lets the run go in order; `take` was ended before.
    pub(super) async fn take_last(&self, hands: &Hands, lease: Lease) {
        if self.wanted.load(Ordering::Acquire) > self.taken.load(Ordering::Acquire)
            && tokio::time::timeout(LAST_COPY_TIME, Box::pin(self.take(hands, lease))).await.is_err()
        {
            tracing::warn!(run = %lease.run, "the last copy of a workspace took too long");
        }
    }
}

async fn copy(hands: &Hands, lease: Lease, seq: u64) -> Result<()> {
    let Some(sandbox) = hands.made() else { return Ok(()) };
    let platform = &hands.platform;
    // A name of its own for each attempt: a worker that lost its lease, or one that tries again, overwrites no other copy.
    let object_key = format!("snapshots/{}/{}/{seq}-{:032x}.tgz", lease.org, lease.run, platform.mint());
    let packed = pack::pack(platform, sandbox, &hands.packing, What::All, "", COPY_BYTES_MAX).await?;
    platform.objects.put(&object_key, &packed).await?;
    let (bytes, sha256) = (packed.bytes, packed.sha256.clone());
    let row = SnapshotRow { seq, object_key, bytes, sha256, created_at: platform.clock.now() };
    let write = platform.store.write_work(move |tx| {
        Box::pin(async move {
            if !tx.insert_snapshot(lease.org, lease.run, lease.epoch, &row).await? {
                return Ok(vec![row.object_key.clone()]);
            }
            tx.delete_snapshots_before(lease.org, lease.run, seq).await
        })
    });
    remove(platform, write.await?).await;
    Ok(())
}

/// Lays a copy into a new sandbox.
///
/// # Errors
/// When it is not what was stored, or the sandbox cannot take it; [`Error::Unavailable`] when the object store is away.
pub(super) async fn restore(platform: &Platform, sandbox: &Sandbox, row: &SnapshotRow) -> Result<()> {
    if row.bytes > COPY_BYTES_MAX {
        return Err(Error::internal("the copy of a workspace is larger than any"));
    }
    let packed = platform.objects.fetch(&row.object_key, row.bytes, &row.sha256).await?;
    pack::lay_out(platform, sandbox, &packed, What::All, "").await.map_err(|failed| match failed {
        Failed::Refused(detail) => Error::internal(detail),
        failed => failed.into(),
    })
}

/// The newest copy of a run whose bytes are there.
///
/// # Errors
/// When the database or the object store cannot say now.
pub(super) async fn newest(platform: &Platform, lease: Lease) -> Result<Option<SnapshotRow>> {
    if !platform.config.snapshots {
        return Ok(None);
    }
    let Some(row) = platform.store.newest_snapshot(lease.org, lease.run).await? else { return Ok(None) };
    let found = platform.objects.size(&row.object_key).await?;
    if found != Some(row.bytes) {
        tracing::warn!(run = %lease.run, key = row.object_key, "the copy of a workspace is gone");
    }
    Ok((found == Some(row.bytes)).then_some(row))
}

/// Forgets all copies of a run that is over.
pub(super) async fn forget(platform: &Platform, lease: Lease) {
    if !platform.config.snapshots {
        return;
    }
    let deleted = platform.store.write_work(move |tx| {
        Box::pin(async move { tx.delete_snapshots_before(lease.org, lease.run, i64::MAX as u64).await })
    });
    match deleted.await {
        Ok(keys) => remove(platform, keys).await,
        Err(error) => tracing::warn!(run = %lease.run, %error, "copies of a workspace cannot be forgotten"),
    }
}

/// What cannot be removed now is swept later: it has no row any more.
async fn remove(platform: &Platform, keys: Vec<String>) {
    for key in keys {
        if let Err(failure) = platform.objects.delete(&key).await {
            tracing::warn!(%failure, key, "the copy of a workspace cannot be removed now");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Copies;

    #[test]
    fn one_copy_is_taken_at_a_time_and_what_is_wanted_meanwhile_is_not_forgotten() {
        let copies = Copies::default();
        assert!(copies.want(4));
        assert!(!copies.want(7), "the first one is under way, and looks again at its end");
        assert_eq!(copies.wanted.load(std::sync::atomic::Ordering::Acquire), 7);
        assert!(!copies.want(5));
        assert_eq!(copies.wanted.load(std::sync::atomic::Ordering::Acquire), 7, "never back");
    }
}
