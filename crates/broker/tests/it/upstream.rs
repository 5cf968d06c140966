//! A scripted upstream: plain sockets, so that it can say things no HTTP library would.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// Longest wait of a test for something that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What the upstream does after it has read a request.
#[derive(Clone)]
pub(crate) enum Step {
    /// Writes bytes.
    Write(Vec<u8>),
    /// Answers with the body of the request.
    Echo,
    /// Accepts the WebSocket that was asked for, with these further headers.
    Accept(&'static str),
    /// Reads to the end, which [`Upstream::heard`] gives.
    Listen,
    /// Waits for the test.
    Gate(Arc<Notify>),
    /// Says nothing more until the peer is gone.
    Stall,
    /// Closes.
    Close,
    /// Closes with a reset.
    Reset,
}

pub(crate) fn write(text: impl AsRef<[u8]>) -> Step {
    Step::Write(text.as_ref().to_vec())
}

/// A plain answer with its length.
pub(crate) fn answer(body: &str) -> Step {
    write(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// A chunked answer; the broker sees each chunk as a piece of its own.
pub(crate) fn chunked<'a>(content_type: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Step {
    let mut out =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        out.extend(chunk(piece));
    }
    out.extend_from_slice(b"0\r\n\r\n");
    Step::Write(out)
}

pub(crate) fn chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

/// What the upstream saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Every request, head and body, in order of arrival.
    pub(crate) requests: Vec<String>,
    /// Connections accepted.
    pub(crate) connections: usize,
    /// What came after a WebSocket was accepted, once that is over.
    pub(crate) heard: Option<Vec<u8>>,
}

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    /// One message for each connection whose peer closed it.
    closed: tokio::sync::Mutex<mpsc::Receiver<()>>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Plays `script[n]` for the n-th request altogether; the last one repeats.
    pub(crate) async fn start(script: Vec<Vec<Step>>) -> Self {
        Self::start_on("127.0.0.1:0", script).await
    }

    pub(crate) async fn start_on(address: &str, script: Vec<Vec<Step>>) -> Self {
        Self::start_tls(address, script, None).await
    }

    pub(crate) async fn start_tls(
        address: &str,
        script: Vec<Vec<Step>>,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (tx, closed) = mpsc::channel(64);
        let shared = Arc::new((script, Arc::clone(&seen), tx));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.1.lock().unwrap().connections += 1;
                let shared = Arc::clone(&shared);
                let tls = tls.clone();
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &shared.0, &shared.1, &shared.2, |s| s.set_zero_linger().unwrap()).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &shared.0, &shared.1, &shared.2, |_| {}).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, closed: tokio::sync::Mutex::new(closed), _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// What came over a WebSocket until it was over.
    pub(crate) async fn heard(&self) -> Vec<u8> {
        let heard = async {
            loop {
                if let Some(heard) = self.seen().heard {
                    return heard;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, heard).await.expect("the WebSocket stays open")
    }

    /// Waits until a peer has closed a connection that the script left open.
    pub(crate) async fn peer_closed(&self) {
        tokio::time::timeout(SOON, self.closed.lock().await.recv()).await.expect("the connection stays open").unwrap();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: &[Vec<Step>],
    seen: &Mutex<Seen>,
    closed: &mpsc::Sender<()>,
    reset: impl Fn(&S),
) {
    while let Some(request) = read_request(&mut stream).await {
        let body = request.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        let accept = accept(&request);
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.requests.push(request);
            seen.requests.len() - 1
        };
        for step in &script[number.min(script.len() - 1)] {
            let step = match step {
                Step::Echo => &answer(&body),
                Step::Accept(more) => &write(format!("{accept}{more}\r\n")),
                step => step,
            };
            match step {
                Step::Write(bytes) => {
                    if stream.write_all(bytes).await.is_err() || stream.flush().await.is_err() {
                        let _ = closed.send(()).await;
                        return;
                    }
                }
                Step::Echo | Step::Accept(_) => {}
                Step::Listen => {
                    let mut heard = Vec::new();
                    let _ = stream.read_to_end(&mut heard).await;
                    seen.lock().unwrap().heard = Some(heard);
                    return;
                }
                Step::Gate(gate) => gate.notified().await,
                Step::Stall => {
                    let _ = stream.read(&mut [0; 16]).await;
                    let _ = closed.send(()).await;
                    return;
                }
                Step::Close => {
                    let _ = stream.shutdown().await;
                    return;
                }
                Step::Reset => {
                    reset(&stream);
                    return;
                }
            }
        }
    }
    let _ = closed.send(()).await;
}

/// The head that accepts the WebSocket a request asks for, without its end.
fn accept(request: &str) -> String {
    let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap_or_default();
    let accept = livery_broker::ws::accept(key).unwrap();
    let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n";
    format!("{head}sec-websocket-accept: {}\r\n", accept.to_str().unwrap())
}

/// Head and body by its length, or `None` when the peer is gone.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    let head = loop {
        if let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    while request.len() < head + length {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&request).into_owned())
}
