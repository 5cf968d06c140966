//! [`Message`]: what is sent, checked while it is made. Nothing of it can end a line, so nothing of it can become a header or
//! a command; what it is made of is hashed, and that hash is what a person approves.

use livery_core::Timestamp;
use livery_core::canonical::sha256_hex;
use livery_core::connector::{EmailAddress, MailServer, Malformed, RecipientRefusal, Sender};
use serde_json::{Value, json};

use super::encode::{base64_lines, display_name, extended, header_text, quoted_printable};

/// Longest subject in bytes.
const SUBJECT_BYTES_MAX: usize = 2000;
/// Longest text, and longest HTML, in bytes.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Most attachments.
const ATTACHMENTS_MAX: usize = 10;
/// Most bytes of all attachments together.
pub const ATTACHMENTS_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Longest name of an attachment in bytes.
const FILE_NAME_BYTES_MAX: usize = 255;
/// Longest id of a message in bytes.
const ID_BYTES_MAX: usize = 250;
/// Digits of a digest in an id or a boundary.
const ID_DIGITS: usize = 32;

/// What names a message for all who get it: `<…@…>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageId(String);

impl MessageId {
    /// Always the same for the same call of the same run, and nobody else's.
    pub fn of(run: &str, call: &str, from: &EmailAddress) -> Self {
        let digest = sha256_hex(json!(["livery-message", run, call]).to_string());
        Self(format!("<{}@{}>", digest.get(..ID_DIGITS).unwrap_or_default(), from.domain()))
    }

    /// With its brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for MessageId {
    type Err = MessageRefused;

    fn from_str(text: &str) -> Result<Self, MessageRefused> {
        let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or_default();
        let is_plain = inner.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'));
        match is_plain && text.len() <= ID_BYTES_MAX && inner.split('@').filter(|part| !part.is_empty()).count() == 2 {
            true => Ok(Self(text.to_owned())),
            false => Err(MessageRefused::InReplyTo),
        }
    }
}

/// A file that goes along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, without a folder.
    pub name: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Why something is no message. The texts are for the model and repeat an address at most.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageRefused {
    /// An address that is none.
    #[error("a recipient is {0}")]
    Address(Malformed),
    /// A name before the `@` that is one at another host: a domain that is allowed would only be the first stop.
    #[error("a recipient has no `%` and no `!` before the `@`: to some servers they name another host")]
    Routed,
    /// Recipients that the connection does not have.
    #[error(transparent)]
    Recipients(#[from] RecipientRefusal),
    /// A subject that is empty, too long, or more than a line.
    #[error("the subject is one line of 1 to {SUBJECT_BYTES_MAX} bytes without control characters")]
    Subject,
    /// A text that is too long.
    #[error("the text and the HTML have at most {TEXT_BYTES_MAX} bytes each, and no NUL")]
    Text,
    /// What it answers is no id.
    #[error("in_reply_to is one Message-ID with its brackets: <abc@example.com>")]
    InReplyTo,
    /// Files that are too many or too large, or have no plain name.
    #[error(
        "at most {ATTACHMENTS_MAX} attachments of {ATTACHMENTS_BYTES_MAX} bytes together, whose names are short and plain"
    )]
    Attachments,
}

impl MessageRefused {
    /// Stable name of the rule.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Recipients(refusal) => refusal.rule(),
            Self::Address(_) | Self::Routed => "address",
            Self::Subject | Self::Text | Self::InReplyTo | Self::Attachments => "message",
        }
    }
}

/// A message as it was asked for: nothing of it is trusted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Addresses.
    pub to: Vec<String>,
    /// Addresses.
    pub cc: Vec<String>,
    /// Addresses.
    pub bcc: Vec<String>,
    /// A line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as HTML.
    pub html: Option<String>,
    /// What it answers.
    pub in_reply_to: Option<String>,
    /// Files.
    pub attachments: Vec<Attachment>,
}

/// A message that may be sent, as far as its connection says.
#[derive(Debug, Clone)]
pub struct Message {
    from: Sender,
    to: Vec<EmailAddress>,
    cc: Vec<EmailAddress>,
    bcc: Vec<EmailAddress>,
    subject: String,
    text: String,
    html: Option<String>,
    in_reply_to: Option<MessageId>,
    attachments: Vec<Attachment>,
}

impl Message {
    /// Checks every part.
    ///
    /// # Errors
    /// [`MessageRefused`]: the first thing that is wrong.
    pub fn new(server: &MailServer, wanted: Wanted) -> Result<Self, MessageRefused> {
        let parsed = |texts: &[String]| {
            texts
                .iter()
                .map(|text| text.parse().map_err(MessageRefused::Address))
                .collect::<Result<Vec<EmailAddress>, _>>()
        };
        let message = Self {
            from: server.from.clone(),
            to: parsed(&wanted.to)?,
            cc: parsed(&wanted.cc)?,
            bcc: parsed(&wanted.bcc)?,
            in_reply_to: wanted.in_reply_to.as_deref().map(str::parse).transpose()?,
            subject: wanted.subject,
            text: wanted.text,
            html: wanted.html,
            attachments: wanted.attachments,
        };
        if message.recipients().iter().any(|address| address.as_str().contains(['%', '!'])) {
            return Err(MessageRefused::Routed);
        }
        server.permits(&message.recipients())?;
        message.check_lines()?;
        Ok(message)
    }

    fn check_lines(&self) -> Result<(), MessageRefused> {
        let is_line = |text: &str, max: usize| !text.chars().any(char::is_control) && (1..=max).contains(&text.len());
        if !is_line(&self.subject, SUBJECT_BYTES_MAX) {
            return Err(MessageRefused::Subject);
        }
        let is_text = |text: &str| text.len() <= TEXT_BYTES_MAX && !text.contains('\0');
        if !is_text(&self.text) || !self.html.as_deref().is_none_or(is_text) {
            return Err(MessageRefused::Text);
        }
        let is_name = |name: &str| is_line(name, FILE_NAME_BYTES_MAX) && !name.contains(['/', '\\', '"']);
        let bytes: usize = self.attachments.iter().map(|file| file.bytes.len()).sum();
        let few = self.attachments.len() <= ATTACHMENTS_MAX && bytes <= ATTACHMENTS_BYTES_MAX;
        match few && self.attachments.iter().all(|file| is_name(&file.name)) {
            true => Ok(()),
            false => Err(MessageRefused::Attachments),
        }
    }

    /// Who it is from.
    pub const fn from(&self) -> &Sender {
        &self.from
    }

    /// Everybody who gets it, each once, in lower case and in order.
    pub fn recipients(&self) -> Vec<EmailAddress> {
        let mut all: Vec<EmailAddress> = Vec::new();
        for address in self.to.iter().chain(&self.cc).chain(&self.bcc) {
            if !all.iter().any(|known| known.as_str().eq_ignore_ascii_case(address.as_str())) {
                all.push(address.clone());
            }
        }
        all.sort();
        all
    }

    /// All that a yes to it is bound to, files by their digests.
    pub fn facts(&self) -> Value {
        let files = self
            .attachments
            .iter()
            .map(|file| json!({"name": file.name, "bytes": file.bytes.len(), "sha256": sha256_hex(&file.bytes)}));
        json!({
            "from": self.from.to_string(), "to": self.to, "cc": self.cc, "bcc": self.bcc, "subject": self.subject,
            "text": self.text, "html": self.html, "attachments": files.collect::<Vec<_>>(),
            "in_reply_to": self.in_reply_to.as_ref().map(MessageId::as_str),
        })
    }

    /// SHA-256 of [`Self::facts`].
    pub fn digest(&self) -> String {
        sha256_hex(livery_core::canonical::text(&self.facts()))
    }

    /// The message as it is sent (RFC 5322): lines of seven-bit ASCII, each ended by CRLF. Nobody reads the hidden recipients
    /// in it.
    pub fn render(&self, id: &MessageId, at: Timestamp) -> Vec<u8> {
        let mut out = String::new();
        let from = match self.from.name.is_empty() {
            true => self.from.address.to_string(),
            false => format!("{}\r\n <{}>", display_name(&self.from.name), self.from.address),
        };
        header(&mut out, "From", &from);
        if !self.to.is_empty() {
            header(&mut out, "To", &list(&self.to));
        }
        if !self.cc.is_empty() {
            header(&mut out, "Cc", &list(&self.cc));
        }
        header(&mut out, "Subject", &header_text(&self.subject));
        header(&mut out, "Date", &at.rfc5322());
        header(&mut out, "Message-ID", id.as_str());
        if let Some(answered) = &self.in_reply_to {
            header(&mut out, "In-Reply-To", answered.as_str());
            header(&mut out, "References", answered.as_str());
        }
        header(&mut out, "MIME-Version", "1.0");
        let digest = self.digest();
        let seed = digest.get(..ID_DIGITS).unwrap_or_default();
        if self.attachments.is_empty() {
            self.push_text(&mut out, seed);
        } else {
            self.push_files(&mut out, seed);
        }
        out.into_bytes()
    }

    /// The text, with its HTML beside it.
    fn push_text(&self, out: &mut String, seed: &str) {
        let Some(html) = &self.html else { return push_part(out, "text/plain", &self.text) };
        let boundary = format!("=_text_{seed}");
        header(out, "Content-Type", &format!("multipart/alternative;\r\n boundary=\"{boundary}\""));
        for (kind, text) in [("text/plain", &self.text), ("text/html", html)] {
            out.push_str(&format!("\r\n--{boundary}\r\n"));
            push_part(out, kind, text);
        }
        out.push_str(&format!("\r\n--{boundary}--\r\n"));
    }

    fn push_files(&self, out: &mut String, seed: &str) {
        // Encoded parts never hold `=_`, so none of them holds the boundary.
        let boundary = format!("=_file_{seed}");
        header(out, "Content-Type", &format!("multipart/mixed;\r\n boundary=\"{boundary}\""));
        out.push_str(&format!("\r\n--{boundary}\r\n"));
        self.push_text(out, seed);
        for file in &self.attachments {
            out.push_str(&format!("\r\n--{boundary}\r\n"));
            header(out, "Content-Type", media_type(&file.name));
            header(out, "Content-Disposition", &format!("attachment;\r\n filename*={}", extended(&file.name)));
            header(out, "Content-Transfer-Encoding", "base64");
            out.push_str("\r\n");
            out.push_str(&base64_lines(&file.bytes));
        }
        out.push_str(&format!("\r\n--{boundary}--\r\n"));
    }
}

fn header(out: &mut String, name: &str, value: &str) {
    out.push_str(&format!("{name}: {value}\r\n"));
}

fn list(addresses: &[EmailAddress]) -> String {
    addresses.iter().map(EmailAddress::as_str).collect::<Vec<_>>().join(",\r\n ")
}

fn push_part(out: &mut String, kind: &str, text: &str) {
    header(out, "Content-Type", &format!("{kind}; charset=utf-8"));
    header(out, "Content-Transfer-Encoding", "quoted-printable");
    out.push_str("\r\n");
    out.push_str(&quoted_printable(text));
}

/// What a file is called by its reader, by its name's end.
fn media_type(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
    match end.as_str() {
        "txt" | "log" | "md" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "html" | "htm" => "text/html; charset=utf-8",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "zip" => "application/zip",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        _ => "application/octet-stream",
    }
}
