//! How fast answers are searched for a key, without sockets: one text of each kind through the scrubber in the pieces a socket
//! gives. `cargo run --release -p livery-broker --example scrubber`; a word behind it picks the texts.
//!
//! Machines differ and are shared: each figure comes with its ratio to copying the same bytes, and is the best of several rounds.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use livery_broker::Secret;
use livery_broker::scrub::{Framing, Matcher, Scrubber};

const KEY: &str = "sk-live-4fGh7Kq2Zx9WmB3nVt8RpL6yD1cJ5sA0";
/// Bytes of one text.
const TEXT: usize = 32 * 1024 * 1024;
/// Bytes pushed at a time.
const PIECE: usize = 64 * 1024;
/// The best of so many rounds counts.
const ROUNDS: usize = 7;

const PROSE: &str =
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore ";

fn main() {
    let matcher = Arc::new(Matcher::new(&[&Secret::from(KEY.to_owned())], "con_1/acme").unwrap());
    let log_line = format!("{{\"at\":\"2026-11-23\",\"text\":\"{PROSE}\"}}\n");
    let event = format!("data: {{\"delta\":\"{}\"}}\n\n", &PROSE[..40]);
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let texts = [
        ("plain text", Framing::None, PROSE.repeat(40)),
        ("JSON, an escape of each kind per kilobyte", Framing::None, json(&PROSE.repeat(9))),
        (
            "JSON of short strings, quotes and line breaks",
            Framing::None,
            json("say \\\"yes\\\"\\nto caf\\u00e9 & co. "),
        ),
        ("JSON, pretty-printed", Framing::None, "    \"name\": \"value of it\",\n".to_owned()),
        ("JSON inside JSON", Framing::None, "{\\\"a\\\":\\\"b\\\",\\\"c\\\":[\\\"d\\\",\\\"e\\\"]},".to_owned()),
        ("every fourth byte percent-encoded", Framing::None, "abc%20".to_owned()),
        ("every byte percent-encoded", Framing::None, "%61%62%63".to_owned()),
        ("HTML with entities", Framing::None, "<p>Fish &amp; chips, &lt;br&gt;</p> ".to_owned()),
        ("JSON lines", Framing::Lines, log_line),
        ("server-sent events of 50 bytes", Framing::Events, event),
    ];
    for (name, framing, record) in texts.into_iter().filter(|(name, ..)| name.contains(&wanted)) {
        let text: Vec<u8> = record.bytes().cycle().take(TEXT).collect();
        let copied = best(|| copy(&text));
        let scrubbed = best(|| scrub(&matcher, framing, &text));
        let ratio = scrubbed.as_secs_f64() / copied.as_secs_f64();
        println!("{name}: {:.2} GB/s, {ratio:.1} × a copy", gigabytes_per_second(scrubbed));
    }
}

fn json(text: &str) -> String {
    format!("{{\"id\":\"evt_4fGh7Kq2\",\"url\":\"/a%20b?c=1&d=2\",\"text\":\"{text}\\n\"}},\n")
}

fn best(mut round: impl FnMut() -> usize) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        assert_eq!(round(), TEXT);
        began.elapsed()
    });
    rounds.min().unwrap_or_default()
}

fn copy(text: &[u8]) -> usize {
    let mut out = Vec::with_capacity(PIECE);
    let lengths = text.chunks(PIECE).map(|piece| {
        out.clear();
        out.extend_from_slice(piece);
        std::hint::black_box(&out).len()
    });
    lengths.sum()
}

fn scrub(matcher: &Arc<Matcher>, framing: Framing, text: &[u8]) -> usize {
    let mut scrubber = Scrubber::new(Some(Arc::clone(matcher)), framing);
    let mut out = Vec::with_capacity(2 * PIECE);
    let mut bytes = 0;
    for piece in text.chunks(PIECE) {
        out.clear();
        scrubber.push(piece, &mut out).unwrap();
        bytes += out.len();
    }
    out.clear();
    scrubber.finish(&mut out);
    bytes + std::hint::black_box(&out).len()
}

fn gigabytes_per_second(took: Duration) -> f64 {
    f64::from(u32::try_from(TEXT).unwrap_or(u32::MAX)) / 1e9 / took.as_secs_f64()
}
