//! The event-stream reader.
