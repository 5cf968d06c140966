//! The settings of a connection that sends mail, read by their names.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::Value;

use super::super::super::mail::{MailServer, MailTls, RECIPIENTS_DEFAULT, RECIPIENTS_MAX, RecipientRule, Sender};
use super::super::super::{HostPattern, PATHS_MAX};
use super::{CredentialSlot, Reader, TEXT_BYTES_MAX};

/// The port of mail submission with `STARTTLS`.
const PORT_DEFAULT: u16 = 587;

impl Reader<'_> {
    /// `None` for a connection that sends none, and when something is wrong with it, which is noted.
    pub(super) fn mail(&mut self) -> Option<MailServer> {
        if self.recipe.slot != CredentialSlot::Smtp {
            return None;
        }
        let host = self.host();
        let port = self.number("port", u16::MAX, "a port").unwrap_or(PORT_DEFAULT);
        let tls = self.tls().unwrap_or_else(|| MailTls::of_port(port));
        let from = self.parsed::<Sender>("from");
        let recipients = self.recipients();
        let recipients_max = self.number("recipients_max", RECIPIENTS_MAX, "a number of recipients");
        let recipients_max = recipients_max.unwrap_or(RECIPIENTS_DEFAULT);
        Some(MailServer { host: host?, port, tls, from: from?, recipients, recipients_max })
    }

    fn host(&mut self) -> Option<String> {
        match self.parsed::<HostPattern>("host")? {
            HostPattern::Exact(host) => Some(host),
            HostPattern::OneLabelBelow(_) => {
                self.error("host", "names one host, without a star");
                None
            }
        }
    }

    fn tls(&mut self) -> Option<MailTls> {
        let value = self.settings.get("tls")?.clone();
        let tls = serde_json::from_value(value).ok();
        if tls.is_none() {
            self.error("tls", "one of implicit, starttls, none");
        }
        tls
    }

    fn recipients(&mut self) -> Vec<RecipientRule> {
        let Some(value) = self.settings.get("recipients") else { return Vec::new() };
        // An empty list would read as "nobody" and mean "everybody".
        let texts = value.as_array().filter(|list| (1..=PATHS_MAX).contains(&list.len()));
        let rule = |text: &Value| text.as_str().and_then(|text| text.parse::<RecipientRule>().ok());
        let rules = texts.and_then(|texts| texts.iter().map(rule).collect::<Option<Vec<_>>>());
        if rules.is_none() {
            let detail = format!("a list of 1 to {PATHS_MAX} addresses (ada@example.com) and domains (example.com)");
            self.error("recipients", detail);
        }
        rules.unwrap_or_default()
    }

    /// A whole number from 1; as text too, for command lines.
    fn number(&mut self, name: &str, max: u16, what: &str) -> Option<u16> {
        let value = self.settings.get(name)?;
        let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        let number = number.and_then(|number| u16::try_from(number).ok()).filter(|number| (1..=max).contains(number));
        if number.is_none() {
            self.error(name, format!("{what} from 1 to {max}"));
        }
        number
    }

    /// An absent one that must be there was noted before.
    fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.settings.get(name)?.as_str().filter(|text| text.len() <= TEXT_BYTES_MAX);
        let parsed = text.ok_or_else(|| "must be text".to_owned());
        match parsed.and_then(|text| text.parse::<T>().map_err(|malformed| malformed.to_string())) {
            Ok(parsed) => Some(parsed),
            Err(detail) => {
                self.error(name, detail);
                None
            }
        }
    }
}
