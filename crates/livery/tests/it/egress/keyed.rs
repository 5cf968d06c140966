//! Ordinary programs in a real sandbox use a credential that none of them ever has.

use serde_json::{Value, json};

use super::is_missing_a_program;
use super::upstream::Upstream;
use crate::support::{Server, one_command};

pub(super) const KEY: &str = "sk_live_n0t-in-the-sandbox-4fGh7Kq2Zx9";

/// A server that trusts the upstream, and a connection to it.
pub(super) struct Site {
    pub(super) upstream: Upstream,
    pub(super) server: Server,
    connection: Value,
}

impl Site {
    pub(super) fn new() -> Self {
        Self::with(Upstream::start(KEY), json!({}), &json!({"value": KEY}))
    }

    /// With a connection of these further settings and this credential.
    pub(super) fn with(upstream: Upstream, mut settings: Value, credential: &Value) -> Self {
        let root = upstream.home.path().join("root.pem");
        let flags = ["--allow-upstream", "127.0.0.0/8", "--upstream-ca", root.to_str().unwrap()];
        let server = Server::start(&flags);
        settings["base_url"] = format!("https://api.localhost:{}", upstream.port).into();
        let body = json!({"name": "keyed", "connector": "http", "settings": settings, "credential": credential});
        let (status, view) = server.post("/v1/connections", &body);
        assert_eq!(status, 201, "{view}");
        Self { upstream, server, connection: view["id"].clone() }
    }

    /// What one command printed, and the run's whole log. Names below `localhost` are for the test alone: programs would not ask
    /// a proxy for them.
    pub(super) fn printed(&self, network: &str, command: &str) -> (String, Vec<Value>) {
        let command = format!(
            "export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 URL=https://api.localhost:{}\n{command}",
            self.upstream.port
        );
        let agent = format!(
            "---\nname: keyed\nmodel: scripted/s\ntools: [shell]\nsandbox: {{network: {network}}}\n\
             connections:\n  api: {{connector: http}}\n---\nWork.\n"
        );
        let extra = json!({"connections": {"api": self.connection}});
        let run = self.server.start_run(&agent, Some(&one_command(&command)), &extra);
        assert_eq!(self.server.ended(&run)["status"], "succeeded", "{:?}", self.server.events(&run));
        let events = self.server.events(&run);
        let finished = events.iter().find(|event| event["type"] == "tool.finished").unwrap();
        let result: Value = serde_json::from_str(finished["data"]["result"].as_str().unwrap()).unwrap();
        let all = json!({"events": events, "egress": self.server.get(&format!("/v1/runs/{run}/egress?limit=1000")).1});
        assert_absent(&all.to_string());
        assert_absent(&self.server.log());
        (result["stdout"].as_str().unwrap().to_owned(), events)
    }
}

pub(super) fn assert_absent(text: &str) {
    for needle in [&KEY[..16], &KEY[KEY.len() - 16..]] {
        assert!(!text.contains(needle), "{needle} is in {text}");
    }
}

fn data_of<'a>(events: &'a [Value], event_type: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == event_type).map(|event| &event["data"]).collect()
}

/// curl and git, with a placeholder or with nothing; A24, F2, C3.
#[test]
fn a24_f2_curl_and_git_use_a_key_that_is_nowhere_in_the_sandbox() {
    if is_missing_a_program() {
        return;
    }
    let site = Site::new();
    let command = "
        curl -sS $URL/hello.txt; echo plain=$?
        curl -sS -H \"Authorization: Bearer $LIVERY_API_KEY\" $URL/hello.txt; echo bearer=$?
        curl -sS -u \"user:$LIVERY_API_KEY\" $URL/hello.txt; echo basic=$?
        curl -sS -H 'Authorization: Bearer a-key-of-its-own' $URL/hello.txt; echo own=$?
        curl -sS -H \"Authorization: Bearer $LIVERY_API_KEY\" $LIVERY_API_BASE_URL/hello.txt; echo base=$?
        curl -sS $URL/echo; echo; echo echo=$?
        curl -sS --http2 -o /dev/null -w '%{http_version}' $URL/hello.txt; echo version=$?
        curl -sS -o /dev/null -w '%{http_code}' -H \"X-Other: $LIVERY_API_KEY\" $URL/hello.txt; echo other=$?
        curl -sS -o /dev/null -w '%{http_code}' -d \"note=$LIVERY_API_KEY\" $URL/store; echo body=$?
        head -c 3000000 /dev/urandom > big
        test \"$(sha256sum < big | cut -d' ' -f1)\" = \"$(curl -sS -H 'Content-Type: application/octet-stream' --data-binary @big $URL/upload)\"; echo length=$?
        test \"$(sha256sum < big | cut -d' ' -f1)\" = \"$(curl -sS -H 'Content-Type: application/octet-stream' -H 'Transfer-Encoding: chunked' -T - -X POST $URL/upload < big)\"; echo chunked=$?
        /usr/bin/git clone -q https://user:$LIVERY_API_KEY@${URL#https://}/repo.git clone && cat clone/file; echo git=$?
        env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; ls -a .livery; echo done";
    let (text, events) = site.printed("broker", command);
    for expected in [
        "hello from outside\nplain=0\n",
        "hello from outside\nbearer=0\n",
        "hello from outside\nbasic=0\n",
        "hello from outside\nown=0\n",
        "hello from outside\nbase=0\n",
        "2version=0\n",
        "403other=0\n",
        "403body=0\n",
        "\nlength=0\n",
        "chunked=0\n",
        "cloned\ngit=0\n",
        "LIVERY_API_KEY=lvp_",
        "done\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}\n{}", site.server.log());
    }
    assert!(text.contains("\"authorization\": \"Bearer [REDACTED:keyed]\""), "{text}");
    assert_absent(&text);

    // Each request that arrived is in the transcript, with the key, and nothing else arrived.
    let arrived = site.upstream.requests();
    assert!(arrived.lines().all(|line| line.ends_with(&format!(" Bearer {KEY}"))), "{arrived}");
    let requested = data_of(&events, "egress.requested");
    let mut told: Vec<String> = requested
        .iter()
        .map(|data| format!("{} {}", data["method"].as_str().unwrap(), data["path"].as_str().unwrap()))
        .collect();
    let line = |line: &str| line.split(['?', ' ']).take(2).collect::<Vec<_>>().join(" ");
    let mut seen: Vec<String> = arrived.lines().map(line).collect();
    told.sort_unstable();
    seen.sort_unstable();
    assert_eq!(told, seen);
    assert!(requested.iter().all(|data| data["front_end"] == "proxy" && data["host"] == "api.localhost"));
    assert_eq!(data_of(&events, "egress.finished").len(), requested.len());
    let rules: Vec<&Value> = data_of(&events, "egress.denied").iter().map(|data| &data["rule"]).collect();
    assert_eq!(rules, ["placeholder_in_header", "placeholder_in_body"]);
    assert_eq!(data_of(&events, "egress.redacted").len(), 1);
}

/// What an agent says about its network holds: with `none` there is no way out, whatever is bound.
#[test]
fn without_a_network_a_connection_is_for_call_api_alone() {
    let site = Site::new();
    let (text, _) = site.printed("none", "env | grep -c lvp_; curl -sS $URL/hello.txt 2>&1; ls .livery 2>&1");
    assert!(text.starts_with("0\n") && !text.contains("hello") && !text.contains("egress.pem"), "{text}");
    assert_eq!(site.upstream.requests(), "");
}
