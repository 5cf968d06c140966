//! Where objects are kept, as the operator says it: `--objects DIR` or `--objects s3://BUCKET/PREFIX`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use livery_broker::Secret;
use livery_broker::guard::{Scheme, Target};

/// The scheme of a bucket.
const S3: &str = "s3://";
/// Longest prefix within a bucket.
const PREFIX_BYTES_MAX: usize = 512;
/// Where AWS has a region's buckets.
const REGION_DEFAULT: &str = "us-east-1";

/// Where objects are kept.
#[derive(Debug, Clone)]
pub enum Place {
    /// Below this folder.
    Folder(PathBuf),
    /// In this bucket.
    Bucket(Arc<BucketPlace>),
}

/// A bucket and how to get at it.
pub struct BucketPlace {
    /// The bucket's name.
    pub bucket: String,
    /// What every key begins with; empty: nothing. It belongs to Livery alone.
    pub prefix: String,
    /// The server.
    pub endpoint: Target,
    /// The region requests are signed for.
    pub region: String,
    /// Who asks.
    pub access: Access,
}

/// The credentials of a bucket.
pub struct Access {
    /// `AWS_ACCESS_KEY_ID`.
    pub key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_key: Secret,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<Secret>,
}

impl fmt::Debug for BucketPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{} at {}", self.bucket, self.prefix, self.endpoint.origin())
    }
}

/// What the operator said about a bucket beside its address: flags and environment, as they are.
#[derive(Default)]
pub struct BucketSettings {
    /// `LIVERY_OBJECTS_ENDPOINT`.
    pub endpoint: Option<String>,
    /// `LIVERY_OBJECTS_REGION`, else `AWS_REGION`.
    pub region: Option<String>,
    /// `LIVERY_OBJECTS_ALLOW_HTTP`.
    pub allow_http: bool,
    /// `AWS_ACCESS_KEY_ID`.
    pub key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_key: Option<Secret>,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<Secret>,
}

/// Why a place cannot be used; each names what to change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not a bucket's name.
    #[error("--objects: a bucket's name has 3 to 63 of a-z, 0-9, `-` and `.`: write s3://BUCKET or s3://BUCKET/PREFIX")]
    Bucket,
    /// Not a prefix.
    #[error("--objects: the part after the bucket may have letters, digits, `-`, `_`, `.` and `/` between them")]
    Prefix,
    /// Another scheme.
    #[error("--objects: a folder, or s3://BUCKET/PREFIX; {0} is not known")]
    Scheme(String),
    /// The endpoint is no URL.
    #[error("LIVERY_OBJECTS_ENDPOINT: {0}; write it https://HOST:PORT")]
    Endpoint(String),
    /// The endpoint has a path.
    #[error("LIVERY_OBJECTS_ENDPOINT: leave the path away; the bucket and the prefix are said by --objects")]
    EndpointPath,
    /// Plain HTTP beyond loopback.
    #[error(
        "LIVERY_OBJECTS_ENDPOINT: http is for loopback; use https, or say LIVERY_OBJECTS_ALLOW_HTTP=true on a network you trust"
    )]
    Plaintext,
    /// Not a region.
    #[error("LIVERY_OBJECTS_REGION: a region has letters, digits and `-`, such as eu-central-1")]
    Region,
    /// A credential is missing.
    #[error("--objects s3://… needs {0} in the environment")]
    Credential(&'static str),
}

impl Place {
    /// Reads what `--objects` says.
    ///
    /// # Errors
    /// [`PlaceError`] says what to change.
    pub fn parse(text: &str, settings: BucketSettings) -> Result<Self, PlaceError> {
        let Some(rest) = text.strip_prefix(S3) else {
            return match text.split_once("://") {
                Some((scheme, _)) => Err(PlaceError::Scheme(format!("{}://", scheme.escape_debug()))),
                None => Ok(Self::Folder(PathBuf::from(text))),
            };
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        check_bucket(bucket)?;
        check_prefix(prefix)?;
        let region = settings.region.unwrap_or_else(|| REGION_DEFAULT.to_owned());
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(PlaceError::Region);
        }
        let endpoint = settings.endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint = check_endpoint(&endpoint, settings.allow_http)?;
        let access = Access {
            key_id: settings.key_id.ok_or(PlaceError::Credential("AWS_ACCESS_KEY_ID"))?,
            secret_key: settings.secret_key.ok_or(PlaceError::Credential("AWS_SECRET_ACCESS_KEY"))?,
            session_token: settings.session_token,
        };
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        Ok(Self::Bucket(Arc::new(BucketPlace { bucket, prefix, endpoint, region, access })))
    }
}

fn check_bucket(name: &str) -> Result<(), PlaceError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let ends =
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    let fits = (3..=63).contains(&name.len()) && name.bytes().all(plain) && ends && !name.contains("..");
    if fits { Ok(()) } else { Err(PlaceError::Bucket) }
}

fn check_prefix(prefix: &str) -> Result<(), PlaceError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    let fits = prefix.is_empty() || (prefix.len() <= PREFIX_BYTES_MAX && prefix.split('/').all(part));
    if fits { Ok(()) } else { Err(PlaceError::Prefix) }
}

fn check_endpoint(text: &str, allow_http: bool) -> Result<Target, PlaceError> {
    let target = Target::base_url(text).map_err(|refused| PlaceError::Endpoint(refused.to_string()))?;
    if target.path() != "/" {
        return Err(PlaceError::EndpointPath);
    }
    if target.scheme() == Scheme::Http && !target.host().is_loopback() && !allow_http {
        return Err(PlaceError::Plaintext);
    }
    Ok(target)
}

#[cfg(test)]
mod tests;
