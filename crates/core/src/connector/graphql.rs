//! [`GraphqlRule`]: which operations of a GraphQL API a connection is for. One address serves them all, so methods and paths
//! say nothing about what is done there.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Malformed, PathPattern};

/// Most fields of one list, and most digests.
const LISTED_MAX: usize = 256;
/// Longest name of a field, in bytes.
const FIELD_BYTES_MAX: usize = 128;
/// Where most APIs listen.
const USUAL_PATH: &str = "/graphql";

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphqlKind {
    /// Reads.
    Query,
    /// Does something.
    Mutation,
    /// Reads for as long as it is open.
    Subscription,
}

impl GraphqlKind {
    /// The word of the language.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

impl fmt::Display for GraphqlKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The closed list of what may be asked for at a GraphQL address. What an operation asks for are the fields of its outermost
/// selection, by their own names and never by an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphqlRule {
    /// Where the API listens.
    pub path: PathPattern,
    /// What a query may ask for; none: there are no queries.
    pub queries: Vec<GraphqlField>,
    /// What a mutation may ask for; none: there are no mutations.
    pub mutations: Vec<GraphqlField>,
    /// What a subscription may ask for; none: there are no subscriptions.
    pub subscriptions: Vec<GraphqlField>,
    /// Persisted queries that may be asked for by their digest alone: SHA-256 in lower-case hex.
    pub persisted: Vec<GraphqlDigest>,
}

/// The name of a field, or `*` for all. Case matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GraphqlField(String);

/// The SHA-256 of a persisted query.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GraphqlDigest(String);

impl Default for GraphqlRule {
    fn default() -> Self {
        let path = USUAL_PATH.parse().unwrap_or_else(|_| PathPattern::everything());
        let (queries, mutations, subscriptions, persisted) = Default::default();
        Self { path, queries, mutations, subscriptions, persisted }
    }
}

impl GraphqlRule {
    /// Refuses lists that nobody reads, and a rule that allows nothing.
    ///
    /// # Errors
    /// What is wrong, in one sentence.
    pub fn check(&self) -> Result<(), Malformed> {
        let lengths = [self.queries.len(), self.mutations.len(), self.subscriptions.len(), self.persisted.len()];
        if lengths.iter().any(|length| *length > LISTED_MAX) {
            return Err(Malformed("a list of a GraphQL rule has at most 256 entries"));
        }
        if lengths == [0; 4] {
            return Err(Malformed(
                "a GraphQL rule allows something: list queries, mutations, subscriptions or persisted",
            ));
        }
        Ok(())
    }

    /// Whether requests to this canonical path are the rule's. Servers differ in how they read case and a slash at the end, and
    /// some answer everything below a path like the path itself: all of it counts as the same place.
    pub fn is_about(&self, canonical_path: &str) -> bool {
        let [pattern, path] =
            [&self.path.to_string(), canonical_path].map(|path| path.trim_end_matches('/').to_ascii_lowercase());
        let mut given = path.split('/');
        for part in pattern.split('/') {
            match (part, given.next()) {
                ("**", _) => return true,
                ("*", Some(_)) => {}
                (literal, Some(given)) if literal == given => {}
                _ => return false,
            }
        }
        true
    }

    /// What an operation of this kind may ask for.
    pub fn fields(&self, kind: GraphqlKind) -> &[GraphqlField] {
        match kind {
            GraphqlKind::Query => &self.queries,
            GraphqlKind::Mutation => &self.mutations,
            GraphqlKind::Subscription => &self.subscriptions,
        }
    }

    /// Whether an operation of this kind may ask for this field.
    pub fn allows(&self, kind: GraphqlKind, field: &str) -> bool {
        self.fields(kind).iter().any(|allowed| allowed.0 == "*" || allowed.0 == field)
    }

    /// Whether the persisted query with this digest may be asked for.
    pub fn allows_persisted(&self, digest: &str) -> bool {
        self.persisted.iter().any(|allowed| allowed.0 == digest)
    }

    /// Whether it allows no more than `outer`, at the same place.
    pub fn is_within(&self, outer: &Self) -> bool {
        let within = |kind| {
            let all = outer.fields(kind).iter().any(|field| field.0 == "*");
            all || self.fields(kind).iter().all(|field| outer.fields(kind).contains(field))
        };
        self.path == outer.path
            && [GraphqlKind::Query, GraphqlKind::Mutation, GraphqlKind::Subscription].into_iter().all(within)
            && self.persisted.iter().all(|digest| outer.persisted.contains(digest))
    }
}

/// What the language takes for a name: letters, digits and `_` of ASCII, no digit first.
pub fn is_graphql_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(is_part) && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

impl TryFrom<String> for GraphqlField {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let is_one = text == "*" || (is_graphql_name(&text) && text.len() <= FIELD_BYTES_MAX);
        is_one.then_some(Self(text)).ok_or(Malformed("a field is a name of the GraphQL language, or *"))
    }
}

impl TryFrom<String> for GraphqlDigest {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let is_one = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_one.then_some(Self(text)).ok_or(Malformed("a digest is 64 hexadecimal digits in lower case"))
    }
}

impl From<GraphqlField> for String {
    fn from(field: GraphqlField) -> Self {
        field.0
    }
}

impl From<GraphqlDigest> for String {
    fn from(digest: GraphqlDigest) -> Self {
        digest.0
    }
}

impl fmt::Display for GraphqlField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
