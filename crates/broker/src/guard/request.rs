//! [`CanonicalRequest`]: method, target, path and query in their one form. The one function whose output is both what a rule
//! is asked about and what is sent.

use livery_core::connector::{Method, OriginRef};
use url::form_urlencoded;

use super::target::{Target, UrlRefused};

/// Most parameters of a query.
pub const PARAMETERS_MAX: usize = 256;

/// A request line in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalRequest {
    method: Method,
    target: Target,
    /// The host as rules spell it.
    host: String,
}

/// Why a request line is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestRefused {
    /// Not one of the methods that are sent, in upper case.
    #[error("the method is none of GET, HEAD, POST, PUT, PATCH and DELETE, in upper case")]
    Method,
    /// Target, path or query.
    #[error(transparent)]
    Url(#[from] UrlRefused),
    /// More parameters than anybody reads.
    #[error("the query has too many parameters")]
    TooManyParameters,
}

impl CanonicalRequest {
    /// A path, with a query if need be, below a base address. `parameters` are plain texts that are encoded here and
    /// appended in their order.
    ///
    /// # Errors
    /// [`RequestRefused`]: whatever has two readings is refused rather than repaired.
    pub fn below(
        base: &Target,
        method: &str,
        path: &str,
        parameters: &[(String, String)],
    ) -> Result<Self, RequestRefused> {
        // Text of the caller stays between its `=` and `&`: every byte with a meaning of its own is escaped.
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in parameters.iter().take(PARAMETERS_MAX + 1) {
            query.append_pair(name, value);
        }
        let appended = query.finish();
        let mut suffix = path.to_owned();
        if !appended.is_empty() {
            suffix.push(if path.contains('?') { '&' } else { '?' });
            suffix.push_str(&appended);
        }
        Self::of(base.join(&suffix)?, method)
    }

    /// A whole URL.
    ///
    /// # Errors
    /// [`RequestRefused`].
    pub fn at(method: &str, url: &str) -> Result<Self, RequestRefused> {
        Self::of(Target::full_url(url)?, method)
    }

    /// To a target that is canonical already.
    ///
    /// # Errors
    /// [`RequestRefused`].
    pub fn to(target: Target, method: &str) -> Result<Self, RequestRefused> {
        Self::of(target, method)
    }

    fn of(target: Target, method: &str) -> Result<Self, RequestRefused> {
        let method = Method::of(method).ok_or(RequestRefused::Method)?;
        let request = Self { method, host: target.host().to_string(), target };
        if request.target.query().is_some_and(|query| query.split('&').count() > PARAMETERS_MAX) {
            return Err(RequestRefused::TooManyParameters);
        }
        Ok(request)
    }

    /// The method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Where to, with path and query.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The origin, as a rule is asked about it.
    pub fn origin(&self) -> OriginRef<'_> {
        OriginRef { scheme: self.target.scheme().as_str(), host: &self.host, port: self.target.port() }
    }

    /// Names of the query's parameters as the server reads them, each once, in order.
    pub fn query_keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for (name, _) in form_urlencoded::parse(self.target.query().unwrap_or_default().as_bytes()) {
            if !keys.iter().any(|known| *known == name) {
                keys.push(name.into_owned());
            }
        }
        keys
    }

    /// The same request without the parameters that `is_dropped` names.
    #[must_use]
    pub(crate) fn without_parameters(mut self, is_dropped: impl Fn(&str) -> bool) -> Self {
        let Some(query) = self.target.query() else { return self };
        let name = |pair: &str| form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.into_owned());
        let kept: Vec<&str> =
            query.split('&').filter(|pair| !name(pair).is_some_and(|name| is_dropped(&name))).collect();
        let kept = (!kept.is_empty()).then(|| kept.join("&"));
        self.target.set_query(kept);
        self
    }

    /// The line as text: `GET https://host/path?query`.
    pub fn line(&self) -> String {
        format!("{} {}{}", self.method, self.target.origin(), self.target.path_and_query())
    }
}
