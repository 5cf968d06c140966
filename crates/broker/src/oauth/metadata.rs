//! Discovery (RFC 8414, OpenID Connect Discovery): from an issuer to its endpoints, once, when a connection is made.
//!
//! The document must name the issuer that was asked. All endpoints pass the address guard, and none is without TLS where the
//! issuer has it.

use std::time::Duration;

use http::{Method, StatusCode};
use livery_core::connector::{ClientAuth, Endpoint, OauthServer};
use livery_core::id::OrgId;
use serde::Deserialize;

use crate::transport::Timeouts;
use crate::{Broker, Error, Outbound, Target};

/// Largest document in bytes.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Longest wait for it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why there are no endpoints. In words of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataRefused {
    /// It could not be fetched.
    #[error("the issuer's document cannot be fetched: {0}")]
    Unreachable(#[from] Error),
    /// There is none.
    #[error("the issuer has no document at its well-known address")]
    Absent,
    /// It is not what the protocol says.
    #[error("the issuer's document has {0}")]
    Malformed(&'static str),
    /// An endpoint is where nothing may be dialled.
    #[error("the issuer's document names an endpoint that is refused: {0}")]
    Endpoint(Error),
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    code_challenge_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Broker {
    /// The endpoints of an issuer, by its well-known document.
    ///
    /// # Errors
    /// [`MetadataRefused`].
    pub async fn discover(&self, tenant: OrgId, issuer: &Endpoint) -> Result<OauthServer, MetadataRefused> {
        for address in well_known(issuer) {
            let target = Target::full_url(&address).map_err(Error::from)?;
            let mut call = Outbound::post(tenant, target, Vec::new());
            call.method = Method::GET;
            call.timeouts = Timeouts { first_byte: PATIENCE, idle: PATIENCE, total: PATIENCE, ..Timeouts::default() };
            call.response_bytes_max = DOCUMENT_BYTES_MAX as u64;
            let answer = self.send(call).await?;
            match answer.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => continue,
                _ => return Err(MetadataRefused::Malformed("another status than 200")),
            }
            let server = read_metadata(&answer.collect(DOCUMENT_BYTES_MAX).await?, issuer)?;
            for endpoint in server.guarded().chain(&server.authorization_endpoint) {
                let target = Target::full_url(&endpoint.to_string()).map_err(Error::from)?;
                self.check(&target).map_err(MetadataRefused::Endpoint)?;
            }
            return Ok(server);
        }
        Err(MetadataRefused::Absent)
    }
}

/// Where its document may be: RFC 8414 puts the well-known part before the issuer's path, OpenID Connect behind it.
fn well_known(issuer: &Endpoint) -> [String; 2] {
    let path = issuer.path().trim_end_matches('/');
    [
        format!("{}/.well-known/oauth-authorization-server{path}", issuer.origin()),
        format!("{}{path}/.well-known/openid-configuration", issuer.origin()),
    ]
}

/// Reads a document that was asked for at `issuer`.
///
/// # Errors
/// [`MetadataRefused::Malformed`].
pub fn read_metadata(body: &[u8], issuer: &Endpoint) -> Result<OauthServer, MetadataRefused> {
    let document: Document = serde_json::from_slice(body)
        .map_err(|_| MetadataRefused::Malformed("a form that is no JSON object of an authorization server"))?;
    if document.issuer != issuer.to_string() {
        return Err(MetadataRefused::Malformed("the name of another issuer"));
    }
    if document.code_challenge_methods_supported.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
        return Err(MetadataRefused::Malformed("no PKCE with S256"));
    }
    let endpoint = |text: Option<String>| {
        let parsed = text.map(|text| text.parse::<Endpoint>()).transpose();
        let parsed = parsed.map_err(|_| MetadataRefused::Malformed("an endpoint that is not in canonical form"))?;
        match parsed.as_ref().is_some_and(|endpoint| issuer.is_https() && !endpoint.is_https()) {
            true => Err(MetadataRefused::Malformed("an endpoint without TLS")),
            false => Ok(parsed),
        }
    };
    let methods = document.token_endpoint_auth_methods_supported.unwrap_or_default();
    let takes = |name: &str| methods.iter().any(|method| method == name);
    let post = takes("client_secret_post") && !takes("client_secret_basic");
    let server = OauthServer {
        issuer: Some(issuer.clone()),
        names_issuer: document.authorization_response_iss_parameter_supported,
        authorization_endpoint: endpoint(document.authorization_endpoint)?,
        token_endpoint: endpoint(document.token_endpoint)?,
        device_authorization_endpoint: endpoint(document.device_authorization_endpoint)?,
        revocation_endpoint: endpoint(document.revocation_endpoint)?,
        client_auth: Some(if post { ClientAuth::Post } else { ClientAuth::Basic }),
        ..OauthServer::default()
    };
    if server.token_endpoint.is_none() {
        return Err(MetadataRefused::Malformed("no token endpoint"));
    }
    Ok(server)
}
