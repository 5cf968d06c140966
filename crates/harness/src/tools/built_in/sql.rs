//! `query_sql` as the model sees it.

use std::collections::BTreeMap;

use serde_json::json;

use super::Described;

/// Longest statement, in characters.
const STATEMENT_CHARS_MAX: usize = 64 * 1024;
/// Most parameters.
const PARAMETERS_MAX: usize = 1_000;

pub(super) fn described(connections: &BTreeMap<String, String>) -> Described {
    let description = "Sends one SQL statement to one of your databases and answers with JSON: columns (name and type), rows, \
                       command and, when there were more rows, truncated. Values go into parameters, as $1, $2 and so on, and not \
                       into the text. The login is the connection's and never shown. What the connection is not for is refused \
                       with the reason, before anything is sent. A statement that was interrupted is not repeated.";
    let slots: Vec<&String> = connections.keys().collect();
    let properties = json!({
        "connection": {"enum": slots, "description": "Which database."},
        "sql": {"type": "string", "minLength": 1, "maxLength": STATEMENT_CHARS_MAX,
            "description": "One statement of PostgreSQL. Ask for the rows you need, with LIMIT."},
        "parameters": {"type": "array", "maxItems": PARAMETERS_MAX,
            "description": "The values of $1, $2, …: texts, numbers, truths or null; lists and objects go as JSON."},
    });
    (description.to_owned(), properties, &["connection", "sql"])
}
