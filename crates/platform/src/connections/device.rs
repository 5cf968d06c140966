//! A person's consent elsewhere, with a code that is typed (RFC 8628).
//!
//! This node asks until the person has decided or the code is over. A node that stops meanwhile forgets it: the code is in its
//! memory alone, and the person begins again. Beginning again ends what was begun before for the same connection.

use std::time::Duration;

use livery_broker::oauth::{DeviceCode, Exchange, ExchangeFailed, OauthError, Payload};
use livery_core::{Error, Result};
use livery_store::{ConnectionRow, ConnectionStatus};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::authorize::{Authorization, CONSENT_MS, conflict, is_pending};
use super::material::Client;
use super::mint::{Unminted, field, owner_of, resource_of, secret_field, server_of};
use super::settled;
use crate::audit::note;
use crate::{Caller, Platform, Posted};

mod flows;

pub(super) use self::flows::Flows;

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// What `slow_down` adds to the time between two questions (RFC 8628 §3.5).
const SLOWER: Duration = Duration::from_secs(5);
const INTERVAL_MAX: Duration = Duration::from_secs(120);
/// How long a code is asked about at most, in seconds, whatever its server says: as long as a person may take in a browser.
const LIFE_S_MAX: u64 = (CONSENT_MS / 1000).unsigned_abs();

impl Platform {
    pub(super) async fn begin_device(&self, caller: &Caller, row: &ConnectionRow) -> Result<Posted<Authorization>> {
        let connector = settled(row)?;
        let server = server_of(&connector)?;
        let Some(endpoint) = &server.device_authorization_endpoint else {
            return Err(conflict("the connection's server has no device endpoint; try the flow `code`"));
        };
        let full = || Error::Limited {
            code: "rate_limited",
            detail: "too many device codes are waited for at once".to_owned(),
            retry_after_s: 60,
        };
        let flow = self.tokens.devices.begin(row.org, row.id).ok_or_else(full)?;
        let client = Client::read(&self.open_value(row).await?)?;
        let mut form = Vec::new();
        form.extend((!server.scopes.is_empty()).then(|| field("scope", &server.scopes.join(" "))));
        form.extend(resource_of(server));
        let (tenant, owner, at) = (row.org, owner_of(row), self.clock.now());
        let payload = Payload::Form(form);
        let exchange = Exchange { tenant, owner, endpoint, client: client.asking(server), payload, at };
        let mut code = self.broker.exchange_device(exchange).await.map_err(|failed| conflict(&failed.to_string()))?;
        code.expires_in_s = code.expires_in_s.min(LIFE_S_MAX);
        let life = Duration::from_secs(code.expires_in_s);
        let authorization = Authorization {
            connection: row.id,
            url: code.verification_uri.to_string(),
            user_code: Some(code.user_code.clone()),
            expires_at: at.plus_millis(i64::try_from(life.as_millis()).unwrap_or(i64::MAX)),
        };
        let (org, actor, id) = (row.org, caller.principal.key, row.id);
        let posted = self.post(caller, move |tx| {
            Box::pin(async move {
                let told = json!({"connection": id, "flow": "device"});
                note(tx, org, "connection.authorization_begun", at, actor, told).await?;
                Ok(authorization)
            })
        });
        let posted = posted.await?;
        let (platform, row) = (self.clone(), row.clone());
        self.tasks.spawn(async move {
            let stop = platform.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = flow.ended.cancelled() => {}
                waited = Box::pin(platform.wait_for_device(&row, code)) => {
                    if let Err(error) = waited {
                        tracing::warn!(connection = %row.id, %error, "a device's consent could not be kept");
                    }
                }
            }
        });
        Ok(posted)
    }

    /// Asks until there is an answer. The connection is the one the code was asked for: once it is revoked, or rotated, which
    /// makes it another, nobody asks any more.
    async fn wait_for_device(&self, row: &ConnectionRow, code: DeviceCode) -> Result<()> {
        let connector = settled(row)?;
        let server = server_of(&connector)?;
        let value = self.open_value(row).await?;
        let until = Instant::now() + Duration::from_secs(code.expires_in_s);
        let mut interval = Duration::from_secs(code.interval_s);
        while Instant::now() + interval < until {
            sleep(interval).await;
            let present = self.store.get_connection(row.org, row.id).await?;
            if present.is_none_or(|now| now.status == ConnectionStatus::Revoked || now.version != row.version) {
                return Ok(());
            }
            let mut form = vec![field("grant_type", DEVICE_GRANT), secret_field("device_code", &code.device_code)];
            form.extend(resource_of(server));
            match self.ask_as_client(row, server, &value, form).await {
                Ok(answer) => return self.consented(row, answer).await.map(drop),
                Err(Unminted::Own(error)) => return Err(error),
                Err(Unminted::Exchange(ExchangeFailed::Refused(error))) if is_pending(error) => {
                    let slower = if error == OauthError::SlowDown { SLOWER } else { Duration::ZERO };
                    interval = (interval + slower).min(INTERVAL_MAX);
                }
                // The server is away: less often, as it asks of whoever cannot reach it.
                Err(Unminted::Exchange(ExchangeFailed::Unreachable(_))) => interval = (interval * 2).min(INTERVAL_MAX),
                Err(Unminted::Exchange(ExchangeFailed::Refused(error))) => {
                    return self.refused(row, error.as_str()).await.map(drop);
                }
                Err(Unminted::Exchange(_)) => return self.refused(row, "server_error").await.map(drop),
            }
        }
        self.refused(row, OauthError::ExpiredToken.as_str()).await.map(drop)
    }
}
