//! Names that lead where they must not: to private addresses, through aliases, to another place the second time.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_resolver::proto::op::ResponseCode;
use http_body_util::{BodyExt as _, StreamBody};
use livery_broker::error::{DenyReason, Phase};
use livery_broker::proxy::placeholder::Placeholders;
use livery_broker::proxy::{Answered, Asked, Direct, Finding, Gate, Lifetime, Proxy, Reach, Refusal};
use livery_broker::{Broker, BrokerConfig, Error, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::call::{config, post, tenant, text};
use crate::dns::{NameServer, Reply, addresses};
use crate::upstream::{SOON, Step, Upstream, answer};

fn broker(server: &NameServer) -> Broker {
    Broker::new(BrokerConfig { resolver: Some(server.address), ..config() }).unwrap()
}

async fn outcome(reply: impl Fn(&str, usize) -> Reply + Send + 'static, url: &str) -> Error {
    let server = NameServer::start(reply).await;
    let mut call = post(url);
    call.timeouts.resolve = Duration::from_millis(500);
    broker(&server).send(call).await.unwrap_err()
}

#[tokio::test]
async fn c5_c6_one_bad_answer_condemns_the_name() {
    let denied = |reason| Error::Denied { reason };
    for (ips, expected) in [
        (&["127.0.0.2"][..], denied(DenyReason::PrivateAddress)),
        (&["10.0.0.1"], denied(DenyReason::PrivateAddress)),
        (&["169.254.169.254"], denied(DenyReason::Metadata)),
        (&["1.1.1.1", "169.254.169.254"], denied(DenyReason::Metadata)),
        (&["1.1.1.1", "fe80::1"], denied(DenyReason::ReservedAddress)),
        (&["2606:4700::1111", "::ffff:10.0.0.1"], denied(DenyReason::PrivateAddress)),
        (&["2606:4700::1111", "fd00::1"], denied(DenyReason::PrivateAddress)),
        (&["::1"], denied(DenyReason::PrivateAddress)),
        (&["64:ff9b::a9fe:a9fe"], denied(DenyReason::Metadata)),
        (&["0.0.0.0"], denied(DenyReason::ReservedAddress)),
    ] {
        assert_eq!(outcome(move |_, _| addresses(ips), "https://rebind.example").await, expected, "{ips:?}");
    }
    let aliased = outcome(|_, _| Reply::Aliases(2, vec!["10.0.0.1".parse().unwrap()]), "https://cname.example").await;
    assert_eq!(aliased, denied(DenyReason::PrivateAddress));
}

#[tokio::test]
async fn answers_and_aliases_are_limited() {
    let many = Error::Denied { reason: DenyReason::TooManyAnswers };
    let crowd = || (0..65).map(|n| format!("1.1.1.{n}").parse().unwrap()).collect();
    assert_eq!(outcome(move |_, _| Reply::Addresses(crowd()), "https://crowd.example").await, many);
    let chain = outcome(|_, _| Reply::Aliases(9, vec!["1.1.1.1".parse().unwrap()]), "https://chain.example").await;
    assert_eq!(chain, many);
}

#[tokio::test]
async fn each_failure_of_the_name_server_has_its_own_error() {
    let code = |code| outcome(move |_, _| Reply::Code(code), "https://name.example");
    assert_eq!(code(ResponseCode::NXDomain).await, Error::Unresolvable);
    assert_eq!(outcome(|_, _| addresses(&[]), "https://name.example").await, Error::Unresolvable);
    assert_eq!(code(ResponseCode::ServFail).await, Error::ResolverFailed);
    assert_eq!(code(ResponseCode::Refused).await, Error::ResolverFailed);
    let silent = outcome(|_, _| Reply::Silence, "https://name.example").await;
    assert_eq!(silent, Error::Timeout { phase: Phase::Resolve });
    assert!(silent.nothing_sent() && silent.retryable());
}

#[tokio::test]
async fn c4_the_address_that_was_checked_is_the_address_that_is_dialled() {
    let good = Upstream::start(vec![vec![answer("good")]]).await;
    let port = good.address.port();
    // The same port on an address that is not allowed: where a second look-up would lead.
    let bad = Upstream::start_on(&format!("127.0.0.2:{port}"), vec![vec![answer("bad")]]).await;
    let server = NameServer::start(|_, n| addresses(if n == 0 { &["127.0.0.1"] } else { &["127.0.0.2"] })).await;
    let broker = broker(&server);
    let url = format!("http://rebind.example:{port}/");
    assert_eq!(text(broker.send(post(&url)).await.unwrap()).await.unwrap(), "good");
    // One look-up: one A, one AAAA, fully qualified.
    let mut asked = server.asked();
    asked.sort_by_key(|(_, kind)| u16::from(*kind));
    assert_eq!(asked.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["rebind.example."; 2]);
    // A new connection is a new check.
    broker.forget(tenant(1), "prv_1");
    let error = broker.send(post(&url)).await.unwrap_err();
    assert_eq!(error, Error::Denied { reason: DenyReason::PrivateAddress });
    assert_eq!((good.seen().requests.len(), bad.seen().connections), (1, 0));
    assert!(good.seen().requests[0].contains(&format!("host: rebind.example:{port}\r\n")));
}

#[tokio::test]
async fn plain_http_is_for_allowed_private_addresses() {
    let plaintext = Error::Denied { reason: DenyReason::PlaintextUpstream };
    assert_eq!(outcome(|_, _| addresses(&["1.1.1.1"]), "http://public.example:8080").await, plaintext);
    assert_eq!(outcome(|_, _| addresses(&["127.0.0.1", "1.1.1.1"]), "http://mixed.example:8080").await, plaintext);
    let server = NameServer::start(|_, _| Reply::Silence).await;
    assert_eq!(broker(&server).send(post("http://1.1.1.1:8080")).await.unwrap_err(), plaintext);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn localhost_and_our_own_names_are_not_looked_up() {
    let upstream = Upstream::start(vec![vec![answer("{}")]]).await;
    let port = upstream.address.port();
    let server = NameServer::start(|_, _| addresses(&["1.1.1.1"])).await;
    let settings = || BrokerConfig {
        resolver: Some(server.address),
        own_names: vec!["livery.example".to_owned()],
        own_addresses: vec!["127.0.0.1:7777".parse().unwrap()],
        ..config()
    };
    let broker = Broker::new(settings()).unwrap();
    assert!(broker.send(post(&format!("http://localhost:{port}"))).await.is_ok());
    let own = Error::Denied { reason: DenyReason::OwnAddress };
    assert_eq!(broker.send(post("https://livery.example/v1")).await.unwrap_err(), own);
    assert_eq!(broker.send(post("http://localhost:7777/v1")).await.unwrap_err(), own);
    // What `check` says when a URL is saved is what `send` would say.
    for url in ["https://livery.example/v1", "http://127.0.0.1:7777"] {
        assert_eq!(broker.check(&Target::base_url(url).unwrap()), Err(own));
    }
    let strict = Broker::new(BrokerConfig { allow_upstream: Vec::new(), ..settings() }).unwrap();
    let private = Error::Denied { reason: DenyReason::PrivateAddress };
    for url in
        ["http://localhost:9999", "https://foo.localhost", "http://127.0.0.1:9999", "https://[::1]", "https://10.1.2.3"]
    {
        assert_eq!(strict.send(post(url)).await.unwrap_err(), private, "{url}");
        assert_eq!(strict.check(&Target::base_url(url).unwrap()), Err(private), "{url}");
    }
    assert!(server.asked().is_empty(), "{:?}", server.asked());
}

/// A gate that asks the list and notes nothing.
struct Listed(Direct);

impl Gate for Listed {
    fn admits(&self, origin: &Target) -> bool {
        self.0.admits(origin)
    }

    fn base(&self, _: &str) -> Option<Target> {
        None
    }

    async fn pass(&self, asked: Asked) -> Result<Answered, Refusal> {
        let inbound = self.0.send(self.0.prepare(asked).await?).await?;
        let body = StreamBody::new(inbound.body.into_frames()).boxed_unsync();
        Ok(Answered { status: inbound.status, headers: inbound.headers, body, socket: None })
    }

    fn found(&self, _: Finding) {}

    fn revoked(&self, _: Option<&Target>) -> impl Future<Output = ()> + Send {
        pending()
    }
}

fn lifetime() -> Lifetime {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Lifetime { now_s, left: Duration::from_secs(60) }
}

/// F13: a name is a message too. What a run may not reach is looked up by nobody.
#[tokio::test]
async fn f13_a_name_that_is_not_on_the_list_is_never_looked_up() {
    let server = NameServer::start(|_, _| addresses(&["127.0.0.1"])).await;
    let reach = vec![Reach { host: "api.example".into(), port: 443 }];
    let direct = Direct::new(broker(&server), tenant(1), reach, Duration::from_secs(30));
    let names =
        ["c2VjcmV0.evil.example:443", "c2VjcmV0.api.example:443", "api.example.evil.example:443", "api.example:53"];
    let proxy =
        Arc::new(Proxy::new(Listed(direct), vec!["api.example".into()], Placeholders::default(), lifetime()).unwrap());
    for name in names {
        let (mut near, far) = tokio::io::duplex(4096);
        let serving = Arc::clone(&proxy);
        let served = tokio::spawn(async move { serving.serve(far).await });
        near.write_all(format!("CONNECT {name} HTTP/1.1\r\nhost: {name}\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(SOON, near.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{name}: {answer}");
        served.await.unwrap();
    }
    assert_eq!(server.asked(), []);
}

/// E5: whatever opens many requests at once has so many under way; the others wait, and hold nothing.
#[tokio::test]
async fn e5_a_run_has_so_many_requests_under_way_and_no_more() {
    let upstream = Upstream::start(vec![vec![Step::Stall]]).await;
    let address = upstream.address;
    let reach = vec![Reach { host: address.ip().to_string(), port: address.port() }];
    let direct = Direct::new(crate::call::broker(), tenant(1), reach, Duration::from_secs(30));
    let proxy = Arc::new(Proxy::new(Listed(direct), Vec::new(), Placeholders::default(), lifetime()).unwrap());
    let (mut open, mut serving) = (Vec::new(), tokio::task::JoinSet::new());
    for _ in 0..130 {
        let (mut near, far) = tokio::io::duplex(4096);
        let proxy = Arc::clone(&proxy);
        serving.spawn(async move { proxy.serve(far).await });
        near.write_all(format!("GET http://{address}/ HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.unwrap();
        open.push(near);
    }
    let all = async {
        while upstream.seen().connections < 100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Time for one more, if there were a way.
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    tokio::time::timeout(SOON * 3, all).await.expect("they do not come");
    assert_eq!(upstream.seen().connections, 100);
    // Who leaves makes room.
    open.drain(..100).for_each(drop);
    let rest = async {
        while upstream.seen().connections < 130 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON * 3, rest).await.expect("nobody makes room");
}
