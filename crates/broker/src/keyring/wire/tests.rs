//! A message byte for byte, and bytes that are none.

use proptest::prelude::*;

use super::{Call, Kind, Malformed, PREFIX, Reader, Writer, kind, lengths};

/// A reply as a service on the bus writes it.
fn reply(kind: u8, fields: impl FnOnce(&mut Writer), body: &[u8]) -> Vec<u8> {
    let mut out = Writer::new();
    [b'l', kind, 0, 1].into_iter().for_each(|byte| out.byte(byte));
    out.number(u32::try_from(body.len()).unwrap());
    out.number(7);
    out.array(8, fields);
    out.align(8);
    [out.as_slice(), body].concat()
}

fn numbered(out: &mut Writer) {
    out.align(8);
    out.byte(5);
    out.variant("u", |out| out.number(3));
}

fn named(out: &mut Writer, code: u8, signature: &str, value: &str) {
    out.align(8);
    out.byte(code);
    out.variant(signature, |out| if signature == "g" { out.signature(value) } else { out.text(value) });
}

#[test]
fn a_call_is_written_as_the_specification_says() {
    let call = Call { destination: "a.b", path: "/c", interface: "d.e", member: "F", signature: "" };
    let message = call.message(1, &Writer::new());
    let expected: &[u8] = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x3c\0\0\0\
        \x01\x01o\0\x02\0\0\0/c\0\0\0\0\0\0\
        \x02\x01s\0\x03\0\0\0d.e\0\0\0\0\0\
        \x03\x01s\0\x01\0\0\0F\0\0\0\0\0\0\0\
        \x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0";
    assert_eq!(message.as_slice(), expected);
}

#[test]
fn a_reply_says_what_it_answers() {
    let ours = reply(
        2,
        |out| {
            numbered(out);
            named(out, 8, "g", "ao");
            named(out, 7, "s", ":1.2");
        },
        b"",
    );
    let prefix: &[u8; PREFIX] = ours[..PREFIX].try_into().unwrap();
    assert_eq!(lengths(prefix), Ok((ours.len() - PREFIX, 0)));
    assert_eq!(kind(&ours), Ok(Kind::Reply { to: 3, signature: "ao".to_owned() }));
    let refused = reply(
        3,
        |out| {
            numbered(out);
            named(out, 4, "s", "x.Y");
        },
        b"",
    );
    assert_eq!(kind(&refused), Ok(Kind::Refusal { to: 3, name: "x.Y".to_owned() }));
    assert_eq!(kind(&reply(4, |out| named(out, 1, "o", "/c"), b"")), Ok(Kind::Other));
    assert_eq!(kind(&reply(2, |_| (), b"")), Err(Malformed), "it answers nothing");
    assert_eq!(kind(&reply(3, numbered, b"")), Err(Malformed), "a refusal without a name");
    assert_eq!(
        kind(&reply(
            2,
            |out| {
                out.align(8);
                out.byte(99);
                out.variant("v", |_| ());
            },
            b""
        )),
        Err(Malformed)
    );
    let big_endian: &[u8; PREFIX] = b"B\x02\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0";
    assert_eq!(lengths(big_endian), Err(Malformed));
}

#[test]
fn values_come_back_as_they_were_written() {
    let mut out = Writer::new();
    out.array(4, |out| ["/a", "/bc"].into_iter().for_each(|text| out.text(text)));
    out.array(4, |_| ());
    out.align(8);
    out.text("/session");
    out.bytes(b"");
    out.bytes(b"value");
    let mut reader = Reader::new(out.as_slice());
    assert_eq!(reader.texts(2), Ok(vec!["/a", "/bc"]));
    assert_eq!(reader.texts(2), Ok(vec![]));
    reader.align(8).unwrap();
    assert_eq!((reader.text(), reader.bytes(), reader.bytes()), (Ok("/session"), Ok(&b""[..]), Ok(&b"value"[..])));
    assert!(reader.is_empty() && reader.bytes().is_err());
    assert_eq!(Reader::new(out.as_slice()).texts(1), Err(Malformed), "no more than were asked for");
}

proptest! {
    #[test]
    fn bytes_of_anybody_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(prefix) = bytes.first_chunk() {
            let _ = lengths(prefix);
        }
        let _ = kind(&bytes);
        let mut reader = Reader::new(&bytes);
        while !reader.is_empty() && reader.texts(3).is_ok() && reader.signature().is_ok() {}
    }
}
