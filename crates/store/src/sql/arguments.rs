//! Which types a statement takes, and as what. Ids are in `ids`.

use std::borrow::Cow;

use livery_core::{RunStatus, Timestamp, Usd};

use crate::json::Json;
use crate::sql::Arg;

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Option<u32>> for Arg {
    fn from(value: Option<u32>) -> Self {
        Self::Int(value.map(Into::into))
    }
}

impl From<u16> for Arg {
    fn from(value: u16) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Option<u16>> for Arg {
    fn from(value: Option<u16>) -> Self {
        Self::Int(value.map(Into::into))
    }
}

impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

/// Counts and sequences are far below 2⁶³; a larger number saturates rather than wraps.
impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<usize> for Arg {
    fn from(value: usize) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<bool> for Arg {
    fn from(value: bool) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Timestamp> for Arg {
    fn from(value: Timestamp) -> Self {
        Self::Int(Some(value.as_micros()))
    }
}

impl From<Option<Timestamp>> for Arg {
    fn from(value: Option<Timestamp>) -> Self {
        Self::Int(value.map(Timestamp::as_micros))
    }
}

impl From<Usd> for Arg {
    fn from(value: Usd) -> Self {
        Self::Int(Some(value.as_micros()))
    }
}

impl From<Option<Usd>> for Arg {
    fn from(value: Option<Usd>) -> Self {
        Self::Int(value.map(Usd::as_micros))
    }
}

impl From<&'static str> for Arg {
    fn from(value: &'static str) -> Self {
        Self::Text(Some(Cow::Borrowed(value)))
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Text(Some(Cow::Owned(value)))
    }
}

impl From<&String> for Arg {
    fn from(value: &String) -> Self {
        Self::Text(Some(Cow::Owned(value.clone())))
    }
}

impl From<Option<String>> for Arg {
    fn from(value: Option<String>) -> Self {
        Self::Text(value.map(Cow::Owned))
    }
}

impl From<&Option<String>> for Arg {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone().map(Cow::Owned))
    }
}

impl From<&Json> for Arg {
    fn from(value: &Json) -> Self {
        Self::Text(Some(Cow::Owned(value.as_str().to_owned())))
    }
}

impl From<&Option<Json>> for Arg {
    fn from(value: &Option<Json>) -> Self {
        Self::Text(value.as_ref().map(|json| Cow::Owned(json.as_str().to_owned())))
    }
}

impl From<Option<Json>> for Arg {
    fn from(value: Option<Json>) -> Self {
        Self::Text(value.map(|json| Cow::Owned(json.into_string())))
    }
}

impl From<RunStatus> for Arg {
    fn from(value: RunStatus) -> Self {
        Self::Text(Some(Cow::Borrowed(value.as_str())))
    }
}

impl From<Option<RunStatus>> for Arg {
    fn from(value: Option<RunStatus>) -> Self {
        Self::Text(value.map(|status| Cow::Borrowed(status.as_str())))
    }
}

impl From<Vec<u8>> for Arg {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(Some(value))
    }
}

impl From<Option<Vec<u8>>> for Arg {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Blob(value)
    }
}

impl From<&[u8; 32]> for Arg {
    fn from(value: &[u8; 32]) -> Self {
        Self::Blob(Some(value.to_vec()))
    }
}
