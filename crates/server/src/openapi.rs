//! The OpenAPI 3.1 document: what the handlers say about themselves, and what holds for all of them.

use http::Method;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Ref, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Components, InfoBuilder, LicenseBuilder, OpenApi, RefOr, Required, Response};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::options::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::{routes, schemas};

/// The document as published at `/v1/openapi.json`: OpenAPI 3.1 as indented JSON.
pub fn document() -> String {
    json(&complete(routes::all().1))
}

/// The document as text, indented: people read it too.
pub(crate) fn json(document: &OpenApi) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap_or_else(|_| "{}".to_owned());
    text.push('\n');
    text
}

/// What the resources are, in the order of the page.
const TAGS: &[(&str, &str)] = &[
    ("runs", "An agent at work: start it, follow it, stop it."),
    ("agents", "Immutable versions of agents, each a folder with an `AGENT.md`."),
    ("files", "Input for runs, and what runs left behind."),
    ("schedules", "Runs at certain times: cron in a time zone, with rules for overlap and for what was missed."),
    ("triggers", "Signed messages from outside that start runs."),
    ("webhooks", "Who is told when something happens, signed after Standard Webhooks."),
    ("connections", "Credentials that runs use. Values go in and never come out; connectors say where they may go."),
    ("policies", "What runs may do, in Cedar: permit, forbid, or ask a person."),
    ("approvals", "What runs want to do and a person is asked about."),
    ("model_providers", "Where models are asked. Keys go in and never come out."),
    ("end_users", "Whom an application acts for."),
    ("workspaces", "What agents keep for their end users from run to run, and snapshots of it."),
    ("api_keys", "Who may call, with explicit rights. Shown once, stored as a digest."),
    ("metrics", "What a node counts, for the operator."),
    ("nodes", "The processes of this installation."),
    ("organizations", "Tenants. Nothing of one is visible to another."),
    ("system", "What is asked without a key."),
];

const DESCRIPTION: &str = "Livery runs AI agents for many users on shared machines, each run in a sandbox of its own.\n\n\
    Authenticate with `Authorization: Bearer lvk_…`. Bodies and queries are closed: an unknown field or parameter is an \
    error that names it. Every error is `application/problem+json` (RFC 9457) with a stable `code` that has a page of its \
    own. Every POST takes an `Idempotency-Key`: the same request again, within 24 hours, gets the stored answer. Lists are \
    `{data, next_cursor}`, newest first. Times are RFC 3339 in UTC. An id of another tenant is an id that does not exist.";

/// Adds what is the same for every operation: title, security, common header fields, problems.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("Livery")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    document.tags =
        Some(TAGS.iter().map(|(name, text)| TagBuilder::new().name(*name).description(Some(*text)).build()).collect());
    let components = document.components.get_or_insert_with(Components::new);
    add_components(components);
    for item in document.paths.paths.values_mut() {
        for (method, operation) in operations(item) {
            complete_operation(&method, operation);
        }
    }
    document
}

fn add_components(components: &mut Components) {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("lvk_…").build();
    components.add_security_scheme("api_key", SecurityScheme::Http(bearer));
    components.schemas.insert(schemas::Problem::name().into_owned(), schemas::Problem::schema());
    for problem in PROBLEMS {
        components.responses.insert(problem.name.to_owned(), problem.response().into());
    }
}

/// The operations of a path, each with its method.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn complete_operation(method: &Method, operation: &mut Operation) {
    let system = operation.tags.iter().flatten().any(|tag| tag == "system");
    let trait_of = Traits {
        guarded: !system,
        named: operation.parameters.iter().flatten().any(is_in_path),
        post: *method == Method::POST,
        sends: matches!(*method, Method::POST | Method::PATCH),
        body: operation.request_body.is_some(),
        readiness: operation.operation_id.as_deref() == Some("get_readiness"),
        // A shell is opened with GET, as every WebSocket is.
        acts: *method != Method::GET || operation.operation_id.as_deref() == Some("open_run_shell"),
    };
    for problem in PROBLEMS.iter().filter(|problem| (problem.when)(&trait_of)) {
        let reference = RefOr::Ref(Ref::from_response_name(problem.name));
        operation.responses.responses.insert(problem.status.to_owned(), reference);
    }
    let parameters = operation.parameters.get_or_insert_with(Vec::new);
    for parameter in parameters.iter_mut() {
        if let RefOr::T(parameter) = parameter {
            parameter.schema = parameter.schema.take().map(never_null);
        }
    }
    if trait_of.post && trait_of.guarded {
        parameters.push(idempotency_key().into());
    }
    if trait_of.acts && trait_of.guarded {
        parameters.push(on_behalf_of().into());
    }
}

/// The schema of a parameter without `null`: one that is not sent is absent, there is no null in a query.
fn never_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|kind| *kind != Type::Null);
                if let [only] = types.as_slice() {
                    object.schema_type = SchemaType::Type(only.clone());
                }
            }
            Schema::Object(object).into()
        }
        RefOr::T(Schema::OneOf(mut choices)) => {
            choices.items.retain(|item| !is_null(item));
            match choices.items.len() {
                1 => choices.items.remove(0),
                _ => Schema::OneOf(choices).into(),
            }
        }
        other => other,
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null))
}

fn is_in_path(parameter: &RefOr<Parameter>) -> bool {
    matches!(parameter, RefOr::T(parameter) if matches!(parameter.parameter_in, ParameterIn::Path))
}

/// What about an operation decides which problems it can have.
struct Traits {
    guarded: bool,
    named: bool,
    post: bool,
    sends: bool,
    body: bool,
    readiness: bool,
    acts: bool,
}

/// A kind of problem, published once and referred to by every operation that can have it.
struct Kind {
    name: &'static str,
    status: &'static str,
    description: &'static str,
    when: fn(&Traits) -> bool,
}

const PROBLEMS: &[Kind] = &[
    Kind {
        name: "BadRequest",
        status: "400",
        description: "Not JSON, or an unknown field, parameter or header value",
        when: |of| of.guarded,
    },
    Kind { name: "Unauthorized", status: "401", description: "No valid API key", when: |of| of.guarded },
    Kind { name: "Forbidden", status: "403", description: "The API key lacks a right", when: |of| of.guarded },
    Kind {
        name: "NotFound",
        status: "404",
        description: "There is no such thing for this caller",
        when: |of| of.guarded && (of.named || of.acts),
    },
    Kind {
        name: "NotAcceptable",
        status: "406",
        description: "No such representation",
        when: |of| of.guarded && !of.acts && of.named,
    },
    Kind { name: "RequestTimeout", status: "408", description: "The body did not arrive in time", when: |of| of.sends },
    Kind {
        name: "Conflict",
        status: "409",
        description: "The state of things does not allow this now",
        when: |of| of.guarded && of.acts,
    },
    Kind { name: "TooLarge", status: "413", description: "The body is too large", when: |of| of.sends },
    Kind {
        name: "UnsupportedMediaType",
        status: "415",
        description: "The body has the wrong type",
        when: |of| of.sends,
    },
    Kind {
        name: "Unprocessable",
        status: "422",
        description: "A value does not fit its type or schema, or the Idempotency-Key belongs to another request",
        when: |of| of.body || of.post,
    },
    Kind { name: "TooManyRequests", status: "429", description: "A rate or quota is used up", when: |of| of.guarded },
    Kind { name: "Internal", status: "500", description: "Livery failed", when: |of| of.guarded },
    Kind {
        name: "Unavailable",
        status: "503",
        description: "Not available now",
        when: |of| of.guarded || of.readiness,
    },
];

impl Kind {
    fn response(&self) -> Response {
        let schema = RefOr::Ref(Ref::from_schema_name(schemas::Problem::name()));
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let mut response =
            ResponseBuilder::new().description(self.description).content("application/problem+json", content);
        let text = |text: &str| HeaderBuilder::new().description(Some(text)).schema(Some(string())).build();
        match self.status {
            "401" => response = response.header("WWW-Authenticate", text("`Bearer`")),
            "429" | "503" => response = response.header("Retry-After", text("Seconds until it is worth another try")),
            _ => {}
        }
        response.build()
    }
}

fn string() -> Schema {
    ObjectBuilder::new().schema_type(Type::String).build().into()
}

fn idempotency_key() -> Parameter {
    let text = "Makes the request safe to repeat. The same request with the same key gets the first answer again, with \
        `Idempotent-Replayed: true`; another request with it is refused. May stand in quotes.";
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(IDEMPOTENCY_KEY_BYTES_MAX))
        .pattern(Some("^[!#-~][!-~]*$"));
    header("Idempotency-Key", text, Schema::Object(key.build()).into())
}

fn on_behalf_of() -> Parameter {
    let id = RefOr::Ref(Ref::from_schema_name(schemas::EndUserId::name()));
    header("Livery-On-Behalf-Of", "The end user this is for; needs the scope `end_users:act`", id)
}

fn header(name: &str, description: &str, schema: RefOr<Schema>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

#[cfg(test)]
mod tests;
