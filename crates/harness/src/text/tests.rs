use super::{EditError, RESULT_BYTES_MAX, apply_edit, image_type, numbered_lines, shorten};

#[test]
fn short_texts_stay_as_they_are() {
    for text in ["", "a", "ä\nb"] {
        assert!(matches!(shorten(text, 10), std::borrow::Cow::Borrowed(same) if same == text));
    }
}

#[test]
fn long_texts_keep_head_and_tail_and_say_what_is_missing() {
    let text: String = (1..=1_000).map(|line| format!("line {line}\n")).collect();
    let short = shorten(&text, 400);
    assert!(short.starts_with("line 1\nline 2\n"));
    assert!(short.ends_with("line 999\nline 1000\n"));
    let marker = short.lines().find(|line| line.starts_with("[…")).unwrap();
    let missing: usize = marker.split(' ').nth(1).unwrap().parse().unwrap();
    let kept: usize = short.len() - marker.len() - 2;
    assert_eq!(kept + missing, text.len());
    assert!(short.lines().all(|line| line == marker || text.contains(&format!("{line}\n"))), "lines are whole");
}

#[test]
fn no_text_is_ever_longer_than_asked_or_cut_in_a_character() {
    for text in ["é".repeat(5_000), "🦀".repeat(5_000), "a\n".repeat(5_000), "x".repeat(9_999)] {
        for max in [0, 1, 3, 127, 128, 129, 130, 200, 1_000, 4_999, 9_998] {
            assert!(shorten(&text, max).len() <= max, "{max}");
        }
    }
}

#[test]
fn lines_are_numbered_and_the_rest_is_announced() {
    assert_eq!(numbered_lines("a\r\n\nc", 1, 10).unwrap(), "     1\ta\n     2\t\n     3\tc\n");
    assert_eq!(
        numbered_lines("a\nb\nc\nd\n", 2, 2).unwrap(),
        "     2\tb\n     3\tc\n(lines 2 to 3 of 4; read on with offset 4)\n"
    );
    assert_eq!(numbered_lines("a\nb\n", 2, 2).unwrap(), "     2\tb\n");
    assert_eq!(numbered_lines("", 1, 1).unwrap(), "(empty file)");
    assert_eq!(numbered_lines("a\n", 5, 1).unwrap_err(), "the file has 1 lines; offset 5 is past its end");
}

#[test]
fn a_page_of_lines_fits_a_result_and_pages_miss_nothing() {
    let text: String = (1..=500).map(|line| format!("{line} {}\n", "x".repeat(line * 10))).collect();
    let mut offset = 1;
    let mut seen = 0;
    loop {
        let page = numbered_lines(&text, offset, 10_000).unwrap();
        assert!(page.len() <= RESULT_BYTES_MAX);
        seen += page.lines().filter(|line| line.contains('\t')).count();
        let Some(next) = page.rsplit_once("read on with offset ").map(|(_, rest)| rest.trim_end_matches([')', '\n']))
        else {
            break;
        };
        offset = next.parse().unwrap();
    }
    assert_eq!(seen, 500);
}

#[test]
fn an_edit_is_made_where_it_is_certain() {
    assert_eq!(apply_edit("a b c", "b", "x", false).unwrap().content, "a x c");
    let all = apply_edit("a b b", "b", "", true).unwrap();
    assert_eq!((all.content.as_str(), all.replacements), ("a  ", 2));
    assert_eq!(apply_edit("a b", "b", "x", true).unwrap().replacements, 1);
}

#[test]
fn an_uncertain_edit_says_why() {
    let message = |content, old, new| apply_edit(content, old, new, false).unwrap_err().to_string();
    assert!(message("a", "b", "c").starts_with("`old` occurs 0 times"));
    assert_eq!(apply_edit("a\r\nb", "a\nb", "c", false), Err(EditError::NotFound { only_line_ends_differ: true }));
    assert_eq!(
        message("x\nb\nb\n\nb", "b", "c"),
        "`old` occurs 3 times in the file (lines 2, 3, 5). Add lines around it until it is unique, or set replace_all."
    );
    assert!(message("b\nb\nb\nb\nb\nb", "b", "c").contains("6 times in the file (lines 1, 2, 3, 4, 5, …)"));
    assert_eq!(apply_edit("a", "", "c", false), Err(EditError::EmptyOld));
    assert_eq!(apply_edit("a", "a", "a", true), Err(EditError::NoChange));
}

#[test]
fn pictures_are_known_by_their_bytes() {
    assert_eq!(image_type(b"\x89PNG\r\n\x1a\n...."), Some("image/png"));
    assert_eq!(image_type(b"\xff\xd8\xff\xe0"), Some("image/jpeg"));
    assert_eq!(image_type(b"GIF89a"), Some("image/gif"));
    assert_eq!(image_type(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
    for no in [&b""[..], b"GIF", b"RIFF\0\0\0\0WAVE", b"<svg>", b"plain"] {
        assert_eq!(image_type(no), None);
    }
}

#[test]
fn an_edit_cannot_grow_beyond_its_limit() {
    let content = "a".repeat(1_000_000);
    let bomb = "x".repeat(100_000);
    assert_eq!(super::apply_edit(&content, "a", &bomb, true), Err(super::EditError::TooLarge));
    assert!(super::apply_edit(&content, "a", "bb", true).is_ok());
}
