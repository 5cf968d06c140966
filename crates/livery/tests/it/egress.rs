//! Ordinary programs in a real sandbox reach the hosts their agent names, through the proxy, and nothing else.

mod clients;
mod fetch;
mod keyed;
mod same;
mod upstream;

use std::path::Path;

use serde_json::{Value, json};

pub(crate) use self::upstream::{Upstream, certificates};
use crate::support::{Server, one_command, skip};

fn is_missing_a_program() -> bool {
    let missing =
        ["/usr/bin/curl", "/usr/bin/git", "/usr/bin/python3"].into_iter().find(|path| !Path::new(path).exists());
    if let Some(path) = missing {
        skip(&format!("there is no {path}"));
    }
    missing.is_some()
}

/// What one command of an agent with this network printed, and the run's whole log.
fn printed(server: &Server, network: &str, command: &str) -> (String, Vec<Value>) {
    let agent = format!(
        "---\nname: shell-agent\nmodel: scripted/s\ntools: [shell]\nsandbox: {{network: {network}}}\n---\nWork.\n"
    );
    let run = server.start_run(&agent, Some(&one_command(command)), &json!({}));
    assert_eq!(server.ended(&run)["status"], "succeeded");
    let events = server.events(&run);
    let finished = events.iter().find(|event| event["type"] == "tool.finished").unwrap();
    let result: Value = serde_json::from_str(finished["data"]["result"].as_str().unwrap()).unwrap();
    (result["stdout"].as_str().unwrap().to_owned(), events)
}

#[test]
fn curl_git_and_python_reach_a_named_host_and_no_other() {
    if is_missing_a_program() {
        return;
    }
    let upstream = Upstream::start("");
    let root = upstream.home.path().join("root.pem");
    let flags = ["--allow-upstream", "127.0.0.0/8", "--upstream-ca", root.to_str().unwrap()];
    let server = Server::start(&flags);
    let port = upstream.port;
    let url = format!("https://api.localhost:{port}");
    // Names below `localhost` are for the test alone; programs would not ask a proxy for them.
    let command = format!(
        "export NO_PROXY= no_proxy=
        curl -sS -H 'Authorization: Bearer a-key-of-their-own' {url}/hello.txt
        echo curl=$?
        /usr/bin/git clone -q {url}/repo.git clone && cat clone/file
        echo git=$?
        /usr/bin/python3 -c \"import urllib.request; print(urllib.request.urlopen('{url}/hello.txt').read().decode())\"
        echo python=$?
        for i in 1 2 3 4 5 6 7 8; do curl -sS https://other.localhost:{port}/hello.txt 2>&1; done; echo other=$?
        curl -sS https://api.localhost/ 2>&1; echo port=$?
        curl -sS --insecure --connect-to ::api.localhost:{port} https://other.localhost:{port}/ 2>&1; echo name=$?
        curl -sS --noproxy '*' {url}/hello.txt 2>&1; echo direct=$?
        cat $SSL_CERT_FILE | grep -c PRIVATE"
    );
    let (text, _) = printed(&server, &format!("{{allow: ['api.localhost:{port}']}}"), &command);
    for expected in [
        "hello from outside\ncurl=0\n",
        "cloned\ngit=0\n",
        "hello from outside\n\npython=0\n",
        // The tunnel is refused, or the name in it is; and past the proxy there is no way.
        "other=56\n",
        "port=56\n",
        "name=35\n",
        "direct=7\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}\n{}", server.log());
    }
    assert_eq!(text.matches("tunnel failed, response 403").count(), 9, "a refusal arrives, always: {text}");
    let requests = upstream.requests();
    assert!(requests.contains("GET /hello.txt -\n") && requests.contains("GET /repo.git/"), "{requests}");
    assert!(!requests.contains("a-key-of-their-own"), "what a program brings along is no credential: {requests}");
    let log = server.log();
    assert!(log.contains("a run tried to get out where it may not") && log.contains("other.localhost"), "{log}");
}

/// Who names no host has no proxy, no variables and nothing that listens.
#[test]
fn without_a_named_host_there_is_nothing() {
    let server = Server::start(&[]);
    for network in ["none", "broker"] {
        let (text, _) =
            printed(&server, network, "env | grep -ci proxy; bash -c ': < /dev/tcp/127.0.0.1/17400' 2>&1; ls .livery");
        assert!(text.contains("refused") && !text.contains("egress.pem"), "{network}: {text}");
        assert!(text.starts_with("0\n"), "{network}: {text}");
    }
}
