//! A run's event stream as values, for the commands that follow a run.

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use livery_llm::sse::Reader;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Reads stored and live events from the server's stream.
pub(crate) struct EventStream {
    body: Incoming,
    reader: Reader,
    ready: VecDeque<Value>,
}

impl EventStream {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, reader: Reader::default(), ready: VecDeque::new() }
    }

    /// The next event; `None` when the stream ended.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let Ok(data) = frame.context("the event stream broke off")?.into_data() else { continue };
            let ready = &mut self.ready;
            self.reader.push::<anyhow::Error>(&data, &mut |event| {
                let value: Value =
                    serde_json::from_str(event.data).context("the server sent an event that is no JSON")?;
                // Live news has no type of its own inside: its name is the stream's.
                ready.push_back(if value["type"].is_null() {
                    json!({"type": event.name, "data": value})
                } else {
                    value
                });
                Ok(())
            })?;
        }
    }
}
