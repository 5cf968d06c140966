//! The answer of `query_sql` as the model reads it: one JSON object, whole, with the rows that fit.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::text::RESULT_BYTES_MAX;

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// Its type's name.
    #[serde(rename = "type")]
    pub kind: String,
}

/// What a database answered, without any credential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SqlOutput {
    /// The columns; none of a statement that gives no rows.
    pub columns: Vec<SqlColumn>,
    /// The rows, a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// `INSERT 0 1`; empty when there were more rows.
    pub command: String,
    /// Why there are fewer rows than there could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<String>,
}

impl SqlOutput {
    /// `{columns, rows, command}`. Rows that do not fit are left out, and it says so.
    pub(super) fn text(&self) -> String {
        let mut kept = self.rows.len();
        loop {
            let mut object = json!({"columns": self.columns, "rows": &self.rows[..kept], "command": self.command});
            if let Some(why) = &self.truncated {
                object["truncated"] = why.as_str().into();
            }
            if kept < self.rows.len() {
                let shown =
                    format!("{kept} of {} rows are shown, the rest does not fit: ask for fewer", self.rows.len());
                object["truncated"] = shown.into();
            }
            let text = object.to_string();
            if text.len() <= RESULT_BYTES_MAX || kept == 0 {
                return text;
            }
            kept = (kept * RESULT_BYTES_MAX / text.len()).min(kept - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{RESULT_BYTES_MAX, SqlColumn, SqlOutput};

    fn output(rows: Vec<Vec<Value>>) -> SqlOutput {
        let columns = vec![SqlColumn { name: "a".into(), kind: "int4".into() }];
        SqlOutput { columns, rows, command: "SELECT 2".into(), truncated: None }
    }

    #[test]
    fn rows_are_shown_as_they_are() {
        let text = output(vec![vec![1.into()], vec![Value::Null]]).text();
        assert_eq!(
            text,
            "{\"columns\":[{\"name\":\"a\",\"type\":\"int4\"}],\"command\":\"SELECT 2\",\"rows\":[[1],[null]]}"
        );
    }

    #[test]
    fn rows_that_do_not_fit_are_left_out_aloud() {
        for rows in [vec![vec![json!("x".repeat(100))]; 5_000], vec![vec![json!("\u{1}".repeat(100_000))]; 2]] {
            let all = rows.len();
            let text = output(rows).text();
            assert!(text.len() <= RESULT_BYTES_MAX);
            let read: Value = serde_json::from_str(&text).expect("the object stays whole");
            assert!(read["rows"].as_array().expect("rows").len() < all);
            assert!(
                read["truncated"].as_str().expect("says so").contains(&format!("of {all} rows")),
                "{}",
                read["truncated"]
            );
        }
    }
}
