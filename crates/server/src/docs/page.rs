//! The OpenAPI document as one page of HTML, readable without scripts.

use serde_json::{Map, Value};

use super::markdown::inline;

/// Deepest nesting of fields that is shown in place; deeper ones are in the document itself.
const FIELDS_DEPTH_MAX: usize = 5;
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Text for HTML, in content and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}

/// A whole page around `body`.
pub(crate) fn shell(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{}</title><link rel=\"icon\" href=\"data:,\">\
         <link rel=\"stylesheet\" href=\"/docs/style.css\"><script src=\"/docs/script.js\" defer></script></head>\
         <body>{body}</body></html>",
        escape(title)
    )
}

/// The reference of the whole API.
pub(crate) fn reference(document: &Value) -> String {
    let page = Page { document };
    let info = &document["info"];
    let paragraphs: String =
        text(&info["description"]).split("\n\n").map(|part| format!("<p>{}</p>", inline(part))).collect();
    let tags = document["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let body = format!(
        "<nav><h1><a href=\"#top\">Livery</a></h1><input id=\"filter\" type=\"search\" placeholder=\"Filter\" aria-label=\"Filter \
         operations\">{}<p><a href=\"/docs/errors\">Error codes</a></p><p><a href=\"/v1/openapi.json\">OpenAPI \
         document</a></p></nav><main><header id=\"top\"><h1>{} API</h1><p class=\"version\">version {}</p>{paragraphs}</header>{}{}</main>",
        tags.iter().map(|tag| page.contents(tag)).collect::<String>(),
        escape(text(&info["title"])),
        escape(text(&info["version"])),
        tags.iter().map(|tag| page.section(tag)).collect::<String>(),
        page.shapes(),
    );
    shell("Livery API", &body)
}

/// An operation with where it is.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    value: &'a Value,
}

struct Page<'a> {
    document: &'a Value,
}

impl<'a> Page<'a> {
    fn operations(&self, tag: &Value) -> Vec<Operation<'a>> {
        let paths = self.document["paths"].as_object().into_iter().flatten();
        let all = paths.flat_map(|(path, item)| {
            let present = METHODS.into_iter().filter_map(move |method| Some((method, item.get(method)?)));
            present.map(move |(method, value)| Operation { method, path, value })
        });
        let name = &tag["name"];
        all.filter(|operation| operation.value["tags"].as_array().is_some_and(|tags| tags.contains(name))).collect()
    }

    fn contents(&self, tag: &Value) -> String {
        let entry = |operation: &Operation<'_>| {
            format!(
                "<li><a href=\"#{}\"><span class=\"method {m}\">{m}</span> {}</a></li>",
                escape(text(&operation.value["operationId"])),
                escape(text(&operation.value["summary"])),
                m = operation.method,
            )
        };
        let entries: String = self.operations(tag).iter().map(entry).collect();
        format!("<h2>{}</h2><ul>{entries}</ul>", words(text(&tag["name"])))
    }

    fn section(&self, tag: &Value) -> String {
        let operations: String = self.operations(tag).iter().map(|operation| self.operation(operation)).collect();
        let (name, about) = (words(text(&tag["name"])), inline(text(&tag["description"])));
        format!("<section><h2>{name}</h2><p>{about}</p>{operations}</section>")
    }

    fn operation(&self, operation: &Operation<'_>) -> String {
        let value = operation.value;
        let description: String = text(&value["description"])
            .split("\n\n")
            .filter(|part| !part.is_empty())
            .map(|part| format!("<p>{}</p>", inline(part)))
            .collect();
        let scopes: Vec<&str> = value["security"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["api_key"].as_array())
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let scope = match scopes.first() {
            Some(scope) => format!("<p class=\"scope\">Scope <code>{}</code></p>", escape(scope)),
            None => String::new(),
        };
        format!(
            "<article id=\"{id}\"><h3>{}</h3><p class=\"route\"><span class=\"method {m}\">{m}</span> <code>{}</code></p>\
             {description}{scope}{}{}{}{}</article>",
            escape(text(&value["summary"])),
            escape(operation.path),
            self.parameters(value),
            self.request(value),
            self.responses(value),
            self.example(operation),
            id = escape(text(&value["operationId"])),
            m = operation.method,
        )
    }

    fn parameters(&self, operation: &Value) -> String {
        let Some(parameters) = operation["parameters"].as_array().filter(|list| !list.is_empty()) else {
            return String::new();
        };
        let row = |parameter: &Value| {
            let required = if parameter["required"] == true { " <em>required</em>" } else { "" };
            format!(
                "<tr><td><code>{}</code>{required}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(text(&parameter["name"])),
                escape(text(&parameter["in"])),
                self.type_of(&parameter["schema"]),
                inline(text(&parameter["description"])),
            )
        };
        let rows: String = parameters.iter().map(row).collect();
        format!("<h4>Parameters</h4><table>{rows}</table>")
    }

    fn request(&self, operation: &'a Value) -> String {
        let contents = operation["requestBody"]["content"].as_object();
        let part = |(media, content): (&String, &Value)| {
            format!("<p class=\"media\">{}</p>{}", escape(media), self.shape(&content["schema"]))
        };
        let parts: String = contents.into_iter().flatten().map(part).collect();
        if parts.is_empty() { parts } else { format!("<h4>Body</h4>{parts}") }
    }

    fn responses(&self, operation: &'a Value) -> String {
        let responses = operation["responses"].as_object().into_iter().flatten();
        let (mut good, mut problems) = (String::new(), String::new());
        for (status, response) in responses {
            let response = self.resolve(response);
            let description = inline(text(&response["description"]));
            if response["content"].get("application/problem+json").is_some() {
                problems.push_str(&format!("<li><code>{}</code> {description}</li>", escape(status)));
                continue;
            }
            good.push_str(&format!("<h4>{} {description}</h4>", escape(status)));
            for (media, content) in response["content"].as_object().into_iter().flatten() {
                good.push_str(&format!("<p class=\"media\">{}</p>{}", escape(media), self.shape(&content["schema"])));
            }
        }
        let problems = if problems.is_empty() {
            problems
        } else {
            format!("<details><summary>Problems</summary><ul>{problems}</ul></details>")
        };
        format!("{good}{problems}")
    }

    /// A call that can be pasted into a shell.
    fn example(&self, operation: &Operation<'_>) -> String {
        let method = operation.method.to_uppercase();
        let mut lines = vec![format!("curl -X {method} \"$LIVERY_URL{}\"", operation.path)];
        if operation.value["security"]
            .as_array()
            .is_some_and(|list| list.iter().any(|entry| entry.get("api_key").is_some()))
        {
            lines.push("-H \"Authorization: Bearer $LIVERY_API_KEY\"".to_owned());
        }
        let content = &operation.value["requestBody"]["content"]["application/json"];
        if !content.is_null() {
            lines.push("-H 'Content-Type: application/json'".to_owned());
            let example = &self.resolve(&content["schema"])["example"];
            let body = if example.is_null() { "{…}".to_owned() } else { example.to_string() };
            lines.push(format!("-d '{body}'"));
        }
        format!("<pre class=\"call\"><code>{}</code></pre>", escape(&lines.join(" \\\n  ")))
    }

    /// All named shapes, for the links of the fields.
    fn shapes(&self) -> String {
        let shapes = self.document["components"]["schemas"].as_object().into_iter().flatten();
        let shape = |(name, schema): (&String, &Value)| {
            let about = inline(text(&schema["description"]));
            let name = escape(name);
            format!(
                "<article id=\"shape-{name}\"><h3>{name}</h3><p>{about}</p>{}</article>",
                self.fields_or_type(schema)
            )
        };
        format!("<section><h2>Shapes</h2>{}</section>", shapes.map(shape).collect::<String>())
    }

    /// A body: a named shape unfolds in place.
    fn shape(&self, schema: &'a Value) -> String {
        if schema.is_null() {
            return String::new();
        }
        if schema.get("$ref").is_none() {
            return self.fields_or_type(schema);
        }
        let fields = self.fields_or_type(self.resolve(schema));
        format!("<details><summary>{}</summary>{fields}</details>", self.type_of(schema))
    }

    fn fields_or_type(&self, schema: &Value) -> String {
        let fields = self.fields(schema, 0);
        if fields.is_empty() {
            format!("<p>{}</p>", self.type_of(schema))
        } else {
            format!("<ul class=\"fields\">{fields}</ul>")
        }
    }

    /// The members of an object, those of nested ones below them.
    fn fields(&self, schema: &Value, depth: usize) -> String {
        if depth > FIELDS_DEPTH_MAX {
            return String::new();
        }
        let parts =
            schema["allOf"].as_array().into_iter().flatten().map(|part| self.fields(part, depth)).collect::<String>();
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        let none = Map::new();
        let own: String = schema["properties"]
            .as_object()
            .unwrap_or(&none)
            .iter()
            .map(|(name, field)| {
                let mark = if required.iter().any(|known| known == name.as_str()) { "" } else { " <em>optional</em>" };
                let below = self.nested(field, depth + 1);
                let below = if below.is_empty() { below } else { format!("<ul class=\"fields\">{below}</ul>") };
                let about = inline(about(field));
                format!("<li><code>{}</code> {}{mark} {about}{below}</li>", escape(name), self.type_of(field))
            })
            .collect();
        parts + &own
    }

    /// What is inside a field: of an object, of the items of a list, of the choices.
    fn nested(&self, field: &Value, depth: usize) -> String {
        let choices = field["oneOf"].as_array().into_iter().flatten().filter(|choice| choice.get("$ref").is_none());
        let inside: String = choices.map(|choice| self.nested(choice, depth)).collect();
        self.fields(field, depth)
            + &inside
            + &if field["items"].is_object() { self.fields(&field["items"], depth) } else { String::new() }
    }

    /// A type in words; a named shape as a link.
    fn type_of(&self, schema: &Value) -> String {
        if let Some(name) =
            schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/"))
        {
            let name = escape(name);
            return format!("<a class=\"type\" href=\"#shape-{name}\">{name}</a>");
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let choices: Vec<String> = choices.iter().map(|choice| self.type_of(choice)).collect();
            return choices.join(" or ");
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return parts.first().map(|part| self.type_of(part)).unwrap_or_default();
        }
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<String> =
                values.iter().map(|value| format!("<code>{}</code>", escape(text(value)))).collect();
            return values.join(" | ");
        }
        if let Some(values) = schema["additionalProperties"].as_object() {
            return format!("<span class=\"type\">object</span> of {}", self.type_of(&Value::Object(values.clone())));
        }
        let names: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => vec!["any"],
        };
        let name = names.join(" or ");
        let of = if name.contains("array") { format!(" of {}", self.type_of(&schema["items"])) } else { String::new() };
        format!("<span class=\"type\">{}</span>{of}", escape(&name))
    }

    fn resolve(&self, value: &'a Value) -> &'a Value {
        let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.and_then(|pointer| self.document.pointer(pointer)).unwrap_or(value)
    }
}

/// What a field is, also where the words stand at one of its choices.
fn about(field: &Value) -> &str {
    let choices = ["oneOf", "allOf"].into_iter().filter_map(|key| field[key].as_array()).flatten();
    let words = choices.map(|choice| text(&choice["description"]));
    std::iter::once(text(&field["description"])).chain(words).find(|words| !words.is_empty()).unwrap_or("")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// `model_providers` as a heading.
fn words(name: &str) -> String {
    escape(&name.replace('_', " "))
}
