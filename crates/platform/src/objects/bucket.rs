//! Objects in an S3-compatible bucket. Small ones go in one request, larger ones in parts of one size, read from the spool
//! one after the other; nothing is visible before the last request of an upload is answered.

use std::error::Error as StdError;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use livery_broker::OperatorClient;
use livery_core::{Error, Timestamp};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::path::Path as Key;
use object_store::{BackoffConfig, MultipartUpload, ObjectMeta, ObjectStoreExt as _, PutPayload, RetryConfig};

use super::wire::{Connector, Reply, Silence};
use super::{BucketPlace, Budget, Failure, Listed, Pieces, Spooled};

/// Bytes of one part; S3 takes no smaller ones but at the end.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// A request that met passing trouble is sent again this often, with growing pauses.
const RETRIES_MAX: usize = 2;
/// Pages of one list.
const PAGES_MAX: usize = 500;
/// No further try after this long.
const RETRY_TIME_MAX: Duration = Duration::from_secs(20);

pub(super) struct Bucket {
    store: AmazonS3,
    prefix: String,
}

impl Bucket {
    pub(super) fn new(place: &BucketPlace, ca: Option<&Path>) -> Result<Self, Error> {
        let unusable = |why: String| Error::Unavailable { detail: format!("--objects: {why}"), retry_after_s: 0 };
        let client = OperatorClient::new(place.endpoint.clone(), ca).map_err(|error| unusable(error.to_string()))?;
        let text = |secret: &livery_broker::Secret| String::from_utf8_lossy(secret.expose_secret()).into_owned();
        let backoff =
            BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 3.0 };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&place.bucket)
            .with_region(&place.region)
            .with_endpoint(place.endpoint.origin())
            .with_allow_http(true)
            .with_access_key_id(&place.access.key_id)
            .with_secret_access_key(text(&place.access.secret_key))
            // One key a request: not every server knows the other way.
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME_MAX })
            .with_http_connector(Connector(client));
        if let Some(token) = &place.access.session_token {
            builder = builder.with_token(text(token));
        }
        let store = builder.build().map_err(|_| unusable("the bucket cannot be addressed like this".into()))?;
        Ok(Self { store, prefix: place.prefix.clone() })
    }

    pub(super) async fn put(&self, key: &str, content: &Spooled, memory: &Budget) -> Result<(), Failure> {
        self.send(key, content, memory).await.map_err(|failure| match failure {
            // Nothing has to be there to be written; what is missing is the bucket, or the upload it had begun.
            Failure::Missing => Failure::Refused("404".into()),
            failure => failure,
        })
    }

    async fn send(&self, key: &str, content: &Spooled, memory: &Budget) -> Result<(), Failure> {
        let key = self.key_of(key)?;
        let mut parts = Parts::open(content).await?;
        if content.bytes <= PART_BYTES as u64 {
            let _permit = memory.take(PART_BYTES).await?;
            let part = parts.next().await?;
            self.store.put(&key, PutPayload::from_bytes(part)).await.map_err(failure)?;
            return Ok(());
        }
        let mut upload = self.store.put_multipart(&key).await.map_err(failure)?;
        let sent = send_parts(upload.as_mut(), &mut parts, memory).await;
        if sent.is_err() {
            // What the server keeps of it otherwise is cleared by the bucket's own rule; see the operator's page.
            let _ = upload.abort().await;
        }
        sent
    }

    pub(super) async fn get(&self, key: &str) -> Result<Pieces, Failure> {
        let found = self.store.get(&self.key_of(key)?).await.map_err(failure)?;
        Ok(found.into_stream().map(|piece| piece.map_err(failure)).boxed())
    }

    pub(super) async fn size(&self, key: &str) -> Result<u64, Failure> {
        Ok(self.store.head(&self.key_of(key)?).await.map_err(failure)?.size)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.store.delete(&self.key_of(key)?).await.map_err(failure)
    }

    pub(super) async fn list(&self, folder: &str, after: Option<String>, most: usize) -> Result<Vec<Listed>, Failure> {
        let prefix = format!("{}/", self.key_of(folder)?);
        let offset = after.map(|after| self.key_of(&after)).transpose()?.map(|key| key.to_string());
        let mut found = Vec::new();
        let mut page_token = None;
        for _ in 0..PAGES_MAX {
            let max_keys = Some(most - found.len());
            let options = PaginatedListOptions { offset: offset.clone(), page_token, max_keys, ..Default::default() };
            let page = self.store.list_paginated(Some(&prefix), options).await.map_err(failure)?;
            for object in page.result.objects.iter().take(most - found.len()) {
                found.push(self.listed(object, &prefix)?);
            }
            page_token = page.page_token;
            if page_token.is_none() || found.len() >= most {
                return Ok(found);
            }
        }
        // A few names or none on each of so many pages: the next look goes on from them, an endless list has none.
        if found.is_empty() { Err(Failure::Nonsense) } else { Ok(found) }
    }

    /// A server that names what was not asked for is not believed.
    fn listed(&self, object: &ObjectMeta, asked: &str) -> Result<Listed, Failure> {
        let key = object.location.as_ref();
        if !key.starts_with(asked) {
            return Err(Failure::Nonsense);
        }
        let key = key.get(self.prefix.len()..).unwrap_or_default().trim_start_matches('/').to_owned();
        Ok(Listed { key, modified: Timestamp::from_micros(object.last_modified.timestamp_micros()) })
    }

    fn key_of(&self, key: &str) -> Result<Key, Failure> {
        if key.is_empty() {
            return Err(Failure::Missing);
        }
        let whole = if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) };
        Key::parse(whole).map_err(|_| Failure::Missing)
    }
}

/// Sends the parts one after the other: memory holds one, and order needs no thought.
async fn send_parts(upload: &mut dyn MultipartUpload, parts: &mut Parts, memory: &Budget) -> Result<(), Failure> {
    loop {
        let permit = memory.take(PART_BYTES).await?;
        let part = parts.next().await?;
        if part.is_empty() {
            break;
        }
        upload.put_part(PutPayload::from_bytes(part)).await.map_err(failure)?;
        drop(permit);
    }
    upload.complete().await.map_err(failure).map(drop)
}

/// What was spooled, in parts.
struct Parts(Option<File>);

impl Parts {
    async fn open(content: &Spooled) -> Result<Self, Failure> {
        let path = content.path().to_owned();
        let opened = tokio::task::spawn_blocking(move || File::open(path)).await;
        opened.map_err(|_| Failure::Spool)?.map(|file| Self(Some(file))).map_err(|_| Failure::Spool)
    }

    async fn next(&mut self) -> Result<Bytes, Failure> {
        let mut file = self.0.take().ok_or(Failure::Spool)?;
        let read = move || {
            let mut part = Vec::new();
            (&mut file).take(PART_BYTES as u64).read_to_end(&mut part).map(|_| (part, file))
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(|_| Failure::Spool)?;
        let (part, file) = read.map_err(|_| Failure::Spool)?;
        self.0 = Some(file);
        Ok(part.into())
    }
}

/// What the server or the way to it said, by kind; its own words go nowhere.
fn failure(error: object_store::Error) -> Failure {
    if let object_store::Error::NotFound { .. } = error {
        return Failure::Missing;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(found) = cause {
        if let Some(reply) = found.downcast_ref::<Reply>() {
            return of_reply(reply);
        }
        if let Some(Silence(error)) = found.downcast_ref::<Silence>() {
            return match error {
                livery_broker::Error::Timeout { .. } => Failure::Slow,
                livery_broker::Error::Busy => Failure::Busy,
                error => Failure::Unreachable(error.to_string()),
            };
        }
        cause = found.source();
    }
    Failure::Nonsense
}

fn of_reply(reply: &Reply) -> Failure {
    match (reply.status, reply.code.as_str()) {
        (_, "NoSuchBucket") => Failure::NoBucket,
        (404, _) => Failure::Missing,
        (507, _)
        | (_, "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "InsufficientStorage") => {
            Failure::Full
        }
        (429 | 503, _) | (_, "SlowDown") => Failure::SlowDown,
        (408 | 504, _) => Failure::Slow,
        (401 | 403, _) => Failure::Denied(reply.to_string().trim().to_owned()),
        _ => Failure::Refused(reply.to_string().trim().to_owned()),
    }
}
