//! A name server that answers as the test says, and counts.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// What to say to one question.
pub(crate) enum Reply {
    /// These addresses (those of the type asked for), TTL 0.
    Addresses(Vec<IpAddr>),
    /// Aliases one after the other, and the addresses of the last.
    Aliases(usize, Vec<IpAddr>),
    /// Another code.
    Code(ResponseCode),
    /// Nothing at all.
    Silence,
}

pub(crate) fn addresses(list: &[&str]) -> Reply {
    Reply::Addresses(list.iter().map(|ip| ip.parse().unwrap()).collect())
}

pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, RecordType)>>>,
    _task: JoinSet<()>,
}

impl NameServer {
    /// `reply(name, n)` answers the n-th question of each record type.
    pub(crate) async fn start(reply: impl Fn(&str, usize) -> Reply + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
                if let Some(answer) = respond(&question, &reply, &log) {
                    let _ = socket.send_to(&answer, peer).await;
                }
            }
        });
        Self { address, asked, _task: task }
    }

    pub(crate) fn asked(&self) -> Vec<(String, RecordType)> {
        self.asked.lock().unwrap().clone()
    }
}

fn respond(
    question: &Message,
    reply: &impl Fn(&str, usize) -> Reply,
    log: &Mutex<Vec<(String, RecordType)>>,
) -> Option<Vec<u8>> {
    let query = question.queries.first()?.clone();
    let (name, kind) = (query.name().clone(), query.query_type());
    let text = name.to_ascii().to_ascii_lowercase();
    let earlier = {
        let mut log = log.lock().unwrap();
        let earlier = log.iter().filter(|(_, asked)| *asked == kind).count();
        log.push((text.clone(), kind));
        earlier
    };
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_query(query);
    match reply(&text, earlier) {
        Reply::Silence => return None,
        Reply::Code(code) => answer.metadata.response_code = code,
        Reply::Addresses(ips) => {
            answer.add_answers(records(&name, kind, &ips));
        }
        Reply::Aliases(count, ips) => {
            let alias = |n: usize| Name::from_ascii(format!("alias{n}.example.")).unwrap();
            let mut from = name;
            for n in 0..count {
                answer.add_answer(Record::from_rdata(from, 0, RData::CNAME(CNAME(alias(n)))));
                from = alias(n);
            }
            answer.add_answers(records(&from, kind, &ips));
        }
    }
    answer.to_vec().ok()
}

fn records(name: &Name, kind: RecordType, ips: &[IpAddr]) -> Vec<Record> {
    ips.iter()
        .filter_map(|ip| match (ip, kind) {
            (IpAddr::V4(ip), RecordType::A) => Some(RData::A(A(*ip))),
            (IpAddr::V6(ip), RecordType::AAAA) => Some(RData::AAAA(AAAA(*ip))),
            _ => None,
        })
        .map(|data| Record::from_rdata(name.clone(), 0, data))
        .collect()
}
