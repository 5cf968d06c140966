//! Where the database is and how to speak to it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};

use crate::error::{Error, Result};
use crate::observe::Observer;

/// Connections for reads, when the caller does not say.
const READ_CONNECTIONS_DEFAULT: usize = 8;
/// How long one address may take to accept.
const DIAL_TIME_MAX: Duration = Duration::from_secs(5);
/// Silence on a connection after which the kernel asks whether the server is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// And how often, how many times.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long sent bytes may stay unacknowledged.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// What the server calls our connections, when the address does not.
const APPLICATION_NAME: &str = "livery";

/// How much a connection has to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    /// None.
    Disable,
    /// Encrypted if the server can, whoever it is.
    Prefer,
    /// Encrypted, the certificate and the name in it verified.
    Verify,
}

/// A Postgres database and how it is used. `Debug` and every message leave the password out.
#[derive(Clone)]
pub struct PostgresOptions {
    config: tokio_postgres::Config,
    tls: Tls,
    ca_file: Option<PathBuf>,
    /// Connections for writes: how many transactions this process has open at once. `None`: a share of what the server takes.
    pub write_connections: Option<usize>,
    /// Connections for reads.
    pub read_connections: usize,
    /// Who counts the writes.
    pub observer: Option<Arc<dyn Observer>>,
}

impl PostgresOptions {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE`. A folder as `host=` parameter is a Unix socket.
    ///
    /// `sslmode` is `disable`, `prefer` (the default: encrypted if the server can), `require` or `verify-full` (both:
    /// encrypted, certificate and name verified against the system's roots and the CA file). `sslrootcert=FILE` names that
    /// file.
    ///
    /// # Errors
    /// `Domain` (`invalid_value`) for anything else; the message never repeats the address.
    pub fn from_url(url: &str) -> Result<Self> {
        let (address, parameters) = url.rsplit_once('?').unwrap_or((url, ""));
        if !address.starts_with("postgres://") && !address.starts_with("postgresql://") {
            return Err(invalid("it starts with postgres://"));
        }
        let (mut tls, mut ca_file, mut rest) = (Tls::Prefer, None, Vec::new());
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", mode)) => tls = tls_of(mode)?,
                Some(("sslrootcert", path)) => ca_file = Some(PathBuf::from(path)),
                _ => rest.push(parameter),
            }
        }
        let address = if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) };
        // The driver's error may quote what it could not read; a misplaced password would be in it.
        let mut config: tokio_postgres::Config =
            address.parse().map_err(|_| invalid("it cannot be read; special characters are percent-encoded"))?;
        if config.get_hosts().is_empty() {
            return Err(invalid("it names a host, or a socket folder as ?host=/FOLDER"));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(invalid("it names a database after the host"));
        }
        if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) {
            tls = Tls::Disable;
        }
        config
            .ssl_mode(match tls {
                Tls::Disable => SslMode::Disable,
                Tls::Prefer => SslMode::Prefer,
                Tls::Verify => SslMode::Require,
            })
            .connect_timeout(DIAL_TIME_MAX)
            .tcp_user_timeout(UNACKNOWLEDGED_MAX)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        Ok(Self {
            config,
            tls,
            ca_file,
            write_connections: None,
            read_connections: READ_CONNECTIONS_DEFAULT,
            observer: None,
        })
    }

    /// Trusts the certificates in this PEM file beside the system's roots.
    #[must_use]
    pub fn with_ca_file(mut self, path: PathBuf) -> Self {
        self.ca_file = Some(path);
        self
    }

    pub(super) fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    pub(super) fn tls_mode(&self) -> Tls {
        self.tls
    }

    pub(super) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }
}

/// The database's place without user and password, for messages.
impl fmt::Display for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        for (place, host) in self.config.get_hosts().iter().enumerate() {
            let ports = self.config.get_ports();
            let port = ports.get(place).or_else(|| ports.first()).copied().unwrap_or(5432);
            let comma = if place == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(folder) => write!(f, "{comma}{}:{port}", folder.display())?,
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("database", &format_args!("{self}"))
            .field("tls", &self.tls)
            .field("ca_file", &self.ca_file)
            .field("write_connections", &self.write_connections)
            .field("read_connections", &self.read_connections)
            .finish_non_exhaustive()
    }
}

fn tls_of(mode: &str) -> Result<Tls> {
    match mode {
        "disable" => Ok(Tls::Disable),
        "allow" | "prefer" => Ok(Tls::Prefer),
        "require" | "verify-full" => Ok(Tls::Verify),
        _ => Err(invalid("its sslmode is disable, prefer, require or verify-full")),
    }
}

fn invalid(why: &str) -> Error {
    Error::Domain(livery_core::Error::invalid_field(
        "/database",
        format!("a database address looks like postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full: {why}"),
    ))
}

#[cfg(test)]
mod tests;
