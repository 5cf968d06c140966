//! Tokens of a connection that is revoked are given back to their server (RFC 7009): best effort, and recorded.

use livery_broker::Secret;
use livery_broker::oauth::{Exchange, Payload};
use livery_core::Result;
use livery_core::connector::AuthKind;
use livery_store::ConnectionRow;
use serde_json::json;

use super::material::Client;
use super::mint::{field, owner_of, secret_field};
use super::tokens::{ACCESS_FIELD, REFRESH_FIELD};
use super::{auth_of, settled};
use crate::Platform;
use crate::audit::note;

/// What is given back: everything that is gone from the database by then.
pub(super) struct GiveBack {
    token: Secret,
    hint: &'static str,
    client: Secret,
}

impl Platform {
    /// What of a connection's tokens its server takes back; read before the connection is revoked. What cannot be read cannot be
    /// given back, and keeps nobody from revoking it.
    pub(super) async fn to_give_back(&self, row: &ConnectionRow) -> Option<GiveBack> {
        let read = self.read_give_back(row).await;
        read.unwrap_or_else(|error| {
            tracing::warn!(connection = %row.id, %error, "the tokens of a connection cannot be read, and are not given back");
            None
        })
    }

    async fn read_give_back(&self, row: &ConnectionRow) -> Result<Option<GiveBack>> {
        let knows = |connector: livery_core::connector::Connector| {
            connector.oauth.is_some_and(|server| server.revocation_endpoint.is_some())
        };
        if auth_of(row)? != AuthKind::Oauth2 || row.sealed_value.is_none() || !settled(row).is_ok_and(knows) {
            return Ok(None);
        }
        let Some(token) = self.store.get_connection_token(row.org, row.id).await? else { return Ok(None) };
        // With the refresh token all of its access tokens go.
        let (sealed, field, hint) = match (&token.sealed_refresh, &token.sealed_access) {
            (Some(sealed), _) => (sealed, REFRESH_FIELD, "refresh_token"),
            (None, Some(sealed)) => (sealed, ACCESS_FIELD, "access_token"),
            (None, None) => return Ok(None),
        };
        let token = self.open_token(row, field, token.generation, sealed).await?;
        Ok(Some(GiveBack { token, hint, client: self.open_value(row).await? }))
    }

    /// Gives it back, in a task of its own.
    pub(super) fn give_back(&self, row: ConnectionRow, what: GiveBack) {
        let platform = self.clone();
        self.tasks.spawn(async move {
            let outcome = match Box::pin(platform.given_back(&row, &what)).await {
                Ok(()) => "ok".to_owned(),
                Err(reason) => reason,
            };
            let (org, now, node) = (row.org, platform.clock.now(), platform.identity.owner.clone());
            let told = json!({"connection": row.id, "outcome": outcome});
            let noted = platform.store.write(move |tx| {
                Box::pin(async move { note(tx, org, "connection.tokens_given_back", now, node, told).await })
            });
            if let Err(error) = noted.await {
                tracing::warn!(connection = %row.id, %error, "that tokens were given back could not be noted");
            }
        });
    }

    async fn given_back(&self, row: &ConnectionRow, what: &GiveBack) -> Result<(), String> {
        let words = |error: livery_core::Error| error.code().to_owned();
        let connector = settled(row).map_err(words)?;
        let server = connector.oauth.unwrap_or_default();
        let endpoint = server.revocation_endpoint.as_ref().ok_or("no revocation endpoint")?;
        let client = Client::read(&what.client).map_err(words)?;
        let exchange = Exchange {
            tenant: row.org,
            owner: owner_of(row),
            endpoint,
            client: client.asking(&server),
            payload: Payload::Form(vec![secret_field("token", &what.token), field("token_type_hint", what.hint)]),
            at: self.clock.now(),
        };
        self.broker.exchange_revocation(exchange).await.map_err(|failed| failed.to_string())
    }
}
