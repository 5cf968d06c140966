//! Code in an isolate reaches what its agent names, by `fetch` alone, and uses a credential that it never has.

use serde_json::{Value, json};

use super::keyed::{KEY, assert_absent};
use super::upstream::Upstream;
use crate::isolate::deno;
use crate::support::Server;

const PROGRAM: &str = r#"
const said = async (url, init) => {
  try {
    const answer = await fetch(url, init);
    return `${answer.status} ${(await answer.text()).trim()}`;
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};
const socket = async () => {
  try {
    await Deno.connect({ hostname: "127.0.0.1", port: PORT });
    return "connected";
  } catch (error) {
    return error.name;
  }
};
export default {
  keyed: await said("https://api.localhost:PORT/hello.txt"),
  own: await said("https://api.localhost:PORT/hello.txt", { headers: { Authorization: "Bearer a-key-of-its-own" } }),
  echo: await said("https://api.localhost:PORT/echo"),
  other: await said("https://other.localhost:PORT/hello.txt"),
  plain: await said("http://api.localhost:PORT/hello.txt"),
  metadata: await said("http://169.254.169.254/latest/meta-data/"),
  client: await said("https://api.localhost:PORT/hello.txt", { client: Deno.createHttpClient({}) }),
  socket: await socket(),
  environment: JSON.stringify(livery.env),
};
"#;

#[test]
fn fetch_uses_a_connection_and_reaches_nothing_else() {
    let Some((path, digest)) = deno() else { return };
    let upstream = Upstream::start(KEY);
    let root = upstream.home.path().join("root.pem");
    let isolate = ["--isolate-host", path.to_str().unwrap(), "--isolate-host-sha256", &digest];
    let trust = ["--allow-upstream", "127.0.0.0/8", "--upstream-ca", root.to_str().unwrap()];
    let server = Server::start(&[isolate, trust].concat());
    let settings = json!({"base_url": format!("https://api.localhost:{}", upstream.port)});
    let body = json!({"name": "keyed", "connector": "http", "settings": settings, "credential": {"value": KEY}});
    let (status, connection) = server.post("/v1/connections", &body);
    assert_eq!(status, 201, "{connection}");

    let agent = "---\nname: fetching\nmodel: scripted/s\ntools: [run_code]\nsandbox: {tier: isolate, network: broker}\n\
                 connections:\n  api: {connector: http}\n---\nWork.\n";
    let source = PROGRAM.replace("PORT", &upstream.port.to_string());
    let turns =
        json!({"turns": [{"tools": [{"name": "run_code", "arguments": {"source": source}}]}, {"text": "done"}]});
    let run = server.start_run(agent, Some(&turns.to_string()), &json!({"connections": {"api": connection["id"]}}));
    assert_eq!(server.ended(&run)["status"], "succeeded", "{:?}", server.events(&run));
    let events = server.events(&run);
    let finished = events.iter().find(|event| event["type"] == "tool.finished").unwrap();
    let result: Value = serde_json::from_str(finished["data"]["result"].as_str().unwrap()).unwrap();
    let value = &result["value"];

    assert_eq!(value["keyed"], "200 hello from outside", "{result}");
    assert_eq!(value["own"], "200 hello from outside", "what a program brings along is no credential: {result}");
    assert!(value["echo"].as_str().unwrap().starts_with("200 "), "{result}");
    for refused in ["other", "plain", "metadata"] {
        let said = value[refused].as_str().unwrap();
        assert!(!said.starts_with("200"), "{refused}: {said}");
    }
    // A client of its own is put aside: the one way out is the run's.
    assert_eq!(value["client"], "200 hello from outside", "{result}");
    assert_eq!(value["socket"], "ConnectionRefused", "{result}");
    assert!(!value["environment"].as_str().unwrap().contains("sk_live"), "{result}");
    assert_absent(
        &json!({"events": events, "egress": server.get(&format!("/v1/runs/{run}/egress?limit=1000")).1}).to_string(),
    );
    assert_absent(&server.log());
    assert!(upstream.requests().contains(&format!("GET /hello.txt Bearer {KEY}")), "the control: it was used");
    let started = events.iter().find(|event| event["type"] == "egress.requested").unwrap();
    assert_eq!(started["data"]["front_end"], "proxy", "{started}");
}
