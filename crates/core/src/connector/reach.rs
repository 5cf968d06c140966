//! [`Reach`]: the closed list of what a credential may be sent with. What is not on it is refused; there is no default.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{GraphqlRule, Origin, OriginRef, PathPattern, Scheme};

/// Methods that are sent at all. `CONNECT`, `TRACE` and inventions are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    Get,
    /// Reads without the body.
    Head,
    /// Does something.
    Post,
    /// Puts a thing in its place.
    Put,
    /// Changes part of a thing.
    Patch,
    /// Removes a thing.
    Delete,
}

impl Method {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// As it is sent: upper case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The method of exactly this text; other cases are other methods, and unknown ones.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| method.as_str() == text)
    }

    /// Whether sending it twice does no more than sending it once (RFC 9110 §9.2.2).
    pub const fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete)
    }

    /// Whether sending it twice does no more than sending it never.
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a credential may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Which origins; the first is exact, and requests that give a path alone go there.
    pub origins: Vec<Origin>,
    /// What stands before the path of such a request: empty, or `/…` without a slash at its end.
    pub base_path: String,
    /// Which methods; empty: every [`Method`].
    pub methods: Vec<Method>,
    /// Which paths; empty: every path.
    pub paths: Vec<PathPattern>,
    /// Whether `http` origins are spoken to. The address guard lets that reach private networks alone.
    pub plaintext: bool,
    /// What gives tokens out: never asked for a caller, whatever else is allowed.
    pub guarded: Vec<(Origin, PathPattern)>,
    /// Which operations at the address of a GraphQL API; none: every operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphql: Option<GraphqlRule>,
}

/// Why a request is outside a [`Reach`]. The text is for the model and its owner: it says what is allowed, and repeats nothing
/// of the request but its method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReachRefusal {
    /// The connection is not for this scheme, host and port.
    #[error("this connection goes to {} only", list(.allowed))]
    Origin {
        /// Where it goes.
        allowed: Vec<Origin>,
    },
    /// `http`, where nobody allowed it.
    #[error("this connection goes over https only")]
    Plaintext,
    /// The method is none of those allowed.
    #[error("the method is not allowed on this connection; allowed: {}", list(.allowed))]
    Method {
        /// Those allowed.
        allowed: Vec<Method>,
    },
    /// The path is none of those allowed.
    #[error("the path is not allowed on this connection; allowed: {}", list(.allowed))]
    Path {
        /// Those allowed.
        allowed: Vec<PathPattern>,
    },
    /// It gives tokens out.
    #[error("this is where tokens come from; Livery asks for them by itself, and nobody else does")]
    TokenEndpoint,
}

impl ReachRefusal {
    /// Stable name of the rule that refused.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Origin { .. } => "reach_origin",
            Self::Plaintext => "reach_plaintext",
            Self::Method { .. } => "reach_method",
            Self::Path { .. } => "reach_path",
            Self::TokenEndpoint => "token_endpoint",
        }
    }
}

/// At most this many in one sentence.
const LISTED_MAX: usize = 8;

fn list<T: fmt::Display>(items: &[T]) -> String {
    let mut shown: Vec<String> = items.iter().take(LISTED_MAX).map(T::to_string).collect();
    if items.len() > LISTED_MAX {
        shown.push(format!("and {} more", items.len() - LISTED_MAX));
    }
    if shown.is_empty() { "nothing".into() } else { shown.join(", ") }
}

impl Reach {
    /// Whether a request may carry the credential. `canonical_path` is the path that will be sent, without its query.
    ///
    /// # Errors
    /// [`ReachRefusal`]: the first rule that says no.
    pub fn permits(&self, method: &str, origin: &OriginRef<'_>, canonical_path: &str) -> Result<(), ReachRefusal> {
        if !self.origins.iter().any(|allowed| allowed.matches(origin)) {
            return Err(ReachRefusal::Origin { allowed: self.origins.clone() });
        }
        if origin.scheme != Scheme::Https.as_str() && !self.plaintext {
            return Err(ReachRefusal::Plaintext);
        }
        let allowed = if self.methods.is_empty() { Method::ALL } else { &self.methods };
        if !Method::of(method).is_some_and(|method| allowed.contains(&method)) {
            return Err(ReachRefusal::Method { allowed: allowed.to_vec() });
        }
        if !self.paths.is_empty() && !self.paths.iter().any(|pattern| pattern.matches(canonical_path)) {
            return Err(ReachRefusal::Path { allowed: self.paths.clone() });
        }
        // Servers differ in how they read case and a slash at the end: both count as the same place.
        let plain = canonical_path.trim_end_matches('/').to_ascii_lowercase();
        let gives_tokens = |(at, path): &(Origin, PathPattern)| {
            at.matches(origin) && (path.matches(canonical_path) || path.matches(&plain))
        };
        if self.guarded.iter().any(gives_tokens) {
            return Err(ReachRefusal::TokenEndpoint);
        }
        Ok(())
    }

    /// The rule about the bodies of requests to this path, if there is one.
    pub fn graphql_at(&self, canonical_path: &str) -> Option<&GraphqlRule> {
        self.graphql.as_ref().filter(|rule| rule.is_about(canonical_path))
    }

    /// Whether methods, paths and operations are no more than those of `outer`, origins aside.
    pub fn is_within(&self, outer: &Self) -> bool {
        let all = |methods: &[Method]| if methods.is_empty() { Method::ALL.to_vec() } else { methods.to_vec() };
        let allowed = all(&outer.methods);
        let inside = |path: &PathPattern| outer.paths.iter().any(|outer| path.is_within(outer));
        let paths = outer.paths.is_empty() || (!self.paths.is_empty() && self.paths.iter().all(inside));
        let operations = match (&self.graphql, &outer.graphql) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(inner), Some(outer)) => inner.is_within(outer),
        };
        paths && operations && all(&self.methods).iter().all(|method| allowed.contains(method))
    }

    /// The address that a path alone is appended to: `https://HOST[:PORT][/PATH]`. `None` for a reach without origins,
    /// which no recipe gives.
    pub fn base(&self) -> Option<String> {
        let first = self.origins.first()?;
        Some(format!("{first}{}", self.base_path))
    }
}
