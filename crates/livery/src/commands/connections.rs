//! `livery connections` and `livery connectors`: create, look at, change, rotate, authorise, test and revoke.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::runs::escape;
use super::{cell, client, print, print_json, read_bounded, say, table};
use crate::cli::{Connections, Connectors, Credential, NewConnection};
use crate::client::Client;
use crate::exit;
use crate::show::one_line;

/// How long a person is waited for, and how often somebody looks.
const CONSENT: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_secs(1);
/// The largest value that is read; the server takes less.
const VALUE_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn connections(command: Connections) -> anyhow::Result<ExitCode> {
    match command {
        Connections::List { end_user, json, server } => {
            let filter = end_user.map(|id| format!("&end_user={}", escape(&id))).unwrap_or_default();
            list(&client(&server)?.get(&format!("/v1/connections?limit=100{filter}")).await?, json)?;
        }
        Connections::Create(new) => create(&new).await?,
        Connections::Rotate { id, credential, json, server } => {
            let body = json!({"credential": read_credential(&credential)?});
            let rotated = client(&server)?.post(&format!("{}/rotate", path(&id)), &body).await?;
            if json { print_json(&rotated)? } else { print(&format!("{id} has version {}", rotated["version"]))? }
        }
        Connections::Test { id, json, server } => {
            let tested = client(&server)?.post(&format!("{}/test", path(&id)), &json!({})).await?;
            return outcome(&tested, json);
        }
        Connections::Change { id, name, settings, application, json, server } => {
            let mut body = settings_of(&settings)?;
            body.extend(name.map(|name| ("name".to_owned(), name.into())));
            let whose = |id: String| if id == "null" { Value::Null } else { id.into() };
            body.extend(application.map(|id| ("application".to_owned(), whose(id))));
            let changed = client(&server)?.patch(&path(&id), &body.into()).await?;
            if json { print_json(&changed)? } else { print(&format!("{id} is changed"))? }
        }
        Connections::Authorize { id, device, no_wait, json, server } => {
            let client = client(&server)?;
            let body = json!({"flow": if device { "device" } else { "code" }});
            let asked = client.post(&format!("{}/authorize", path(&id)), &body).await?;
            if json {
                print_json(&asked)?
            } else {
                print(&to_do(&asked))?
            }
            return if no_wait { Ok(ExitCode::SUCCESS) } else { agreed(&client, &id).await };
        }
        Connections::Delete { id, server } => {
            client(&server)?.delete(&path(&id)).await?;
            say(&format!("{id} is revoked; its value is deleted"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn connectors(command: Connectors) -> anyhow::Result<ExitCode> {
    match command {
        Connectors::List { json, server } => {
            let page = client(&server)?.get("/v1/connectors").await?;
            if json {
                print_json(&page)?;
            } else {
                let rows = page["data"].as_array().into_iter().flatten().map(|connector| {
                    ["name", "title", "auth", "settings"].map(|field| words(&connector[field])).to_vec()
                });
                print(&table(&["connector", "title", "credential", "settings"], rows.collect()))?;
            }
        }
        Connectors::Show { name, json, server } => {
            let connector = client(&server)?.get(&format!("/v1/connectors/{}", escape(&name))).await?;
            if json { print_json(&connector)? } else { print(&describe(&connector))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("/v1/connections/{}", escape(id))
}

async fn create(new: &NewConnection) -> anyhow::Result<()> {
    let body = json!({
        "name": new.name,
        "connector": new.connector,
        "settings": settings_of(&new.settings)?,
        "credential": read_credential(&new.credential)?,
        "application": new.application,
        "end_user": new.end_user,
    });
    let created = client(&new.server)?.post("/v1/connections", &body).await?;
    if new.json { print_json(&created) } else { print(&cell(&created["id"])) }
}

/// `NAME=VALUE` pairs: a value that reads as JSON is that, any other is text.
fn settings_of(pairs: &[String]) -> anyhow::Result<Map<String, Value>> {
    let mut settings = Map::new();
    for pair in pairs {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| exit::Usage(format!("--set takes NAME=VALUE, not {}", one_line(pair))))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        settings.insert(name.to_owned(), value);
    }
    Ok(settings)
}

/// What a person reads. The host stands in the address, the code is plain text.
fn to_do(asked: &Value) -> String {
    let url = one_line(&cell(&asked["url"])).to_string();
    match asked["user_code"].as_str() {
        Some(code) => format!("Open {url} and type the code {}", one_line(code)),
        None => format!("Open {url}"),
    }
}

/// Looks at the connection until it is active. The consent itself says how long it lasts.
async fn agreed(client: &Client, id: &str) -> anyhow::Result<ExitCode> {
    let deadline = tokio::time::Instant::now() + CONSENT;
    if client.get(&path(id)).await?["status"] == "active" {
        say(&format!("{id} is active, and stays so until somebody agrees anew"));
        return Ok(ExitCode::SUCCESS);
    }
    while tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
        let now = client.get(&path(id)).await?;
        if now["status"] == "active" {
            say(&format!("{id} is active"));
            return Ok(ExitCode::SUCCESS);
        }
    }
    say(&format!("nobody agreed to {id} in time"));
    Ok(ExitCode::FAILURE)
}

/// The credential as the API takes it: the secret half of a pair where its other half is given, a value otherwise.
fn read_credential(credential: &Credential) -> anyhow::Result<Value> {
    let value = if credential.public { String::new() } else { read_value(credential)? };
    let value = value.trim_end_matches(['\r', '\n']);
    let mut body = match (&credential.username, &credential.client_id, &credential.access_key_id) {
        (Some(username), ..) => json!({"username": username, "password": value}),
        (_, Some(client_id), _) if credential.public => json!({"client_id": client_id}),
        (_, Some(client_id), _) => json!({"client_id": client_id, "client_secret": value}),
        (.., Some(id)) => match value.split_once('\n') {
            Some((secret, token)) => {
                json!({"access_key_id": id, "secret_access_key": secret.trim_end(), "session_token": token})
            }
            None => json!({"access_key_id": id, "secret_access_key": value}),
        },
        (None, None, None) => json!({"value": value}),
    };
    if let Some(kind) = &credential.kind {
        body["kind"] = kind.as_str().into();
    }
    Ok(body)
}

fn read_value(credential: &Credential) -> anyhow::Result<String> {
    if let Some(path) = &credential.value_file {
        return read_bounded(path, VALUE_BYTES_MAX);
    }
    if let Some(name) = &credential.value_env {
        let missing = || exit::Usage(format!("the environment variable {} is not set", one_line(name)));
        return Ok(std::env::var(name).map_err(|_| missing())?);
    }
    let mut value = String::new();
    let limit = VALUE_BYTES_MAX as u64;
    std::io::stdin().lock().take(limit).read_to_string(&mut value).context("cannot read the value")?;
    Ok(value)
}

fn outcome(tested: &Value, json: bool) -> anyhow::Result<ExitCode> {
    let accepted = tested["outcome"] == "ok";
    if json {
        print_json(tested)?;
    } else if accepted {
        print("ok: the credential is accepted")?;
    } else {
        print(&format!("refused: {}", one_line(&cell(&tested["reason"]))))?;
    }
    Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(page: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(page);
    }
    let rows = page["data"].as_array().into_iter().flatten().map(|connection| {
        let level = match (connection["end_user"].as_str(), connection["application"].as_str()) {
            (Some(id), _) | (None, Some(id)) => id,
            (None, None) => "organization",
        };
        let fields = ["id", "name", "connector", "status", "version"];
        let mut row = fields.map(|field| cell(&connection[field])).to_vec();
        row.extend([cell(&connection["test"]["outcome"]), level.to_owned()]);
        row
    });
    print(&table(&["connection", "name", "connector", "status", "version", "test", "for"], rows.collect()))
}

fn describe(connector: &Value) -> String {
    let fields = ["name", "title", "about", "auth", "origins", "methods", "paths", "slot", "test"];
    let shown = fields.iter().map(|field| (*field, words(&connector[*field]))).filter(|(_, text)| text != "-");
    let mut lines: Vec<String> = shown.map(|(field, text)| format!("{field:<9} {}", one_line(&text))).collect();
    for setting in connector["settings"].as_array().into_iter().flatten() {
        let must = if setting["required"] == true { "required" } else { "optional" };
        let (name, about) = (cell(&setting["name"]), cell(&setting["about"]));
        lines.push(format!("{:<9} {} ({must}): {}", "setting", one_line(&name), one_line(&about)));
    }
    lines.join("\n")
}

/// A list as its words, its objects by their names.
fn words(value: &Value) -> String {
    let Some(items) = value.as_array() else { return cell(value) };
    let word = |item: &Value| if item["name"].is_string() { cell(&item["name"]) } else { cell(item) };
    if items.is_empty() { "-".to_owned() } else { items.iter().map(word).collect::<Vec<_>>().join(", ") }
}
