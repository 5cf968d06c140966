//! A guest that has been taken over: whatever it sends ends its sandbox, promptly and in bounded memory.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as Peer;

use livery_guest::wire::terminal::Output;

use super::*;
use crate::protocol::Envelope;
use crate::socket;

/// A channel whose guest and launcher are this test.
struct Taken {
    channel: Arc<Channel>,
    guest: Peer,
    launcher: OwnedFd,
}

fn taken() -> Taken {
    let (host, guest) = socket::stream_pair().unwrap();
    let (platform, launcher) = socket::packet_pair().unwrap();
    let (control, _task) = Control::start(platform).unwrap();
    let (loss, _) = watch::channel(None);
    let channel = Channel::start(host, "hostile", control, loss).unwrap();
    Taken { channel: Arc::new(channel), guest: Peer::from(guest), launcher }
}

impl Taken {
    fn send(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        let mut frame = Vec::new();
        wire::encode(&mut frame, kind, stream, payload);
        // The host may have hung up already, which is what these tests are about.
        let _ = self.guest.write_all(&frame);
    }

    fn greet(&mut self) {
        self.send(Kind::Hello, 0, &Hello { version: u32::from(VERSION) }.encode());
    }

    /// The sandbox is given up for this reason, and the launcher is told to kill it.
    async fn expect_loss(self, detail: &str) {
        let mut lost = self.channel.lost();
        let lost = tokio::time::timeout(Duration::from_secs(5), lost.wait_for(Option::is_some))
            .await
            .unwrap()
            .unwrap()
            .clone()
            .unwrap();
        assert_eq!((lost.reason, lost.detail.as_str()), (LostReason::Protocol, detail));
        let killed = tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                if let Ok(Some(packet)) = socket::receive(self.launcher.as_fd()) {
                    break packet;
                }
                tokio::task::yield_now().await;
            }
        });
        let Envelope { request, .. } = serde_json::from_slice(&killed.await.unwrap().bytes).unwrap();
        assert!(matches!(request, Request::Kill { id } if id == "hostile"));
    }
}

#[tokio::test]
async fn bytes_that_are_no_frame() {
    let mut taken = taken();
    taken.greet();
    taken.guest.write_all(&[0xFF; 64]).unwrap();
    taken.expect_loss("its guest broke the protocol: a frame or field is longer than its limit").await;
}

#[tokio::test]
async fn a_first_frame_that_is_no_greeting() {
    let mut taken = taken();
    taken.send(Kind::Stdout, 1, b"x");
    taken.expect_loss("its guest broke the protocol: a payload does not have the shape of its kind").await;
}

#[tokio::test]
async fn a_frame_only_the_host_may_send() {
    let mut taken = taken();
    taken.greet();
    taken.send(Kind::Exec, 1, b"");
    taken.expect_loss("its guest broke the protocol: frame kind 1 is not one this side may send").await;
}

#[tokio::test]
async fn more_than_was_asked_for() {
    let mut taken = taken();
    taken.greet();
    let call = taken.channel.open(100);
    let mut flood = taken.guest.try_clone().unwrap();
    let stream = call.stream;
    // Far more than the allowance of one small request; the host hangs up long before the end.
    let sender = std::thread::spawn(move || {
        let mut frame = Vec::new();
        wire::encode(&mut frame, Kind::Stdout, stream, &[b'x'; 60_000]);
        (0..10_000).take_while(|_| flood.write_all(&frame).is_ok()).count()
    });
    taken.expect_loss("its guest broke the protocol: a frame or field is longer than its limit").await;
    drop(call);
    assert!(sender.join().unwrap() < 100);
}

#[tokio::test]
async fn frames_for_requests_nobody_made_are_dropped() {
    let mut taken = taken();
    taken.greet();
    for stream in 1000..1100 {
        taken.send(Kind::Stdout, stream, b"x");
    }
    let mut call = taken.channel.open(100);
    let stream = call.stream;
    taken.send(Kind::Stdout, stream, b"answer");
    assert_eq!(call.next().await.unwrap().payload, b"answer");
    assert!(taken.channel.lost().borrow().is_none());
}

/// A channel whose relay is open: the test is its guest, and takes its flows.
async fn relayed() -> (Taken, mpsc::Receiver<super::super::Flow>) {
    let mut taken = taken();
    taken.greet();
    let (sender, flows) = mpsc::channel(32);
    assert!(taken.channel.flows().accept_into(sender));
    (taken, flows)
}

#[tokio::test]
async fn a_connection_nobody_asked_for() {
    let mut taken = taken();
    taken.greet();
    taken.send(Kind::FlowOpened, 1, b"");
    taken.expect_loss("its guest broke the protocol: a payload does not have the shape of its kind").await;
}

#[tokio::test]
async fn a_flow_beyond_its_window() {
    let (mut taken, mut flows) = relayed().await;
    taken.send(Kind::FlowOpened, 1, b"");
    let flow = flows.recv().await.unwrap();
    // Nobody reads the flow: its stream buffers one window, and another one waits.
    for _ in 0..12 {
        taken.send(Kind::FlowRead, 1, &[b'x'; 16 * 1024]);
    }
    taken.expect_loss("its guest broke the protocol: a frame or field is longer than its limit").await;
    drop(flow);
}

#[tokio::test]
async fn connections_without_end() {
    let (mut taken, flows) = relayed().await;
    for number in 1..=33 {
        taken.send(Kind::FlowOpened, number, b"");
    }
    taken.expect_loss("its guest broke the protocol: a frame or field is longer than its limit").await;
    drop(flows);
}

#[tokio::test]
async fn grants_of_what_was_never_sent() {
    let (mut taken, flows) = relayed().await;
    taken.send(Kind::FlowOpened, 1, b"");
    taken.send(Kind::FlowGranted, 1, &1_u32.to_le_bytes());
    taken.expect_loss("its guest broke the protocol: a payload does not have the shape of its kind").await;
    drop(flows);
}

#[tokio::test]
async fn a_loss_ends_every_flow() {
    use tokio::io::AsyncReadExt;
    let (mut taken, mut flows) = relayed().await;
    taken.send(Kind::FlowOpened, 1, b"");
    let mut flow = flows.recv().await.unwrap();
    taken.guest.write_all(&[0xFF; 64]).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), flow.read(&mut [0; 8])).await.unwrap();
    assert_eq!(ended.unwrap_or(0), 0);
    assert!(flows.recv().await.is_none());
}

#[tokio::test]
async fn a_terminals_answer_nobody_asked_for() {
    let mut taken = taken();
    taken.greet();
    let _end = taken.channel.terminals().open(7);
    // To who is not open (any more) it may say what it likes.
    taken.send(Kind::TerminalOutput, 6, b"rubbish");
    let output = Output { ticket: 1, start: 0, ended: None, bytes: b"x" };
    taken.send(Kind::TerminalOutput, 7, &output.encode());
    taken.expect_loss("its guest broke the protocol: a payload does not have the shape of its kind").await;
}

#[tokio::test]
async fn typing_granted_that_was_never_done() {
    let mut taken = taken();
    taken.greet();
    let _end = taken.channel.terminals().open(7);
    taken.send(Kind::TerminalGranted, 7, &1_u32.to_le_bytes());
    taken.expect_loss("its guest broke the protocol: a payload does not have the shape of its kind").await;
}
