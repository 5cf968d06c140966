//! Reading images from a registry, as the OCI's distribution format has it: manifests, blobs, and the token they ask for.
//!
//! The operator names the registry, so it is dialled as the operator's own origin ([`OperatorClient`]); one on loopback over plain
//! HTTP, any other over TLS. A redirect, and the place that hands out tokens, may be elsewhere: over TLS alone, so that
//! nothing answers that the machine has no reason to trust, and a registry's token goes to the registry alone. What comes is
//! hostile still; its reader believes it by its digest. Nothing is written to a registry.

mod challenge;

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use livery_core::agent::image::host_of;
use serde::Deserialize;

use self::challenge::Challenge;
use crate::guard::Scheme;
use crate::transport::ConfigError;
use crate::{OperatorAnswer, OperatorClient, Secret, Target};

/// Redirects followed for one piece.
const REDIRECTS_MAX: usize = 5;
/// A token and what is around it.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// The registry behind names that have none, and the folder of names without a folder.
const DEFAULT_HOST: &str = "registry-1.docker.io";
const DEFAULT_FOLDER: &str = "library";
/// What that registry is called in names.
const DEFAULT_NAME: &str = "docker.io";

/// Why a piece did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The registry could not be talked to.
    #[error("{origin}: {source}")]
    Silent {
        /// Which origin.
        origin: String,
        /// Why.
        source: crate::Error,
    },
    /// It has no such thing, or says so.
    #[error(
        "the registry has no such image, or it is not for everybody (set LIVERY_REGISTRY_HOST, LIVERY_REGISTRY_USER and LIVERY_REGISTRY_PASSWORD)"
    )]
    Missing,
    /// Whose login it is was said, and it is not this registry's.
    #[error(
        "the login is for {login:?} and the image is at {image:?}: set LIVERY_REGISTRY_HOST to that, or take the login away"
    )]
    OtherLogin {
        /// Whose the login is.
        login: String,
        /// Where the image is.
        image: String,
    },
    /// It answered something else.
    #[error("the registry answered with the status {0}")]
    Status(u16),
    /// It sends us somewhere we do not go.
    #[error("the registry leads to {0}, which is not followed")]
    Elsewhere(String),
    /// It asks for something we cannot give, or gives something odd.
    #[error("the registry {0}")]
    Odd(&'static str),
    /// The certificates of the operator's own cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Who we are to a registry.
pub struct Login {
    /// The registry that may see it, as it stands before the names of its images; `docker.io` where there is nothing.
    pub host: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({} at {})", self.user, self.host)
    }
}

/// One repository of a registry, to be read.
pub struct Registry {
    origin: Target,
    repository: String,
    ca: Option<PathBuf>,
    login: Option<Login>,
    /// For the registry alone.
    token: Option<HeaderValue>,
    clients: BTreeMap<String, OperatorClient>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({} of {})", self.repository, self.origin.origin())
    }
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Registry {
    /// The repository of an image's name without tag and digest. `login`: where the registry asks who it is.
    /// `ca`: more roots to trust where the registry itself is spoken to, PEM. Opens nothing.
    ///
    /// # Errors
    /// The name leads to no registry, or the login is another one's.
    pub fn of(name: &str, login: Option<Login>, ca: Option<PathBuf>) -> Result<Self, RegistryError> {
        let (host, repository) = match (host_of(name), name.split_once('/')) {
            (Some(host), Some((_, rest))) => (host, rest.to_owned()),
            (_, Some(_)) => (DEFAULT_HOST, name.to_owned()),
            (_, None) => (DEFAULT_HOST, format!("{DEFAULT_FOLDER}/{name}")),
        };
        let image = if host == DEFAULT_HOST { DEFAULT_NAME } else { host };
        if let Some(Login { host: login, .. }) = login.as_ref().filter(|login| login.host != image) {
            return Err(RegistryError::OtherLogin { login: login.clone(), image: image.to_owned() });
        }
        let no_host = |_| RegistryError::Odd("has no address that can be understood");
        let secure = Target::base_url(&format!("https://{host}")).map_err(no_host)?;
        let is_own = secure.host().is_loopback();
        let origin = if is_own { Target::base_url(&format!("http://{host}")).map_err(no_host)? } else { secure };
        Ok(Self { origin, repository, ca, login, token: None, clients: BTreeMap::new() })
    }

    /// The manifest or index of a tag or of a digest; `types` are those that are understood.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn manifest(&mut self, reference: &str, types: &[&str]) -> Result<OperatorAnswer, RegistryError> {
        self.get(&format!("manifests/{reference}"), &types.join(", ")).await
    }

    /// A blob by its digest (`sha256:…`).
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn blob(&mut self, digest: &str) -> Result<OperatorAnswer, RegistryError> {
        self.get(&format!("blobs/{digest}"), "application/octet-stream").await
    }

    async fn get(&mut self, path: &str, accept: &str) -> Result<OperatorAnswer, RegistryError> {
        let url = format!("{}/v2/{}/{path}", self.origin.origin(), self.repository);
        let mut answer = self.ask(&full(&url)?, accept).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.token = Some(self.authorize(&answer).await?);
            answer = self.ask(&full(&url)?, accept).await?;
        }
        for _ in 0..=REDIRECTS_MAX {
            match answer.status().as_u16() {
                200 => return Ok(answer.into_body()),
                301 | 302 | 303 | 307 | 308 => {
                    let next = self.judged(&answer)?;
                    answer = self.ask(&next, accept).await?;
                }
                401 | 403 | 404 => return Err(RegistryError::Missing),
                status => return Err(RegistryError::Status(status)),
            }
        }
        Err(RegistryError::Odd("leads from one place to the next without end"))
    }

    /// One request. The token goes to the registry itself and nowhere else.
    async fn ask(&mut self, target: &Target, accept: &str) -> Result<Response<OperatorAnswer>, RegistryError> {
        let own = target.origin() == self.origin.origin();
        let authorization = self.token.clone().filter(|_| own);
        self.send(target, accept, authorization).await
    }

    async fn send(
        &mut self,
        target: &Target,
        accept: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<OperatorAnswer>, RegistryError> {
        let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(format!("{}{}{query}", target.origin(), target.path()))
            .header(ACCEPT, accept)
            .body(Empty::<Bytes>::new().map_err(|never| match never {}).boxed())
            .map_err(|_| RegistryError::Odd("has an address that cannot be asked"))?;
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let origin = target.origin();
        let client = match self.clients.get(&origin) {
            Some(client) => client.clone(),
            None => {
                // Roots of the operator's own vouch for the registry, and for no place it may lead to.
                let ca = self.ca.as_deref().filter(|_| origin == self.origin.origin());
                let client = OperatorClient::new(target.clone(), ca)?;
                self.clients.insert(origin.clone(), client.clone());
                client
            }
        };
        client.send(request).await.map_err(|source| RegistryError::Silent { origin, source })
    }

    /// Where a redirect leads, if we go there.
    fn judged(&self, answer: &Response<OperatorAnswer>) -> Result<Target, RegistryError> {
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or(RegistryError::Odd("leads nowhere"))?;
        let absolute = if location.starts_with('/') && !location.starts_with("//") {
            format!("{}{location}", self.origin.origin())
        } else {
            location.to_owned()
        };
        let target = full(&absolute)?;
        self.is_trusted(&target).then_some(target).ok_or_else(|| RegistryError::Elsewhere(shown(location)))
    }

    /// Whether a place the registry names is one we go to.
    fn is_trusted(&self, target: &Target) -> bool {
        target.scheme() == Scheme::Https || target.origin() == self.origin.origin()
    }

    /// What the registry wants to see with each request, asked for where it says.
    async fn authorize(&mut self, answer: &Response<OperatorAnswer>) -> Result<HeaderValue, RegistryError> {
        let said = answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let basic = self.login.as_ref().map(basic).transpose()?;
        match Challenge::read(said).ok_or(RegistryError::Odd("asks for something we cannot give"))? {
            Challenge::Basic => basic.ok_or(RegistryError::Missing),
            Challenge::Bearer { realm, service } => {
                let place = Target::full_url(&realm).map_err(|_| RegistryError::Elsewhere(shown(&realm)))?;
                if !self.is_trusted(&place) {
                    return Err(RegistryError::Elsewhere(shown(&realm)));
                }
                let scope = format!("repository:{}:pull", self.repository);
                let query = challenge::query(&[("service", &service), ("scope", &scope)]);
                let joint = if place.query().is_some() { '&' } else { '?' };
                let answer = self.send(&full(&format!("{realm}{joint}{query}"))?, "application/json", basic).await?;
                token_of(answer).await
            }
        }
    }
}

async fn token_of(answer: Response<OperatorAnswer>) -> Result<HeaderValue, RegistryError> {
    let odd = RegistryError::Odd("gave no token");
    if answer.status() != StatusCode::OK {
        return Err(if answer.status().is_client_error() { RegistryError::Missing } else { odd });
    }
    let Ok(body) = Limited::new(answer.into_body(), TOKEN_BYTES_MAX).collect().await else { return Err(odd) };
    let Ok(Token { token, access_token }) = serde_json::from_slice(&body.to_bytes()) else { return Err(odd) };
    let token = if token.is_empty() { access_token } else { token };
    sensitive(&format!("Bearer {token}")).filter(|_| !token.is_empty()).ok_or(odd)
}

fn basic(Login { user, password, .. }: &Login) -> Result<HeaderValue, RegistryError> {
    let pair = [user.as_bytes(), b":", password.expose_secret()].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(pair);
    sensitive(&format!("Basic {text}")).ok_or(RegistryError::Odd("cannot be given this password"))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn full(url: &str) -> Result<Target, RegistryError> {
    Target::full_url(url).map_err(|_| RegistryError::Elsewhere(shown(url)))
}

/// An address for people, without what may be secret in it.
fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    plain.chars().filter(|char| !char.is_control()).take(200).collect()
}
