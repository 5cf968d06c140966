//! `livery receipt`: get receipts, and check them without trusting whoever hands them over.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use livery_broker::ed25519::VerifyingKey;
use livery_core::receipt::RECEIPT_BYTES_MAX;
use livery_core::receipt::log::EVENTS_BYTES_MAX;
use livery_platform::receipts::keys::ReceiptKeys;
use livery_platform::receipts::verify::{Verified, verify};
use serde_json::json;

use super::runs::escape;
use super::{LOCAL_DATA, client, print, print_json, read_bounded, say, table};
use crate::cli::{Receipt, Server};
use crate::client::Client;
use crate::show::one_line;
use crate::{bootstrap, exit};

pub(super) async fn receipt(command: Receipt) -> anyhow::Result<ExitCode> {
    match command {
        Receipt::Get { id, out, server } => {
            let bytes = client(&server)?.get_bytes(&format!("/v1/runs/{}/receipt", escape(&id))).await?;
            // As it was issued: the bytes are what is signed.
            match out {
                Some(path) => {
                    std::fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
                    say(&format!("the receipt is in {}", path.display()));
                }
                None => print(&String::from_utf8(bytes.to_vec()).context("the receipt is no text")?)?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Receipt::Verify { file, keys, events, json, server } => {
            let receipt = read_bounded(&file, RECEIPT_BYTES_MAX)?;
            let events = events.map(|path| read_bounded(&path, EVENTS_BYTES_MAX)).transpose()?;
            let keys = if keys.is_empty() { keys_of(&server).await? } else { parse_keys(&keys)? };
            tell(&verify(&receipt, &keys, events.as_deref())?, json)
        }
        Receipt::Keys { json, server } => {
            let keys = listed(&server).await?;
            if json {
                print_json(&serde_json::to_value(&keys)?)?;
            } else {
                let row = |key: livery_platform::receipts::ReceiptKeyView| {
                    let signs = if key.current { "signs" } else { "signed" };
                    vec![key.id, key.public_key, signs.to_owned(), key.created_at.to_string()]
                };
                print(&table(&["key", "public", "", "created"], keys.data.into_iter().map(row).collect()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn parse_keys(keys: &[String]) -> anyhow::Result<Vec<VerifyingKey>> {
    let key =
        |text: &String| text.parse().map_err(|error| exit::Usage(format!("--key {}: {error}", one_line(text))).into());
    keys.iter().map(key).collect()
}

/// The keys of the server that is named, or of the one that was started in this folder.
async fn keys_of(server: &Server) -> anyhow::Result<Vec<VerifyingKey>> {
    let keys = listed(server).await?.data.into_iter();
    keys.map(|key| key.public_key.parse().context("the server lists a key that is none")).collect()
}

/// They are public: no API key is needed, and none is sent.
async fn listed(server: &Server) -> anyhow::Result<ReceiptKeys> {
    let local = || bootstrap::read(Path::new(LOCAL_DATA)).ok().flatten().map(|file| file.url);
    let Some(url) = server.url.clone().or_else(local) else {
        return Err(exit::Usage("which key? give --key, or the server to ask with --url or LIVERY_URL".into()).into());
    };
    let keys = Client::anonymous(&url)?.get("/v1/receipt_keys").await?;
    serde_json::from_value(keys).context("the server's answer lists no keys")
}

fn tell(verified: &Verified, json: bool) -> anyhow::Result<ExitCode> {
    let findings = verified.events.as_ref().map(|events| events.findings.as_slice()).unwrap_or_default();
    let holds = findings.is_empty();
    if json {
        let Verified { receipt, key_id, events } = verified;
        print_json(&json!({"verified": holds, "key_id": key_id, "receipt": receipt, "events": events}))?;
    } else {
        let statement = &verified.receipt;
        let mut text = format!(
            "the receipt holds: {} {}, {} events, signed with {}\n",
            statement.run, statement.status, statement.log.events, verified.key_id
        );
        if let Some(events) = &verified.events {
            let what = if holds { "are those of the receipt" } else { "are NOT those of the receipt" };
            text.push_str(&format!("the {} events ({} with their data) {what}\n", events.events, events.with_data));
        }
        for finding in findings {
            text.push_str(&format!("event {}: {}\n", finding.seq, one_line(&finding.detail)));
        }
        print(&text)?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}
