//! What passes and what does not, and that cuts change nothing.

use proptest::prelude::*;

use super::{Keep, Sieve, text};

fn shown(keep: Keep, bytes: &[u8]) -> String {
    let mut sieve = Sieve::new(keep);
    let mut out = sieve.pass(bytes);
    out.push_str(&sieve.finish());
    out
}

#[test]
fn what_makes_a_terminal_answer_remember_or_print_never_passes() {
    let attacks: [&[u8]; 31] = [
        b"\x1b]52;c;c3RvbGVu\x07",
        b"\x1b]52;c;?\x1b\\",
        b"\x1b]0;title\x07",
        b"\x1b[21t",
        b"\x1b[20t",
        b"\x1b[14t",
        b"\x1b[8;1;1t",
        b"\x1b[5n",
        b"\x1b[6n",
        b"\x1b[?6n",
        b"\x1b[c",
        b"\x1b[>c",
        b"\x1b[=c",
        b"\x1bZ",
        b"\x05",
        b"\x1bP$qm\x1b\\",
        b"\x1bP+q544e\x1b\\",
        b"\x1b[?1$p",
        b"\x1b[x",
        b"\x1b[>q",
        b"\x1b[?u",
        b"\x1b[5i",
        b"\x1b[?1000h",
        b"\x1b[?25;1004h",
        b"\x1b]8;;http://x/\x1b\\",
        b"\x1b_Gi=1;AAAA\x1b\\",
        b"\x1bXsos\x1b\\",
        b"\x1b^pm\x1b\\",
        "\u{9b}6n".as_bytes(),
        "\u{9d}52;c;?\u{9c}".as_bytes(),
        b"\x1b\x1b[6n",
    ];
    for attack in attacks {
        for keep in [Keep::Text, Keep::Display] {
            let mut bytes = b"a".to_vec();
            bytes.extend_from_slice(attack);
            bytes.push(b'b');
            let out = shown(keep, &bytes);
            let plain = matches!(attack, [0xc2, ..]);
            assert!(
                !out.contains('\u{1b}') && !out.contains('\u{9b}') && !out.contains('\u{5}'),
                "{attack:?}: {out:?}"
            );
            assert!(out == "ab" || plain && out.starts_with('a') && out.ends_with('b'), "{attack:?}: {out:?}");
        }
    }
}

/// Modes that lock the keyboard or change what its keys send, counts without end, and forgetting what the person had before.
#[test]
fn what_would_take_a_terminal_from_its_person_never_passes() {
    let attacks: [&[u8]; 15] = [
        b"\x1b[2h",
        b"\x1b[2l",
        b"\x1b[12l",
        b"\x1b[20h",
        b"\x1b[4;2h",
        b"\x1b[h",
        b"\x1b[?3h",
        b"\x1b[999999999999b",
        b"\x1b[10000b",
        b"\x1b[1;99999H",
        b"\x1b[?00001J",
        b"\x1b[3J",
        b"\x1b[03J",
        b"\x1b[2;3J",
        b"\x1b[?3J",
    ];
    for attack in attacks {
        assert_eq!(shown(Keep::Display, attack), "", "{:?}", String::from_utf8_lossy(attack));
    }
    // The controls.
    for good in [
        "\u{1b}[4h",
        "\u{1b}[4l",
        "\u{1b}[9999b",
        "\u{1b}[2J",
        "\u{1b}[J",
        "\u{1b}[1J",
        "\u{1b}[?1K",
        "\u{1b}[38:2::1:2:3m",
    ] {
        assert_eq!(shown(Keep::Display, good.as_bytes()), good);
    }
}

/// The control: an editor still works.
#[test]
fn what_only_shows_passes_to_a_terminal_and_not_to_a_text() {
    let screen = "\u{1b}[?1049h\u{1b}[2J\u{1b}[1;1H\u{1b}[38;5;2mgrün\u{1b}[0m\u{1b}(B\u{1b}[?25l\u{7}\u{8}\u{1b}7\u{1b}[2 q\r\n";
    assert_eq!(shown(Keep::Display, screen.as_bytes()), screen);
    assert_eq!(shown(Keep::Text, screen.as_bytes()), "grün\n");
    assert_eq!(text(b"10%\r20%\r\nnext\rlast\r"), "10%\n20%\nnext\nlast\n");
    assert_eq!(text(b"a\xffb\xe2\x82"), "a\u{fffd}b\u{fffd}");
}

#[test]
fn what_never_ends_is_let_go() {
    let mut sequence = b"\x1b[".to_vec();
    sequence.extend([b'1'; 1000]);
    sequence.push(b'm');
    assert!(shown(Keep::Display, &sequence).ends_with("111m"), "as the text it is");
    let mut string = b"\x1b]52;c;".to_vec();
    string.extend([b'A'; 70 * 1024]);
    assert!(shown(Keep::Display, &string).starts_with("AAA"));
}

proptest! {
    #[test]
    fn cuts_change_nothing(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(b']'), Just(b'\r')], 0..300), step in 1_usize..20) {
        for keep in [Keep::Text, Keep::Display] {
            let mut sieve = Sieve::new(keep);
            let mut out: String = bytes.chunks(step).map(|chunk| sieve.pass(chunk)).collect();
            out.push_str(&sieve.finish());
            prop_assert_eq!(&out, &shown(keep, &bytes));
            // What has passed once passes again as it is.
            prop_assert_eq!(&shown(keep, out.as_bytes()), &out);
            if keep == Keep::Text {
                prop_assert!(out.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
            }
        }
    }
}
