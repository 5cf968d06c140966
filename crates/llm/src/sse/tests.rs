//! The reader against a parser that sees the whole body at once, at every cut.

use proptest::prelude::*;

use super::{EVENT_BYTES_MAX, EventTooLarge, Reader};

type Events = Vec<(String, String)>;

fn read(pieces: &[&[u8]]) -> Result<Events, EventTooLarge> {
    let mut events = Events::new();
    let mut reader = Reader::new();
    let mut keep = |event: super::Event<'_>| {
        events.push((event.name.to_owned(), event.data.to_owned()));
        Ok::<(), EventTooLarge>(())
    };
    for piece in pieces {
        reader.push(piece, &mut keep)?;
    }
    reader.finish(&mut keep)?;
    Ok(events)
}

/// As simple as the specification allows: the whole body, split into lines, read field by field.
fn naive(body: &[u8]) -> Events {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    let mut at = 0;
    while at < body.len() {
        match body[at] {
            b'\r' if body.get(at + 1) == Some(&b'\n') => {
                at += 1;
                lines.push(Vec::new());
            }
            b'\r' | b'\n' => lines.push(Vec::new()),
            other => lines.last_mut().unwrap().push(other),
        }
        at += 1;
    }
    // The end of the stream ends the last event.
    lines.push(Vec::new());
    let (mut events, mut name, mut data) = (Events::new(), Vec::new(), Vec::<Vec<u8>>::new());
    for line in lines {
        if line.is_empty() {
            if !data.is_empty() {
                let joined = data.join(&b'\n');
                events
                    .push((String::from_utf8_lossy(&name).into_owned(), String::from_utf8_lossy(&joined).into_owned()));
            }
            name.clear();
            data.clear();
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let mut value = line.get(colon + 1..).unwrap_or_default();
        if value.first() == Some(&b' ') {
            value = &value[1..];
        }
        match &line[..colon] {
            b"data" => data.push(value.to_vec()),
            b"event" => name = value.to_vec(),
            _ => {}
        }
    }
    events
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"data: ",
        b"data:",
        b"event: ",
        b"event:x",
        b"id: 1",
        b": keep-alive",
        b"retry: 3",
        b"data",
        b"event",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b" ",
        b":",
        b"{\"a\":1}",
        b"[DONE]",
        "\u{e9}\u{1f40e}".as_bytes(),
        b"\xff",
        b"\xe2\x82",
        b"\xef\xbb\xbf",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn every_cut_reads_like_the_whole(body in bodies()) {
        let expected = naive(&body);
        prop_assert_eq!(&read(&[&body]).unwrap(), &expected);
        for cut in 0..=body.len() {
            prop_assert_eq!(&read(&[&body[..cut], &body[cut..]]).unwrap(), &expected, "cut at {}", cut);
        }
        let single: Vec<&[u8]> = body.chunks(1).collect();
        prop_assert_eq!(&read(&single).unwrap(), &expected, "byte by byte");
    }

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(read(&[&body]).unwrap(), naive(&body));
    }
}

#[test]
fn the_features_of_the_format() {
    let body =
        "\u{feff}: hello\r\nevent: a\r\ndata: one\r\ndata: two\r\rdata:no space\n\nid: 4\nevent: dropped\n\ndata: last";
    let expected =
        [("a", "one\ntwo"), ("", "no space"), ("", "last")].map(|(name, data)| (name.to_owned(), data.to_owned()));
    assert_eq!(read(&[body.as_bytes()]).unwrap(), expected);
}

#[test]
fn a_large_event_is_read_and_a_larger_one_refused() {
    let two_mib = "x".repeat(2 * 1024 * 1024);
    let body = format!("data: {two_mib}\n\n");
    let pieces: Vec<&[u8]> = body.as_bytes().chunks(1000).collect();
    assert_eq!(read(&pieces).unwrap()[0].1.len(), two_mib.len());

    let piece = vec![b'x'; 1024 * 1024];
    let endless_line: Vec<&[u8]> = std::iter::repeat_n(&piece[..], EVENT_BYTES_MAX / piece.len() + 1).collect();
    assert_eq!(read(&endless_line), Err(EventTooLarge));
    let line = [b"data: ", &piece[..], b"\n"].concat();
    let endless_event: Vec<&[u8]> = std::iter::repeat_n(&line[..], EVENT_BYTES_MAX / piece.len() + 1).collect();
    assert_eq!(read(&endless_event), Err(EventTooLarge));
}
