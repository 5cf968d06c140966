//! How each kind of credential asks for its next token.

use livery_broker::oauth::{Client as Asking, Exchange, ExchangeFailed, OauthError, Payload, TokenAnswer};
use livery_broker::{Secret, jwt};
use livery_core::connector::{AppInstallation, AuthKind, Connector, Endpoint, OauthServer};
use livery_core::{Error, Result, Timestamp};
use livery_store::ConnectionRow;
use serde_json::{Value, json};

use super::auth_of;
use super::material::{Account, Client};
use crate::Platform;

/// How long an assertion of a service account holds, in seconds; the most that Google takes.
const ACCOUNT_LIFE_S: i64 = 3600;
/// How long one of an app holds; GitHub takes ten minutes, and clocks differ.
const APP_LIFE_S: i64 = 540;
/// How far clocks may differ, in seconds.
const SKEW_S: i64 = 60;

/// The grant type of a signed assertion (RFC 7523).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Why there is no next token.
pub(super) enum Unminted {
    /// The server, or the way to it.
    Exchange(ExchangeFailed),
    /// Something of ours.
    Own(Error),
}

impl From<ExchangeFailed> for Unminted {
    fn from(failed: ExchangeFailed) -> Self {
        Self::Exchange(failed)
    }
}

impl From<Error> for Unminted {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

/// Fields of a form.
pub(super) type Form = Vec<(&'static str, Secret)>;

/// One field of a form.
pub(super) fn field(name: &'static str, value: &str) -> (&'static str, Secret) {
    (name, Secret::from(value.to_owned()))
}

/// One field of a form that is a secret.
pub(super) fn secret_field(name: &'static str, value: &Secret) -> (&'static str, Secret) {
    (name, Secret::new(value.expose_secret().to_vec()))
}

/// What stands in answers in place of a secret, and what pools go by.
pub(super) fn owner_of(row: &ConnectionRow) -> String {
    format!("{}/{}", row.id, row.name)
}

/// The endpoint that gives tokens out.
pub(super) fn token_endpoint(server: &OauthServer) -> Result<&Endpoint> {
    server.token_endpoint.as_ref().ok_or_else(|| Error::internal("a connection without a token endpoint"))
}

/// The server of a connection.
pub(super) fn server_of(connector: &Connector) -> Result<&OauthServer> {
    connector.oauth.as_ref().ok_or_else(|| Error::internal("a connection without an authorization server"))
}

impl Client {
    /// As the exchange wants it.
    pub(super) fn asking(&self, server: &OauthServer) -> Asking<'_> {
        Asking::Known { id: &self.id, secret: self.secret.as_ref(), auth: server.client_auth.unwrap_or_default() }
    }
}

impl Platform {
    /// Asks for the next token of a connection whose value is `value`, with its refresh token if it has one.
    pub(super) async fn mint_token(
        &self,
        row: &ConnectionRow,
        connector: &Connector,
        value: &Secret,
        refresh: Option<&Secret>,
    ) -> Result<TokenAnswer, Unminted> {
        match auth_of(row)? {
            AuthKind::Oauth2 => {
                // Nobody agreed, or the server gave nothing to go on with: a person has to.
                let refresh = refresh.ok_or(ExchangeFailed::Refused(OauthError::InvalidGrant))?;
                let mut form = vec![field("grant_type", "refresh_token"), secret_field("refresh_token", refresh)];
                let server = server_of(connector)?;
                form.extend(resource_of(server));
                self.ask_as_client(row, server, value, form).await
            }
            AuthKind::ClientCredentials => {
                let server = server_of(connector)?;
                let mut form = vec![field("grant_type", "client_credentials")];
                form.extend((!server.scopes.is_empty()).then(|| field("scope", &server.scopes.join(" "))));
                form.extend(resource_of(server));
                self.ask_as_client(row, server, value, form).await
            }
            AuthKind::ServiceAccount => self.ask_as_account(row, connector, value).await,
            AuthKind::GithubApp => self.ask_as_app(row, connector, value).await,
            _ => Err(Error::internal("a credential that is sent as it is").into()),
        }
    }

    pub(super) async fn ask_as_client(
        &self,
        row: &ConnectionRow,
        server: &OauthServer,
        value: &Secret,
        form: Form,
    ) -> Result<TokenAnswer, Unminted> {
        let client = Client::read(value)?;
        let exchange = Exchange {
            tenant: row.org,
            owner: owner_of(row),
            endpoint: token_endpoint(server)?,
            client: client.asking(server),
            payload: Payload::Form(form),
            at: self.clock.now(),
        };
        Ok(self.broker.exchange_token(exchange).await?)
    }

    async fn ask_as_account(
        &self,
        row: &ConnectionRow,
        connector: &Connector,
        value: &Secret,
    ) -> Result<TokenAnswer, Unminted> {
        let (account, server, at) = (Account::read(value)?, server_of(connector)?, self.clock.now());
        let endpoint = token_endpoint(server)?;
        let claims = account_claims(&account, server, endpoint, at);
        let signed = jwt::assertion(account.key.expose_secret(), Some(&account.key_id), &claims);
        let signed = signed.map_err(Error::internal)?;
        let form = vec![field("grant_type", JWT_BEARER), secret_field("assertion", &signed)];
        let (tenant, owner) = (row.org, owner_of(row));
        let exchange = Exchange { tenant, owner, endpoint, client: Asking::Silent, payload: Payload::Form(form), at };
        Ok(self.broker.exchange_token(exchange).await?)
    }

    async fn ask_as_app(
        &self,
        row: &ConnectionRow,
        connector: &Connector,
        key: &Secret,
    ) -> Result<TokenAnswer, Unminted> {
        let installation =
            connector.installation.as_ref().ok_or_else(|| Error::internal("an app without an installation"))?;
        let at = self.clock.now();
        let endpoint = app_endpoint(connector, installation)?;
        let now_s = at.as_seconds();
        let claims = json!({"iss": installation.app_id, "iat": now_s - SKEW_S, "exp": now_s + APP_LIFE_S});
        let signed = jwt::assertion(key.expose_secret(), None, &claims).map_err(Error::internal)?;
        let exchange = Exchange {
            tenant: row.org,
            owner: owner_of(row),
            endpoint: &endpoint,
            client: Asking::Bearer(signed),
            payload: Payload::Json(narrowed(installation).to_string()),
            at,
        };
        Ok(self.broker.exchange_token(exchange).await?)
    }
}

/// What the tokens are for, where a connection says it (RFC 8707).
pub(super) fn resource_of(server: &OauthServer) -> Option<(&'static str, Secret)> {
    server.resource.as_ref().map(|resource| field("resource", &resource.to_string()))
}

fn account_claims(account: &Account, server: &OauthServer, endpoint: &Endpoint, at: Timestamp) -> Value {
    let now_s = at.as_seconds();
    let mut claims = json!({
        "iss": account.email,
        "scope": server.scopes.join(" "),
        "aud": endpoint.to_string(),
        "iat": now_s,
        "exp": now_s + ACCOUNT_LIFE_S,
    });
    if let Some(subject) = &server.subject {
        claims["sub"] = subject.as_str().into();
    }
    claims
}

/// Where an installation's tokens come from.
pub(super) fn app_endpoint(connector: &Connector, installation: &AppInstallation) -> Result<Endpoint> {
    let base = match &connector.token_api {
        Some(api) => api.to_string(),
        None => connector.reach.base().ok_or_else(|| Error::internal("a connector without an origin"))?,
    };
    format!("{base}{}", installation.token_path()).parse().map_err(Error::internal)
}

/// No wider than the connection says.
fn narrowed(installation: &AppInstallation) -> Value {
    let mut body = json!({});
    if !installation.repositories.is_empty() {
        body["repositories"] = json!(installation.repositories);
    }
    if !installation.permissions.is_empty() {
        body["permissions"] = json!(installation.permissions);
    }
    body
}
