//! [`PostgresServer`]: a connection to a PostgreSQL database, and what its sessions may do.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::recipe::Settings;
use super::{Origin, Scheme};
use crate::FieldError;

/// The port of PostgreSQL.
const PORT: u16 = 5432;
/// Seconds a statement may take, unless a setting says it.
const STATEMENT_TIMEOUT_S: u32 = 30;
/// Most seconds a setting may say.
const STATEMENT_TIMEOUT_S_MAX: u32 = 3_600;
/// Rows of one statement, unless a setting says it.
const ROW_LIMIT: u64 = 10_000;
/// Most rows a setting may say.
const ROW_LIMIT_MAX: u64 = 10_000_000;
/// Longest name of a database or role, in bytes: what PostgreSQL keeps of one.
const NAME_BYTES_MAX: usize = 63;
/// Longest search path, in bytes.
const SEARCH_PATH_BYTES_MAX: usize = 512;

/// One database of one server, with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PostgresServer {
    /// A host name or address, as it may stand in a URL.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// Without TLS: only to a private address that the operator allowed.
    pub plaintext: bool,
    /// Whether nothing may be changed.
    pub read_only: bool,
    /// Seconds after which the server stops a statement.
    pub statement_timeout_s: u32,
    /// Rows of one statement that come back at most.
    pub row_limit: u64,
    /// The `search_path` of its sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_path: Option<String>,
    /// The role its sessions act as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// The settings as they are written.
#[derive(Deserialize)]
struct Said {
    host: String,
    #[serde(default = "port")]
    port: u16,
    database: String,
    #[serde(default)]
    sslmode: SslMode,
    #[serde(default = "yes")]
    read_only: bool,
    #[serde(default = "statement_timeout_s")]
    statement_timeout_s: u32,
    #[serde(default = "row_limit")]
    row_limit: u64,
    search_path: Option<String>,
    role: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SslMode {
    #[default]
    VerifyFull,
    Disable,
}

const fn port() -> u16 {
    PORT
}

const fn yes() -> bool {
    true
}

const fn statement_timeout_s() -> u32 {
    STATEMENT_TIMEOUT_S
}

const fn row_limit() -> u64 {
    ROW_LIMIT
}

impl PostgresServer {
    /// Reads the settings of one connection. Settings nobody knows, and those that are missing, were looked for before.
    pub(super) fn settle(settings: &Settings) -> Result<Self, Vec<FieldError>> {
        let invalid =
            |name: &str, detail: String| vec![FieldError::new(format!("/settings/{name}"), "invalid_value", detail)];
        check_types(settings).map_err(|(name, detail)| invalid(name, detail.to_owned()))?;
        let said: Said = serde_json::from_value(Value::Object(settings.clone()))
            .map_err(|_| invalid("host", "the settings do not name a host and a database".to_owned()))?;
        let scheme = if matches!(said.sslmode, SslMode::Disable) { Scheme::Http } else { Scheme::Https };
        let origin = format!("{}://{}:{}", scheme.as_str(), said.host, said.port.max(1)).parse::<Origin>();
        if !origin.is_ok_and(|origin| origin.is_exact()) {
            return Err(invalid("host", "one host name or address, in lower case".to_owned()));
        }
        let between = |name: &str, value: u64, max: u64| match (1..=max).contains(&value) {
            true => Ok(()),
            false => Err(invalid(name, format!("1 to {max}"))),
        };
        between("port", said.port.into(), u16::MAX.into())?;
        between("statement_timeout_s", said.statement_timeout_s.into(), STATEMENT_TIMEOUT_S_MAX.into())?;
        between("row_limit", said.row_limit, ROW_LIMIT_MAX)?;
        let texts = [
            ("database", Some(&said.database), NAME_BYTES_MAX),
            ("role", said.role.as_ref(), NAME_BYTES_MAX),
            ("search_path", said.search_path.as_ref(), SEARCH_PATH_BYTES_MAX),
        ];
        for (name, text, max) in texts {
            if text.is_some_and(|text| text.is_empty() || text.len() > max || text.chars().any(char::is_control)) {
                return Err(invalid(name, format!("1 to {max} bytes without control characters")));
            }
        }
        // `none` and a quoted list could undo what they say.
        if said.role.as_deref().is_some_and(|role| role.eq_ignore_ascii_case("none")) {
            return Err(invalid("role", "the name of a role; `none` is none".to_owned()));
        }
        Ok(Self {
            host: said.host,
            port: said.port,
            database: said.database,
            plaintext: scheme == Scheme::Http,
            read_only: said.read_only,
            statement_timeout_s: said.statement_timeout_s,
            row_limit: said.row_limit,
            search_path: said.search_path,
            role: said.role,
        })
    }
}

/// The first setting that is of another type than it has to be.
fn check_types(settings: &Settings) -> Result<(), (&str, &'static str)> {
    for (name, value) in settings {
        let (fits, what) = match name.as_str() {
            "read_only" => (value.is_boolean(), "true or false"),
            "port" => (value.as_u64().is_some_and(|port| port <= u16::MAX.into()), "a number from 1 to 65535"),
            "statement_timeout_s" => (value.as_u64().is_some_and(|number| number <= u32::MAX.into()), "whole seconds"),
            "row_limit" => (value.is_u64(), "a whole number"),
            "sslmode" => (matches!(value.as_str(), Some("verify-full" | "disable")), "`verify-full` or `disable`"),
            _ => (value.is_string(), "must be text"),
        };
        if !fits {
            return Err((name, what));
        }
    }
    Ok(())
}
