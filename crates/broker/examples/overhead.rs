//! What the broker adds to a request: the same upstream on loopback asked directly and through the engine (canonical form,
//! rules, key, scrubbing), over connections that stay open. `cargo run --release -p livery-broker --example overhead`.
//!
//! Upstream, broker and whoever asks share this process and its processors.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use livery_broker::engine::{Access, Call, How, Prepared};
use livery_broker::{Broker, BrokerConfig, Credential, Outbound, Relayed, Secret, Slot, Target, Timeouts};
use livery_core::Timestamp;
use livery_core::connector::{CredentialSlot, Reach};
use livery_core::id::OrgId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const KEY: &str = "sk-live-4fGh7Kq2Zx9WmB3nVt8RpL6yD1cJ5sA0";
const ORG: OrgId = OrgId::from_bits(1);
/// Bytes of a small answer.
const SMALL: usize = 1024;
/// Bytes of a long one.
const LONG: usize = 200 * 1024 * 1024;
/// Bytes of a long one that are written at a time.
const PIECE: usize = 64 * 1024;
/// Requests one after the other.
const SEQUENTIAL: usize = 4000;
/// Requests at a time, and in all.
const AT_A_TIME: usize = 32;
const TOGETHER: usize = 40_000;
/// The longest any of it may take.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    let upstream = upstream().await;
    let config = BrokerConfig { allow_upstream: vec!["127.0.0.1/32".parse().unwrap()], ..BrokerConfig::default() };
    let broker = Arc::new(Broker::new(config).unwrap());
    // Both take turns, so that a slow moment of the machine meets both.
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    let mut plain = TcpStream::connect(upstream).await.unwrap();
    plain.set_nodelay(true).unwrap();
    for _ in 0..SEQUENTIAL {
        let began = Instant::now();
        ask_plainly(&mut plain).await;
        direct.push(began.elapsed());
        let began = Instant::now();
        ask(&broker, upstream).await;
        through.push(began.elapsed());
    }
    direct.sort_unstable();
    through.sort_unstable();
    let added = |of: usize| {
        let at = (SEQUENTIAL - 1) * of / 100;
        through[at].saturating_sub(direct[at])
    };
    println!("added: p50 {:?}, p99 {:?}", added(50), added(99));
    println!("requests: {:.0} /s", together(&broker, upstream).await);
    println!("streaming: {:.0} MB/s", streaming(&broker, upstream).await);
}

/// `/long` gives many bytes, anything else a small JSON answer.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(answer(stream));
        }
    });
    address
}

async fn answer(mut stream: TcpStream) {
    let body = format!("{{\"text\":\"{}\"}}", "a".repeat(SMALL - 11));
    let small = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {SMALL}\r\n\r\n{body}");
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(count) => head.extend_from_slice(&piece[..count]),
            }
        }
        if head.starts_with(b"GET /long ") {
            long(&mut stream).await;
        } else if stream.write_all(small.as_bytes()).await.is_err() {
            return;
        }
        head.clear();
    }
}

async fn long(stream: &mut TcpStream) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {LONG}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // An API's list: an escape of each kind in every kilobyte, where the search has to look closer.
    let text = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor ".repeat(12);
    let record = format!("{{\"id\":\"evt_4fGh7Kq2\",\"url\":\"/a%20b?c=1&d=2\",\"text\":\"{text}\\n\"}},\n");
    let piece: Vec<u8> = record.bytes().cycle().take(PIECE).collect();
    for _ in 0..LONG / PIECE {
        stream.write_all(&piece).await.unwrap();
    }
}

async fn ask_plainly(stream: &mut TcpStream) {
    stream.write_all(b"GET /v1/things?limit=3 HTTP/1.1\r\nhost: upstream\r\n\r\n").await.unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece).await.unwrap();
        answer.extend_from_slice(&piece[..count]);
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if end.is_some_and(|end| answer.len() >= end + 4 + SMALL) {
            return;
        }
    }
}

async fn ask(broker: &Broker, upstream: SocketAddr) {
    let reach = Reach {
        origins: vec![format!("http://{upstream}").parse().unwrap()],
        base_path: String::new(),
        methods: Vec::new(),
        paths: Vec::new(),
        plaintext: true,
        guarded: Vec::new(),
        graphql: None,
    };
    let access = Access {
        org: ORG,
        connection: "con_1".to_owned(),
        name: "acme".to_owned(),
        reach,
        slot: CredentialSlot::Header { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() },
        headers: Vec::new(),
    };
    let query = vec![("limit".to_owned(), "3".to_owned())];
    let call = Call { method: "GET".to_owned(), path: "/v1/things".to_owned(), query, ..Call::default() };
    let how = How { timeouts: timeouts(), answer_bytes_max: 1 << 20, relayed: Relayed::Api };
    let answer = broker.call(Prepared::new(access, call).unwrap(), credential(), how).await.unwrap();
    assert_eq!(answer.body.len(), SMALL);
}

async fn together(broker: &Arc<Broker>, upstream: SocketAddr) -> f64 {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let broker = Arc::clone(broker);
        tasks.spawn(async move {
            for _ in 0..TOGETHER / AT_A_TIME {
                ask(&broker, upstream).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    f64::from(u32::try_from(TOGETHER).unwrap()) / began.elapsed().as_secs_f64()
}

async fn streaming(broker: &Broker, upstream: SocketAddr) -> f64 {
    let target = Target::full_url(&format!("http://{upstream}/long")).unwrap();
    let mut call = Outbound::post(ORG, target, "");
    call.method = http::Method::GET;
    (call.credential, call.timeouts) = (Some(credential()), timeouts());
    let began = Instant::now();
    let mut inbound = broker.send(call).await.unwrap();
    let mut bytes = 0;
    while let Some(piece) = inbound.body.next().await {
        bytes += piece.unwrap().len();
    }
    assert_eq!(bytes, LONG / PIECE * PIECE);
    f64::from(u32::try_from(bytes).unwrap()) / 1e6 / began.elapsed().as_secs_f64()
}

fn credential() -> Credential {
    Credential {
        slot: Slot::bearer(),
        secret: Secret::from(KEY.to_owned()),
        owner: "con_1/acme".to_owned(),
        version: 1,
        at: Timestamp::from_micros(1_790_000_000_000_000),
    }
}

fn timeouts() -> Timeouts {
    Timeouts { resolve: LIMIT, connect: LIMIT, tls: LIMIT, first_byte: LIMIT, idle: LIMIT, total: LIMIT }
}
