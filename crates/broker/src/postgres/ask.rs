//! One statement with its parameters, and the rows that come back: what a tool asks. The session is for this one statement.

use std::time::Duration;

use bytes::BytesMut;
use livery_core::connector::PostgresServer;
use serde_json::Value;
use tokio::time::timeout;

use super::answer::{Complaint, scrubbed_text, tag_of};
use super::message::{Malformed, Reader, put};
use super::value::{json, text_of, type_name};
use super::{Failure, Session};
use crate::error::Phase;
use crate::scrub::Variants;
use crate::{Error, sql};

/// How much longer than the server's own limit an answer is waited for.
const BEYOND_TIMEOUT: Duration = Duration::from_secs(15);
/// Most bytes of an answer that are read to its end when no more of it is kept.
const READ_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most parameters of a statement.
pub(super) const PARAMETERS_MAX: usize = 1_000;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// One statement, judged before.
    pub text: String,
    /// `$1`, `$2`, …
    pub parameters: Vec<Value>,
    /// Most rows that are kept.
    pub rows_max: u64,
    /// Most bytes of values that are kept.
    pub bytes_max: usize,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type's name.
    pub kind: String,
}

/// Why there are fewer rows than there could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The row limit.
    Rows,
    /// The size limit.
    Bytes,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The columns, if it has rows.
    pub columns: Vec<Column>,
    /// The rows, a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// `INSERT 0 1`, `SELECT 3`; empty when the rows were cut.
    pub command: String,
    /// Whether there were more rows.
    pub cut: Option<Cut>,
    /// Bytes of the values that are kept.
    pub bytes: usize,
}

/// While an answer comes.
#[derive(Default)]
struct Coming {
    answer: Answer,
    types: Vec<u32>,
    complaint: Option<Complaint>,
    read: usize,
}

impl Session {
    /// Runs one statement and reads its answer.
    ///
    /// # Errors
    /// [`Failure::Refused`] with the server's words; [`Failure::Way`] when it does not answer; [`Failure::Protocol`].
    pub async fn ask(&mut self, server: &PostgresServer, question: &Question) -> Result<Answer, Failure> {
        let limit = Duration::from_secs(server.statement_timeout_s.into()) + BEYOND_TIMEOUT;
        let out = written(question)?;
        let asked = async {
            self.send(&out).await?;
            self.answered(question).await
        };
        timeout(limit, asked).await.map_err(|_| Error::Timeout { phase: Phase::Total })?
    }

    /// Ends the session in order.
    pub async fn leave(mut self) {
        // A server that is gone needs no farewell.
        let _ = timeout(Duration::from_secs(1), self.send(&[b'X', 0, 0, 0, 4])).await;
    }

    /// How often the password was found and taken out, and in which spellings.
    pub const fn redactions(&self) -> (u64, Variants) {
        (self.scrub.redactions, self.scrub.variants)
    }

    async fn answered(&mut self, question: &Question) -> Result<Answer, Failure> {
        let mut coming = Coming::default();
        loop {
            let frame = self.receive().await?;
            coming.read += frame.body.len();
            if coming.read > READ_BYTES_MAX {
                return Err(Error::TooLarge { what: "the answer to the statement" }.into());
            }
            match frame.tag {
                b'T' => self.columns(&frame.body, &mut coming)?,
                b'D' => self.row(&frame.body, question, &mut coming)?,
                b'C' => coming.answer.command = scrubbed_text(tag_of(&frame.body).as_bytes(), &mut self.scrub),
                b's' => coming.answer.cut = Some(Cut::Rows),
                b'E' => coming.complaint = Some(Complaint::read(&frame.body, &mut self.scrub)?),
                b'Z' => break,
                b'1' | b'2' | b'n' | b'I' | b'N' | b'S' | b'A' | b't' => {}
                _ => return Err(Failure::Protocol("a message that belongs to no answer")),
            }
        }
        match coming.complaint {
            Some(complaint) => Err(Failure::Refused(complaint)),
            None => Ok(coming.answer),
        }
    }

    fn columns(&mut self, body: &[u8], coming: &mut Coming) -> Result<(), Malformed> {
        let mut body = Reader(body);
        for _ in 0..body.u16()? {
            let name = scrubbed_text(body.text()?.as_bytes(), &mut self.scrub);
            body.bytes(6)?;
            let oid = body.i32()?.cast_unsigned();
            body.bytes(8)?;
            coming.types.push(oid);
            coming.answer.columns.push(Column { name, kind: type_name(oid) });
        }
        body.end()
    }

    fn row(&mut self, body: &[u8], question: &Question, coming: &mut Coming) -> Result<(), Malformed> {
        if coming.answer.cut.is_some() {
            return Ok(());
        }
        if coming.answer.bytes + body.len() > question.bytes_max {
            coming.answer.cut = Some(Cut::Bytes);
            return Ok(());
        }
        let mut body = Reader(body);
        let count = usize::from(body.u16()?);
        if count != coming.types.len() {
            return Err(Malformed("a row has other columns than it should"));
        }
        let mut row = Vec::with_capacity(count);
        for oid in &coming.types {
            row.push(match body.value()? {
                None => Value::Null,
                Some(value) => {
                    coming.answer.bytes += value.len();
                    json(*oid, scrubbed_text(value, &mut self.scrub))
                }
            });
        }
        coming.answer.rows.push(row);
        body.end()
    }
}

/// Parse, Bind, Describe, Execute, Sync in one piece.
fn written(question: &Question) -> Result<BytesMut, Failure> {
    let refuse = |why| Failure::Way(Error::BadRequest { why });
    if question.text.len() > sql::TEXT_BYTES_MAX || question.text.contains('\0') {
        return Err(refuse("the statement is too long or holds a NUL"));
    }
    if question.parameters.len() > PARAMETERS_MAX {
        return Err(refuse("the statement has too many parameters"));
    }
    let count = u16::try_from(question.parameters.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut values = BytesMut::new();
    for parameter in &question.parameters {
        let text = text_of(parameter);
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(refuse("a parameter holds a NUL"));
        }
        let length = text.as_ref().map_or(Ok(-1), |text| i32::try_from(text.len()));
        values.extend_from_slice(&length.map_err(|_| refuse("a parameter is too long"))?.to_be_bytes());
        values.extend_from_slice(text.unwrap_or_default().as_bytes());
    }
    let rows_max = i32::try_from(question.rows_max).unwrap_or(i32::MAX).max(1).to_be_bytes();
    let mut out = BytesMut::new();
    put(&mut out, b'P', &[&[0], question.text.as_bytes(), &[0, 0, 0]]);
    put(&mut out, b'B', &[&[0, 0, 0, 0], &count, &values, &[0, 0]]);
    put(&mut out, b'D', &[b"P\0"]);
    put(&mut out, b'E', &[&[0], &rows_max]);
    put(&mut out, b'S', &[]);
    Ok(out)
}
