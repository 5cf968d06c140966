//! The scrubber against a brute-force reading of the same rules, and against every spelling it claims.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use self::naive::Unit;
use super::decode::{Kind, Step};
use super::image::{Fold, Image, images};
use super::lane::SPAN_MAX;
use super::*;

mod naive;
mod properties;

const KEY: &str = "sk-ant-api03-Zx9_qW-7Lm2/Kd4+Vb8nRt6Yp1Hs3Jf5Gc0Ae=";
const MARKER: &str = "[REDACTED:prv_1]";

fn matcher(key: &str) -> Matcher {
    Matcher::new(&[&Secret::from(key.to_owned())], "prv_1").unwrap()
}

/// The whole text in pieces of these lengths, the last length repeating.
fn in_pieces(matcher: &Arc<Matcher>, framing: Framing, text: &[u8], lengths: &[usize]) -> Vec<u8> {
    let mut scrubber = Scrubber::new(Some(Arc::clone(matcher)), framing);
    let mut out = Vec::new();
    let mut rest = text;
    let mut lengths = lengths.iter().copied();
    let mut length = text.len().max(1);
    while !rest.is_empty() {
        length = lengths.next().unwrap_or(length).max(1);
        let (piece, tail) = rest.split_at(length.min(rest.len()));
        scrubber.push(piece, &mut out).unwrap();
        rest = tail;
    }
    scrubber.finish(&mut out);
    out
}

/// The rule, word for word: a byte is redacted when some window of some image, in some reading of the whole text, covers it.
fn brute_force(all: &[Image], text: &[u8]) -> Vec<u8> {
    let mut redact = vec![false; text.len()];
    for reading in naive::readings(text) {
        for image in all {
            for window in reading.windows(image.run) {
                let (start, end) = (window[0].start, window[image.run - 1].end);
                let is_run = |run: &[u8]| run.iter().zip(window).all(|(a, unit)| image.fold.same(*a, unit.byte));
                if end - start <= SPAN_MAX && image.bytes.windows(image.run).any(is_run) {
                    redact[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()].fill(true);
                }
            }
        }
    }
    with_markers(text, &redact)
}

fn with_markers(text: &[u8], redact: &[bool]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        if !redact[at] {
            out.push(*byte);
        } else if at == 0 || !redact[at - 1] {
            out.extend_from_slice(MARKER.as_bytes());
        }
    }
    out
}

/// Built once: in a debug build that takes longer than any search.
static MATCHER: LazyLock<Arc<Matcher>> = LazyLock::new(|| Arc::new(matcher(KEY)));

#[track_caller]
fn check(text: &str, expected: &str) {
    let got = MATCHER.scrub_whole(text.as_bytes()).unwrap_or_else(|| text.as_bytes().to_vec());
    assert_eq!(String::from_utf8_lossy(&got), expected);
}

#[test]
fn a12_to_a15_each_spelling_inside_a_longer_text_is_redacted() {
    check(&format!("key={KEY}."), "key=[REDACTED:prv_1].");
    check(&format!("{KEY}{KEY}"), MARKER);
    check(&KEY.chars().rev().collect::<String>(), MARKER);
    let hex: String = KEY.bytes().map(|b| format!("{b:02x}")).collect();
    check(&format!("0x{hex}!"), "0x[REDACTED:prv_1]!");
    check(&hex.to_uppercase(), MARKER);
    let percent: String = KEY.bytes().map(|b| format!("%{b:02X}")).collect();
    check(&format!("?k={percent}&x=1"), "?k=[REDACTED:prv_1]&x=1");
    let minimal = KEY.replace('/', "%2f").replace('+', "%2B").replace('=', "%3d");
    check(&minimal, MARKER);
    let json: String = KEY.bytes().map(|b| format!("\\u{b:04x}")).collect();
    check(&format!("\"{json}\""), "\"[REDACTED:prv_1]\"");
    check(&KEY.replace('/', "\\/"), MARKER);
    let html: String = KEY.bytes().map(|b| format!("&#{b};")).collect();
    check(&html, MARKER);
    let html: String = KEY.bytes().map(|b| format!("&#x{b:X};")).collect();
    check(&html, MARKER);
    check(&KEY.replace('/', "&sol;").replace('+', "&plus;").replace('=', "&equals;"), MARKER);
}

#[test]
fn redacts_utf16_in_both_orders() {
    let matcher = matcher(KEY);
    for bytes in [
        KEY.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
        KEY.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>(),
    ] {
        let out = matcher.scrub_whole(&bytes).unwrap();
        // A zero beside the first or last character may stay; no character does.
        assert!(out.len() <= MARKER.len() + 1, "{out:?}");
    }
}

#[test]
fn a11_base64_at_every_alignment_is_redacted_padded_wrapped_and_for_urls() {
    let matcher = matcher(KEY);
    for before in 0..6 {
        for after in 0..4 {
            let plain = format!("{}{KEY}{}", "x".repeat(before), "y".repeat(after));
            for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let text = engine.encode(&plain);
                let out = matcher.scrub_whole(text.as_bytes()).unwrap();
                let out = String::from_utf8(out).unwrap();
                let left = out.replace(MARKER, "");
                // Only characters that mix in a neighbour's bits stay: under 12 in all, and none of the inside.
                assert!(left.len() <= 14, "{before} {after}: {out}");
                let wrapped: String =
                    text.as_bytes().chunks(19).map(|l| format!("{}\r\n", std::str::from_utf8(l).unwrap())).collect();
                let out = String::from_utf8(matcher.scrub_whole(wrapped.as_bytes()).unwrap()).unwrap();
                assert!(out.replace(MARKER, "").len() <= 18, "{out:?}");
            }
        }
    }
}

#[test]
fn redacts_base64_of_any_sixteen_bytes_of_the_key() {
    for start in 0..=KEY.len() - 16 {
        for before in 0..3 {
            let text = STANDARD_NO_PAD.encode(format!("{}{}", &"~~~"[..before], &KEY[start..start + 16]));
            let out = String::from_utf8(MATCHER.scrub_whole(text.as_bytes()).unwrap()).unwrap();
            assert!(out.replace(MARKER, "").len() <= 4, "{start} {before}: {out}");
        }
    }
}

#[test]
fn redacts_base64_for_urls_where_the_alphabets_differ() {
    let key = "~~~???>>>~~~???>>>~~~???>>>";
    let text = URL_SAFE_NO_PAD.encode(key);
    assert!(text.contains('_') && text.contains('-'), "{text}");
    assert_eq!(matcher(key).scrub_whole(text.as_bytes()).unwrap(), MARKER.as_bytes());
}

#[test]
fn a_run_longer_than_what_is_held_back_is_one_marker() {
    let text = format!("<{}>", KEY.repeat(100));
    for framing in [Framing::None, Framing::Lines] {
        let out = in_pieces(&MATCHER, framing, text.as_bytes(), &[7]);
        assert_eq!(String::from_utf8(out).unwrap(), format!("<{MARKER}>"));
    }
}

#[test]
fn one_escape_or_line_break_anywhere_in_the_shortest_run_hides_nothing() {
    for image in images(KEY.as_bytes()).iter().filter(|image| image.bytes.is_ascii()) {
        let run = &image.bytes[3..3 + image.run];
        for at in 0..run.len() {
            let (before, after) = (&run[..at], &run[at + 1..]);
            let escaped = [before, format!("%{:02x}", run[at]).as_bytes(), after].concat();
            // Two breaks, because the second must not count as calm after the first.
            let broken = [b"\r\n", &run[..=at], b"\r\n", after].concat();
            let expected = format!("\r\n{MARKER}{}", if after.is_empty() { "\r\n" } else { "" });
            assert_eq!(MATCHER.scrub_whole(&escaped).unwrap(), MARKER.as_bytes(), "escaped at {at}");
            assert_eq!(MATCHER.scrub_whole(&broken).unwrap(), expected.as_bytes(), "broken at {at}");
        }
    }
}

#[test]
fn a_key_spread_thinner_than_what_is_held_back_reads_the_same_in_any_pieces() {
    let text: String = KEY.chars().map(|c| format!("{c}{}", "\r\n".repeat(45))).collect();
    let whole = in_pieces(&MATCHER, Framing::None, text.as_bytes(), &[]);
    assert_eq!(whole, in_pieces(&MATCHER, Framing::None, text.as_bytes(), &[11]));
}

#[test]
fn marks_of_two_readings_of_one_frame_are_one_set() {
    // Halves in their own lines for the joined reading, whole keys between them for the plain one: marks in two orders.
    let (one, two) = KEY.split_at(15);
    let group = format!("data: {one}\ndata: {}\n:{KEY}\n", &two[..14]);
    let text = format!("{}\n", group.repeat(300));
    let out = in_pieces(&MATCHER, Framing::Events, text.as_bytes(), &[]);
    assert!(!String::from_utf8(out).unwrap().contains(&KEY[..16]));
}

#[test]
fn marks_merge_whatever_their_order() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        let mut marks = super::marks::Marks::default();
        for at in order {
            let (start, end) = [(0, 4), (4, 6), (8, 9), (2, 5)][at];
            marks.add(start, end);
        }
        marks.add(8, 8);
        assert_eq!(marks.next_after(0), Some((0, 6)), "{order:?}");
        assert_eq!(marks.next_after(6), Some((8, 9)), "{order:?}");
        marks.add(5, 8);
        assert_eq!(marks.next_after(6), Some((5, 9)), "{order:?}");
        assert_eq!(marks.next_after(9), None, "{order:?}");
    }
}

#[test]
fn decoders_read_each_escape_and_leave_the_rest() {
    for (kind, text, expected) in [
        (Kind::Percent, "a%41%4a%4Az", "aAJJz"),
        (Kind::Percent, "100%, %, %4, %zz%41, %%41, %2541", "100%, %, %4, %zzA, %A, %41"),
        (Kind::Json, r#"a\u0041\/\"\n\tz\u000a\r"#, "aA/\"\tz"),
        (Kind::Json, r"\\u0041\\\u0042\\\\/", "AB/"),
        (Kind::Json, r"\\ \\\\ \\n \\\n\t", "\\ \\\\ \\n \\\t"),
        (Kind::Json, r"\x \u00zz \u004 \", r"\x \u00zz \u004 \"),
        (Kind::Json, r"\u00e4\ud800", "ä\u{fffd}"),
        (Kind::Html, "&#65;&#x41;&#X041;&amp;&lt;", "AAA&<"),
        (
            Kind::Html,
            "a&b;&&#65;&nosuch;&#xyz;&#999999;& &verylongentityname;",
            "a&b;&A&nosuch;&#xyz;&#999999;& &verylongentityname;",
        ),
        (Kind::Json, "a\r\nb\nc d", "abc d"),
    ] {
        let decoded: Vec<u8> = decoded(kind, text.as_bytes()).iter().map(|unit| unit.byte).collect();
        assert_eq!(String::from_utf8_lossy(&decoded), expected, "{text}");
    }
}

/// A whole text decoded step by step.
fn decoded(kind: Kind, text: &[u8]) -> Vec<Unit> {
    let unit = |byte: u8, start: usize, end: usize| Unit { byte, start: start as u64, end: end as u64 };
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let lead = kind.next_lead(&text[at..]).map_or(text.len(), |lead| at + lead);
        let mut plain_to = lead;
        let mut escapes: Vec<Unit> = Vec::new();
        let from = at;
        at = lead;
        if lead < text.len() {
            match kind.step(&text[lead..]) {
                Step::Plain => (plain_to, at) = (lead + 1, lead + 1),
                Step::Unfinished => (plain_to, at) = (text.len(), text.len()),
                Step::Escape { length, means } => {
                    at = lead + length;
                    let (bytes, count) = means.bytes();
                    escapes.extend(bytes[..count].iter().map(|byte| unit(*byte, lead, at)));
                }
                Step::Slashes { count } => {
                    at = lead + count;
                    escapes.extend((lead..at).step_by(2).map(|pair| unit(b'\\', pair, at.min(pair + 2))));
                }
            }
        }
        out.extend((from..plain_to).map(|plain| unit(text[plain], plain, plain + 1)));
        out.append(&mut escapes);
    }
    out
}

#[test]
fn a17_every_part_of_sixteen_bytes_is_redacted_and_fifteen_stay() {
    for start in 0..=KEY.len() - 16 {
        for end in start + 16..=KEY.len() {
            check(&format!("<{}>", &KEY[start..end]), "<[REDACTED:prv_1]>");
        }
        check(&format!("<{}>", &KEY[start..start + 15]), &format!("<{}>", &KEY[start..start + 15]));
    }
}

#[test]
fn f3_a_marker_says_nothing_about_the_length() {
    let short = matcher("0123456789abcdef");
    let long = matcher(&"0123456789abcdefABCDEFGHIJKLMNOP".repeat(8));
    assert_eq!(
        short.scrub_whole(b"0123456789abcdef"),
        long.scrub_whole("0123456789abcdefABCDEFGHIJKLMNOP".repeat(8).as_bytes())
    );
}

#[test]
fn short_secrets_are_not_searched_for() {
    assert!(Matcher::new(&[&Secret::from("ollama".to_owned())], "prv_1").is_none());
    assert!(!is_scrubbable(&Secret::from("fifteen-chars-x".to_owned())));
    assert!(is_scrubbable(&Secret::from("sixteen-chars-xy".to_owned())));
}

#[test]
fn what_is_held_back_does_not_depend_on_the_secret() {
    // Echo a guess: whether it is right must not show in what is delivered when.
    for key in [KEY, "another-key-of-another-length-entirely"] {
        let matcher = Arc::new(matcher(key));
        for text in ["x".repeat(5000), format!("{}{}", "x".repeat(2000), &KEY[..15])] {
            let mut scrubber = Scrubber::new(Some(Arc::clone(&matcher)), Framing::None);
            let mut out = Vec::new();
            let mut pushed = 0;
            for piece in text.as_bytes().chunks(7) {
                scrubber.push(piece, &mut out).unwrap();
                pushed += piece.len();
                assert_eq!(out.len(), pushed.saturating_sub(HOLD_BACK_BYTES));
            }
        }
    }
}

#[test]
fn an_event_is_released_with_its_blank_line() {
    let matcher = Arc::new(matcher(KEY));
    for newline in ["\n", "\r\n", "\r"] {
        let mut scrubber = Scrubber::new(Some(Arc::clone(&matcher)), Framing::Events);
        let event = format!("event: delta{newline}data: {{\"t\":\"{KEY}\"}}{newline}{newline}");
        for round in 0..3 {
            let mut out = Vec::new();
            for byte in event.bytes() {
                assert!(out.is_empty() || (newline == "\r\n" && byte == b'\n'), "round {round}");
                scrubber.push(&[byte], &mut out).unwrap();
            }
            let expected = event.replace(KEY, MARKER);
            // The LF of the last CRLF may come by itself; nothing else is late.
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{newline:?}");
        }
    }
}

#[test]
fn a_key_cut_over_data_lines_is_found_in_the_joined_payload() {
    let matcher = Arc::new(matcher(KEY));
    let (one, two) = KEY.split_at(20);
    let text = format!("data: {one}\ndata: {two}\n\ndata: next\n\n");
    let out = in_pieces(&matcher, Framing::Events, text.as_bytes(), &[5]);
    assert_eq!(String::from_utf8(out).unwrap(), format!("data: {MARKER}\ndata: {MARKER}\n\ndata: next\n\n"));
}

#[test]
fn json_lines_are_released_line_by_line() {
    let matcher = Arc::new(matcher(KEY));
    let mut scrubber = Scrubber::new(Some(matcher), Framing::Lines);
    let mut out = Vec::new();
    scrubber.push(format!("{{\"a\":\"{KEY}\"}}\n{{\"b\"").as_bytes(), &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"a\":\"{MARKER}\"}}\n"));
}

#[test]
fn an_endless_event_is_an_error() {
    let mut scrubber = Scrubber::new(Some(Arc::new(matcher(KEY))), Framing::Events);
    let piece = vec![b'x'; 1 << 20];
    let mut out = Vec::new();
    let pushed = (0..20).take_while(|_| scrubber.push(&piece, &mut out).is_ok()).count();
    assert_eq!(pushed, FRAME_BYTES_MAX >> 20);
    assert!(out.is_empty());
}

#[test]
fn framing_follows_the_content_type() {
    for (text, framing) in [
        ("text/event-stream", Framing::Events),
        ("Text/Event-Stream; charset=utf-8", Framing::Events),
        ("application/x-ndjson", Framing::Lines),
        ("application/json", Framing::None),
        ("text/event-streams", Framing::None),
    ] {
        assert_eq!(Framing::of(Some(text)), framing, "{text}");
    }
    assert_eq!(Framing::of(None), Framing::None);
}

#[test]
fn a_cached_matcher_is_not_used_for_another_secret() {
    let cache = MatcherCache::default();
    let tenant = livery_core::id::OrgId::from_bits(1);
    let (one, two) =
        (Secret::from("first-secret-0123456789".to_owned()), Secret::from("second-secret-012345678".to_owned()));
    let first = cache.get(tenant, "prv_1", 1, std::slice::from_ref(&one)).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.get(tenant, "prv_1", 1, std::slice::from_ref(&one)).unwrap()));
    let second = cache.get(tenant, "prv_1", 1, std::slice::from_ref(&two)).unwrap();
    assert!(second.scrub_whole(b"second-secret-012345678").is_some());
    cache.forget(tenant, "prv_1");
    assert!(!Arc::ptr_eq(&second, &cache.get(tenant, "prv_1", 1, std::slice::from_ref(&two)).unwrap()));
}

#[test]
fn a10_a_key_split_at_every_offset_is_redacted() {
    let matcher = Arc::new(matcher(KEY));
    for framing in [Framing::None, Framing::Events] {
        let text = format!("data: {{\"error\":\"bad key {KEY} given\"}}\n\n");
        let expected = text.replace(KEY, MARKER);
        for at in 1..text.len() {
            let out = in_pieces(&matcher, framing, text.as_bytes(), &[at, text.len()]);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "split at {at}, {framing:?}");
        }
    }
}

#[test]
fn fold_compares_as_its_name_says() {
    assert!(Fold::Base64.same(b'-', b'+') && Fold::Base64.same(b'/', b'_') && !Fold::Base64.same(b'a', b'A'));
    assert!(Fold::Case.same(b'a', b'A') && !Fold::Exact.same(b'a', b'A'));
}

#[test]
fn a_finding_names_the_spelling_and_nothing_else() {
    let names = |text: &[u8]| matcher(KEY).scrub_noting(text).map(|(_, variants)| variants.to_string());
    let percent: String = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let reversed: Vec<u8> = KEY.bytes().rev().collect();
    let hex: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(names(KEY.as_bytes()).as_deref(), Some("raw"));
    assert_eq!(names(format!("100%25 of {KEY} %41").as_bytes()).as_deref(), Some("raw"));
    assert_eq!(names(percent.as_bytes()).as_deref(), Some("percent"));
    assert_eq!(names(&reversed).as_deref(), Some("reversed"));
    assert_eq!(names(hex.as_bytes()).as_deref(), Some("hex"));
    assert_eq!(names(format!("{hex} {KEY}").as_bytes()).as_deref(), Some("raw+hex"));
    assert_eq!(names(b"nothing here"), None);
}
