//! The answer of `call_api` as the model reads it: one JSON object, whole, with a body that fits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::text::{RESULT_BYTES_MAX, shorten};

/// Longest header value shown, in bytes.
const HEADER_BYTES_MAX: usize = 1024;

/// What an upstream answered, decoded and without any credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiOutput {
    /// The HTTP status.
    pub status: u16,
    /// The headers that are shown.
    pub headers: BTreeMap<String, String>,
    /// The body when it is text.
    pub body: Option<String>,
    /// Bytes of the body.
    pub body_bytes: u64,
}

impl ApiOutput {
    /// Whether the upstream did what was asked. A redirect, which nobody follows, is an answer.
    pub(super) const fn is_good(&self) -> bool {
        self.status < 400
    }

    /// `{status, headers, body}`; a body that is JSON as JSON. One that does not fit is shortened, and said to be; one that is no
    /// text is named by its size.
    pub(super) fn text(&self) -> String {
        let headers: BTreeMap<&str, _> =
            self.headers.iter().map(|(name, value)| (name.as_str(), shorten(value, HEADER_BYTES_MAX))).collect();
        let mut object = json!({"status": self.status, "headers": headers});
        let Some(body) = &self.body else {
            object["body"] = Value::Null;
            object["note"] = format!("a binary body of {} bytes is not shown", self.body_bytes).into();
            return object.to_string();
        };
        object["body"] = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.clone()));
        let whole = object.to_string();
        if whole.len() <= RESULT_BYTES_MAX {
            return whole;
        }
        // Quoting may make several bytes of one, so less is kept until it fits.
        object["truncated"] = true.into();
        object["body_bytes"] = self.body_bytes.into();
        let mut room = RESULT_BYTES_MAX;
        loop {
            object["body"] = shorten(body, room).into();
            let text = object.to_string();
            if text.len() <= RESULT_BYTES_MAX || room == 0 {
                return text;
            }
            room -= (room / 4).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiOutput, RESULT_BYTES_MAX};

    fn output(body: Option<&str>) -> ApiOutput {
        let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
        let body_bytes = body.map_or(7, str::len) as u64;
        ApiOutput { status: 200, headers, body: body.map(str::to_owned), body_bytes }
    }

    #[test]
    fn a_body_is_json_text_or_a_note() {
        let head = "\"headers\":{\"content-type\":\"application/json\"}";
        let text = |body| output(body).text();
        assert_eq!(text(Some("{\"a\": 1}")), format!("{{\"body\":{{\"a\":1}},{head},\"status\":200}}"));
        assert_eq!(text(Some("plain")), format!("{{\"body\":\"plain\",{head},\"status\":200}}"));
        assert!(text(None).contains("a binary body of 7 bytes is not shown"));
    }

    #[test]
    fn what_is_too_long_is_shortened_and_says_so() {
        for body in ["a".repeat(100_000), "\u{1}".repeat(100_000), format!("[{}1]", "1,".repeat(50_000))] {
            let text = output(Some(&body)).text();
            assert!(text.len() <= RESULT_BYTES_MAX);
            let read: serde_json::Value = serde_json::from_str(&text).expect("the object stays whole");
            assert_eq!(read["truncated"], true);
            assert_eq!(read["body_bytes"], body.len());
            assert!(read["body"].as_str().expect("a text").contains("bytes left out"));
        }
    }
}
