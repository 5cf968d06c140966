//! Query parameters: read once, closed like bodies.
//!
//! Which names an operation knows is read off the published OpenAPI document, so document and behaviour cannot part.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use axum::extract::{FromRequestParts, MatchedPath};
use http::Method;
use http::request::Parts;
use livery_platform::PageRequest;
use livery_platform::page::{PAGE_DEFAULT, PAGE_MAX};
use percent_encoding::percent_decode_str;
use utoipa::openapi::path::{Operation, ParameterIn, ParameterStyle};
use utoipa::openapi::{OpenApi, RefOr};

use crate::options::PARAMETERS_MAX;
use crate::problem::{Problem, Result};

/// The decoded query of a request, in order.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Self::parse(parts.uri.query().unwrap_or(""))
    }
}

impl Params {
    /// Reads a query string.
    ///
    /// # Errors
    /// Too many, one twice, or not UTF-8.
    pub(crate) fn parse(query: &str) -> Result<Self> {
        let pairs: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).take(PARAMETERS_MAX + 1).collect();
        if pairs.len() > PARAMETERS_MAX {
            return Err(Problem::invalid_parameter("", &format!("list is longer than {PARAMETERS_MAX}")));
        }
        let mut params = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| Problem::invalid_parameter(name, "is not UTF-8"))?;
            let value = decode(value).ok_or_else(|| Problem::invalid_parameter(&name, "is not UTF-8"))?;
            if params.iter().any(|(known, _)| *known == name) {
                return Err(Problem::invalid_parameter(&name, "is there more than once"));
            }
            params.push((name, value));
        }
        Ok(Self(params))
    }

    /// A parameter as sent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter as a value; `expected` completes the sentence "must be …".
    ///
    /// # Errors
    /// `invalid_parameter`.
    pub(crate) fn value<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>> {
        self.text(name)
            .map(|text| text.parse().map_err(|_| Problem::invalid_parameter(name, &format!("must be {expected}"))))
            .transpose()
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// `invalid_parameter`.
    pub(crate) fn whole(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>> {
        let expected = format!("a whole number from {min} to {max}");
        let value = self.value::<u64>(name, &expected)?;
        match value {
            Some(value) if !(min..=max).contains(&value) => {
                Err(Problem::invalid_parameter(name, &format!("must be {expected}")))
            }
            value => Ok(value),
        }
    }

    /// `name[key]=value` parameters by key.
    pub(crate) fn deep(&self, name: &str) -> BTreeMap<String, String> {
        self.0.iter().filter_map(|(known, value)| Some((deep_key(known, name)?.to_owned(), value.clone()))).collect()
    }

    /// `?limit=`, at most `max`.
    ///
    /// # Errors
    /// `invalid_parameter`.
    pub(crate) fn limit(&self, max: u32) -> Result<u32> {
        let limit = self.whole("limit", 1, max.into())?;
        Ok(limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(PAGE_DEFAULT))
    }

    /// `?limit=&cursor=`. What a cursor holds is the platform's to read.
    ///
    /// # Errors
    /// `invalid_parameter`.
    pub(crate) fn page(&self) -> Result<PageRequest> {
        let cursor = self.text("cursor").map(str::to_owned);
        if cursor.as_deref() == Some("") {
            return Err(Problem::invalid_parameter("cursor", "is empty; leave it out for the first page"));
        }
        Ok(PageRequest { limit: self.limit(PAGE_MAX)?, cursor })
    }
}

/// A form-encoded word: `+` is a space.
fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn deep_key<'a>(sent: &'a str, name: &str) -> Option<&'a str> {
    sent.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']').filter(|key| !key.is_empty())
}

/// Which parameters each operation knows.
#[derive(Debug, Default)]
pub(crate) struct Known(HashMap<(Method, String), Vec<Parameter>>);

#[derive(Debug)]
struct Parameter {
    name: String,
    deep: bool,
}

impl Known {
    /// Reads the document.
    pub(crate) fn of(document: &OpenApi) -> Self {
        let mut known = HashMap::new();
        for (path, item) in &document.paths.paths {
            let operations = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::DELETE, &item.delete),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
            ];
            for (method, operation) in operations {
                if let Some(operation) = operation {
                    known.insert((method, path.clone()), query_parameters(operation));
                }
            }
        }
        Self(known)
    }

    /// Refuses a parameter that the operation does not know.
    ///
    /// # Errors
    /// `unknown_parameter`.
    pub(crate) fn check(&self, parts: &Parts) -> Result<()> {
        let Some(query) = parts.uri.query().filter(|query| !query.is_empty()) else { return Ok(()) };
        let path = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
        // A HEAD request is answered by the GET operation.
        let method = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
        let known = self.0.get(&(method, path)).map(Vec::as_slice).unwrap_or_default();
        for (name, _) in Params::parse(query)?.0 {
            let fits = |parameter: &Parameter| {
                if parameter.deep { deep_key(&name, &parameter.name).is_some() } else { parameter.name == name }
            };
            if !known.iter().any(fits) {
                return Err(Problem::unknown_parameter(&name));
            }
        }
        Ok(())
    }
}

fn query_parameters(operation: &Operation) -> Vec<Parameter> {
    let written = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) if matches!(parameter.parameter_in, ParameterIn::Query) => Some(parameter),
        // No handler refers to a parameter written elsewhere.
        _ => None,
    });
    let deep = |style: &Option<ParameterStyle>| matches!(style, Some(ParameterStyle::DeepObject));
    written.map(|parameter| Parameter { name: parameter.name.clone(), deep: deep(&parameter.style) }).collect()
}

#[cfg(test)]
mod tests {
    use super::Params;

    fn code(query: &str) -> &'static str {
        Params::parse(query).and_then(|params| params.page()).map_or_else(|problem| problem.parts().code, |_| "fine")
    }

    #[test]
    fn pages_are_bounded() {
        let page = Params::parse("limit=200&cursor=a%2Bb+c").unwrap().page().unwrap();
        assert_eq!((page.limit, page.cursor.as_deref()), (200, Some("a+b c")));
        for query in [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit=1&limit=1",
            "cursor=",
            "limit=%ff",
            "limit=99999999999999999999",
        ] {
            assert_eq!(code(query), "invalid_parameter", "{query}");
        }
        assert_eq!(code(&"a&".repeat(51)), "invalid_parameter");
    }

    #[test]
    fn deep_parameters_are_told_from_others() {
        let params = Params::parse("metadata[ticket]=42&metadata%5Bteam%5D=a&metadata[]=x&metadata=y").unwrap();
        let deep: Vec<_> = params.deep("metadata").into_iter().collect();
        assert_eq!(deep, [("team".to_owned(), "a".to_owned()), ("ticket".to_owned(), "42".to_owned())]);
    }
}
