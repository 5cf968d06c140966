//! Connections from inside arrive here, and only where a relay was asked for.

use std::time::Duration;

use livery_sandbox::{Exec, Flow, Relay, Sandbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{As, House, PATIENCE, is_root, output, shell, until, walls_with_a_machine};

const PORT: u16 = 17_400;

/// What each connection is asked and answered: everything it sends comes back in upper case.
async fn echo(mut flow: Flow) {
    let mut bytes = Vec::new();
    flow.read_to_end(&mut bytes).await.unwrap();
    flow.write_all(&bytes.to_ascii_uppercase()).await.unwrap();
    flow.shutdown().await.unwrap();
}

fn serve(mut relay: Relay) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        while let Some(flow) = relay.accept().await {
            all.spawn(echo(flow));
        }
    })
}

/// A program that sends a file, half-closes and prints how long the answer was and its digest.
const CLIENT: &str = r#"
import hashlib, socket, sys, threading
def once(size):
    s = socket.create_connection(("127.0.0.1", 17400))
    data = b"abcdefgh" * (size // 8)
    def send():
        s.sendall(data); s.shutdown(socket.SHUT_WR)
    t = threading.Thread(target=send); t.start()
    got = b""
    while True:
        piece = s.recv(65536)
        if not piece: break
        got += piece
    t.join()
    assert got == data.upper(), (len(got), len(data))
for size in [0, 8, 16384, 65536, 1000000]: once(size)
threads = [threading.Thread(target=once, args=(200000,)) for _ in range(60)]
[t.start() for t in threads]; [t.join() for t in threads]
print("all came back")
"#;

async fn python(sandbox: &Sandbox, script: &str) -> String {
    sandbox.put("client.py", script.as_bytes(), 0o644).await.unwrap();
    output(sandbox, "/usr/bin/python3 client.py").await
}

fn has_python() -> bool {
    let there = std::path::Path::new("/usr/bin/python3").exists();
    if !there {
        eprintln!("SKIPPED: connections of every size, because there is no /usr/bin/python3");
    }
    there
}

#[tokio::test]
async fn bytes_of_every_size_come_back_from_many_connections() {
    if !has_python() {
        return;
    }
    for wall in walls_with_a_machine() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let serving = serve(sandbox.relay(PORT).await.unwrap().unwrap());
        assert!(sandbox.relay(PORT).await.unwrap().is_none(), "one relay for each sandbox");
        assert_eq!(python(&sandbox, CLIENT).await, "all came back", "{wall:?}");
        sandbox.kill("test").await.unwrap();
        tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
    }
}

fn me() -> As {
    if is_root() { As::Root } else { As::User }
}

#[tokio::test]
async fn a_dropped_flow_is_cut_at_once_and_its_place_is_free() {
    let house = House::open(me());
    let sandbox = house.sandbox("one").await;
    let mut relay = sandbox.relay(PORT).await.unwrap().unwrap();
    let dropping = tokio::spawn(async move {
        let mut count = 0;
        while let Some(flow) = relay.accept().await {
            count += 1;
            drop(flow);
        }
        count
    });
    // More connections than there are places, each waiting for its end.
    let script =
        "for i in $(seq 100); do bash -c 'exec 3<>/dev/tcp/127.0.0.1/17400; cat <&3' 2>/dev/null; done; echo over";
    assert_eq!(output(&sandbox, script).await, "over");
    sandbox.kill("test").await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, dropping).await.unwrap().unwrap(), 100);
}

#[tokio::test]
async fn without_a_relay_nothing_listens() {
    let house = House::open(me());
    let sandbox = house.sandbox("one").await;
    let refused = shell(&sandbox, "bash -c 'exec 3<>/dev/tcp/127.0.0.1/17400'").await;
    assert_ne!(refused.exit_code, Some(0));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("refused"), "{refused:?}");
}

/// A flood into a flow nobody reads stops at its window, and leaves commands and this process alone.
#[tokio::test]
async fn a_flood_stops_at_its_window() {
    let house = House::open(me());
    let sandbox = house.sandbox("one").await;
    let mut relay = sandbox.relay(PORT).await.unwrap().unwrap();
    let flood = "for i in $(seq 40); do bash -c 'cat /dev/zero > /dev/tcp/127.0.0.1/17400' & done; wait";
    let flooding = Exec { background: true, ..Exec::shell(flood) };
    sandbox.exec(flooding, |_, _| {}).await.unwrap();
    let mut held = Vec::new();
    while held.len() < 32 {
        held.push(tokio::time::timeout(PATIENCE, relay.accept()).await.unwrap().unwrap());
    }
    let more = tokio::time::timeout(Duration::from_millis(300), relay.accept()).await;
    assert!(more.is_err(), "a flow beyond the limit");
    for number in 0..5 {
        assert_eq!(output(&sandbox, &format!("echo {number}")).await, number.to_string());
    }
    // A place that is freed is taken by the next.
    held.truncate(31);
    held.push(tokio::time::timeout(PATIENCE, relay.accept()).await.unwrap().unwrap());
    sandbox.kill("test").await.unwrap();
    let mut ended = false;
    let mut last = held.pop().unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, last.read_to_end(&mut rest)).await.unwrap().unwrap();
    until("the relay ends with its sandbox", || {
        ended = ended || relay_is_over(&mut relay);
        ended
    })
    .await;
}

fn relay_is_over(relay: &mut Relay) -> bool {
    let mut accept = std::pin::pin!(relay.accept());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    matches!(std::future::Future::poll(accept.as_mut(), &mut cx), std::task::Poll::Ready(None))
}
