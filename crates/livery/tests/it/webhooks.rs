//! Real deliveries of the whole binary, verified by the public libraries of Standard Webhooks.
//!
//! `cargo xtask setup` installs the libraries below `target/tools/standardwebhooks`.

use std::path::{Path, PathBuf};
use std::process::Command;

use livery_broker::ed25519::VerifyingKey;
use livery_testkit::webhook_sink::{Delivery, WebhookSink};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, base64, output, repository, skip, text};

const TALKER: &str = "---\nname: talker\ndescription: Talks.\nmodel: scripted/s\ntools: []\n---\nTalk.\n";
const ALLOW: &[&str] = &["--allow-upstream", "127.0.0.0/8"];

/// Reads `{secret, deliveries: [{headers, body}]}`; each has to verify, and to be refused with another body and as an old one.
const PYTHON: &str = r#"
import json, sys
from standardwebhooks import Webhook, WebhookVerificationError
told = json.load(open(sys.argv[1]))
hook = Webhook(told["secret"])
verified = refused = 0
for delivery in told["deliveries"]:
    assert hook.verify(delivery["body"], delivery["headers"])["type"].startswith("run.")
    verified += 1
    late = dict(delivery["headers"], **{"webhook-timestamp": str(int(delivery["headers"]["webhook-timestamp"]) - 400)})
    for body, headers in [(delivery["body"].replace("run.", "ran."), delivery["headers"]), (delivery["body"], late)]:
        try:
            hook.verify(body, headers)
        except WebhookVerificationError:
            refused += 1
print(verified, refused)
"#;

const JAVASCRIPT: &str = r#"
const { Webhook, WebhookVerificationError } = require("standardwebhooks");
const told = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
const hook = new Webhook(told.secret);
let verified = 0, refused = 0;
for (const { body, headers } of told.deliveries) {
  if (!hook.verify(body, headers).type.startsWith("run.")) throw new Error("no event of a run");
  verified += 1;
  const late = { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) - 400) };
  for (const [changed, sent] of [[body.replace("run.", "ran."), headers], [body, late]]) {
    try { hook.verify(changed, sent); } catch (error) {
      if (!(error instanceof WebhookVerificationError)) throw error;
      refused += 1;
    }
  }
}
console.log(verified, refused);
"#;

fn tools(path: &str) -> Option<PathBuf> {
    let tool = repository("target/tools/standardwebhooks").join(path);
    tool.exists().then_some(tool)
}

/// Deliveries of one run, and the endpoint as it was created, after `between` was done with it.
fn delivered(between: impl FnOnce(&Server, &Value) -> String) -> (Vec<Delivery>, Value, String) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sink = runtime.block_on(WebhookSink::start()).unwrap();
    let server = Server::start(ALLOW);
    let new = json!({"url": sink.url(), "events": ["run.*"], "signatures": ["v1", "v1a"]});
    let (status, endpoint) = server.post("/v1/webhooks", &new);
    assert_eq!(status, 201, "{endpoint}");
    let secret = between(&server, &endpoint);
    let script = "turns:\n  - tools: [{name: finish, arguments: {text: done}}]\n";
    let body = json!({"agent": {"agent_md": TALKER, "files": {"scripts/s.yaml": base64(script.as_bytes())}}});
    let (status, run) = server.post("/v1/runs", &body);
    assert_eq!(status, 202, "{run}");
    assert_eq!(server.ended(run["id"].as_str().unwrap())["status"], "succeeded");
    let deliveries = runtime.block_on(sink.wait_for(3, PATIENCE)).unwrap_or_else(|| panic!("{}", server.log()));
    (deliveries, endpoint, secret)
}

fn file_of(deliveries: &[Delivery], secret: &str, folder: &Path) -> PathBuf {
    let told = deliveries.iter().map(|delivery| {
        let headers: serde_json::Map<String, Value> =
            delivery.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        json!({"headers": headers, "body": text(&delivery.body)})
    });
    let file = folder.join("told.json");
    std::fs::write(&file, json!({"secret": secret, "deliveries": told.collect::<Vec<_>>()}).to_string()).unwrap();
    file
}

fn verify_with(command: &mut Command, count: usize) {
    let answer = output(command);
    assert!(answer.status.success(), "{}", text(&answer.stderr));
    assert_eq!(text(&answer.stdout).trim(), format!("{count} {}", 2 * count));
}

#[test]
fn the_public_libraries_verify_our_deliveries_and_refuse_changed_and_late_ones() {
    let (deliveries, endpoint, secret) = delivered(|_, endpoint| endpoint["secret"].as_str().unwrap().to_owned());
    let order: Vec<u64> = deliveries.iter().map(|delivery| delivery.json()["data"]["seq"].as_u64().unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
    let key: VerifyingKey = endpoint["public_key"].as_str().unwrap().strip_prefix("whpk_").unwrap().parse().unwrap();
    for delivery in &deliveries {
        let header = |name| delivery.header(name).unwrap();
        let items: Vec<&str> = header("webhook-signature").split(' ').collect();
        assert_eq!((items.len(), &items[0][..3], &items[1][..4]), (2, "v1,", "v1a,"));
        let mut content = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes();
        content.extend_from_slice(&delivery.body);
        let signature = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &items[1][4..]).unwrap();
        key.verify(&content, &signature).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_of(&deliveries, &secret, folder.path());
    match tools("venv/bin/python") {
        Some(python) => verify_with(Command::new(python).args(["-c", PYTHON]).arg(&file), deliveries.len()),
        None => skip("the Python library is not installed; run `cargo xtask setup`"),
    }
    match tools("node_modules") {
        Some(modules) => {
            let mut node = Command::new("node");
            node.args(["-e", JAVASCRIPT]).arg(&file).env("NODE_PATH", modules);
            verify_with(&mut node, deliveries.len());
        }
        None => skip("the JavaScript library is not installed; run `cargo xtask setup`"),
    }
}

#[test]
fn after_a_rotation_the_old_and_the_new_secret_verify() {
    let (deliveries, endpoint, new) = delivered(|server, endpoint| {
        let target = format!("/v1/webhooks/{}/rotate", endpoint["id"].as_str().unwrap());
        let (status, rotated) = server.post(&target, &json!({"overlap_s": 3600}));
        assert_eq!(status, 200, "{rotated}");
        assert_ne!(rotated["public_key"], endpoint["public_key"]);
        rotated["secret"].as_str().unwrap().to_owned()
    });
    let old = endpoint["secret"].as_str().unwrap();
    assert_ne!(old, new);
    for delivery in &deliveries {
        assert_eq!(delivery.header("webhook-signature").unwrap().split(' ').count(), 4);
        delivery.verify(old).unwrap();
        delivery.verify(&new).unwrap();
    }
}
