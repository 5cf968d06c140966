//! `send_email` as the model sees it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Described, PATH_CHARS_MAX};

/// Most addresses of one list.
const ADDRESSES_MAX: usize = 100;
/// Longest address, in characters.
const ADDRESS_CHARS_MAX: usize = 254;
/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 500;
/// Longest text, and longest HTML, in characters.
const TEXT_CHARS_MAX: usize = 256 * 1024;
/// Most files.
const ATTACHMENTS_MAX: usize = 10;
/// Longest id of another message, in characters.
const MESSAGE_ID_CHARS_MAX: usize = 250;

pub(super) fn described(connections: &BTreeMap<String, String>) -> Described {
    let description = "Sends one e-mail through one of your connections and answers with JSON: message_id and what the mail server \
                       said. The sender's address is the connection's. Addresses are plain, like ada@example.com, without names. \
                       Either every recipient is accepted or nothing is sent. A connection may be limited to certain recipients. \
                       It is never repeated after an interruption.";
    let slots: Vec<&String> = connections.keys().collect();
    let addresses = |least: usize, what: &str| -> Value {
        json!({"type": "array", "minItems": least, "maxItems": ADDRESSES_MAX, "uniqueItems": true,
            "items": {"type": "string", "minLength": 3, "maxLength": ADDRESS_CHARS_MAX}, "description": what})
    };
    let properties = json!({
        "connection": {"enum": slots, "description": "Which connection."},
        "to": addresses(1, "Recipients."),
        "cc": addresses(0, "Recipients of a copy."),
        "bcc": addresses(0, "Recipients that the others do not see."),
        "subject": {"type": "string", "minLength": 1, "maxLength": SUBJECT_CHARS_MAX, "description": "One line."},
        "text": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX, "description": "The message as plain text."},
        "html": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX,
            "description": "The same message as HTML, for readers that show it."},
        "attachments": {"type": "array", "maxItems": ATTACHMENTS_MAX, "uniqueItems": true,
            "items": {"type": "string", "minLength": 1, "maxLength": PATH_CHARS_MAX},
            "description": "Files of your workspace to attach, 10 MiB together."},
        "in_reply_to": {"type": "string", "minLength": 3, "maxLength": MESSAGE_ID_CHARS_MAX,
            "description": "The Message-ID of the mail this one answers, like <abc@example.com>."},
    });
    (description.to_owned(), properties, &["connection", "to", "subject", "text"])
}
