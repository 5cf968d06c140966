//! What a host books of a terminal, and what it refuses to.

use proptest::prelude::*;

use super::*;

fn output(ticket: u32, start: u64, ended: Option<Outcome>, bytes: &[u8]) -> Vec<u8> {
    Output { ticket, start, ended, bytes }.encode()
}

#[test]
fn only_what_was_asked_for_is_an_answer() {
    let mut books = Ledger::new();
    assert_eq!(books.answers(&output(1, 0, None, b"x")), Err(Error::Malformed), "nobody asked");
    assert_eq!(books.asks(0, 4), Read { ticket: 1, offset: 0, limit: 4 });
    assert_eq!(books.answers(&output(1, 0, None, b"12345")), Err(Error::Malformed), "longer than asked for");
    let mut books = Ledger::new();
    books.asks(10, 4);
    assert_eq!(books.answers(&output(1, 9, None, b"x")), Err(Error::Malformed), "going back");
    let mut books = Ledger::new();
    books.asks(10, 4);
    assert_eq!(books.answers(&output(1, u64::MAX, None, b"x")), Err(Error::Malformed), "an offset that ends nowhere");
    let mut books = Ledger::new();
    books.asks(10, 4);
    assert_eq!(books.answers(&output(1, 10, None, b"")), Err(Error::Malformed), "nothing of a program that runs");
    let mut books = Ledger::new();
    books.asks(10, 4);
    books.asks(10, 4);
    assert_eq!(books.answers(&output(3, 10, None, b"x")), Err(Error::Malformed), "a question to come");
    assert_eq!(books.answers(&output(1, 10, None, b"x")), Ok(None), "a question given up");
    let ended = Some(Outcome::Code(3));
    let last = output(2, 12, ended.clone(), b"");
    assert_eq!(books.answers(&last), Ok(Some(Output { ticket: 2, start: 12, ended, bytes: b"" })));
    assert_eq!(books.answers(&last), Err(Error::Malformed), "twice");
}

#[test]
fn what_is_typed_stays_within_its_window() {
    let mut books = Ledger::new();
    assert!(!books.types(INPUT_WINDOW_BYTES + 1) && books.types(INPUT_WINDOW_BYTES) && !books.types(1));
    assert_eq!(books.granted(INPUT_WINDOW_BYTES + 1), Err(Error::Malformed));
    books.granted(10).unwrap();
    assert_eq!(books.room(), 10);
}

#[test]
fn sides_have_a_range() {
    for (rows, columns, right) in [(1, 1, true), (SIDE_MAX, SIDE_MAX, true), (0, 80, false), (24, SIDE_MAX + 1, false)]
    {
        assert_eq!(Size::decode(&Size { rows, columns }.encode()).is_ok(), right, "{rows} {columns}");
    }
}

proptest! {
    #[test]
    fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Size::decode(&bytes);
        let _ = Open::decode(&bytes);
        let _ = Read::decode(&bytes);
        let _ = Output::decode(&bytes);
        let mut books = Ledger::new();
        books.asks(0, 100);
        let _ = books.answers(&bytes);
    }

    #[test]
    fn openings_round_trip(argv in proptest::collection::vec("[^\0]{0,20}", 1..5), rows in 1..=SIDE_MAX, columns in 1..=SIDE_MAX, plain: bool) {
        let open = Open {
            argv: argv.into_iter().map(String::into_bytes).collect(),
            env: vec![b"TERM=xterm".to_vec()],
            cwd: b"/workspace".to_vec(),
            size: Size { rows, columns },
            plain,
        };
        prop_assert_eq!(Open::decode(&open.encode().unwrap()).unwrap(), open);
    }
}
