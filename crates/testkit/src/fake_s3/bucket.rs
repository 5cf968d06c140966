//! What the fake server stores, and the part of S3's language it speaks: PUT, GET (with a range), HEAD, DELETE,
//! ListObjectsV2 and multipart uploads.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method};
use sha2::{Digest as _, Sha256};

use super::sign::hex;
use crate::listener::Received;

/// Names on one page of a list: few, so that tests turn pages.
const PAGE: usize = 3;
/// The smallest part that is not the last one.
const PART_BYTES_MIN: usize = 5 * 1024 * 1024;
/// A page without names that names a next one.
pub(super) const ENDLESS: &str = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>on</NextContinuationToken></ListBucketResult>";

#[derive(Debug)]
struct Object {
    bytes: Bytes,
    modified_s: u64,
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn of(body: impl Into<Bytes>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn error(status: u16, code: &str) -> Self {
        let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>as told</Message></Error>");
        Self { status, ..Self::of(body) }
    }

    fn nothing(status: u16) -> Self {
        Self { status, ..Self::of(Bytes::new()) }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((HeaderName::from_static(name), value.to_owned()));
        self
    }
}

/// One bucket.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    next_upload: u64,
    now_s: u64,
}

impl Bucket {
    pub(super) fn keys(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    pub(super) fn object(&self, key: &str) -> Option<Bytes> {
        self.objects.get(key).map(|object| object.bytes.clone())
    }

    pub(super) fn put(&mut self, key: &str, bytes: Bytes) {
        self.objects.insert(key.to_owned(), Object { bytes, modified_s: self.now_s });
    }

    pub(super) fn age(&mut self, by: Duration) {
        for object in self.objects.values_mut() {
            object.modified_s = object.modified_s.saturating_sub(by.as_secs());
        }
    }

    pub(super) fn uploads(&self) -> usize {
        self.uploads.len()
    }

    /// Answers one request.
    pub(super) fn serve(&mut self, received: &Received, bucket: &str, now_s: u64) -> Answer {
        self.now_s = now_s;
        let (path, query) = received.path.split_once('?').unwrap_or((&received.path, ""));
        let query = Query::parse(query);
        let Some(key) =
            decoded(path).strip_prefix(&format!("/{bucket}")).map(|key| key.trim_start_matches('/').to_owned())
        else {
            return Answer::error(404, "NoSuchBucket");
        };
        match (&received.method, query.get("uploadId"), query.get("partNumber")) {
            (&Method::GET, ..) if key.is_empty() => self.list(&query),
            (&Method::GET | &Method::HEAD, ..) => self.get(&key, received),
            (&Method::POST, None, _) if query.get("uploads").is_some() => self.begin(&key),
            (&Method::PUT, Some(upload), Some(part)) => self.part(upload, part, received.body.clone()),
            (&Method::POST, Some(upload), _) => self.complete(&key, upload, &received.body),
            (&Method::DELETE, Some(upload), _) => {
                self.uploads.remove(upload);
                Answer::nothing(204)
            }
            (&Method::PUT, None, _) => {
                self.put(&key, received.body.clone());
                Answer::nothing(200).with("etag", &etag(&received.body))
            }
            (&Method::DELETE, None, _) => {
                self.objects.remove(&key);
                Answer::nothing(204)
            }
            _ => Answer::error(501, "NotImplemented"),
        }
    }

    fn get(&self, key: &str, received: &Received) -> Answer {
        let Some(object) = self.objects.get(key) else { return Answer::error(404, "NoSuchKey") };
        let tag = etag(&object.bytes);
        let range = received.headers.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
        let Some((from, to)) = range.and_then(|range| range.split_once('-')) else {
            return Answer::of(object.bytes.clone()).with("etag", &tag);
        };
        let length = object.bytes.len();
        let from = from.parse().unwrap_or(length).min(length);
        let to = to.parse::<usize>().map_or(length, |to| to.saturating_add(1)).clamp(from, length);
        let part = Answer { status: 206, ..Answer::of(object.bytes.slice(from..to)) };
        part.with("etag", &tag).with("content-range", &format!("bytes {from}-{}/{length}", to.saturating_sub(1)))
    }

    fn list(&self, query: &Query) -> Answer {
        let prefix = query.get("prefix").unwrap_or_default();
        let after = query.get("continuation-token").or_else(|| query.get("start-after")).unwrap_or_default();
        let found: Vec<_> = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after)
            .take(PAGE + 1)
            .collect();
        let mut text = String::from("<?xml version=\"1.0\"?>\n<ListBucketResult>");
        for (key, object) in found.iter().take(PAGE) {
            let (size, modified) = (object.bytes.len(), written(object.modified_s));
            text.push_str(&format!(
                "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><Size>{size}</Size><ETag>x</ETag></Contents>"
            ));
        }
        if found.len() > PAGE {
            let next = found[PAGE - 1].0;
            text.push_str(&format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
            ));
        }
        text.push_str("</ListBucketResult>");
        Answer::of(text)
    }

    fn begin(&mut self, key: &str) -> Answer {
        self.next_upload += 1;
        let upload = format!("upload-{}", self.next_upload);
        self.uploads.insert(upload.clone(), BTreeMap::new());
        Answer::of(format!(
            "<InitiateMultipartUploadResult><Key>{key}</Key><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        ))
    }

    fn part(&mut self, upload: &str, part: &str, bytes: Bytes) -> Answer {
        let (Some(parts), Ok(part)) = (self.uploads.get_mut(upload), part.parse()) else {
            return Answer::error(404, "NoSuchUpload");
        };
        let tag = etag(&bytes);
        parts.insert(part, bytes);
        Answer::nothing(200).with("etag", &tag)
    }

    fn complete(&mut self, key: &str, upload: &str, order: &[u8]) -> Answer {
        let Some(parts) = self.uploads.remove(upload) else { return Answer::error(404, "NoSuchUpload") };
        let named = String::from_utf8_lossy(order).matches("<PartNumber>").count();
        let last = parts.keys().next_back().copied();
        let too_small = parts.iter().any(|(number, bytes)| Some(*number) != last && bytes.len() < PART_BYTES_MIN);
        if named != parts.len() {
            return Answer::error(400, "InvalidPart");
        }
        if too_small {
            return Answer::error(400, "EntityTooSmall");
        }
        let whole: Vec<u8> = parts.into_values().flatten().collect();
        let tag = etag(&whole);
        self.put(key, whole.into());
        Answer::of(format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"))
    }
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", &hex(&Sha256::digest(bytes))[..32])
}

/// The parameters of a request.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(n, v)| (decoded(n), decoded(v)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Percent-decoded.
fn decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Seconds since 1970 as `2013-05-24T00:00:00.000Z`.
fn written(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year_of_era, month + 3) } else { (year_of_era + 1, month - 9) };
    let year = year + era * 400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.000Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_time_is_written_as_s3_writes_it() {
        assert_eq!(super::written(1_369_353_600), "2013-05-24T00:00:00.000Z");
        assert_eq!(super::written(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(super::written(951_868_800), "2000-03-01T00:00:00.000Z");
    }
}
