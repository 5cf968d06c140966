//! The estimate is the characters divided by four, plus fixed prices.

use serde_json::json;

use super::{message_tokens, request_tokens, text_tokens};
use crate::message::{Message, Part, Role};
use crate::request::{ModelRequest, ToolChoice, ToolSpec};

#[test]
fn characters_not_bytes_divided_by_four_rounded_up() {
    assert_eq!([text_tokens(""), text_tokens("abcd"), text_tokens("abcde"), text_tokens("äöüß")], [0, 1, 2, 1]);
}

#[test]
fn a_request_is_the_sum_of_its_rooms() {
    let image = Part::Image { media_type: "image/png".to_owned(), data: "x".repeat(1_000_000) };
    let request = ModelRequest {
        model: "m".to_owned(),
        system: "12345678".to_owned(),
        messages: vec![Message::user("1234"), Message { role: Role::User, parts: vec![image] }],
        tools: vec![ToolSpec { name: "abcd".to_owned(), description: "abcd".to_owned(), input_schema: json!({}) }],
        tool_choice: ToolChoice::Auto,
        max_output_tokens: 1,
    };
    assert_eq!(message_tokens(&request.messages[0]), 5);
    assert_eq!(request_tokens(&request), 2 + (1 + 1 + 1 + 4) + 5 + 1504);
}
